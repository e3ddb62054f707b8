"""Aligned maps to a volume by a deep image prior with total variation: DIPm-TV (all channels, one network)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import Problem
from napari_dipmtv.tomo.total_variation import total_variation


def dipm_tv(problem: Problem, settings: DipSettings, *, start: Volume | None = None) -> Iterator[State[Volume]]:
    fit = DipFit(problem, settings)
    for iteration in range(1, settings.iterations + 1):
        losses = fit.step()
        yield State(iteration, settings.iterations, losses, fit.volume, stage="DIPm-TV")


class DipFit:
    def __init__(self, problem: Problem, settings: DipSettings) -> None:
        self.problem, self.settings = problem, settings
        self.misfit = data_misfit(problem, settings.data_term)
        self.random = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = DipNetwork(settings.input_channels, problem.shape[0], settings.filters, settings.skips)
        self.network.to(problem.device)
        shape = (1, settings.input_channels, *problem.shape[1:])
        self.input = settings.input_scale * torch.rand(shape, generator=self.random).to(problem.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = torch.zeros(problem.shape, device=problem.device)
        self.weight = 0.0
        self.half = settings.precision == "bfloat16"

    def step(self) -> dict[str, float]:
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        z = self.input
        if s.input_noise:
            z = z + s.input_noise * torch.randn(z.shape, generator=self.random).to(z.device)
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(z)[0]
        x = x.float()
        data = self.misfit.loss(self.problem.projector(x))
        tv = total_variation(x, s.tv) / self.problem.mass
        loss = data + s.tv_strength * tv
        loss.backward()
        self.optimiser.step()
        self.average.mul_(s.average).add_(x.detach(), alpha=1 - s.average)
        self.weight = s.average * self.weight + 1 - s.average
        return {"data": float(data), "tv": float(tv)}

    def volume(self) -> Volume:
        return self.problem.volume(self.average / self.weight)
