"""A segmented volume and the data behind it to the particle whose boundaries and densities the data themselves want.

A reconstruction is blurred where views are missing, and thresholds in it put thin layers and their densities wrong.
Here the phases keep their arrangement, but their boundaries move in smooth modes until the *projections* fit best:
``y = P sum_m rho_m s_m(delta)``, with the share ``s_m`` of each voxel that material m fills, one density ``rho`` for
each material and channel, and displacements ``delta`` in spherical harmonics: every boundary by itself up to degree 4,
and all of them together, as one body, up to degree 16, which is what edges and corners take. A void has a centre and
a radius, and more of a shape only where its size lets the data know one. That is a maximum of the likelihood with a
weak prior on the displacements, reached by Gauss-Newton steps. The idea is that of discrete tomography with grey
levels that are estimated too: K. J. Batenburg and J. Sijbers, IEEE Trans. Image Process. 20, 2542 (2011).

Half-way the boundaries are drawn anew, free of what the segmentation left in them (`napari_dipmtv.trust.stars`).

It takes for granted that a phase has one composition throughout. `Refined.misfit` tells when the data deny that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_dipmtv.data import F32, F64, Segmentation, TiltSeries
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.inspect.matter import VOID
from napari_dipmtv.trust.boundaries import Fit
from napari_dipmtv.trust.holes import holes_of
from napari_dipmtv.trust.planted import Planted, Shape, grain_field

COARSE_STEPS, FINE_STEPS = 8, 12  # the most of every boundary by itself, and with what all boundaries share
SETTLED_NATS = 2.0  # a step that gains less is the last: each displacement is known to half a nat only
GRAIN_SPREAD = 0.4  # standard deviation of its logarithm
DRAWS, LEAST_LEFT = 20, 0.25  # draws for one particle like it, and the share of each phase that it must keep


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """What the data make of a segmentation.

    Attributes
    ----------
    particle : Planted
    shape : Shape
        Its level sets.
    densities : float64 array (m, c)
        Of each material in each channel.
    misfit : float
        Squared residual over its variance, per datum in the shadow of the particle: about 1 where only noise is left.
    grain : float
        Relative density fluctuations that the data ask for beside it; see `napari_dipmtv.trust.grain`.
    """

    particle: Planted
    shape: Shape
    densities: F64
    misfit: float
    grain: float = 0.0

    def deformed(self, random: np.random.Generator) -> Refined:
        """Give another particle like it: boundaries deformed at random, densities kept but for the grain.

        Draws in which a thin phase all but vanished are drawn again: that it is there is known.
        """
        draws = (self.moved(self.shape.deformed(random)) for _ in range(DRAWS))
        other = next((one for one in draws if self._is_whole(one)), self)
        if not self.grain:
            return other
        volume = other.particle.volume
        size = self.grain * np.exp(GRAIN_SPREAD * random.standard_normal())  # it is known to that
        field = 1 + np.float32(size) * grain_field(volume.data.shape[1:], random)
        grainy = volume.replace(data=volume.data * np.clip(field, 0, None))
        return replace(other, particle=replace(other.particle, volume=grainy))

    def _is_whole(self, other: Refined) -> bool:
        there = other.particle.sizes_nm3
        phases = ((name, size) for name, size in self.particle.sizes_nm3.items() if name != VOID)
        return all(there.get(name, 0.0) >= LEAST_LEFT * size for name, size in phases)

    def moved(self, distances: F32) -> Refined:
        """Give the particle of other level sets (p + 1, z, y, x), drawn sharp, its densities kept."""
        particle = self.shape.planted(self.shape.counted(distances), self.densities)
        return replace(self, particle=particle, shape=replace(self.shape, distances=distances))


def refine(series: TiltSeries, phases: Segmentation, *, search: bool = True) -> Refined:
    """Move the boundaries of a segmentation to where the projections want them.

    Segmented voids that the data do not demand are closed; where none is left, one that they do demand is opened.

    Parameters
    ----------
    series : TiltSeries
    phases : Segmentation
        Of a reconstruction of these data, in the same field of view.
    search : bool
        Look for a void that is not segmented; False for a particle that is to have none.

    Raises
    ------
    InputError
        For a segmentation without matter.
    GeometryError
        For one of another field of view.
    """
    if phases.labels.shape[1:] != series.data.shape[2:]:
        wanted, advice = f"(z, {series.data.shape[2:]})", "Segment a reconstruction of these data"
        raise GeometryError(expected("phases", wanted, phases.labels.shape, advice))
    shape = Shape.of(phases, series.channels)
    fit = Fit(series, shape, holes_of(phases.mask(VOID)[shape.box]))
    _settle(fit, COARSE_STEPS, finer=False)
    fit = fit.redrawn() or fit
    _settle(fit, COARSE_STEPS, finer=False)
    _settle(fit, FINE_STEPS, finer=True)
    if fit.close_idle_holes():
        _settle(fit, FINE_STEPS, finer=True)
    if search and not fit.holes and fit.open_hole():
        _settle(fit, FINE_STEPS, finer=True)
    distances = fit.distances
    particle = shape.planted(shape.shares(distances), fit.densities)
    return Refined(particle, replace(shape, distances=distances), fit.densities, fit.misfit())


def _settle(fit: Fit, most: int, *, finer: bool) -> None:
    """Step until a step gains next to nothing."""
    for _ in range(most):
        if fit.step(finer) < SETTLED_NATS:
            break
