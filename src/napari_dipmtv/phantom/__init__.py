"""Known truth: particles, their counted projections, and simulated dual EELS tilt series."""

from napari_dipmtv.phantom.dose import count_series
from napari_dipmtv.phantom.simulate import Simulation, simulate
from napari_dipmtv.phantom.volumes import (
    TrueMeasures,
    make_edx_bar,
    make_segmentation,
    make_volume,
    true_measures,
)

__all__ = [
    "Simulation",
    "TrueMeasures",
    "count_series",
    "make_edx_bar",
    "make_segmentation",
    "make_volume",
    "simulate",
    "true_measures",
]
