"""DIPm-TV with a HAADF term: the term, its crop, the fall-back, resuming, and what it gains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.errors import InputError
from napari_dipmtv.phantom.fused import FusedSimulation, simulate_fused
from napari_dipmtv.settings.fused import (
    FUSED_METHODS,
    FusedDipSettings,
    FusedMethod,
    FusedPhantomSettings,
    FusedSettings,
    PublishedFusedSettings,
)
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.crop import Crop
from napari_dipmtv.tomo.fused import fuse, fuse_states
from napari_dipmtv.tomo.fused_dip import HaadfData
from napari_dipmtv.tomo.fused_problem import FusedProblem, pose_fused
from napari_dipmtv.tomo.reconstruct import reconstruct

CPU = torch.device("cpu")
SMALL = FusedDipSettings(iterations=4, filters=(4, 8), skips=(0, 0), precision="float32", polish=0)
SHORT = {
    "fused": FusedSettings(iterations=12, start_iterations=5, gamma=1.2, learn_gamma=True, refit_every=4),
    "fused-dipm-tv": SMALL.replace(learn_gamma=True),
    "fused-published": PublishedFusedSettings(chemical_iterations=5, iterations=9),
}


@pytest.fixture(scope="module")
def measured() -> FusedSimulation:
    """A small particle at low dose, off the middle of its field."""
    return simulate_fused(FusedPhantomSettings(field_voxels=16, haadf_tilts=9, supersampling=1))


@pytest.fixture(scope="module")
def problem(measured: FusedSimulation) -> FusedProblem:
    return pose_fused(measured.chemical, measured.haadf, CPU)


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def test_without_weight_it_is_dipm_tv_bit_for_bit(measured: FusedSimulation) -> None:
    quick = SMALL.replace(network_input="random", input_channels=4, crop=False)
    plain = DipSettings(**{name: getattr(quick, name) for name in DipSettings.model_fields})
    alone = reconstruct(measured.chemical, "dipm-tv", plain, "cpu").volume
    none = fuse(
        measured.chemical, measured.haadf, "fused-dipm-tv", quick.replace(haadf_weight=0), "cpu"
    ).volume
    both = fuse(measured.chemical, measured.haadf, "fused-dipm-tv", quick, "cpu").volume
    np.testing.assert_array_equal(none.data, alone.data)
    assert error(both.data, alone.data) > 1e-4  # four short steps


def test_the_term_is_its_formula(problem: FusedProblem) -> None:
    """``s log(1 + D / s)``, where ``D`` is the weighted deviance of the power law and ``s`` that of noise."""
    settings = SMALL.replace(gamma=1.5, learn_weights=False, weights=(1.0, 2.0, 3.0))
    term = HaadfData(problem.haadf, settings).term(Crop.nothing(problem.chemical))
    x = torch.rand(problem.chemical.shape, generator=torch.Generator().manual_seed(0)) + 0.1
    facts = term.facts()
    w = [facts[f"weight {name}"] for name in ("Cu", "Co", "Au")]
    ratio = np.array(w) / (np.array([1.0, 2.0, 3.0]) * problem.chemical.unit.numpy())
    assert ratio == pytest.approx(ratio.mean(), rel=1e-4)  # the given ratio, whatever the units
    signal = sum(a * c**1.5 for a, c in zip(w, x, strict=True))[None]
    gain = float(problem.haadf.unit) * problem.haadf.series.counts_per_unit
    mean = (gain * problem.haadf.projector(signal)).clamp(min=1e-3)
    n = torch.from_numpy(problem.haadf.series.data) * problem.haadf.series.counts_per_unit
    half_deviance = float((torch.special.xlogy(n, n / mean) - n + mean).mean())
    noise = float((n.sum() / n.square().sum()).sqrt())
    assert term.noise == pytest.approx(0.5 * term.weight * noise, rel=1e-4)
    wanted = term.noise * np.log1p(term.weight * noise * half_deviance / term.noise)
    assert float(term(x).detach()) == pytest.approx(wanted, rel=1e-3)


def test_the_cropped_term_sees_what_the_whole_one_sees(problem: FusedProblem) -> None:
    """A box off the tilt axis, filled; in the whole field it stands in vacuum."""
    data = HaadfData(problem.haadf, SMALL)
    crop = Crop(problem.chemical, ((4, 16), (2, 14), (0, 12)))
    box, whole = crop.problem, problem.chemical
    x = torch.rand(box.shape, generator=torch.Generator().manual_seed(0))
    inside = torch.zeros(whole.shape)
    inside[:, 4:16, 2:14, 0:12] = x * (box.unit / whole.unit)[:, None, None, None]
    cut, full = data.term(crop), data.term(Crop.nothing(whole))
    density = np.array(list(cut.facts().values())[1:]) / box.unit.numpy() * float(cut.misfit.gain)
    same = np.array(list(full.facts().values())[1:]) / whole.unit.numpy() * float(full.misfit.gain)
    assert density / density.sum() == pytest.approx(same / same.sum(), rel=0.1)
    full.log_weights.data = (
        (cut.log_weights.data.exp() * cut.misfit.gain / full.misfit.gain).log()[0].flatten()
    )
    full.log_weights.data += (whole.unit / box.unit).log()
    seen = full.misfit.gain * full.projector(
        torch.einsum("c,czyx->zyx", full.log_weights.exp(), inside)[None]
    )
    own = cut.misfit.gain * cut.projector(torch.einsum("c,czyx->zyx", cut.log_weights.exp(), x)[None])
    torch.testing.assert_close(seen[:, :, 2:14], own, rtol=1e-3, atol=1e-2)
    assert float(seen[:, :, :2].abs().max()) < 1e-3


def test_what_is_learnt_moves_downhill_and_what_is_not_stays(problem: FusedProblem) -> None:
    x = problem.chemical.unit.new_ones(problem.chemical.shape) * 0.3
    learning = SMALL.replace(gamma=1.7, learn_gamma=True)
    for settings, moving in ((learning, {"log_weights", "gamma_logit"}), (SMALL, set[str]())):
        term = HaadfData(problem.haadf, settings).term(Crop.nothing(problem.chemical))
        loss = term(x.requires_grad_())
        loss.backward()
        learnt = {name: p for name, p in term.named_parameters() if p.grad is not None}
        assert set(learnt) == moving
        for p in learnt.values():
            p.data -= 1e-3 * p.grad / p.grad.norm()
        if moving:
            assert float(term(x).detach()) < float(loss.detach())
        assert 1 <= term.facts()["gamma"] < 2


@pytest.mark.parametrize("method", FUSED_METHODS)
def test_every_fused_run_goes_on_from_its_checkpoint_bit_for_bit(
    measured: FusedSimulation, method: FusedMethod
) -> None:
    settings = SHORT[method]
    middle = settings.iterations - 2
    saved = None
    for state in fuse_states(measured.chemical, measured.haadf, method, settings, "cpu"):
        if state.iteration == middle and state.checkpoint is not None:
            saved = state.checkpoint()
    whole = state.snapshot().data
    again = fuse(measured.chemical, measured.haadf, method, settings, "cpu", resume=saved)
    np.testing.assert_array_equal(again.volume.data, whole)
    assert len(again.losses[next(iter(again.losses))]) <= 2


@pytest.mark.parametrize("method", ["fused", "fused-published"])
def test_a_checkpoint_of_another_size_is_refused(measured: FusedSimulation, method: FusedMethod) -> None:
    *_, last = fuse_states(measured.chemical, measured.haadf, method, SHORT[method], "cpu")
    assert last.checkpoint is not None
    smaller = (s.replace(data=s.data[..., :-2]) for s in (measured.chemical, measured.haadf))
    with pytest.raises(InputError, match="first run"):
        fuse(*smaller, method, SHORT[method], "cpu", resume=last.checkpoint())


def test_what_the_network_cannot_draw_is_refused(measured: FusedSimulation) -> None:
    with pytest.raises(InputError, match="auto"):
        FusedDipSettings.from_mapping({"data_term": "l1"})
    maps, images = (
        s.replace(data=s.data[:, :1], tilts_deg=(0.0,)) for s in (measured.chemical, measured.haadf)
    )
    with pytest.raises(InputError, match="method fused"):
        fuse(maps, images, "fused-dipm-tv", SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_on_fresh_noise_fusion_keeps_its_promises(seed: int) -> None:
    """Draws of the noise on which no setting was chosen: 0.35 of chemistry alone; the network before the release."""
    both = simulate_fused(FusedPhantomSettings(seed=seed))
    truth = both.truth.data

    def made(method: FusedMethod, settings: object = None) -> float:
        return error(fuse(both.chemical, both.haadf, method, settings, "cpu").volume.data, truth)  # type: ignore[arg-type]

    chemistry = made("fused-published", PublishedFusedSettings(iterations=100))
    assert made("fused") <= 0.35 * chemistry
    if seed == 11:
        assert made("fused-dipm-tv", FusedDipSettings(iterations=150)) < made("fused-published")
