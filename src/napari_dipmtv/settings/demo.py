"""Knobs of the demonstration: the simulated measurement and the three reconstructions that are compared."""

from __future__ import annotations

from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.base import StageSettings, knob
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, SirtSettings


class DemoSettings(StageSettings):
    """From a simulated cube to measures beside the truth, in minutes on a laptop."""

    simulation: SimulationSettings = knob(
        SimulationSettings(), "Simulation", "The particle and how it is measured."
    )
    align: AlignSettings = knob(AlignSettings(), "Alignment", "How the views are brought together.")
    sirt: SirtSettings = knob(SirtSettings(), "SIRT", "Settings of SIRT.")
    cs_tv: CsTvSettings = knob(CsTvSettings(), "CS-TV", "Settings of CS-TV.")
    dipm_tv: DipSettings = knob(DipSettings(iterations=300), "DIPm-TV", "Settings of DIPm-TV.")
