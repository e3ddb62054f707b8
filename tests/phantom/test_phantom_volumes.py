"""Phantom volumes against analytic values and against the shipped reference cube."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import label

from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.phantom import make_edx_bar, make_segmentation, make_volume, true_measures
from napari_dipmtv.settings.base import knobs
from napari_dipmtv.settings.phantom import (
    EdxBarSettings,
    PhantomSettings,
    cube64,
    published_eels,
    two_particles,
)
from napari_dipmtv.settings.simulation import SimulationSettings

PRESETS = {"default": PhantomSettings, "cube64": cube64, "published": published_eels, "two": two_particles}


def sphere(radius: float) -> float:
    return 4 / 3 * np.pi * radius**3


def test_cube_phases_have_their_analytic_volumes() -> None:
    measures = true_measures(PhantomSettings(supersampling=4))
    void = sphere(2.5)
    assert measures.core_nm3 == pytest.approx(13**3 - void, rel=0.005)
    assert measures.shell_nm3 == pytest.approx(25**3 - 13**3, rel=0.005)
    assert measures.skin_nm3 == pytest.approx(28**3 - 25**3, rel=0.005)
    assert measures.void_nm3 == pytest.approx(void, rel=0.02)


def test_sphere_phases_have_their_analytic_volumes() -> None:
    measures = true_measures(
        PhantomSettings(shape="sphere", size_nm=36, voxel_nm=1.5, field_voxels=30, supersampling=4)
    )
    assert measures.core_nm3 == pytest.approx(sphere(10.5) - sphere(2.5), rel=0.005)
    assert measures.shell_nm3 == pytest.approx(sphere(16.5) - sphere(10.5), rel=0.005)
    assert measures.skin_nm3 == pytest.approx(sphere(18) - sphere(16.5), rel=0.01)


def test_volume_counts_the_fe_atoms_of_each_oxide() -> None:
    settings = PhantomSettings(supersampling=3)
    volume, measures = make_volume(settings), true_measures(settings)
    atoms = volume.data.sum(axis=(1, 2, 3), dtype=np.float64) * volume.voxel_nm**3
    assert volume.channels == ("FeO", "Fe3O4")
    assert atoms[0] == pytest.approx(48.1 * (measures.core_nm3 + measures.skin_nm3), rel=1e-5)
    assert atoms[1] == pytest.approx(40.3 * measures.shell_nm3, rel=1e-5)
    assert volume.data.max() == pytest.approx(48.1)


def test_segmentation_names_the_phases_and_encloses_the_void() -> None:
    phases = make_segmentation()
    assert set(phases.phases.values()) == {"vacuum", "FeO core", "Fe3O4 shell", "FeO skin", "void"}
    outside, regions = label(~np.isin(phases.labels, [1, 2, 3]))
    assert regions == 2, "vacuum around the particle and the void in it must not touch"
    assert np.unique(outside[phases.mask("void")]).size == 1
    assert outside[0, 0, 0] not in outside[phases.mask("void")]
    assert phases.mask("void").sum() == pytest.approx(sphere(2.5), rel=0.1)
    assert make_segmentation(PhantomSettings(void_radius_nm=0)).mask("void").sum() == 0


def test_two_particles_are_apart_and_different() -> None:
    phases = make_segmentation(two_particles())
    parts, count = label(phases.labels > 0)
    sizes = np.sort(np.bincount(parts.ravel())[1:])
    assert count == 2
    assert sizes == pytest.approx([sphere(6.6), 22**3], rel=0.05)


def test_published_phantom_has_its_values_and_half_sizes_at_any_size() -> None:
    for n in (40, 80):
        volume = make_volume(published_eels(n))
        scale = n / 160
        assert volume.data[0].max() == 20
        assert volume.data[1].max() == 10
        feo, fe3o4 = volume.data.sum(axis=(1, 2, 3), dtype=np.float64)
        assert feo / 20 == pytest.approx((40**3 + 86**3 - 80**3) * scale**3, rel=0.01)
        assert fe3o4 / 10 == pytest.approx((80**3 - 40**3) * scale**3, rel=0.01)


@pytest.mark.real_data
def test_cube64_is_the_reference_cube(data_folder: Path) -> None:
    path = data_folder / "reference_cube64" / "cube64.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} absent from the data folder")
    with np.load(path, allow_pickle=False) as file:
        truth, channels = file["truth"].astype(np.float32), tuple(file["channels"].tolist())
    volume = make_volume(cube64())
    assert volume.channels == channels
    np.testing.assert_allclose(volume.data, truth, atol=1e-6)


def test_edx_bar_has_three_elements_voids_and_one_density() -> None:
    bar = make_edx_bar()
    assert bar.channels == ("Ge", "Sb", "Te")
    total = bar.data.sum(axis=0)
    assert total.max() == pytest.approx(32.8, rel=1e-4)
    _, regions = label(total < 10)
    assert regions == 4  # three voids and the outside
    middle = bar.data[:, 24, 20, 30] / total[24, 20, 30]
    assert middle == pytest.approx([2 / 9, 2 / 9, 5 / 9], rel=1e-4)
    ge, sb = bar.data[0].sum(axis=(0, 2)), bar.data[1].sum(axis=(0, 2))  # along y
    assert ge[10] > ge[24] > ge[38]
    assert sb[38] > sb[24] > sb[10]
    assert make_edx_bar(EdxBarSettings(void_radius=0)).data.sum() > bar.data.sum()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"skin_nm": 9, "shell_nm": 6}, "skin and shell"),
        ({"void_x_nm": 12.0}, "void must end"),
        ({"shape": "sphere", "void_x_nm": 8.0, "void_y_nm": 8.0}, "void must end"),
        ({"size_nm": -1}, "size_nm"),
    ],
)
def test_impossible_particles_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        PhantomSettings().replace(**changes)
    assert len(str(caught.value)) < 400, "one sentence, not a dump of all settings"


def test_unknown_setting_is_named() -> None:
    with pytest.raises(InputError, match="no setting 'radius'"):
        PhantomSettings().replace(radius=3)


def test_particle_larger_than_the_field_is_refused() -> None:
    with pytest.raises(GeometryError, match="within 48 nm"):
        make_volume(PhantomSettings(size_nm=46))
    with pytest.raises(ValidationError):
        SimulationSettings(tilt_start_deg=50, tilt_stop_deg=-50)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_survive_json(name: str) -> None:
    settings = SimulationSettings(phantom=PRESETS[name](), seed=4, tilt_step_deg=3.5)
    assert SimulationSettings.model_validate_json(settings.model_dump_json()) == settings


def test_every_knob_speaks() -> None:
    for model in (PhantomSettings, EdxBarSettings, SimulationSettings):
        for knob in knobs(model):
            assert knob.title != knob.name
            assert knob.description.endswith(".")
