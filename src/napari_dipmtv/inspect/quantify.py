"""A volume of X-ray line intensities to a volume of atomic or weight percent (Cliff-Lorimer)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.elements import element_facts

Composition = Literal["at.%", "wt.%"]


def quantify(
    volume: Volume,
    k_factors: Mapping[str, float],
    mask: NDArray[np.bool_] | None = None,
    *,
    unit: Composition = "at.%",
) -> Volume:
    """Turn intensities into composition, voxel by voxel, by the ratio method of Cliff and Lorimer (1975).

    The weight fraction of element i is ``k_i I_i / sum_j k_j I_j``; the atomic fraction divides each term by the
    atomic weight first. No absorption or fluorescence: right for thin particles and hard lines. A sum over the
    channels given is taken for the whole, so an element left out is missing from the composition.

    Parameters
    ----------
    volume : Volume
        Intensities (c, z, y, x) with channels named after their lines ("Fe_Ka") or elements ("Fe").
    k_factors : mapping of str to float
        For each channel the Cliff-Lorimer factor in weight (as HyperSpy, Bruker and Velox give it): the weight of
        the element per intensity, relative to any one element that all share.
    mask : bool array (z, y, x), optional
        Voxels with matter. Outside, and where there is no signal, all channels are 0. None: wherever there is
        signal, which in near-empty voxels is the composition of the noise.
    unit : {"at.%", "wt.%"}

    Returns
    -------
    Volume
        Channels named after the elements, in percent; they add up to 100 inside the mask.

    Raises
    ------
    InputError
        For factors that are missing, superfluous or not positive, two lines of one element, and a mask of
        another shape.
    """
    _check(volume, k_factors, mask)
    elements = tuple(channel.partition("_")[0] for channel in volume.channels)
    factors = np.array([k_factors[channel] for channel in volume.channels])
    if unit == "at.%":
        factors = factors / np.array([atomic_weight(element) for element in elements])
    amounts = factors[:, None, None, None] * np.clip(volume.data, 0, None)
    total = amounts.sum(axis=0)  # (z, y, x)
    inside = total > 0 if mask is None else (total > 0) & mask
    percent: F32 = np.divide(
        100 * amounts, total, out=np.zeros_like(amounts), where=np.broadcast_to(inside, amounts.shape)
    ).astype(np.float32)
    facts = {"k_factors": dict(k_factors), "unit": unit, "lines": list(volume.channels)}
    return Volume(percent, elements, volume.voxel_nm, {**volume.metadata, "quantified": facts})


def atomic_weight(element: str) -> float:
    """Standard atomic weight in g/mol; raises `InputError` for an unknown symbol."""
    return float(element_facts(element)["General_properties"]["atomic_weight"])


def _check(volume: Volume, k_factors: Mapping[str, float], mask: NDArray[np.bool_] | None) -> None:
    names = set(volume.channels)
    if set(k_factors) != names:
        got = ", ".join(k_factors) or "none"
        raise InputError(
            expected("k-factors", f"one for each of {', '.join(volume.channels)}", got, "Give these")
        )
    wrong = {name: k for name, k in k_factors.items() if not (np.isfinite(k) and k > 0)}
    if wrong:
        raise InputError(expected("k-factors", "positive numbers", wrong, "Correct them"))
    if len({name.partition("_")[0] for name in names}) < len(names):
        raise InputError(
            expected("channels", "one line per element", ", ".join(volume.channels), "Leave one line out")
        )
    if mask is not None and mask.shape != volume.data.shape[1:]:
        raise InputError(
            expected("mask", f"shape {volume.data.shape[1:]}", mask.shape, "Segment this very volume")
        )
