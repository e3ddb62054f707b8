"""How likely every voxel belongs to a phase or a void to napari layers."""

from __future__ import annotations

from collections.abc import Mapping

from napari_dipmtv._napari.layer_data import LayerData, volume_axes
from napari_dipmtv.data import F32

GROUP = "probability"


def probability_name(phase: str) -> str:
    """Name of the layer of a phase."""
    return f"P({phase})"


def probability_layers(probability: Mapping[str, F32], voxel_nm: float) -> list[LayerData]:
    """One layer (z, y, x) from 0 to 1 per phase, void included; vacuum says nothing that these do not.

    Parameters
    ----------
    probability : mapping of str to float32 array (z, y, x)
        Share of the resampled reconstructions in which a voxel belongs to the phase.
    voxel_nm : float
    """
    return [
        (
            share,
            {
                "name": probability_name(phase),
                "contrast_limits": (0.0, 1.0),
                "colormap": "viridis",
                "rendering": "mip",
                "blending": "translucent_no_depth",
                "visible": False,  # shown one at a time, when somebody asks for it
                "metadata": {"dipmtv": GROUP},
                **volume_axes(share.shape, voxel_nm),
            },
            "image",
        )
        for phase, share in probability.items()
        if phase != "vacuum"
    ]
