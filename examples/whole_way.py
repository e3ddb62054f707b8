"""The whole way in twenty lines: simulated spectra on disk to the volume, phases and measures of a particle."""

from pathlib import Path
from tempfile import mkdtemp

from napari_dipmtv import align, export, load, measure, reconstruct, segment, simulate, unmix
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.tomo import DipSettings

ITERATIONS = 250

folder = Path(mkdtemp(prefix="dipmtv-"))
simulate(SimulationSettings()).write(folder / "spectra")  # stands for your .dm4 or .hspy files

series = load(folder / "spectra")  # one low-loss and one core-loss spectrum image per tilt
maps = unmix(series, "auto")  # Fe-L teaches Fe-M; maps of FeO and Fe3O4 with covariance
aligned = align(maps)
result = reconstruct(aligned, "dipm-tv", DipSettings(iterations=ITERATIONS))
phases = segment(result.volume)
measures = measure(phases, result.volume)
export(folder, volume=result.volume, segmentation=phases, measures=measures, formats=("ome-tiff", "stl"))
for one in measures:
    print(f"{one.name}: {one.value:.3g} {one.unit}")
print(folder)
