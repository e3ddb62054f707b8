"""Tilt angles to shifts of the views that are learnt with the volume."""

from __future__ import annotations

import numpy as np
import torch

from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.projection.shifted import ShiftedProjector

# of the parameters, so that a step of the network's learning rate is some hundredths of a pixel
SCALE_PX = 5.0


class ViewShifts(torch.nn.Module):
    """How far each view lies from where the alignment put it, in px.

    What a movement of the object explains is taken out: a common shift along the tilt axis, and ``a cos θ + b sin θ``
    across it. An offset of the tilt axis is a constant across it, of which the part that is no cosine remains.

    Parameters
    ----------
    tilts_deg : sequence of float
    """

    def __init__(self, tilts_deg: tuple[float, ...]) -> None:
        super().__init__()
        self.raw = torch.nn.Parameter(torch.zeros(len(tilts_deg), 2))
        angles = np.deg2rad(tilts_deg)
        orbit, _ = np.linalg.qr(np.stack([np.cos(angles), np.sin(angles)], axis=1))
        self.orbit: torch.Tensor
        self.register_buffer("orbit", torch.from_numpy(orbit.astype(np.float32)), persistent=False)

    def forward(self) -> torch.Tensor:
        """Shifts (t, 2) as dy, dx."""
        dy, dx = (SCALE_PX * self.raw).unbind(dim=1)
        return torch.stack([dy - dy.mean(), dx - self.orbit @ (self.orbit.T @ dx)], dim=1)

    def moved(self, projector: Projector, *, learn: bool) -> Projector:
        """The projector of the displaced views; with ``learn``, gradients reach the shifts."""
        return ShiftedProjector(projector, self() if learn else self().detach())
