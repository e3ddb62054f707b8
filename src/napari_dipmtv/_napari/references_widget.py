"""Step 2: regions of pure phases, drawn or found, become L references and, taught by them, M references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLineEdit

from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.layer_data import PHASE_COLOURS
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.regions import region_warnings
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, note
from napari_dipmtv._napari.turns import Pieces
from napari_dipmtv.data import Region, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project
    from napari_dipmtv.pipeline import ReferencePair
    from napari_dipmtv.spectra.references import References


NEARLY_COLLINEAR = 10.0  # condition number


class ReferencesWidget(StageWidget):
    """Lets somebody draw two regions, or finds the phases, and plots the references."""

    title = "2 · References"
    intro = "Show where each phase is nearly pure. The Fe-L edge there teaches the Fe-M references."
    needs = "prepared"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._make_controls(napari_viewer)
        self._lay_out()
        self._connect()
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.form.setValue(project.references)
        for field, name in zip(self.names, project.regions, strict=False):
            field.setText(name)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        missing = self.missing
        for control, tip in self._tips.items():
            enable(control, tip, missing)
        enable(self.draw_demo, self._tips[self.draw_demo], missing or self._no_demo)
        self.draw_demo.setVisible(bool(self.session.demo_regions))
        self.job_bar.block(missing or self.form.problem)
        if self.session.has("references"):
            self._show(self.session.value("references"))
        else:
            self.status.setText(missing or "Draw a region of each phase, or let the phases be found.")
            self.plot.clear("The references appear here")
            self.words.setText("")

    @property
    def _no_demo(self) -> str:
        """Why the regions of the demo cannot be drawn; empty when they can."""
        if not self.session.demo_regions:
            return "Only simulated data come with known regions."
        shapes = {region.mask.shape for region in self.session.demo_regions.values()}
        prepared = self.session.value("prepared").tilts[0].core_loss.counts.shape[:2]
        return (
            ""
            if shapes == {prepared}
            else "The known regions fit unbinned pixels; prepare without pixel binning."
        )

    def _make_controls(self, viewer: ViewerModel) -> None:
        self.names = (QLineEdit("FeO"), QLineEdit("Fe3O4"))
        self.pick = (button("Pick FeO region", ""), button("Pick Fe3O4 region", ""))
        self.draw_demo = button("Demo regions", "")
        self.find = button("Find automatically", "")
        self.form = SettingsForm(ReferenceSettings)
        self.job_bar = JobBar(
            self.bench.job,
            "references",
            "Make references",
            "Take the core-loss edges of the two regions, purify them, and learn the low-loss references",
        )
        self.plot = Plot(viewer, 190, "References of equal Fe content: core loss (left) and low loss (right)")
        self.words = note()
        self.words.setToolTip("What was done and assumed on the way to the references")
        self._tips = {
            self.pick[0]: "Draw around pixels of the reduced phase on the core-loss sum of one tilt",
            self.pick[1]: "Draw around pixels of the oxidised phase on the core-loss sum of one tilt",
            self.draw_demo: "Draw the regions that a person would choose on the simulated data",
            self.find: "Find the two extreme edge shapes in all pixels of all tilts, without regions",
        }
        for field, tip in zip(
            self.names, ("Name of the reduced phase", "Name of the oxidised phase"), strict=True
        ):
            field.setToolTip(f"{tip}; it becomes the name of its map and volume")

    def _lay_out(self) -> None:
        rows = QFormLayout()
        for words, field in zip(("Reduced phase", "Oxidised phase"), self.names, strict=True):
            rows.addRow(words, field)
        picks, others = QHBoxLayout(), QHBoxLayout()
        picks.addWidget(self.pick[0])
        picks.addWidget(self.pick[1])
        others.addWidget(self.draw_demo)
        others.addWidget(self.find)
        self.body.addLayout(rows)
        self.body.addLayout(picks)
        self.body.addLayout(others)
        self.body.addWidget(self.form)
        self.body.addWidget(self.job_bar)
        self.body.addWidget(self.plot)
        self.body.addWidget(self.words)

    def _connect(self) -> None:
        self.pick[0].clicked.connect(lambda: self._pick(0))
        self.pick[1].clicked.connect(lambda: self._pick(1))
        for which in (0, 1):
            self.names[which].textChanged.connect(lambda _, which=which: self._rename(which))
        self.draw_demo.clicked.connect(self._draw_demo)
        self.find.clicked.connect(self._find)
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)

    def _rename(self, which: int) -> None:
        self.pick[which].setText(f"Pick {self.names[which].text()} region")

    def _pick(self, which: int) -> None:
        with telling():
            series, name = self.session.value("prepared"), self.names[which].text()
            self.bench.layers.take("regions", self._picking(name, series, PHASE_COLOURS[which]))
            self.status.setText(f"Draw around {name} with the mouse, then make the references.")

    def _picking(self, name: str, series: SpectrumSeries, colour: str) -> Pieces:
        layers = self.bench.layers
        layer = yield from layers.region_layer(name, series, colour)
        yield from layers.looking("sums")
        layers.viewer.layers.selection.active = layer
        layer.mode = "add_polygon_lasso"

    def _draw_demo(self) -> None:
        with telling():
            for field, name in zip(self.names, self.session.demo_regions, strict=True):
                field.setText(name)
            self.bench.layers.draw_regions(self.session.value("prepared"), self.session.demo_regions)
            self.status.setText("The regions are drawn on the view nearest to 0°. Make the references.")

    def _find(self) -> None:
        with telling():
            self.bench.make_references("auto", self.form.value())

    def _start(self) -> None:
        with telling():
            regions = self._regions()
            for words in region_warnings(regions):
                show_warning(words)
            self.bench.make_references(regions, self.form.value())

    def _regions(self) -> Mapping[str, Region]:
        series = self.session.value("prepared")
        names = [field.text().strip() for field in self.names]
        if not all(names) or names[0] == names[1]:
            raise InputError(
                expected("names of the phases", "two different names", names, "Name both phases")
            )
        return {name: self.bench.layers.region(name, series) for name in names}

    def _show(self, pair: ReferencePair) -> None:
        curves = {
            f"{spectrum.name}|{edge}": _in_window(references, i)
            for references, edge in ((pair.l, "L"), (pair.m, "M"))
            for i, spectrum in enumerate(references.spectra)
        }
        panels = {
            "core loss (L)": [name for name in curves if name.endswith("|L")],
            "low loss (M)": [name for name in curves if name.endswith("|M")],
        }
        self.plot.curves(curves, "energy loss / eV", "counts per Fe", panels=panels)
        self.status.setText(f"References of {' and '.join(pair.m.names)} are ready. Go on with step 3.")
        lines = list(dict.fromkeys((*pair.l.notes, *pair.m.notes)))  # M repeats what it took over from L
        if max(pair.l.condition, pair.m.condition) > NEARLY_COLLINEAR:
            lines.insert(
                0, "⚠ The references are nearly collinear: noise decides on the split. Draw purer regions."
            )
        lines[:0] = [f"⚠ {words}" for words in self._region_warnings()]
        lines.append(
            f"Condition number: {pair.l.condition:.3g} (core loss), {pair.m.condition:.3g} (abundances)."
        )
        self.words.setText("<br>".join(f"• {line}" for line in lines))

    def _region_warnings(self) -> list[str]:
        """What is wrong with the regions that the references were made from."""
        made_from = self.session.regions
        return region_warnings(made_from) if isinstance(made_from, Mapping) else []


def _in_window(references: References, index: int) -> tuple[object, object]:
    window = references.energy.window(*references.window_ev)
    return references.energy.values[window], references.spectra[index].intensity[window]
