"""Cliff-Lorimer: composition by hand, by eXSpy, and inside a mask."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect.quantify import atomic_weight, quantify

pytest.importorskip("exspy")

K = {"Fe_Ka": 1.2, "O_Ka": 1.8}


def volume(fe: float = 3.0, o: float = 1.0) -> Volume:
    data = np.zeros((2, 2, 3, 4), np.float32)
    data[0, :, 1:], data[1, :, 1:] = fe, o
    return Volume(data, ("Fe_Ka", "O_Ka"), 1.5, {"method": "sirt"})


def test_weight_and_atomic_percent_by_hand() -> None:
    weight = quantify(volume(), K, unit="wt.%")
    # 1.2 * 3 = 3.6 of Fe to 1.8 * 1 = 1.8 of O
    np.testing.assert_allclose(weight.data[:, 0, 1, 0], [100 * 2 / 3, 100 / 3], rtol=1e-6)
    atoms = quantify(volume(), K, unit="at.%")
    fe, o = 3.6 / 55.845, 1.8 / 15.999
    np.testing.assert_allclose(atoms.data[:, 1, 2, 3], [100 * fe / (fe + o), 100 * o / (fe + o)], rtol=1e-4)
    assert atoms.channels == ("Fe", "O")
    assert atoms.voxel_nm == 1.5
    assert atoms.metadata["method"] == "sirt"
    assert atoms.metadata["quantified"]["k_factors"] == K
    assert not atoms.data[:, :, 0].any()


def test_stoichiometry_of_an_oxide_comes_back() -> None:
    # intensities of Fe3O4 that follow from its weight fractions
    fe, o = 3 * atomic_weight("Fe"), 4 * atomic_weight("O")
    percent = quantify(volume(fe / K["Fe_Ka"], o / K["O_Ka"]), K)
    np.testing.assert_allclose(percent.data[:, 0, 1, 1], [300 / 7, 400 / 7], rtol=1e-6)


def test_agrees_with_exspy() -> None:
    exspy = pytest.importorskip("exspy")
    hs = pytest.importorskip("hyperspy.api")
    rng = np.random.default_rng(3)
    data = rng.uniform(1, 20, (3, 2, 3, 4)).astype(np.float32)
    k = {"Fe_Ka": 1.21, "O_Ka": 1.9, "Si_Ka": 1.0}
    spectrum = exspy.signals.EDSTEMSpectrum(np.zeros((2, 3, 4, 800)))
    spectrum.axes_manager[-1].units, spectrum.axes_manager[-1].scale = "keV", 0.01
    spectrum.set_elements(["Fe", "O", "Si"])
    spectrum.set_lines(list(k))
    intensities = [hs.signals.BaseSignal(channel).T for channel in data]
    for signal, line in zip(intensities, k, strict=True):
        signal.metadata.set_item("Sample.elements", [line.split("_")[0]])
        signal.metadata.set_item("Sample.xray_lines", [line])
    for unit, theirs in (("wt.%", "weight"), ("at.%", "atomic")):
        ours = quantify(Volume(data, tuple(k), 1.0), k, unit=unit)  # type: ignore[arg-type]
        found = spectrum.quantification(
            intensities, "CL", list(k.values()), composition_units=theirs, navigation_mask=None
        )
        for channel, signal in zip(ours.data, found, strict=True):
            np.testing.assert_allclose(channel, np.squeeze(signal.data), rtol=1e-5)


def test_outside_the_mask_is_nothing() -> None:
    mask = np.zeros((2, 3, 4), bool)
    mask[0, :, 2] = True
    percent = quantify(volume(), K, mask)
    np.testing.assert_allclose(
        percent.data.sum(axis=0)[mask], [0, 100, 100], rtol=1e-6
    )  # row 0 has no signal
    assert not percent.data[:, ~mask].any()
    assert np.isfinite(percent.data).all()


def test_f57_negative_intensities_give_no_negative_percent() -> None:
    percent = quantify(volume(fe=-1.0), K)
    np.testing.assert_array_equal(percent.data[0], 0)
    np.testing.assert_allclose(percent.data[1, :, 1:], 100)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"Fe_Ka": 1.2}, "one for each of Fe_Ka, O_Ka"),
        ({**K, "Si_Ka": 1.0}, "one for each"),
        ({"Fe_Ka": 0.0, "O_Ka": 1.0}, "positive"),
        ({"Fe_Ka": float("nan"), "O_Ka": 1.0}, "positive"),
    ],
)
def test_factors_that_cannot_be_used(factors: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        quantify(volume(), factors)


def test_names_and_masks_that_cannot_be_used() -> None:
    twice = volume().replace(channels=("Fe_Ka", "Fe_La"))
    with pytest.raises(InputError, match="one line per element"):
        quantify(twice, {"Fe_Ka": 1.0, "Fe_La": 1.0})
    with pytest.raises(InputError, match="symbol such as Fe"):
        quantify(volume().replace(channels=("FeO", "Fe3O4")), {"FeO": 1.0, "Fe3O4": 1.0})
    with pytest.raises(InputError, match="shape"):
        quantify(volume(), K, np.ones((3, 3, 4), bool))
