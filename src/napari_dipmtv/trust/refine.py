"""A segmented volume and the data behind it to the particle whose boundaries and densities the data themselves want.

A reconstruction is blurred where views are missing, and thresholds in it put thin layers and their densities wrong.
Here the phases keep their arrangement, but their boundaries move in smooth modes until the *projections* fit best:
``y = P sum_m rho_m s_m(delta)``, with the share ``s_m`` of each voxel that material m fills, one density ``rho`` for
each material and channel, and displacements ``delta``: every boundary by itself in spherical harmonics up to degree 4
and with its facets, and all of them together, as one body, up to degree 16. A void has a centre and a radius, and more
of a shape only where its size lets the data know one. That is a maximum of the likelihood with a weak prior on the
displacements, reached by Gauss-Newton steps. The idea is that of discrete tomography with grey levels that are
estimated too: K. J. Batenburg and J. Sijbers, IEEE Trans. Image Process. 20, 2542 (2011).

On the way the bodies are drawn anew, free of what the segmentation left in them: by few radii, by many, or by facets,
whichever the data like best (`napari_dipmtv.trust.stars`, `napari_dipmtv.trust.facets`). How far they may then still be
displaced as one body is what the data have the most evidence for (`napari_dipmtv.trust.evidence`).

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
from napari_dipmtv.trust.missing import (
    density_covariance,
    void_spread,
    with_missing_hole,
    without_idle_holes,
)
from napari_dipmtv.trust.planted import Planted, Shape, grain_field

COARSE_STEPS, FINE_STEPS = 8, 12  # the most of every boundary by itself, and with what all boundaries share
# A step that gains less is the last, while the bodies are shaped and in the end: half a nat is a standard deviation.
SHAPED_NATS, SETTLED_NATS = 2.0, 0.2
DRAWINGS, REDRAWN_NATS = 3, 4.0  # the most of the bodies, and the gain of one that is worth the next
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
    covariance : float64 array (m, c, m, c)
        Of the densities, as the noise leaves it with every boundary free.
    misfit : float
        Squared residual over its variance, per datum in the shadow of the particle: about 1 where only noise is left.
    void_spread : float
        Relative standard deviation of the volume of the voids that the noise alone leaves; NaN without a void.
    grain : float
        Relative density fluctuations that the data ask for beside it; see `napari_dipmtv.trust.grain`.
    """

    particle: Planted
    shape: Shape
    densities: F64
    covariance: F64
    misfit: float
    void_spread: float = float("nan")
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
    fit = _fitted(Fit(series, shape, holes_of(phases.mask(VOID)[shape.box])), search)
    distances = fit.distances
    particle = shape.planted(shape.shares(distances), fit.densities)
    shape = replace(shape, distances=distances)
    covariance = density_covariance(fit)
    return Refined(particle, shape, fit.densities, covariance, fit.misfit(), void_spread(fit))


def _fitted(fit: Fit, search: bool) -> Fit:
    """Shape the bodies, settle which holes there are, and finish."""
    fit = _shaped(fit)
    if (bare := without_idle_holes(fit)) is not fit:
        fit = _shaped(bare)
    _finish(fit)
    if (bare := without_idle_holes(fit)) is not fit:
        fit = bare
        _settle(fit, FINE_STEPS, finer=True)
    if search and not fit.holes and (hollow := with_missing_hole(fit)) is not fit:
        fit = _shaped(hollow)
        _finish(fit)
    return fit


def _shaped(fit: Fit) -> Fit:
    """Step with every boundary by itself, and draw the bodies anew as long as the fit gains by it."""
    _settle(fit, COARSE_STEPS, finer=False)
    for _ in range(DRAWINGS):
        other = fit.redrawn()
        if other is None:
            break
        _settle(other, COARSE_STEPS, finer=False)
        if fit.cost() - other.cost() < REDRAWN_NATS:
            break
        fit = other
    return fit


def _finish(fit: Fit) -> None:
    """Step with what all boundaries share, as far as the data ask for that."""
    fit.weigh_finer()
    _settle(fit, FINE_STEPS, finer=True)


def _settle(fit: Fit, most: int, *, finer: bool) -> None:
    """Step until a step gains next to nothing."""
    for _ in range(most):
        if fit.step(finer) < (SETTLED_NATS if finer else SHAPED_NATS):
            break
