"""What can go wrong, in words that a person at the microscope can act on."""

from __future__ import annotations


class DipmtvError(Exception):
    """Base of all errors that this package raises on purpose.

    The message always says what was expected, what came and what to do.
    """


class InputError(DipmtvError, ValueError):
    """A value, an array or a settings field that cannot be used."""


class ReadError(InputError):
    """A file that is missing, damaged, truncated or of an unknown kind."""


class WriteError(DipmtvError, OSError):
    """A result that could not be written; nothing was left under the final name."""


class GeometryError(InputError):
    """Tilt angles, pixel sizes or shapes that do not fit together."""


class DeviceError(DipmtvError, RuntimeError):
    """A compute device that is absent, too small or that failed."""


class ComputeError(DipmtvError, ArithmeticError):
    """A computation that ran into numbers that are not finite and could not be rescued."""


def expected(what: str, wanted: object, got: object, advice: str) -> str:
    """Write one error sentence in the form that every message of this package has.

    Parameters
    ----------
    what : str
        The thing that was looked at, e.g. ``"tilt angles"``.
    wanted, got : object
        What was expected and what came.
    advice : str
        What to do now, an imperative without a full stop.

    Returns
    -------
    str
    """
    return f"{what}: expected {wanted}, got {got}. {advice}."
