"""Maps to a first guess of the alignment: shifts from mass or correlation."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F32, F64
from napari_dipmtv.errors import InputError, expected


def centres_of_mass(views: F32, tilts_deg: tuple[float, ...]) -> F64:
    """Centre of mass (t, 2) of every view, ``(y, x)`` from the centre of the view, in px.

    A parallel projection of a mass keeps its centre of mass, so moving each centre of mass into the centre
    aligns y (common to all tilts) and x (otherwise ``a cos θ + b sin θ``) at once and puts the object in the
    centre.

    Raises
    ------
    InputError
        When a view has no positive total.
    """
    _, ny, nx = views.shape
    totals = views.sum(axis=(1, 2), dtype=np.float64)
    for tilt, total in zip(tilts_deg, totals, strict=True):
        if not total > 0:
            raise InputError(
                expected(f"map at {tilt:g} deg", "some signal", f"a sum of {total:g}", "Leave this view out")
            )
    y = views.sum(axis=2, dtype=np.float64) @ (np.arange(ny) - (ny - 1) / 2)
    x = views.sum(axis=1, dtype=np.float64) @ (np.arange(nx) - (nx - 1) / 2)
    centres: F64 = np.stack([y, x], axis=1) / totals[:, None]
    return centres


def correlated(views: F32, tilts_deg: tuple[float, ...]) -> F64:
    """Displacements (t, 2) that align every view with its neighbour of smaller tilt, in px.

    The view of smaller tilt is narrowed by the ratio of the cosines first ("cosine stretching"), as a slab
    would be. The view nearest to 0 deg stays where it is.
    """
    from skimage.registration import phase_cross_correlation

    tilts = np.asarray(tilts_deg)
    first = int(np.argmin(np.abs(tilts)))
    found = np.zeros((len(tilts), 2))
    for side in (range(first + 1, len(tilts)), range(first - 1, -1, -1)):
        before = first
        for t in side:
            ratio = np.cos(np.deg2rad(tilts[t])) / np.cos(np.deg2rad(tilts[before]))
            target = _narrowed(views[before], float(np.clip(ratio, 0.2, 5)))
            shift, _, _ = phase_cross_correlation(target, views[t], upsample_factor=10, normalization=None)
            found[t] = found[before] * (1, ratio) - shift
            before = t
    return found


def _narrowed(view: F32, ratio: float) -> F32:
    """The view with x scaled by ``ratio`` about the centre, on the same pixels."""
    from scipy.ndimage import affine_transform

    middle = (view.shape[1] - 1) / 2
    out: F32 = affine_transform(view, (1.0, 1 / ratio), (0.0, middle - middle / ratio), order=1)
    return out
