"""Densities of iron oxides to the share of Fe2+ and Fe3+ in every voxel."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import VOID, Mask, occupancy

# Share of Fe3+ among the iron, by stoichiometry: Fe3O4 is Fe2+ (Fe3+)2 O4.
FE3_SHARE = {"FeO": 0.0, "Fe3O4": 2 / 3, "Fe2O3": 1.0, "Fe2+": 0.0, "Fe3+": 1.0}


@dataclass(frozen=True, slots=True, eq=False)
class Oxidation:
    """Oxidation state of iron.

    Attributes
    ----------
    fractions : Volume
        Channels "Fe2+" and "Fe3+" (z, y, x): their shares of the iron in each voxel, which add up to 1 inside the
        mask; 0 outside.
    mask : bool (z, y, x)
        Where there is matter to speak of.
    mean_fe3 : float
        Share of Fe3+ among all iron inside the mask; the mean oxidation state is ``2 + mean_fe3``.
    """

    fractions: Volume
    mask: Mask
    mean_fe3: float


def knows_oxidation(channels: tuple[str, ...]) -> bool:
    """Tell whether every channel is an iron phase of known oxidation state."""
    return all(_plain(channel) in FE3_SHARE for channel in channels)


def oxidation_state(
    volume: Volume, segmentation: Segmentation | None = None, *, matter_fraction: float = 0.5
) -> Oxidation:
    """Turn densities of FeO, Fe3O4 (or Fe2O3, or Fe2+ and Fe3+) into shares of Fe2+ and Fe3+.

    Parameters
    ----------
    volume : Volume
        In Fe atoms per volume, or anything proportional to them with one factor for all channels; negative values
        count as zero.
    segmentation : Segmentation, optional
        The mask is its matter. Without it: where the voxel is filled to ``matter_fraction``.

    Raises
    ------
    InputError
        For a channel that is no iron phase of known oxidation state, or a segmentation of another shape.
    """
    if not knows_oxidation(volume.channels):
        raise InputError(
            expected(
                "channels", f"iron phases ({', '.join(FE3_SHARE)})", volume.channels, "Rename the channels"
            )
        )
    density = np.clip(volume.data, 0, None)  # (c, z, y, x)
    if segmentation is None:
        mask = occupancy(density) > matter_fraction
    elif segmentation.labels.shape == density.shape[1:]:
        mask = (segmentation.labels > 0) & ~segmentation.mask(VOID)
    else:
        shapes = density.shape[1:], segmentation.labels.shape
        raise InputError(expected("segmentation", f"shape {shapes[0]}", shapes[1], "Segment this volume"))
    iron = density.sum(axis=0)
    mask = mask & (iron > 0)
    shares = np.array([FE3_SHARE[_plain(channel)] for channel in volume.channels], np.float32)
    fe3 = np.divide(np.tensordot(shares, density, 1), iron, out=np.zeros_like(iron), where=mask)
    fe2 = np.where(mask, 1 - fe3, np.float32(0))
    whole = float(iron[mask].sum(dtype=np.float64))
    mean = float((fe3 * iron)[mask].sum(dtype=np.float64)) / whole if whole > 0 else float("nan")
    fractions = Volume(np.stack([fe2, fe3]), ("Fe2+", "Fe3+"), volume.voxel_nm, {"quantity": "share of Fe"})
    return Oxidation(fractions, mask, mean)


def _plain(channel: str) -> str:
    """Sub- and superscripts as plain digits."""
    return unicodedata.normalize("NFKD", channel).strip()
