"""What data say of many small parameters to how large these may be: the prior with the largest evidence.

Parameters that the data do not need take up noise, and the noise of many of them moves what is wanted. The evidence,
the likelihood averaged over the prior, weighs the gain in fit against the volume of parameters that it takes
(D. J. C. MacKay, Neural Comput. 4, 415 (1992)).
"""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F64

SCALES = np.geomspace(1e-4, 4.0, 60)  # of the variance; the smallest leaves nothing


def prior_scale(information: F64, score: F64, std: F64) -> float:
    """Find the factor on the prior variances of parameters for which the evidence is largest.

    Parameters
    ----------
    information : float64 array (n, n)
        Inverse covariance that the data give the parameters, all others free.
    score : float64 array (n,)
        Slope of the log likelihood where the parameters are zero, all others at their best.
    std : float64 array (n,)
        Standard deviations of the prior, to be multiplied by the root of the factor.
    """
    values, vectors = np.linalg.eigh(information * np.outer(std, std))
    squares = (vectors.T @ (score * std)) ** 2  # (n,)
    grown = SCALES[:, None] * np.maximum(values, 0)  # (s, n)
    evidence = (SCALES[:, None] * squares / (1 + grown) - np.log1p(grown)).sum(axis=1) / 2
    return float(SCALES[evidence.argmax()])
