"""Line intensities of EDX spectra: known counts come back, without bias and with the variance that is stated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from napari_dipmtv.data import EnergyAxis, SpectrumImage
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.spectra.edx import edx_maps, line_intensities
from napari_dipmtv.spectra.xray_lines import fwhm_ev, line_filters, xray_line, xray_lines
from napari_dipmtv.states import run

pytest.importorskip("exspy")

AXIS = EnergyAxis(-470.0, 10.0, 1024)
COUNTS = {"Fe_Ka": 2.4, "O_Ka": 5.0, "Si_Ka": 1.5}


def spectrum(counts: Mapping[str, float] = COUNTS, background: float = 0.02) -> np.ndarray:
    """Expected counts per channel: all lines of the elements, of which the named one has the given counts."""
    energies = AXIS.values
    total = background * (2 - energies / 10_000)
    for name, number in counts.items():
        main = xray_line(name)
        for line in xray_lines(main.element):
            if line.family == main.family:
                sigma = fwhm_ev(line.energy_ev, 130) / 2.3548
                fine = (
                    energies[:, None] + AXIS.step_ev * (np.arange(20) - 9.5) / 20
                )  # a channel counts all of it
                peak = np.exp(-0.5 * ((fine - line.energy_ev) / sigma) ** 2).mean(axis=1)
                share = peak * AXIS.step_ev / (sigma * np.sqrt(2 * np.pi))
                total = total + number * line.weight / main.weight * share
    return total


def image(counts: np.ndarray, tilt_deg: float = 0.0, pixel_nm: float = 13.0) -> SpectrumImage:
    return SpectrumImage(counts, AXIS, pixel_nm, tilt_deg)


def noisy(shape: tuple[int, int] = (60, 70), seed: int = 0, tilt_deg: float = 0.0) -> SpectrumImage:
    return image(np.random.default_rng(seed).poisson(spectrum(), (*shape, AXIS.size)), tilt_deg)


@pytest.mark.parametrize(("method", "share", "within"), [("fit", 1.0, 1e-3), ("windows", 0.98149, 0.02)])
def test_known_counts_come_back(method: str, share: float, within: float) -> None:
    # a window 2 FWHM wide holds erf(sqrt(ln 16)) = 98.1 % of a Gaussian line
    settings = EdxSettings(method=method)
    one = image(np.broadcast_to(spectrum(), (2, 3, AXIS.size)))
    for name, number in COUNTS.items():
        alone = spectrum({name: number})
        filters = line_filters([name], AXIS, alone, settings)
        assert filters.weights @ alone == pytest.approx(share * number, rel=within)
    maps, covariance = line_intensities(one, line_filters(list(COUNTS), AXIS, spectrum(), settings), 0)
    np.testing.assert_allclose(maps[:, 1, 2], share * np.array([*COUNTS.values()]), rtol=2 * within)
    assert covariance.shape == (3, 3, 2, 3)


def test_neighbour_is_told_apart_by_the_fit_only() -> None:
    # Cr L lies between O K and Fe L; Mg K beside Ga L; nothing of them may count as O or Mg
    mixed = spectrum({"O_Ka": 5.0, "Cr_La": 2.0, "Mg_Ka": 3.0, "Ga_La": 4.0})
    lines = ["O_Ka", "Mg_Ka"]
    found = {
        name: line_filters(lines, AXIS, mixed, settings).weights @ mixed
        for name, settings in {
            "fit": EdxSettings(also="Cr, Ga"),
            "blind": EdxSettings(),
            "windows": EdxSettings(method="windows"),
        }.items()
    }
    np.testing.assert_allclose(found["fit"], [5.0, 3.0], rtol=1e-3)
    assert np.abs(found["blind"] - [5.0, 3.0]).max() > 0.1
    assert np.abs(found["windows"] - [5.0, 3.0]).max() > 0.3


@pytest.mark.parametrize("method", ["fit", "windows"])
def test_no_bias_and_the_stated_covariance_at_few_counts(method: str) -> None:
    filters = line_filters(list(COUNTS), AXIS, spectrum(), EdxSettings(method=method))
    maps, covariance = line_intensities(noisy(), filters, 2.0)
    flat = maps.reshape(3, -1)
    measured = np.cov(flat)
    truth = filters.weights @ spectrum()
    error = np.sqrt(np.diag(measured) / flat.shape[1])
    assert (np.abs(flat.mean(axis=1) - truth) < 4 * error).all()
    stated = covariance.mean(axis=(2, 3))
    np.testing.assert_allclose(np.diag(stated), np.diag(measured), rtol=0.12)
    scale = np.sqrt(np.outer(np.diag(stated), np.diag(stated)))
    np.testing.assert_allclose(stated / scale, measured / scale, atol=0.06)


def test_empty_pixels_have_a_variance_of_a_part_of_a_count() -> None:
    filters = line_filters(["Fe_Ka"], AXIS, spectrum(), EdxSettings(method="windows"))
    empty = image(np.zeros((4, 5, AXIS.size), np.float32))
    maps, covariance = line_intensities(empty, filters, 0)
    assert not maps.any()
    assert (covariance > 0).all()
    assert covariance.max() < 1
    assert line_intensities(empty, filters, 2.0)[1].max() < covariance.max()


def test_sum_keeps_counted_events() -> None:
    one = noisy((6, 7))
    maps = run(edx_maps([one], ["Fe_Ka"], EdxSettings(method="sum"))).value
    half = fwhm_ev(6403.9, 130)
    inside = (AXIS.values >= 6403.9 - half) & (AXIS.values <= 6403.9 + half)
    np.testing.assert_array_equal(maps.data[0, 0], one.counts[..., inside].sum(axis=2))
    assert maps.counts_per_unit == 1.0
    assert maps.covariance is None


def test_width_of_lines_and_names() -> None:
    assert fwhm_ev(5898.7, 130) == pytest.approx(130)
    assert fwhm_ev(524.9, 130) == pytest.approx(58.8, abs=0.3)
    with pytest.raises(InputError, match=r"Fe_Ka.*got Fe_Kz"):
        xray_line("Fe_Kz")
    with pytest.raises(InputError, match="symbol such as Fe"):
        xray_line("Xx_Ka")


@pytest.mark.parametrize(
    ("lines", "settings", "words"),
    [
        (["Fe_Ka", "Fe_Ka"], {}, "distinct"),
        ([], {}, "distinct"),
        (["Zr_Ka"], {}, "within the spectrum"),
        (["S_Ka"], {"also": "Mo"}, "told apart"),
        (["S_Ka", "Mo_La"], {"method": "sum"}, "overlapping"),
    ],
)
def test_lines_that_cannot_be_used(lines: list[str], settings: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        line_filters(lines, AXIS, spectrum(), EdxSettings.from_mapping(settings))


def test_series_is_read_one_image_at_a_time() -> None:
    alive: list[float] = []

    def images() -> Iterator[SpectrumImage]:
        for tilt in (20.0, -20.0, 0.0):
            alive.append(tilt)
            yield noisy((4, 5), seed=int(tilt) + 30, tilt_deg=tilt)

    states = edx_maps(images(), ["Fe_Ka", "O_Ka"], total=3)
    first = next(states)
    assert alive == [20.0]
    assert (first.iteration, first.total) == (1, 3)
    assert first.snapshot().tilts_deg == (20.0,)
    maps = run(states).value
    assert maps.tilts_deg == (-20.0, 0.0, 20.0)
    assert maps.channels == ("Fe_Ka", "O_Ka")
    assert maps.covariance is not None
    assert maps.covariance.shape == (2, 2, 3, 4, 5)
    only, _ = line_intensities(
        noisy((4, 5), seed=50, tilt_deg=20.0),
        line_filters(["Fe_Ka", "O_Ka"], AXIS, noisy((4, 5), seed=50).counts.sum((0, 1), dtype=float)),
    )
    np.testing.assert_array_equal(maps.data[:, 2], only)


def test_images_that_do_not_belong_together() -> None:
    good = noisy((4, 5))
    for odd, words in (
        (noisy((4, 6), tilt_deg=10), "4, 6, 1024"),
        (good.replace(tilt_deg=10, pixel_nm=14.0), "14 nm"),
        (good.replace(tilt_deg=10, energy=EnergyAxis(-470, 10.2, 1024)), "one energy axis"),
        (good, "twice"),
    ):
        with pytest.raises(GeometryError, match=words):
            run(edx_maps([good, odd], ["Fe_Ka"]))
    with pytest.raises(InputError, match="at least one"):
        run(edx_maps([], ["Fe_Ka"]))


def test_windows_agree_with_exspy() -> None:
    exspy = pytest.importorskip("exspy")
    signal = exspy.data.EDS_TEM_FePt_nanoparticles()
    axis = signal.axes_manager[-1]
    energy = EnergyAxis(1000 * axis.offset, 1000 * axis.scale, axis.size)
    resolution = signal.metadata.Acquisition_instrument.TEM.Detector.EDS.energy_resolution_MnKa
    settings = EdxSettings(method="windows", resolution_ev=resolution)
    ours = line_filters(["Fe_Ka", "Pt_La"], energy, np.asarray(signal.data, float), settings)
    width = {name: 1e-3 * fwhm_ev(xray_line(name).energy_ev, resolution) for name in ours.lines}
    windows = [
        [middle + sign * w for sign in (-2.5, -1.5, 1.5, 2.5)]
        for name, w in width.items()
        for middle in [1e-3 * xray_line(name).energy_ev]
    ]
    theirs = signal.get_lines_intensity(
        xray_lines=["Fe_Ka", "Pt_La"], integration_windows=2.0, background_windows=windows
    )
    expected = [float(line.data[0]) for line in theirs]
    # their windows end on the nearest channel, ours within: a channel more or less of about fifteen
    np.testing.assert_allclose(ours.weights @ signal.data, expected, rtol=0.03)
