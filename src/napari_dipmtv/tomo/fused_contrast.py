"""Two aligned modalities to how the channels show in the HAADF: weights, exponent, and the ratio of the likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_dipmtv.data import F64
from napari_dipmtv.settings.fused import HaadfSettings
from napari_dipmtv.tomo.data_term import DataMisfit, Gaussian, Poisson
from napari_dipmtv.tomo.devices import exact
from napari_dipmtv.tomo.fused_problem import FusedProblem, relative_weights
from napari_dipmtv.tomo.problem import Problem

Z_POWER = 1.7  # of incoherent scattering to high angles, between screened 1.6 and Rutherford's 2


@dataclass(frozen=True, slots=True)
class Contrast:
    """How the volume shows in the HAADF: signal ``sum_c weights_c x_c^gamma`` per voxel, ``x`` in typical densities."""

    weights: torch.Tensor  # (c,) float64
    gamma: float


def first_contrast(problem: FusedProblem, settings: HaadfSettings) -> Contrast:
    """Weights from the totals of the slices: known ones times a factor, or each of its own; the exponent as given."""
    chemical = problem.chemical
    gram, rhs = slice_equations(problem)
    if settings.learn_weights:
        return Contrast(torch.from_numpy(non_negative(gram, rhs)), settings.gamma)
    channels, unit = chemical.series.channels, torch.from_numpy(exact(chemical.unit))
    known = relative_weights(channels, settings.weights, Z_POWER) * unit
    return Contrast(common_factor(known, gram, rhs) * known, settings.gamma)


def likelihood_ratio(chemical: DataMisfit, haadf: DataMisfit, chemical_size: int, haadf_size: int) -> float:
    """Factor on the HAADF misfit that makes both terms one likelihood; both are means times their relative noise."""
    assert isinstance(chemical, Poisson | Gaussian)  # the settings offer no others
    assert isinstance(haadf, Poisson | Gaussian)
    return (haadf_size / haadf.weight) / (chemical_size / chemical.weight)


def non_negative(gram: F64, rhs: F64) -> F64:
    """``argmin_{w >= 0} w' G w / 2 - h' w`` of a positive semi-definite ``G``."""
    from scipy.optimize import nnls

    ridge = 1e-9 * np.trace(gram) / len(gram)
    root = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    found: F64 = nnls(root.T, np.linalg.solve(root, rhs))[0]
    return found


def slice_equations(problem: FusedProblem) -> tuple[F64, F64]:
    """Gram matrix (c, c) and right side (c,) of ``H_y = sum_c w_c M_cy`` over the slices y across the tilt axis.

    Seen from any tilt, the row y of a view adds up to the whole slice y. So the totals ``M`` of the chemical maps and
    ``H`` of the HAADF, each a mean over its own views, give the weights of a linear contrast without any volume, and
    free of what noise, blur and regularisation do to one.
    """
    totals, total = (_slice_totals(part) for part in (problem.chemical, problem.haadf))
    trust = 1 / np.maximum(total[0], 0.01 * total[0].max())  # totals of counts vary like themselves
    return (totals * trust) @ totals.T, (totals * trust) @ total[0]


def _slice_totals(part: Problem) -> F64:
    """Sums over the rows of the views (c, y), in units of the problem; means over the views where a row is whole."""
    whole = exact(part.valid[0].amin(dim=-1))  # (t, y)
    sums = part.series.data.sum(axis=-1, dtype=np.float64) / exact(part.unit)[:, None, None]
    found: F64 = (sums * whole).sum(axis=1) / whole.sum(axis=0).clip(min=1)
    return found.clip(min=0)


def common_factor(weights: torch.Tensor, gram: F64, rhs: F64) -> float:
    w = weights.numpy()
    return float(max(w @ rhs, 1e-30) / max(w @ gram @ w, 1e-30))
