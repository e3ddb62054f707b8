"""Maps to what a person should know before aligning them: views that lose matter, views that stand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, MapStack

_LOST_SHARE = 0.05
_BORDER_SHARE = 0.02  # of the width of the image, each side


@dataclass(frozen=True, slots=True, eq=False)
class ViewMass:
    """Total signal of each view, summed over the channels.

    Attributes
    ----------
    tilts_deg : tuple of float
    relative : float array (t,)
        Total over the median of all views. A parallel projection of an object inside the field keeps its total, so
        that this is 1 but for the dose.
    at_border : float array (t,)
        Signal in the outermost 2 % of the columns and rows, as a share of what an even spread would put there.
    """

    tilts_deg: tuple[float, ...]
    relative: F64
    at_border: F64

    @property
    def losing(self) -> tuple[float, ...]:
        """Tilts whose view has more than 5 % less than the median and signal at its border: matter left the field."""
        lost = (self.relative < 1 - _LOST_SHARE) & (self.at_border > _LOST_SHARE)
        return tuple(tilt for tilt, flag in zip(self.tilts_deg, lost, strict=True) if flag)


def view_mass(maps: MapStack) -> ViewMass:
    """Compare the total signal of the views, and look for signal at their borders.

    Parameters
    ----------
    maps : MapStack
        Pixels that are not valid do not count.
    """
    total = maps.data.sum(axis=0, dtype=np.float64)  # (t, y, x); not valid pixels are 0
    mass = total.sum(axis=(1, 2))
    _, ny, nx = total.shape
    wy, wx = max(1, round(_BORDER_SHARE * ny)), max(1, round(_BORDER_SHARE * nx))
    inner = total[:, wy : ny - wy, wx : nx - wx].sum(axis=(1, 2))
    border_area = 1 - (ny - 2 * wy) * (nx - 2 * wx) / (ny * nx)
    positive = np.clip(mass, np.finfo(float).tiny, None)
    typical = float(np.median(mass))
    return ViewMass(
        maps.tilts_deg, mass / (typical if typical > 0 else 1.0), (mass - inner) / positive / border_area
    )


def view_problems(maps: MapStack) -> tuple[str, ...]:
    """One sentence for each view that seems to have lost matter."""
    found = view_mass(maps)
    share = dict(zip(found.tilts_deg, found.relative, strict=True))
    return tuple(
        f"the view at {tilt:g} deg has {100 * (1 - share[tilt]):.0f} % less signal than the others and signal at its "
        f"border: matter seems to leave the field of view, so leave the view out or crop all views to what all see"
        for tilt in found.losing
    )
