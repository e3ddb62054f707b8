"""A reconstruction that may take hours to its files: shown, stopped between two steps, kept, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dipmtv.cli.checkpoints import Survival, recorder_for, resumption, watched
from napari_dipmtv.cli.conversation import progress, stoppable
from napari_dipmtv.cli.options import usable_folder
from napari_dipmtv.cli.outcome import deliver
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.base import StageSettings

if TYPE_CHECKING:
    from napari_dipmtv.io.checkpoints import Checkpoint
    from napari_dipmtv.tomo.reconstruct import ReconResult


@dataclass(frozen=True, slots=True)
class Order:
    """A reconstruction as it was asked for: of which series, by what, from where on, to which folder."""

    series: Sequence[TiltSeries]
    method: str
    settings: StageSettings
    survival: Survival
    since: Checkpoint | None
    out: Path
    inputs: Sequence[Path]

    def carry_out(
        self, title: str, work: Callable[..., ReconResult], facts: Mapping[str, Any], as_json: bool
    ) -> None:
        """Call ``work`` with what `napari_dipmtv.states.run` wants, and deliver its result with these facts."""
        from napari_dipmtv.io.reports import provenance

        kept = self.survival
        recorder = recorder_for(
            kept.checkpoint, kept.checkpoint_every, self.since, self.series, self.method, self.settings
        )
        usable_folder(self.out)
        made_by: dict[str, StageSettings] = {self.method: self.settings}
        story = provenance(made_by, tilts_deg=self.series[0].tilts_deg, inputs=self.inputs)
        with progress(f"{title}, {self.method}", as_json) as watch, stoppable(watch) as asked:
            on_state, should_stop = watched(recorder, watch, asked)
            resume = None if self.since is None else self.since.state
            result = work(resume=resume, on_state=on_state, should_stop=should_stop)
        told = {**story, **facts, "resumed": resumption(self.since)}
        deliver(result, self.out, told, recorder, kept.checkpoint, as_json)
