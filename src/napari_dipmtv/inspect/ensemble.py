"""Segmentations of resampled reconstructions to measures with the spread that the data themselves allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.measure import Measure, measure

ENOUGH_FOR_QUANTILES = 40  # below, the 2.5 % tail holds less than one member


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure over an ensemble.

    Attributes
    ----------
    name, unit : str
    mean, std : float
        Over the members that have it (std with n - 1).
    low68, high68, low95, high95 : float
        Central intervals of one member: quantiles of at least `ENOUGH_FOR_QUANTILES` members, else Student's t
        with the standard deviation.
    count : int
        Members that have the measure; fewer than all where, say, a void is not always found.
    discretisation : float or None
        Median of the uncertainties that the members state for the place of their boundaries.
    """

    name: str
    unit: str
    mean: float
    std: float
    low68: float
    high68: float
    low95: float
    high95: float
    count: int
    discretisation: float | None = None

    def as_measure(self) -> Measure:
        """Mean with the spread and the discretisation, added in quadrature, as uncertainty."""
        return Measure(self.name, self.mean, self.unit, float(np.hypot(self.std, self.discretisation or 0.0)))


def measure_many(
    segmentations: Sequence[Segmentation], volumes: Sequence[Volume] | None = None
) -> tuple[Spread, ...]:
    """Measure every member of an ensemble and summarise each measure.

    Parameters
    ----------
    segmentations : sequence of Segmentation
        Of reconstructions from resampled data (bootstrap, thinning, seeds); two at least.
    volumes : sequence of Volume, optional
        Their densities, in the same order.

    Returns
    -------
    tuple of Spread
        In the order in which the measures first occur.

    Raises
    ------
    InputError
        For fewer than two members, or another number of volumes.
    """
    if len(segmentations) < 2 or (volumes is not None and len(volumes) != len(segmentations)):
        got = f"{len(segmentations)} segmentations, {len(volumes or ())} volumes"
        raise InputError(
            expected("ensemble", "two members at least, one volume each or none", got, "Resample again")
        )
    given = volumes if volumes is not None else [None] * len(segmentations)
    members = [measure(s, v) for s, v in zip(segmentations, given, strict=True)]
    return summarise(members)


def summarise(members: Sequence[Sequence[Measure]]) -> tuple[Spread, ...]:
    """Summarise measures that were already made, one sequence per member."""
    found: dict[str, list[Measure]] = {}
    for member in members:
        for one in member:
            found.setdefault(one.name, []).append(one)
    return tuple(_spread(measures) for measures in found.values())


def _spread(measures: Sequence[Measure]) -> Spread:
    values = np.array([m.value for m in measures])
    values = values[np.isfinite(values)]
    stated = [m.uncertainty for m in measures if m.uncertainty is not None]
    mean = float(values.mean()) if len(values) else float("nan")
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    (low68, high68), (low95, high95) = (_interval(values, mean, std, share) for share in (0.6827, 0.95))
    return Spread(
        name=measures[0].name,
        unit=measures[0].unit,
        mean=mean,
        std=std,
        low68=low68,
        high68=high68,
        low95=low95,
        high95=high95,
        count=len(values),
        discretisation=float(np.median(stated)) if stated else None,
    )


def _interval(values: F64, mean: float, std: float, share: float) -> tuple[float, float]:
    if len(values) >= ENOUGH_FOR_QUANTILES:
        low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
        return float(low), float(high)
    if len(values) < 2:
        return float("nan"), float("nan")
    from scipy.stats import t

    reach = float(t.ppf((1 + share) / 2, len(values) - 1)) * std
    return mean - reach, mean + reach
