"""The whole way on simulated data: spectra on disk to phases, measures and pictures beside the truth."""

from napari_dipmtv.demo.run import DemoReport, run_demo

__all__ = ["DemoReport", "run_demo"]
