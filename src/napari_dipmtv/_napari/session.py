"""What has been reached in one viewer, stage by stage; a new value clears all that followed from the old one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from psygnal import Signal

from napari_dipmtv.alignment import AlignmentHistory, AlignmentReport
from napari_dipmtv.alignment.history import Move
from napari_dipmtv.data import Region, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.tilt_rows import TiltTable
from napari_dipmtv.settings.base import StageSettings

Stage = Literal[
    "series",
    "prepared",
    "references",
    "unmixed",
    "maps",
    "tilt_series",
    "volume",
    "segmentation",
    "measures",
    "trust",
]

STAGES: tuple[Stage, ...] = get_args(Stage)

# what to do when a stage has no value yet, shown beside every control that needs it
ADVICE: Mapping[Stage, str] = {
    "series": "Load spectrum images first (step 1).",
    "prepared": "Prepare the spectra first (step 1).",
    "references": "Make the references first (step 2).",
    "unmixed": "Unmix the spectra first (step 3).",
    "maps": "Unmix the spectra (step 3) or load maps (step 1) first.",
    "tilt_series": "Align the maps first (step 4).",
    "volume": "Reconstruct a volume first (step 5).",
    "segmentation": "Segment the volume first (step 6).",
    "measures": "Segment the volume first (step 6).",
    "trust": "Ask whether the feature is real first (step 7).",
}

TITLES: Mapping[str, str] = {
    "wbp": "WBP",
    "sirt": "SIRT",
    "cs-tv": "CS-TV",
    "dip-tv": "DIP-TV",
    "dipm-tv": "DIPm-TV",
    "fused": "Fused with HAADF",
    "fused-dipm-tv": "DIPm-TV with HAADF",
    "fused-published": "Fused as published",
}


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """One finished or stopped run: the volume and how it was made.

    Attributes
    ----------
    volume : Volume
        (c, z, y, x).
    title : str
        Short name of the run, for layer names, e.g. "DIPm-TV".
    series : TiltSeries
        What it was made from.
    method : str
    settings : mapping of str to StageSettings
        Of this run and of the stages before it.
    device : str
    losses : mapping of str to list of float
    iterations, seconds : int, float
    stopped : bool
        True when the run was ended early; the volume is what was reached.
    notes : tuple of str
        What whoever looks at the volume should know: what went wrong or was done otherwise on the way.
    way : mapping
        What is no setting of a stage but led here: regions, whether the maps were aligned, moves by hand.
    """

    volume: Volume
    title: str
    series: TiltSeries
    method: str
    settings: Mapping[str, StageSettings]
    device: str
    losses: Mapping[str, list[float]]
    iterations: int
    seconds: float
    stopped: bool
    notes: tuple[str, ...] = ()
    way: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the history: what was run when, with which settings, and how it ended."""

    at: str
    stage: str
    settings: StageSettings | None
    outcome: str


class Session:
    """The values of all stages of one viewer; knows no Qt and no layers.

    ``changed`` is emitted with the name of every stage whose value was set or cleared, after all of them are in place.
    ``results_changed`` is emitted when the list of finished reconstructions grew or was emptied.

    Attributes
    ----------
    stale : set of str
        Stages that had a value which an earlier stage, run again, has made out of date.
    history : tuple of Entry
        Every run of the viewer, the oldest first.
    """

    changed = Signal(str)
    results_changed = Signal()

    def __init__(self) -> None:
        self._values: dict[Stage, Any] = {}
        self.results: tuple[Reconstruction, ...] = ()
        self.inputs: tuple[Path, ...] = ()  # files and folders that everything came from
        self.tilts: TiltTable | None = None  # by which spectrum images were read from files
        self.demo_regions: Mapping[
            str, Region
        ] = {}  # where a person would draw, known for simulated data only
        self.regions: Mapping[str, Region] | str = "auto"  # that the references were made from
        self.alignments: AlignmentHistory | None = None  # which alignment counts; the series follows it
        self.alignment_report: AlignmentReport | None = None  # of the series, where it was judged
        self.stale: set[Stage] = set()
        self.history: tuple[Entry, ...] = ()

    def value(self, stage: Stage) -> Any:
        """Value of a stage.

        Raises
        ------
        InputError
            When it has none yet, saying what to do first.
        """
        if stage not in self._values:
            raise InputError(expected(stage.replace("_", " "), "a value", "none", ADVICE[stage].rstrip(".")))
        return self._values[stage]

    def has(self, stage: Stage) -> bool:
        """True when the stage has a value."""
        return stage in self._values

    def put(self, stage: Stage, value: Any) -> None:
        """Set a stage and clear everything downstream of it."""
        self._values[stage] = value
        dropped = self._drop(STAGES.index(stage) + 1)
        self.stale = (self.stale | set(dropped)) - {stage}
        self._announce([stage, *dropped])

    def restore(self, values: Mapping[Stage, Any]) -> None:
        """Set several stages at once, as they were when a project was saved."""
        self._values.update(values)
        self.stale -= set(values)
        self._announce([stage for stage in STAGES if stage in values])

    def load(
        self,
        stage: Stage,
        value: Any,
        *,
        inputs: tuple[Path, ...] = (),
        tilts: TiltTable | None = None,
        demo_regions: Mapping[str, Region] | None = None,
    ) -> None:
        """Begin with new data at a stage: everything else, finished reconstructions included, is cleared."""
        cleared = self._drop(0)
        self.results = ()
        self.stale, self.regions = set(), "auto"
        self.inputs, self.tilts, self.demo_regions = inputs, tilts, demo_regions or {}
        self._values[stage] = value
        self._announce([name for name in STAGES if name == stage or name in cleared])
        self.results_changed.emit()

    def add_result(self, result: Reconstruction) -> None:
        """Append a finished reconstruction to the list and make it the current volume."""
        self.results = (*self.results, result)
        self.put("volume", result)
        self.results_changed.emit()

    def restore_results(self, results: tuple[Reconstruction, ...]) -> None:
        """Set the list as it was when a project was saved; the current volume stays what it is."""
        self.results = results
        self.results_changed.emit()

    def is_current(self, result: Reconstruction) -> bool:
        """Tell a reconstruction of the present tilt series from one of an earlier alignment or earlier maps."""
        return self._values.get("tilt_series") is result.series

    @property
    def empty(self) -> bool:
        """True while there are no data at all."""
        return not self._values

    @property
    def nudges(self) -> tuple[Move, ...]:
        """Moves of single views by hand since the alignment, (view, dx, dy) in px."""
        return () if self.alignments is None else self.alignments.moves

    def _drop(self, first: int) -> list[Stage]:
        if first <= STAGES.index("tilt_series"):
            self.alignments = self.alignment_report = None
        return [name for name in STAGES[first:] if self._values.pop(name, None) is not None]

    def _announce(self, stages: list[Stage]) -> None:
        for name in stages:
            self.changed.emit(name)
