"""The whole way in twenty lines: simulated spectra on disk to the volume, phases and measures of a particle."""

from pathlib import Path
from tempfile import mkdtemp

from napari_dipmtv import phantom, pipeline
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.tomo import DipSettings

ITERATIONS = 250

folder = Path(mkdtemp(prefix="dipmtv-"))
phantom.simulate(SimulationSettings()).write(folder / "spectra")  # stands for your .dm4 or .hspy files

series = pipeline.load(folder / "spectra")  # one low-loss and one core-loss spectrum image per tilt
maps = pipeline.unmix(series, "auto")  # Fe-L teaches Fe-M; maps of FeO and Fe3O4 with covariance
aligned = pipeline.align(maps)
result = pipeline.reconstruct(aligned, "dipm-tv", DipSettings(iterations=ITERATIONS))
phases = pipeline.segment(result.volume)
measures = pipeline.measure(phases, result.volume)
pipeline.export(
    folder, volume=result.volume, segmentation=phases, measures=measures, formats=("ome-tiff", "stl")
)
for measure in measures:
    print(f"{measure.name}: {measure.value:.3g} {measure.unit}")
print(folder)
