"""The eight pixels around one: they rank it, so that its own noise is not mistaken for what it shows."""

from __future__ import annotations

import numpy as np

RING = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
