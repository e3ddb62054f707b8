"""A run of networks to when it ends: the clock of its steps, and the part of the dose that it is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.dip_fit import under
from napari_dipmtv.tomo.dip_networks import Networks
from napari_dipmtv.tomo.polish import steps_worth

CLEARLY = 1.05  # times the held-out misfit of CS-TV; at little noise a good fit stays a few per cent behind
LAST = 8  # the last eighth of the steps sees all data; as many steps without progress end the fit early


@dataclass
class Clock:
    """Where a run stands, and when it will end."""

    asked: int  # iterations
    total: int  # the same, or less when the run ends early
    iteration: int = 0
    progress: float = 0.0  # 0 to 1

    @classmethod
    def of(cls, settings: DipSettings, saved: Mapping[str, NDArray[Any]]) -> Clock:
        """Start at zero or where a checkpoint was made; a run that may be longer now goes on at a higher rate."""
        if not saved:
            return cls(settings.iterations, settings.iterations)
        done, ended_early = int(saved["iteration"]), int(saved["ends"])
        if ended_early and int(saved["asked"]) == settings.iterations:
            return cls(settings.iterations, ended_early, done, float(saved["progress"]))
        same = int(saved["asked"]) == settings.iterations
        progress = float(saved["progress"]) if same else done / settings.iterations
        return cls(settings.iterations, settings.iterations, done, progress)

    @property
    def last_steps(self) -> int:
        """How many steps see all data."""
        return max(1, self.asked // LAST)

    @property
    def last_steps_begin(self) -> bool:
        """True before the first of the last steps."""
        return self.iteration == self.total - self.last_steps

    @property
    def in_last_steps(self) -> bool:
        """True during and after them."""
        return self.iteration > self.total - self.last_steps

    def tick(self) -> None:
        """Begin the next step."""
        self.iteration += 1
        self.progress += (1 - self.progress) / (self.total - self.iteration + 1)

    def end_soon(self) -> None:
        """Only the last steps remain."""
        self.total = min(self.total, self.iteration + self.last_steps)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """All fields as arrays."""
        ends = self.total if self.total < self.asked else 0
        return {
            "iteration": np.array(self.iteration),
            "asked": np.array(self.asked),
            "ends": np.array(ends),
            "progress": np.array(self.progress),
        }


_NUMBERS = ("least", "age", "polishing", "polished")


class Watch:
    """The part of the dose that the networks do not see: when its misfit grows, they have begun to follow the noise."""

    def __init__(self, networks: Networks, held_out: TiltSeries, settings: DipSettings) -> None:
        self.networks = networks
        self.problem = networks.crop.problem
        self.misfit = data_misfit(self.problem, settings.data_term, networks.crop.cut(held_out))
        self.patience = max(20, settings.iterations // LAST)
        self.first = float("inf") if networks.first is None else self._misfit(networks.first)
        self.least, self.age = float("inf"), 0
        self.best: list[dict[str, torch.Tensor]] = []
        self.polishing, self.polished = (
            0,
            float("inf"),
        )  # steps that are worth while, and the misfit after them

    def look(self) -> float:
        """Misfit of the held-out part now."""
        misfit = self._misfit(self.networks.output())
        self.age += 1
        if misfit < self.least:
            self.least, self.age = misfit, 0
            self.best = [fit.remember() for fit in self.networks.fits]
        return misfit

    def _misfit(self, x: torch.Tensor) -> float:
        return float(self.misfit.loss(self.problem.projector(x.to(self.problem.device))))

    def try_polish(self, most: int) -> None:
        """Find how many steps of `polish` the unseen part of the dose asks for."""
        x = self.networks.output()
        self.polishing, self.polished = steps_worth(
            self.networks.polishes(), self._misfit, self._misfit(x), most
        )

    @property
    def network_behind(self) -> bool:
        """True while the CS-TV volume, made from the same part of the dose, foretells the other part clearly better."""
        return self.least > CLEARLY * self.first

    @property
    def behind(self) -> bool:
        """True when that is so for the polished volume as well."""
        return min(self.least, self.polished) > CLEARLY * self.first

    @property
    def over(self) -> bool:
        """True when the misfit has not fallen for a while."""
        return self.age >= self.patience

    def go_back(self) -> None:
        """Return the networks to where the misfit was least."""
        for fit, best in zip(self.networks.fits, self.best, strict=True):
            fit.recall(best)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved = {f"watch/{name}": np.array(getattr(self, name)) for name in _NUMBERS}
        for i, best in enumerate(self.best):
            saved |= {f"watch/{i}/{name}": value.cpu().numpy().copy() for name, value in best.items()}
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint."""
        self.least, self.age = float(saved["least"]), int(saved["age"])
        self.polishing, self.polished = int(saved["polishing"]), float(saved["polished"])
        every = range(len(self.networks.fits)) if "0/weight" in saved else ()
        self.best = [
            {
                name: torch.from_numpy(value).to(self.problem.device)
                for name, value in under(saved, str(i)).items()
            }
            for i in every
        ]
