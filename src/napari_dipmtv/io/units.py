"""A number with the unit that a file gives to nm or eV."""

from __future__ import annotations

import math

_NM = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "nanometers": 1.0,
    "pm": 1e-3,
    "å": 0.1,
    "a": 0.1,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "ångström": 0.1,
    "μm": 1e3,  # greek mu, which NFKC makes of the micro sign
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
}
_EV = {"ev": 1.0, "kev": 1e3, "mev": 1e-3}
_MEGA = {"M", "Mm", "MeV"}  # the only units that lower case would change into others


def nm_per(unit: object) -> float | None:
    """Nanometres in one length unit as written in files ("µm", "Å", "m", ...); None where it is no length."""
    text = _text(unit)
    return None if text in _MEGA else _NM.get(text.lower())


def ev_per(unit: object) -> float | None:
    """Electronvolts in one energy unit (eV, keV, meV); None where it is no energy of a spectrum."""
    text = _text(unit)
    return None if text in _MEGA else _EV.get(text.lower())


def length_nm(value: object, unit: object) -> float | None:
    """A pixel size in nm, or None where the unit is missing or unknown or the value cannot be a size."""
    factor = nm_per(unit)
    try:
        size = float(str(value)) * factor if factor is not None else math.nan
    except ValueError:
        return None
    return size if math.isfinite(size) and size > 0 else None


def _text(unit: object) -> str:
    if isinstance(unit, bytes):
        unit = unit.decode("utf-8", "replace")
    return str(unit).strip().replace("\u00b5", "\u03bc").replace("\u212b", "Å") if unit is not None else ""
