"""Normal equations of many pixels become exact non-negative least-squares solutions, all pixels at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64

_PATIENCE = 3  # block exchanges without progress before the one-by-one rule, which always ends


def nnls(
    gram: F64, rhs: F64, free: NDArray[np.bool_] | None = None, start: NDArray[np.bool_] | None = None
) -> F64:
    """Minimise ``x G x / 2 - x b`` with ``x >= 0`` for every row of ``b``, exact (block pivoting).

    Parameters
    ----------
    gram : float array (k, k) or (p, k, k)
        Positive definite Gram matrix, one for all pixels or one for each.
    rhs : float array (p, k)
        Right-hand sides ``Bᵀ C⁻¹ d``.
    free : bool array (k,), optional
        Components that may take either sign.
    start : bool array (p, k), optional
        First guess of the components above zero; changes the time only.

    Returns
    -------
    float array (p, k)

    References
    ----------
    Kim & Park, SIAM J. Sci. Comput. 33, 3261 (2011). Equality with `scipy.optimize.nnls`:
    tests/spectra/test_nnls.py.
    """
    pixels, size = rhs.shape
    free = np.zeros(size, dtype=bool) if free is None else np.asarray(free, dtype=bool)
    scale = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))  # unit diagonal: one tolerance for all components
    unit = gram / (scale[..., :, None] * scale[..., None, :])
    target = rhs / scale
    above = np.ones((pixels, size), dtype=bool) if start is None else start | free
    x = np.zeros((pixels, size))
    fewest = np.full(pixels, size + 1)
    patience = np.full(pixels, _PATIENCE)
    todo = np.arange(pixels)
    for _ in range(50 * 2 ** min(size, 10)):
        g = unit if unit.ndim == 2 else unit[todo]
        solution, wrong = _try(g, target[todo], above[todo], free)
        count = wrong.sum(axis=1)
        x[todo] = solution
        if not count.any():
            return np.asarray(x / scale)
        _exchange(above, wrong, count, todo, fewest, patience)
        todo = todo[count > 0]
    raise ArithmeticError("non-negative least squares did not end: the Gram matrix is singular")


def _try(
    gram: F64, rhs: F64, above: NDArray[np.bool_], free: NDArray[np.bool_]
) -> tuple[F64, NDArray[np.bool_]]:
    """Solve on the guessed support; mark components that break ``x >= 0`` or want to grow from zero."""
    kept = above[:, :, None] & above[:, None, :]
    reduced = np.where(kept, gram, 0.0)
    diagonal = np.arange(rhs.shape[1])
    reduced[:, diagonal, diagonal] = np.where(above, reduced[:, diagonal, diagonal], 1.0)
    x = np.linalg.solve(reduced, np.where(above, rhs, 0.0)[:, :, None])[:, :, 0]
    gradient = rhs - (gram @ x[:, :, None])[:, :, 0]
    size = 1e-12 * np.abs(rhs).max(axis=1, keepdims=True)
    wrong = np.where(above, x < -size, gradient > size) & ~free
    return x, wrong


def _exchange(
    above: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    count: NDArray[np.intp],
    todo: NDArray[np.intp],
    fewest: NDArray[np.intp],
    patience: NDArray[np.intp],
) -> None:
    """Move all wrong components at once while their number falls, else only the last one."""
    better = count < fewest[todo]
    fewest[todo[better]] = count[better]
    patience[todo] = np.where(better, _PATIENCE, patience[todo] - 1)
    one_by_one = patience[todo] < 0
    last = wrong.shape[1] - 1 - np.argmax(wrong[:, ::-1], axis=1)
    only_last = wrong & (np.arange(wrong.shape[1]) == last[:, None])
    above[todo] ^= np.where(one_by_one[:, None], only_last, wrong)
