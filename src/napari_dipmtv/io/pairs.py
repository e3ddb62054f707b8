"""Headers of EELS spectrum images to the pairs of low and core loss of a dual EELS series."""

from __future__ import annotations

from collections.abc import Sequence

from napari_dipmtv.errors import GeometryError, ReadError, expected
from napari_dipmtv.io.angles import check_angles, tilts_from_names
from napari_dipmtv.io.headers import SpectrumImageHeader

PAIR_WITHIN_DEG = 0.5
Pair = tuple[SpectrumImageHeader, SpectrumImageHeader, float]


def eels_pairs(
    headers: Sequence[SpectrumImageHeader],
    tilts_deg: Sequence[float] | None = None,
    core_ev: float | None = None,
    source: object = "",
) -> list[Pair]:
    """Pair low-loss with core-loss images by tilt, or in their order where the tilts are given.

    Parameters
    ----------
    headers : sequence of SpectrumImageHeader
        In the order of ``tilts_deg``.
    tilts_deg : sequence of float, optional
        One tilt per pair.
    core_ev : float, optional
        Energy that the core-loss images must contain; others are passed over.
    source : object
        Where they come from, for the messages.

    Raises
    ------
    ReadError, GeometryError
        For images of unknown kind, lonely images and tilts that are missing or in conflict.
    """
    low = [header for header in headers if header.kind == "low-loss"]
    core = [h for h in headers if h.kind == "core-loss" and (core_ev is None or _contains(h, core_ev))]
    _check_kinds(source, headers, low, core)
    return _by_tilt(low, core) if tilts_deg is None else _in_order(low, core, tilts_deg)


def tilt_of(header: SpectrumImageHeader) -> float:
    """The tilt in degrees that a header tells, or `ReadError`."""
    if header.tilt_deg is not None:
        return header.tilt_deg
    got = "none in the metadata or the file name"
    if header.conflict:
        got = f"{header.stage_tilt_deg:g} in the metadata and {header.name_tilt_deg:g} in the name"
    raise ReadError(expected(f"file {header.path}", "one tilt angle", got, "Give the tilt by hand"))


def _contains(header: SpectrumImageHeader, energy_ev: float) -> bool:
    return header.energy.start_ev <= energy_ev <= header.energy.stop_ev


def _check_kinds(
    source: object,
    headers: Sequence[SpectrumImageHeader],
    low: Sequence[SpectrumImageHeader],
    core: Sequence[SpectrumImageHeader],
) -> None:
    undecided = [header.path.name for header in headers if header.kind == "EELS"]
    if undecided:
        raise ReadError(
            expected(
                "EELS files",
                "energies with 0 eV or from above 100 eV, or 'lowloss' or 'coreloss' in the name",
                ", ".join(undecided),
                "Rename these files",
            )
        )
    if not low or len(low) != len(core):
        eds = sum(header.kind == "EDS" for header in headers)
        got = f"{len(low)} low-loss, {len(core)} core-loss and {eds} EDS"
        advice = (
            "EDS series go through 'napari-dipmtv edx'; give core_ev where a file has several core-loss ranges; "
            "add what is missing"
        )
        raise GeometryError(
            expected(f"dual EELS series {source}", "one low-loss per core-loss image", got, advice)
        )


def _in_order(
    low: Sequence[SpectrumImageHeader], core: Sequence[SpectrumImageHeader], tilts_deg: Sequence[float]
) -> list[Pair]:
    tilts = check_angles(tilts_deg, len(low), "tilts_deg of the dual EELS series")
    return list(zip(low, core, tilts, strict=True))


def _by_tilt(low: Sequence[SpectrumImageHeader], core: Sequence[SpectrumImageHeader]) -> list[Pair]:
    low, core = (sorted(headers, key=tilt_of) for headers in (low, core))
    check_angles([tilt_of(header) for header in low], None, "tilts of the low-loss images")
    if (
        len(low) > 2
        and all(h.tilt_deg == h.name_tilt_deg for h in low)
        and not tilts_from_names([h.path for h in low])
    ):
        raise GeometryError(
            expected("tilts in the file names", "angles", "names that merely count up", "Give tilts_deg")
        )
    for first, second in zip(low, core, strict=True):
        if abs(tilt_of(first) - tilt_of(second)) > PAIR_WITHIN_DEG:
            raise GeometryError(
                expected(
                    "dual EELS pairs",
                    "a low-loss and a core-loss image at each tilt",
                    f"{first.path.name} ({tilt_of(first):g}) beside "
                    f"{second.path.name} ({tilt_of(second):g} deg)",
                    "Add the missing file or leave its partner out",
                )
            )
    return [(first, second, tilt_of(first)) for first, second in zip(low, core, strict=True)]
