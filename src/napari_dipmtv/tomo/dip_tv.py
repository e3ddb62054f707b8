"""Aligned maps to a volume by a deep image prior with total variation: DIPm-TV (one network) and DIP-TV (one each)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import ComputeError, InputError, expected
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.data_term import data_kind, data_misfit
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.total_variation import total_variation

WARM_UP = 25  # steps over which the learning rate rises
REHEARSALS = 60  # steps towards the CS-TV input


def dipm_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, np.ndarray] | None = None
) -> Iterator[State[Volume]]:
    """Fit one network with a shared decoder to all channels.

    Minimises ``D(P x, y) + strength * TV(x) / mass`` over the weights of ``x = f(z + noise)``; what is returned is the
    running average of the output. Source: arXiv 2606.10893, with data term and total variation of our own
    (docs/method.md says why).

    Parameters
    ----------
    problem : Problem
    settings : DipSettings
    resume : mapping, optional
        A checkpoint of an earlier run with the same settings but for ``iterations``.

    Yields
    ------
    State of Volume
        Losses "data" and "tv" (relative, ``TV / mass``) of the step. With the CS-TV input, the states of its making
        come first, as iteration 0.
    """
    return _fit(problem, [problem], settings, "DIPm-TV", resume)


def dip_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, np.ndarray] | None = None
) -> Iterator[State[Volume]]:
    """Fit a network of its own to each channel, side by side; the channels know nothing of each other."""
    alone = [
        pose(one_channel(problem.series, c), problem.device, problem.projector)
        for c in range(problem.shape[0])
    ]
    return _fit(problem, alone, settings, "DIP-TV", resume)


def one_channel(series: TiltSeries, channel: int) -> TiltSeries:
    """Give one channel of a series, with its variance."""
    c = slice(channel, channel + 1)
    covariance = None if series.covariance is None else series.covariance[c, c]
    return series.replace(data=series.data[c], channels=series.channels[c], covariance=covariance)


def _fit(
    problem: Problem,
    parts: Sequence[Problem],
    settings: DipSettings,
    stage: str,
    resume: Mapping[str, np.ndarray] | None,
) -> Iterator[State[Volume]]:
    """Fit each part (all channels, or one of them) with its network, one step each in turn."""
    guides: list[torch.Tensor] = [torch.zeros(0)] * len(parts)
    guided = resume is None and takes_cs_tv_input(problem, settings)
    if guided:
        for state in cs_tv(problem, _guide_settings(settings, joint=len(parts) == 1)):
            yield replace(
                state, iteration=0, total=settings.iterations, losses={}, stage=f"{stage}, CS-TV input"
            )
        guide = torch.from_numpy(state.snapshot().data).to(problem.device) / problem.unit[:, None, None, None]
        guides = list(torch.chunk(guide, len(parts)))
    fits = [DipFit(part, settings, own) for part, own in zip(parts, guides, strict=True)]
    done = 0 if resume is None else _restore(fits, resume)
    for step in range(1, REHEARSALS + 1 if guided else 1):
        for fit, own in zip(fits, guides, strict=True):
            fit.rehearse(own, last=step == REHEARSALS)
        said = f"{stage}, learning its input {step}/{REHEARSALS}"
        yield replace(state, iteration=0, total=settings.iterations, losses={}, stage=said)

    def volume() -> Volume:
        volumes = [fit.volume() for fit in fits]
        data = np.concatenate([one.data for one in volumes])
        return volumes[0].replace(data=data, channels=problem.series.channels)

    def checkpoint(iteration: int) -> dict[str, np.ndarray]:
        saved = {
            f"{i}/{name}": value for i, fit in enumerate(fits) for name, value in fit.checkpoint().items()
        }
        return {"iteration": np.array(iteration), **saved}

    for iteration in range(done + 1, settings.iterations + 1):
        steps = [fit.step() for fit in fits]
        losses = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        said = ", ".join(dict.fromkeys([stage, *(fit.note for fit in fits if fit.note)]))
        yield State(iteration, settings.iterations, losses, volume, lambda n=iteration: checkpoint(n), said)  # type: ignore[misc]


def takes_cs_tv_input(problem: Problem, settings: DipSettings) -> bool:
    """Tell whether the network looks at a CS-TV volume: on request, where unmixing has tied the channels, and for maps
    without statistics, which are mostly clean."""
    if settings.network_input != "auto":
        return settings.network_input == "cs-tv"
    return data_kind(problem.series, settings.data_term) in ("covariance", "least-squares")


def _guide_settings(settings: DipSettings, *, joint: bool) -> CsTvSettings:
    term = "auto" if settings.data_term == "l1" else settings.data_term
    kind = "vectorial" if joint else "per-channel"
    return CsTvSettings(iterations=150, tv_strength=0.1, tv=kind, data_term=term, tolerance=5e-4)


class DipFit:
    """One network on its way to fit one problem: everything that changes from step to step."""

    def __init__(self, problem: Problem, settings: DipSettings, guide: torch.Tensor) -> None:
        self.problem, self.settings = problem, settings
        self.misfit = data_misfit(problem, settings.data_term)
        self.random = torch.Generator().manual_seed(
            settings.seed
        )  # on the CPU: one seed, one input, any device
        guided = takes_cs_tv_input(problem, settings)
        self.inputs = problem.shape[0] if guided else settings.input_channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = DipNetwork(
                self.inputs, problem.shape[0], settings.filters, settings.skips, output=settings.output
            )
        self.network = network.to(problem.device)
        shape = (1, self.inputs, *problem.shape[1:])
        if guided:  # empty when a checkpoint brings its own
            self.input = guide[None] if guide.numel() else torch.zeros(shape, device=problem.device)
        else:
            self.input = settings.input_scale * torch.rand(shape, generator=self.random).to(problem.device)
        self.optimiser = self._fresh_optimiser()
        self.average = torch.zeros(problem.shape, device=problem.device)
        self.weight = 0.0
        self.half = use_bfloat16(settings.precision, problem.device)
        self.halvings = self.taken = 0
        self.note = ""

    def step(self) -> dict[str, float]:
        """Take one optimiser step; returns the losses before it.

        A step whose gradient is not finite is not taken but tried again: in float32 where it was bfloat16, then with
        half the learning rate, twice. ``note`` says so.

        Raises
        ------
        ComputeError
            When nothing helps; the network and the average are those of the last good step.
        """
        z = self._noisy_input()
        x, losses = self._descend(z)
        while not self._finite():
            self._recover()
            x, losses = self._descend(z)
        self.taken += 1
        for group in self.optimiser.param_groups:  # the first steps of Adam are long whatever the gradient
            group["lr"] = self.settings.learning_rate * min(1, self.taken / WARM_UP) / 2**self.halvings
        self.optimiser.step()
        past = self.settings.average
        self.average.mul_(past).add_(x, alpha=1 - past)
        self.weight = past * self.weight + 1 - past
        return losses

    def _fresh_optimiser(self) -> torch.optim.AdamW:
        s = self.settings
        return torch.optim.AdamW(self.network.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)

    def rehearse(self, target: torch.Tensor, *, last: bool) -> None:
        """Take one step towards a given volume (c, z, y, x) instead of the data: a start near the goal.

        Where the channels of the data are strongly anti-correlated, as after unmixing, their sum weighs some fifty
        times more than their difference, and a network that starts from nothing learns the difference very late.
        """
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(self._noisy_input())[0].float()
        (x - target).square().mean().backward()
        if self._finite():
            self.optimiser.step()
        if last:  # the moments of the small steps of the rehearsal would make the first steps to the data far too long
            self.optimiser = self._fresh_optimiser()

    def _noisy_input(self) -> torch.Tensor:
        z, sigma = self.input, self.settings.input_noise
        return z + sigma * torch.randn(z.shape, generator=self.random).to(z.device) if sigma else z

    def _descend(self, z: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Output and losses, and the gradient in the parameters."""
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(z)[0].float()
        data = self.misfit.loss(self.problem.projector(x))
        tv = total_variation(x, s.tv) / self.problem.mass
        (data + s.tv_strength * tv).backward()  # type: ignore[no-untyped-call]
        return x.detach(), {"data": float(data.detach()), "tv": float(tv.detach())}

    def _finite(self) -> bool:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))

    def _recover(self) -> None:
        """Make the next try of a step safer, or give up."""
        if self.half:
            self.half, self.note = False, "float32, since bfloat16 failed"
            return
        if self.halvings == 2:
            raise ComputeError(
                expected("DIP step", "a finite gradient", "none in three tries", "Lower the learning rate")
            )
        self.halvings += 1
        self.note = f"learning rate halved {self.halvings} times"

    def volume(self) -> Volume:
        """Copy the running average of the output to the host, in data units."""
        return self.problem.volume(self.average / max(self.weight, 1e-12))

    def checkpoint(self) -> dict[str, np.ndarray]:
        """Copy everything that changes to plain arrays."""
        saved = {f"network/{name}": _host(value) for name, value in self.network.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            saved |= {f"optimiser/{index}/{name}": _host(value) for name, value in moments.items()}
        saved["random"] = self.random.get_state().numpy().copy()
        saved["average"], saved["weight"] = _host(self.average), np.array(self.weight)
        saved["input"], saved["taken"] = _host(self.input), np.array(self.taken)
        return saved

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go back to a checkpoint; raises `InputError` when it belongs to another network or size."""
        weights = _under(saved, "network")
        own = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        given = {name: value.shape for name, value in weights.items()}
        if own != given or saved["average"].shape != tuple(self.average.shape):
            raise InputError(
                expected(
                    "checkpoint",
                    "the same network, size and channels",
                    "others",
                    "Use the settings of the first run",
                )
            )
        self.network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        state = self.optimiser.state_dict()
        for name, value in _under(saved, "optimiser").items():
            index, key = name.split("/")
            state["state"].setdefault(int(index), {})[key] = torch.from_numpy(value)
        self.optimiser.load_state_dict(state)
        self.random.set_state(torch.from_numpy(saved["random"]))
        self.average = torch.from_numpy(saved["average"]).to(self.problem.device)
        self.input = torch.from_numpy(saved["input"]).to(self.problem.device)
        self.weight, self.taken = float(saved["weight"]), int(saved["taken"])


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether the network runs in bfloat16: on request, or where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _restore(fits: Sequence[DipFit], saved: Mapping[str, np.ndarray]) -> int:
    for i, fit in enumerate(fits):
        fit.restore(_under(saved, str(i)))
    return int(saved["iteration"])


def _under(saved: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) + 1 :]: value for name, value in saved.items() if name.startswith(prefix + "/")}


def _host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
