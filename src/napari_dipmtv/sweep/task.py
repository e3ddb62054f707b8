"""One point of a search to its score: the data, the stages that they go through, and which settings a point changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from napari_dipmtv.data import MapStack, Region, SpectrumSeries, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.checkpoints import fingerprint
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.sweep.space import Point

AnyMethod = Method | FusedMethod
AnySettings = MethodSettings | FusedMethodSettings
Stages = Mapping[str, StageSettings]

MODELS: dict[AnyMethod, type[AnySettings]] = dict(chain(METHODS.items(), FUSED_METHODS.items()))
STAGES: dict[str, type[StageSettings]] = {
    "prepare": PrepareSettings,
    "references": ReferenceSettings,
    "unmix": UnmixSettings,
    "align": AlignSettings,
}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What all jobs of a search share; sent to workers once.

    Attributes
    ----------
    data : SpectrumSeries, ChannelMaps or TiltSeries
        Where every job begins: raw spectra, maps, or the aligned series.
    method, base
        What makes the volume, and its settings that are not searched.
    how : SweepSettings
    stages : mapping of str to StageSettings
        Settings of the stages before it by name, see `STAGES`; what is not there has its defaults.
    haadf : MapStack, optional
        For the fused methods; aligned where the data are.
    regions : mapping of str to Region
        Where pure phases are, on the pixels of prepared spectra; empty: they are found.
    truth : Volume, optional
    device : str
    """

    data: SpectrumSeries | MapStack
    method: AnyMethod
    base: AnySettings
    how: SweepSettings
    stages: Stages = field(default_factory=dict)
    haadf: MapStack | None = None
    regions: Mapping[str, Region] = field(default_factory=dict)
    truth: Volume | None = None
    device: str = "cpu"

    @property
    def begins_with(self) -> tuple[str, ...]:
        """The stages that these data go through before they are reconstructed."""
        if isinstance(self.data, SpectrumSeries):
            return tuple(STAGES)
        return () if isinstance(self.data, TiltSeries) else ("align",)

    def at(self, point: Point) -> tuple[AnySettings, Stages]:
        """Settings of the method and of the stages at a point; raises `InputError` where they do not go together."""
        changes: dict[str, dict[str, Any]] = {}
        for name, value in point.items():
            stage, _, own = name.rpartition(".")
            changes.setdefault(stage, {})[own] = value
        stages = {
            name: self.stages.get(name, STAGES[name]()).replace(**changes.get(name, {}))
            for name in self.begins_with
        }
        return self.base.replace(**changes.get("", {})), stages

    def mark(self) -> str:
        """SHA-256 of all that decides the score of a point; not of how points are chosen or who computes."""
        how = {k: v for k, v in self.how.model_dump(mode="json").items() if k not in ("search", "trials")}
        words = [
            _told(self.data),
            self.method,
            self.base.model_dump(mode="json"),
            how,
            None if self.truth is None else hashlib.sha256(self.truth.data.tobytes()).hexdigest(),
            self.device,
        ]
        further = {
            "stages": {name: one.model_dump(mode="json") for name, one in self.at({})[1].items()},
            "haadf": None if self.haadf is None else fingerprint(self.haadf),
            "regions": {n: hashlib.sha256(r.mask.tobytes()).hexdigest() for n, r in self.regions.items()},
        }
        return hashlib.sha256(json.dumps([*words, further], sort_keys=True).encode()).hexdigest()


def known_name(task: Task, name: str) -> type[StageSettings]:
    """The settings model that has a searched field, "tv_strength" of the method or "align.rounds" of a stage.

    Raises
    ------
    InputError
        For a stage that these data do not go through.
    """
    stage, dot, _ = name.rpartition(".")
    if not dot:
        return MODELS[task.method]
    if stage not in task.begins_with:
        stages = ", ".join(f"{one}.NAME" for one in task.begins_with)
        wanted = f"a setting of {task.method}" + (f" or {stages}" if stages else "")
        advice = "Begin with data before that stage, such as a project, or take another setting"
        raise InputError(expected("search axis", wanted, name, advice))
    return STAGES[stage]


def _told(data: SpectrumSeries | MapStack) -> str:
    """SHA-256 of everything in the data that a job looks at."""
    if isinstance(data, MapStack):
        return fingerprint(data)
    digest = hashlib.sha256()
    for pair in data.tilts:
        for image in (pair.low_loss, pair.core_loss):
            digest.update(repr((image.energy, image.pixel_nm, image.tilt_deg)).encode())
            digest.update(np.ascontiguousarray(image.counts).data)
    return digest.hexdigest()
