"""A run of networks to when it ends: the clock of its steps, and the part of the dose that it is judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
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
WINDOW = 20  # steps, of the variance of the output
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

    def end_now(self) -> None:
        """No step remains."""
        self.total = self.iteration

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """All fields as arrays."""
        ends = self.total if self.total < self.asked else 0
        return {
            "iteration": np.array(self.iteration),
            "asked": np.array(self.asked),
            "ends": np.array(ends),
            "progress": np.array(self.progress),
        }


class Watch(ABC):
    """Something whose least value along a run says that the networks have begun to follow the noise.

    Parameters
    ----------
    networks : Networks
    settings : DipSettings
    """

    sign: str  # its name among the losses
    kept: tuple[str, ...] = ("least", "age")

    def __init__(self, networks: Networks, settings: DipSettings) -> None:
        self.networks = networks
        self.patience = max(20, settings.iterations // LAST)
        self.least, self.age = float("inf"), 0
        self.best: list[dict[str, torch.Tensor]] = []

    @abstractmethod
    def look(self) -> float:
        """The value now."""

    @abstractmethod
    def end(self, clock: Clock) -> None:
        """Let the run end, after the networks have gone back to their best."""

    @property
    def network_behind(self) -> bool:
        """True while the volume that the fit began with is clearly the better one."""
        return False

    @property
    def behind(self) -> bool:
        """True when that is so for the polished volume as well."""
        return False

    def prepare_last_steps(self, most_polish: int) -> None:  # noqa: B027
        """Before the networks see all data: find how many steps of polish will be worth while."""

    def show_all(self) -> None:  # noqa: B027
        """Let the networks see what was held out."""

    @property
    def polishing(self) -> int:
        """Steps of polish after the last step."""
        return 0

    def note(self, value: float) -> None:
        """Remember the networks where the value is least."""
        self.age += 1
        if value < self.least:
            self.least, self.age = value, 0
            self.best = [fit.remember() for fit in self.networks.fits]

    @property
    def over(self) -> bool:
        """True when the value has not fallen for a while."""
        return self.age >= self.patience

    def go_back(self) -> None:
        """Return the networks to where the value was least."""
        for fit, best in zip(self.networks.fits, self.best, strict=True):
            fit.recall(best)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved = {f"watch/{name}": np.array(getattr(self, name)) for name in self.kept}
        for i, best in enumerate(self.best):
            saved |= {f"watch/{i}/{name}": value.cpu().numpy().copy() for name, value in best.items()}
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint."""
        for name in self.kept:
            setattr(self, name, saved[name].item())
        every = range(len(self.networks.fits)) if "0/weight" in saved else ()
        device = self.networks.crop.problem.device
        self.best = [
            {name: torch.from_numpy(value).to(device) for name, value in under(saved, str(i)).items()}
            for i in every
        ]


class HeldOut(Watch):
    """The misfit of the part of the dose that the networks do not see."""

    sign = "validation"
    kept = (*Watch.kept, "steps", "polished")

    def __init__(self, networks: Networks, settings: DipSettings, held_out: TiltSeries) -> None:
        super().__init__(networks, settings)
        self.misfit = data_misfit(networks.crop.problem, settings.data_term, networks.crop.cut(held_out))
        self.first = float("inf") if networks.first is None else self._misfit(networks.first)
        self.steps, self.polished = (
            0,
            float("inf"),
        )  # of polish that are worth while, and the misfit after them

    def look(self) -> float:
        return self._misfit(self.networks.output())

    def _misfit(self, x: torch.Tensor) -> float:
        return float(self.misfit.loss(self.networks.projector(x.to(self.networks.crop.problem.device))))

    def end(self, clock: Clock) -> None:
        clock.end_soon()

    def prepare_last_steps(self, most_polish: int) -> None:
        now = self.look()
        self.steps, self.polished = steps_worth(self.networks.polishes(), self._misfit, now, most_polish)

    def show_all(self) -> None:
        self.networks.show(self.networks.crop.whole.series)

    @property
    def polishing(self) -> int:
        return self.steps

    @property
    def network_behind(self) -> bool:
        return self.least > CLEARLY * self.first

    @property
    def behind(self) -> bool:
        return min(self.least, self.polished) > CLEARLY * self.first


class Unrest(Watch):
    """How much the output moves: its variance over the last steps, mean over the voxels, for maps of unknown noise.

    It falls while the network settles on the object, and rises when it takes up the noise. A learning rate that fades
    calms every output: such a run goes to its end. Source: H. Wang et al., arXiv 2112.06074.
    """

    sign = "unrest"

    def __init__(self, networks: Networks, settings: DipSettings) -> None:
        super().__init__(networks, settings)
        self.window: deque[torch.Tensor] = deque(maxlen=WINDOW)
        self.looks = 0

    def look(self) -> float:
        self.looks += 1
        self.window.append(torch.cat([fit.last for fit in self.networks.fits]))
        return float(torch.stack(list(self.window)).var(dim=0, correction=0).mean())

    def note(self, value: float) -> None:
        if self.looks > 2 * WINDOW:  # before, the window holds the first jumps
            super().note(value)

    def end(self, clock: Clock) -> None:
        clock.end_now()

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        window = np.stack([x.cpu().numpy() for x in self.window])
        return super().checkpoint() | {"watch/looks": np.array(self.looks), "watch/window": window}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        super().restore(saved)
        device = self.networks.crop.problem.device
        self.window.extend(torch.from_numpy(x).to(device) for x in saved["window"])
        self.looks = int(saved["looks"])


def watching(networks: Networks, settings: DipSettings, held_out: TiltSeries | None) -> Watch | None:
    """What a run is judged by: unseen dose, else the rest of the output, else nothing."""
    if held_out is not None:
        return HeldOut(networks, settings, held_out)
    return Unrest(networks, settings) if settings.held_out else None
