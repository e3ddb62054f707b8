"""Directions to real spherical harmonics, orthonormal over the sphere: the smooth ways in which a surface can move."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F64


def harmonics(directions: F64, degree: int) -> F64:
    """Evaluate all harmonics up to a degree, lower degrees first, each of mean square 1 over the sphere.

    Parameters
    ----------
    directions : float64 array (3, n)
        Unit vectors z, y, x.
    degree : int

    Returns
    -------
    float64 array ((degree + 1)², n)
        By the recursion of the normalised associated Legendre functions: S. A. Holmes and W. E. Featherstone,
        J. Geodesy 76, 279 (2002), equation 11. The pole is z.
    """
    z, y, x = directions
    found = np.empty(((degree + 1) ** 2, z.size))
    around = np.ones(z.shape, complex)  # (sin θ exp i φ)^m
    sector = 1.0
    for m in range(degree + 1):
        if m:
            around = around * (y + 1j * x)
            sector *= (3.0 if m == 1 else 1 + 0.5 / m) ** 0.5
        before, now = np.zeros_like(z), np.full_like(z, sector)
        for n in range(m, degree + 1):
            if n > m:
                size = ((4 * n**2 - 1) / (n**2 - m**2)) ** 0.5
                last = (((n - 1) ** 2 - m**2) / (4 * (n - 1) ** 2 - 1)) ** 0.5
                before, now = now, size * (z * now - last * before)
            found[n * (n + 1) + m] = now * around.real
            if m:
                found[n * (n + 1) - m] = now * around.imag
    return found


def degrees(degree: int) -> F64:
    """Degree of each of the harmonics ((degree + 1)²,), in the order of `harmonics`."""
    return np.repeat(np.arange(degree + 1.0), 2 * np.arange(degree + 1) + 1)
