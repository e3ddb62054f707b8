"""Particles of known truth to rows of numbers: reconstructions beside the truth, detection curves, calibration.

`validation_page.py` runs what is missing and makes docs/validation.md of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from napari_dipmtv.data import F32, Segmentation, TiltSeries, Volume
from napari_dipmtv.inspect import measure, score, segment
from napari_dipmtv.inspect.score import match_voids
from napari_dipmtv.phantom import count_series, make_segmentation, make_volume, true_measures
from napari_dipmtv.settings.phantom import PhantomSettings, published_eels
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, SirtSettings
from napari_dipmtv.settings.trust import FAST_SIRT, TrustSettings
from napari_dipmtv.states import run
from napari_dipmtv.trust.calibration import reliability
from napari_dipmtv.trust.edges import edge_spread, spectrum_resolution
from napari_dipmtv.trust.ensemble import ensemble
from napari_dipmtv.trust.halves import resolution
from napari_dipmtv.trust.refine import refine
from napari_dipmtv.trust.repeats import Maker
from napari_dipmtv.trust.study import study

FIELD = 48  # voxels of 1 nm along each edge
TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))
EXPERIMENT = 0.27  # relative noise of maps like the published ones
NOISES = (EXPERIMENT, 0.01, 0.1, 0.5)
SKINS_NM = (0.5, 1.0, 2.0)
VOIDS_NM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
DIP_STEPS = 100
PARTICLE = PhantomSettings(field_voxels=FIELD)
MAKERS = {
    "SIRT": Maker("sirt", SirtSettings(), "cpu"),
    "CS-TV": Maker("cs-tv", CsTvSettings(), "cpu"),
    "DIPm-TV": Maker("dipm-tv", DipSettings(iterations=DIP_STEPS), "cpu"),
}
FITTED = "SIRT, fitted"
SEEDS = (0, 1, 2)
ENSEMBLES = range(12)  # particles of the calibration
FRESH = ((EXPERIMENT, "SIRT", 14), (EXPERIMENT, "DIPm-TV", 2), (0.1, "SIRT", 6), (0.5, "SIRT", 6))
FRESH_SEED, FIRST = 1117, 8000  # of particles that were not looked at while the fit was made, unlike others


@dataclass(frozen=True)
class Job:
    """One row to compute; ``name`` with ``seed`` is what tells it from others."""

    name: str
    seed: int
    compute: Callable[[], dict[str, Any]]


def jobs() -> Iterator[Job]:
    """Everything, the cheap and the first seeds first, so that what exists is useful at any time."""
    for seed in SEEDS:
        for method in MAKERS:
            for name, particle, noise in cases():
                yield Job(
                    f"{name} | {method}", seed, lambda a=(particle, noise, seed, method): reconstructed(*a)
                )
        for name, particle, noise in cases():
            if not name.startswith("published"):  # that is about scores, which a fitted particle has not
                yield Job(f"{name} | {FITTED}", seed, lambda a=(particle, noise, seed): fitted(*a))
        for noise in NOISES:
            yield Job(f"detection {noise:g}", seed, lambda a=(noise, seed): detected(*a))
        if seed == 0:
            for index in ENSEMBLES:
                yield Job("calibration", index, lambda i=index: calibrated(i))

    for noise, method, count in FRESH:
        for index in range(FIRST, FIRST + count):
            yield Job(f"fresh {noise:g} | {method}", index, lambda a=(index, noise, method): fresh(*a))


def cases() -> Iterator[tuple[str, PhantomSettings, float]]:
    """Name, particle and noise: the published phantom over the noise, thin skins, voids."""
    for noise in NOISES:
        yield f"published {noise:g}", published_eels(FIELD), noise
    for skin_nm in SKINS_NM:
        yield f"skin {skin_nm:g}", PARTICLE.replace(skin_nm=skin_nm), EXPERIMENT
    for void_nm in VOIDS_NM:
        yield f"void {void_nm:g}", PARTICLE.replace(void_radius_nm=void_nm / 2), EXPERIMENT


def reconstructed(particle: PhantomSettings, noise: float, seed: int, method: str) -> dict[str, Any]:
    """One reconstruction and everything that is asked of it."""
    truth = make_volume(particle)
    series = count_series(truth, TILTS, relative_noise=noise, seed=seed)
    begin = time.process_time()
    volume = _last(MAKERS[method], series, seed)
    seconds = time.process_time() - begin
    scores = score(volume, truth)
    row = {
        "seconds": seconds,
        "nrmse": scores.nrmse,
        "ssim": scores.ssim,
        "iou": dict(scores.iou),
        "published_nrmse": float(
            np.mean([published_nrmse(*pair) for pair in zip(volume.data, truth.data, strict=True)])
        ),
        "published_ssim": float(
            np.mean([published_ssim(*pair) for pair in zip(volume.data, truth.data, strict=True)])
        ),
        "published_resolution_nm": {s.axis: s.resolution_nm for s in spectrum_resolution(volume)},
        "edge_nm": next((e.width_nm for e in edge_spread(volume)), float("nan")),
        **layers(volume, particle),
    }
    if noise == EXPERIMENT and particle.void_radius_nm == 0:
        curves = run(resolution(series, volume, MAKERS[method], seed=seed)).value.fsc
        row["fsc_nm"] = {
            c.direction: c.resolution_nm["0.143"] for c in curves if c.channel == curves[-1].channel
        }
    return row


def fitted(particle: PhantomSettings, noise: float, seed: int, method: str = "SIRT") -> dict[str, Any]:
    """The particle that the projections want, from the phases of a method: what the intervals of a study are about."""
    series = count_series(make_volume(particle), TILTS, relative_noise=noise, seed=seed)
    begin = time.process_time()
    found = refine(series, segment(_last(MAKERS[method], series, seed)))
    best, seconds = found.particle, time.process_time() - begin
    values = {name: value for name, (value, _) in best.measures().items()}
    known = {"misfit": found.misfit, "void_spread": found.void_spread}
    return {**beside(values, best.phases, particle), **known, "seconds": seconds}


def fresh(index: int, noise: float, method: str) -> dict[str, Any]:
    """A random cube or ball with a void of 5 to 7.5 voxels, fitted."""
    random = np.random.default_rng([FRESH_SEED, index])
    size = random.uniform(25, 31)
    at = random.uniform(-0.08, 0.08, 3) * size
    particle = PhantomSettings(
        shape="sphere" if index % 3 == 2 else "cube",
        field_voxels=FIELD,
        size_nm=size,
        skin_nm=random.uniform(1.2, 2.2),
        shell_nm=random.uniform(0.12, 0.2) * size,
        void_radius_nm=random.uniform(2.5, 3.75),
        void_x_nm=at[0],
        void_y_nm=at[1],
        void_z_nm=at[2],
        rotation_y_deg=random.uniform(-20, 20),
        rotation_z_deg=random.uniform(-10, 10),
    )
    found = fitted(particle, noise, FRESH_SEED + index, method)
    return {**found, "void_diameter_nm": 2 * particle.void_radius_nm, "shape": particle.shape}


def layers(volume: Volume, particle: PhantomSettings) -> dict[str, Any]:
    """Skin, ratio and void of a volume beside the truth."""
    phases = segment(volume)
    return beside({one.name: one.value for one in measure(phases, volume)}, phases, particle)


def beside(found: dict[str, float], phases: Segmentation, particle: PhantomSettings) -> dict[str, Any]:
    """Measures by name, and what they should be."""
    true = true_measures(particle)
    ratio = next((value for name, value in found.items() if " : " in name), float("nan"))
    match = match_voids(phases, make_segmentation(particle))
    return {
        "skin_nm": found.get("FeO skin thickness", float("nan")),
        "true_skin_nm": true.skin_nm,
        "ratio": ratio,
        "true_ratio": (true.core_nm3 + true.skin_nm3) / true.shell_nm3,
        "void_nm3": found.get("void volume", 0.0),
        "true_void_nm3": true.void_nm3,
        "void_recall": match.recall,
        "void_precision": match.precision,
    }


def published_nrmse(found: F32, truth: F32) -> float:
    """Root-mean-square error over the range of the truth, one channel (arXiv:2606.10893)."""
    return float(np.sqrt(np.mean((found - truth) ** 2)) / (truth.max() - truth.min()))


def published_ssim(found: F32, truth: F32) -> float:
    """SSIM of the central slice across the tilt axis, each stretched from 1 to 99 %, one channel (same source)."""
    from skimage.metrics import structural_similarity

    def stretched(channel: F32) -> F32:
        plane = channel[:, channel.shape[1] // 2]
        low, high = np.percentile(plane, (1, 99))
        return np.clip((plane - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)

    return float(structural_similarity(stretched(found), stretched(truth), data_range=1.0))


def detected(noise: float, seed: int) -> dict[str, Any]:
    """How small a void the study says that the data show: by repeats of SIRT, and by likelihood."""
    series = count_series(make_volume(PARTICLE), TILTS, relative_noise=noise, seed=seed)
    asked = TrustSettings(
        repeats=39,
        planted_repeats=8,
        planted_sizes=6,
        members=0,
        held_out=False,
        refits=3,
        likelihood_repeats=200,
        seed=seed,
    )
    report = run(study(series, asked, device="cpu")).value.report
    assert report.detection is not None
    assert report.cavity is not None
    keys = ("sizes_nm", "tried", "found", "smallest_nm", "low_nm", "high_nm")
    rows = {"repeats": report.detection, "likelihood": report.cavity}
    curves = {way: {key: getattr(found, key) for key in keys} for way, found in rows.items()}
    return {**curves, "evidence": report.cavity.evidence, "demanded": report.cavity.exceeds}


def calibrated(index: int) -> dict[str, Any]:
    """Stated probabilities of the phases against the truth, bin by bin, near one random particle."""
    random = np.random.default_rng([index, 7])
    size = random.uniform(16, 20)
    particle = PhantomSettings(
        field_voxels=32,
        size_nm=size,
        skin_nm=random.uniform(1.2, 2.2),
        shell_nm=random.uniform(0.12, 0.2) * size,
        void_radius_nm=2.5,
        void_x_nm=0.5,
        void_y_nm=-0.5,
        void_z_nm=0,
        rotation_y_deg=random.uniform(-20, 20),
    )
    maker = Maker("sirt", FAST_SIRT, "cpu")
    series = count_series(make_volume(particle), TILTS, relative_noise=0.2, seed=index)
    volume = _last(maker, series, index)
    found = run(ensemble(series, volume, maker, members=10, seed=index)).value
    phases = make_segmentation(particle)
    near = binary_dilation(phases.labels > 0, iterations=2)
    return {
        name: _bins(share, phases, name, near)
        for name, share in found.probability.items()
        if name != "vacuum"
    }


def _bins(share: F32, phases: Segmentation, name: str, near: Any) -> dict[str, Any]:
    kept = reliability(share, phases.mask(name), near)
    return {"stated": kept.stated, "observed": kept.observed, "voxels": kept.voxels, "error": kept.error}


def _last(maker: Maker, series: TiltSeries, seed: int) -> Volume:
    *_, last = maker.states(series, seed)
    return last.snapshot()
