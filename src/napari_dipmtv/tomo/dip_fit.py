"""One problem and an untrained network to a volume, step by step: everything that changes in a DIP run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.errors import ComputeError, InputError, expected
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.data_term import DataMisfit
from napari_dipmtv.tomo.network import DipNetwork, lay_out
from napari_dipmtv.tomo.precision import use_bfloat16, why_float32
from napari_dipmtv.tomo.problem import Problem
from napari_dipmtv.tomo.total_variation import total_variation
from napari_dipmtv.tomo.view_shifts import ViewShifts

WARM_UP = 25  # steps over which the learning rate rises
LEAST_RATE = 0.02  # of the learning rate is left at the end of a fading run
PUBLISHED_EPSILON = 1e-9  # under the root of the summed total variation
OPENING_RATE = 0.1  # of the logits of the openings, which are about -4 to 4


class FurtherTerm(torch.nn.Module):
    """A misfit of further data of the same object; its parameters are learnt with the network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Misfit of a volume (c, z, y, x) in units of the problem that the network fits; a scalar."""
        raise NotImplementedError

    def facts(self) -> dict[str, float]:
        """What it has learnt, for the loss curves."""
        return {}


class DipFit:
    """One network on its way to fit one problem.

    Parameters
    ----------
    problem : Problem
    settings : DipSettings
    looks_at : tensor (inputs, z, y, x) or None
        The input of the network; None for random numbers.
    further : FurtherTerm, optional
        What the volume must explain besides the data.

    Attributes
    ----------
    misfit : DataMisfit
        Of the data that the network may see; to be given by `show` before the first step.
    """

    misfit: DataMisfit

    def __init__(
        self,
        problem: Problem,
        settings: DipSettings,
        looks_at: torch.Tensor | None,
        further: FurtherTerm | None = None,
    ) -> None:
        self.problem, self.settings = problem, settings
        # on the CPU: one seed, one input, any device
        self.random = torch.Generator().manual_seed(settings.seed)
        self.input = self._random_input() if looks_at is None else looks_at[None].to(problem.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = DipNetwork(
                self.input.shape[1],
                problem.shape[0],
                settings.filters,
                settings.skips,
                output=settings.output,
            )
        # convolutions in bfloat16 on a CPU take 2/3 of the time so; other devices keep what they were given
        self.layout = torch.channels_last_3d if problem.device.type == "cpu" else torch.preserve_format
        lay_out(network, self.layout)
        if further is not None:
            network.add_module("further", further)  # learnt, kept and restored with the network
        self.shifts = ViewShifts(problem.projector.geometry.tilts_deg) if settings.refine_shifts else None
        if self.shifts is not None:
            network.add_module("shifts", self.shifts)
        self.network, self.further = network.to(problem.device), further
        self.opening: torch.nn.Parameter | None = None  # logit of the share of each voxel that is taken out
        self.optimiser = self._fresh_optimiser()
        self.average = torch.zeros(problem.shape, device=problem.device)
        self.last, self.weight = self.average, 0.0
        self.least = math.inf  # loss, where the output of the lowest is to be returned
        self.half = use_bfloat16(settings.precision, problem.device)
        self.halvings = self.taken = 0
        self.note = why_float32(settings.precision, problem.device)

    @property
    def projector(self) -> Projector:
        """The projector of the views where they are now taken to lie."""
        return self._projector(learn=False)

    def _projector(self, *, learn: bool) -> Projector:
        fixed = self.problem.projector
        return fixed if self.shifts is None else self.shifts.moved(fixed, learn=learn)

    def step(self, progress: float) -> dict[str, float]:
        """Take one optimiser step; ``progress`` in 0 to 1 sets the learning rate. Returns the losses before the step.

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
        self.optimiser.param_groups[0]["lr"] = (
            self.settings.learning_rate * self._pace(progress) / 2**self.halvings
        )
        self.optimiser.step()
        further = losses.get("further", 0.0)
        self._keep(x, losses["data"] + self.settings.tv_strength * losses["tv"] + further)
        return losses

    def show(self, misfit: DataMisfit) -> None:
        """Fit these data from now on; losses of others are no longer compared with."""
        self.misfit, self.least = misfit, math.inf

    def _keep(self, x: torch.Tensor, loss: float) -> None:
        """Take an output into what will be returned."""
        self.last = x
        if self.settings.returned == "lowest-loss":
            if loss < self.least:
                self.least, self.weight = loss, 1.0
                self.average.copy_(x)
            return
        past = self.settings.average
        self.average.mul_(past).add_(x, alpha=1 - past)
        self.weight = past * self.weight + 1 - past

    def _pace(self, progress: float) -> float:
        """Learning rate relative to that of the settings."""
        if self.settings.schedule == "constant":
            return 1.0
        fading = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
        return fading * min(1, self.taken / WARM_UP)  # the first steps of Adam are long whatever the gradient

    def open(self, cavities: torch.Tensor) -> None:
        """Take cavities out of what the network draws; from now on their shape is fitted with the rest.

        Parameters
        ----------
        cavities : tensor (z, y, x)
            Share of each voxel to take out, 0 to 1. Where it is 0 nothing will be taken out; the rest may change.
        """
        logit = torch.special.logit(cavities.clamp(0.02, 0.98))
        self._add_opening(torch.where(cavities > 0, logit, torch.full_like(logit, -torch.inf)))

    def _add_opening(self, logit: torch.Tensor) -> None:
        self.opening = torch.nn.Parameter(logit.to(self.problem.device))
        self.optimiser.add_param_group({"params": [self.opening], "lr": OPENING_RATE})

    def rehearse(self, *, last: bool) -> None:
        """Take one step towards the volume that the network looks at, instead of the data: a start near the goal.

        Where the channels of the data are strongly anti-correlated, as after unmixing, their sum weighs some fifty
        times more than their difference, and a network that starts from nothing learns the difference very late.
        """
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(self._noisy_input())[0].float()
        (x - self.input[0]).square().mean().backward()
        if self._finite():
            self.optimiser.step()
        if last:  # the moments of the small steps of the rehearsal would make the first steps to the data far too long
            self.optimiser = self._fresh_optimiser()

    def output(self) -> torch.Tensor:
        """What will be returned: the running average of the output, or the one of the lowest loss; (c, z, y, x)."""
        return self.average / max(self.weight, 1e-12)

    def _random_input(self) -> torch.Tensor:
        shape = (1, self.settings.input_channels, *self.problem.shape[1:])
        return self.settings.input_scale * torch.rand(shape, generator=self.random).to(self.problem.device)

    def _fresh_optimiser(self) -> torch.optim.AdamW:
        s = self.settings
        return torch.optim.AdamW(self.network.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)

    def _noisy_input(self) -> torch.Tensor:
        z, sigma = self.input, self.settings.input_noise
        noisy = z + sigma * torch.randn(z.shape, generator=self.random).to(z.device) if sigma else z
        return noisy.to(memory_format=self.layout)

    def _descend(self, z: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Output and losses, and the gradient in the parameters."""
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.problem.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.network(z)[0].float()
        if self.opening is not None:
            x = x * (1 - torch.sigmoid(self.opening))
        data = self.misfit.loss(self._projector(learn=True)(x))
        tv = self._variation(x)
        loss, losses = data + s.tv_strength * tv, {"data": float(data.detach()), "tv": float(tv.detach())}
        if self.shifts is not None:
            losses["shift_px"] = float(self.shifts().detach().square().sum(dim=1).mean().sqrt())
        if self.further is not None:
            misfit = self.further(x)
            loss = loss + misfit
            losses |= {"further": float(misfit.detach()), **self.further.facts()}
        loss.backward()  # type: ignore[no-untyped-call]
        return x.detach(), losses

    def _variation(self, x: torch.Tensor) -> torch.Tensor:
        """Total variation in the measure of the settings."""
        if self.settings.tv_measure == "sum":
            return total_variation(x, self.settings.tv, epsilon=PUBLISHED_EPSILON)
        return total_variation(x, self.settings.tv) / self.problem.mass

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

    def remember(self) -> dict[str, torch.Tensor]:
        """Copy network and output."""
        kept = {f"network/{name}": value.clone() for name, value in self.network.state_dict().items()}
        return kept | {
            "average": self.average.clone(),
            "weight": torch.tensor(self.weight, dtype=torch.float64),
        }

    def recall(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Go back to a copy made by `remember`."""
        prefix = "network/"
        self.network.load_state_dict({n[len(prefix) :]: v for n, v in kept.items() if n.startswith(prefix)})
        self.average.copy_(kept["average"])
        self.weight = float(kept["weight"])

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved = {f"network/{name}": _host(value) for name, value in self.network.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            saved |= {f"optimiser/{index}/{name}": _host(value) for name, value in moments.items()}
        saved["random"] = self.random.get_state().numpy().copy()
        saved["average"], saved["weight"] = _host(self.average), np.array(self.weight)
        saved["least"] = np.array(self.least)
        if self.opening is not None:
            saved["opening"] = _host(self.opening)
        saved["half"], saved["halvings"] = np.array(self.half), np.array(self.halvings)
        saved["input"], saved["taken"] = _host(self.input), np.array(self.taken)
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint; raises `InputError` when it belongs to another network or size."""
        weights = under(saved, "network")
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
        if "opening" in saved:
            self._add_opening(torch.from_numpy(saved["opening"]))
        state = self.optimiser.state_dict()
        for name, value in under(saved, "optimiser").items():
            index, key = name.split("/")
            state["state"].setdefault(int(index), {})[key] = torch.from_numpy(value)
        self.optimiser.load_state_dict(state)
        self.random.set_state(torch.from_numpy(saved["random"]))
        self.average = torch.from_numpy(saved["average"]).to(self.problem.device)
        self.input = torch.from_numpy(saved["input"]).to(self.problem.device)
        self.weight, self.taken = float(saved["weight"]), int(saved["taken"])
        self.half, self.halvings = bool(saved["half"]), int(saved["halvings"])
        self.least = float(saved["least"])


def under(saved: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Entries of a checkpoint whose names begin with ``prefix/``, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in saved.items() if name.startswith(prefix + "/")}


def _host(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().copy()
