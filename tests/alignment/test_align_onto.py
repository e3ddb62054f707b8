"""Maps moved onto the volume of an aligned HAADF series: one frame for both modalities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv import pipeline
from napari_dipmtv.alignment.gauge import without_gauge
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.data import F64, ChannelMaps, TiltSeries
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.phantom.fused import FusedSimulation, simulate_fused
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.fused import FusedPhantomSettings

QUICK = AlignSettings(rounds=3, find_axis_angle=False, coarsest_binning=1)


@pytest.fixture(scope="module")
def still() -> FusedSimulation:
    phantom = FusedPhantomSettings(field_voxels=32, chemical_tilts=5, haadf_tilts=15, supersampling=1)
    return simulate_fused(phantom)


def drifted(series: TiltSeries, seed: int) -> tuple[ChannelMaps, F64]:
    """Every view moved by whole pixels, so that nothing is interpolated; vacuum comes in."""
    moves = np.random.default_rng(seed).integers(-3, 4, (len(series.tilts_deg), 2))
    data = np.stack(
        [np.roll(v, m, (1, 2)) for v, m in zip(series.data.swapaxes(0, 1), moves, strict=True)], 1
    )
    maps = ChannelMaps(
        data, series.channels, series.tilts_deg, series.pixel_nm, counts_per_unit=series.counts_per_unit
    )
    return maps, moves.astype(np.float64)


def test_both_modalities_come_into_one_frame(still: FusedSimulation) -> None:
    """What remains of the shifts of all views is a movement of the object, up to a third of a pixel."""
    maps, moved = drifted(still.chemical, 1)
    images, haadf_moved = drifted(still.haadf, 2)
    series, haadf = pipeline.align_both(maps, images, QUICK, "cpu")
    assert series.alignment is not None
    assert haadf.alignment is not None
    left = np.concatenate(
        [displacements(series.alignment) - moved, displacements(haadf.alignment) - haadf_moved]
    )
    rest = without_gauge(left, series.tilts_deg + haadf.tilts_deg)
    assert np.abs(rest[:5]).max() < 0.35
    assert np.abs(rest[5:]).max() < 0.35
    assert np.abs(moved).max() == 3
    assert series.counts_per_unit == maps.counts_per_unit


def test_what_cannot_share_a_frame_is_refused(still: FusedSimulation) -> None:
    maps, _ = drifted(still.chemical, 1)
    images, _ = drifted(still.haadf, 2)
    with pytest.raises(InputError, match="before their alignment"):
        pipeline.align_both(still.chemical, images, QUICK)
    with pytest.raises(GeometryError, match="field of view"):
        pipeline.align_both(maps.replace(data=maps.data[..., :-4]), images, QUICK.replace(rounds=0), "cpu")
