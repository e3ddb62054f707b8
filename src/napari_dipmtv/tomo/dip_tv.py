"""Aligned maps to a volume by a deep image prior with total variation: DIPm-TV (one network) and DIP-TV (one each)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.total_variation import total_variation


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
        Losses "data" and "tv" (relative, ``TV / mass``) of the step.
    """
    return _fit([DipFit(problem, settings)], settings, "DIPm-TV", resume)


def dip_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, np.ndarray] | None = None
) -> Iterator[State[Volume]]:
    """Fit a network of its own to each channel, side by side; the channels know nothing of each other."""
    fits = [
        DipFit(pose(one_channel(problem.series, c), problem.device, problem.projector), settings)
        for c in range(problem.shape[0])
    ]
    return _fit(fits, settings, "DIP-TV", resume)


def one_channel(series: TiltSeries, channel: int) -> TiltSeries:
    """Give one channel of a series, with its variance."""
    c = slice(channel, channel + 1)
    covariance = None if series.covariance is None else series.covariance[c, c]
    return series.replace(data=series.data[c], channels=series.channels[c], covariance=covariance)


def _fit(
    fits: Sequence[DipFit], settings: DipSettings, stage: str, resume: Mapping[str, np.ndarray] | None
) -> Iterator[State[Volume]]:
    done = 0
    if resume is not None:
        done = _restore(fits, resume)

    def volume() -> Volume:
        parts = [fit.volume() for fit in fits]
        data = np.concatenate([part.data for part in parts])
        return parts[0].replace(data=data, channels=tuple(name for part in parts for name in part.channels))

    def checkpoint(iteration: int) -> dict[str, np.ndarray]:
        saved = {f"{i}/{name}": value for i, fit in enumerate(fits) for name, value in fit.checkpoint().items()}
        return {"iteration": np.array(iteration), **saved}

    for iteration in range(done + 1, settings.iterations + 1):
        steps = [fit.step() for fit in fits]
        losses = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        yield State(iteration, settings.iterations, losses, volume, lambda n=iteration: checkpoint(n), stage)  # type: ignore[misc]


class DipFit:
    """One network on its way to fit one problem: everything that changes from step to step."""

    def __init__(self, problem: Problem, settings: DipSettings) -> None:
        self.problem, self.settings = problem, settings
        self.misfit = data_misfit(problem, settings.data_term)
        self.random = torch.Generator().manual_seed(settings.seed)  # on the CPU: one seed, one input, any device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = DipNetwork(settings.input_channels, problem.shape[0], settings.filters, settings.skips)
        self.network = network.to(problem.device)
        self.input = settings.input_scale * self._draw(torch.rand)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = torch.zeros(problem.shape, device=problem.device)
        self.weight = 0.0
        self.half = use_bfloat16(settings.precision, problem.device)

    def step(self) -> dict[str, float]:
        """Take one optimiser step; returns the losses before it."""
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        z = self.input + s.input_noise * self._draw(torch.randn) if s.input_noise else self.input
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(z)[0]
        x = x.float()
        data = self.misfit.loss(self.problem.projector(x))
        tv = total_variation(x, s.tv) / self.problem.mass
        (data + s.tv_strength * tv).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.average.mul_(s.average).add_(x.detach(), alpha=1 - s.average)
        self.weight = s.average * self.weight + 1 - s.average
        return {"data": float(data.detach()), "tv": float(tv.detach())}

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
        return saved

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go back to a checkpoint; raises `InputError` when it belongs to another network or size."""
        weights = {name: value for name, value in _under(saved, "network").items()}
        own = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        given = {name: value.shape for name, value in weights.items()}
        if own != given or saved["average"].shape != tuple(self.average.shape):
            raise InputError(
                expected("checkpoint", "the same network, size and channels", "others", "Use the settings of the first run")
            )
        self.network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        state = self.optimiser.state_dict()
        for name, value in _under(saved, "optimiser").items():
            index, key = name.split("/")
            state["state"].setdefault(int(index), {})[key] = torch.from_numpy(value)
        self.optimiser.load_state_dict(state)
        self.random.set_state(torch.from_numpy(saved["random"]))
        self.average = torch.from_numpy(saved["average"]).to(self.problem.device)
        self.weight = float(saved["weight"])

    def _draw(self, kind: type[torch.Tensor] | object) -> torch.Tensor:
        shape = (1, self.settings.input_channels, *self.problem.shape[1:])
        return kind(shape, generator=self.random).to(self.problem.device)  # type: ignore[operator, no-any-return]


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether the network runs in bfloat16: on request, or where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _restore(fits: Sequence[DipFit], saved: Mapping[str, np.ndarray]) -> int:
    for i, fit in enumerate(fits):
        fit.restore(_under(saved, str(i)))
    return int(saved["iteration"])


def _under(saved: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) + 1 :]: value for name, value in saved.items() if name.startswith(prefix + "/")}


def _host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
