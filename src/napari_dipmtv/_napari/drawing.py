"""A stage whose value was set or cleared to what the viewer shows of it."""

from __future__ import annotations

from napari_dipmtv._napari.layers import Layers
from napari_dipmtv._napari.session import Session, Stage
from napari_dipmtv._napari.trust_layers import GROUP


def draw(stage: Stage, session: Session, layers: Layers) -> None:
    """Show the new value of a stage, or remove the layers of the old one."""
    if not session.has(stage):
        _clear(stage, layers)
        return
    value = session.value(stage)
    if stage == "series":
        layers.clear("spectra", "regions", "window")
        layers.show_sums(value)
    elif stage == "unmixed":
        layers.clear("quality")
    elif stage == "maps":
        layers.show_maps(value, "maps")
    elif stage == "tilt_series":
        layers.show_maps(value, "aligned", " (aligned)")
    elif stage == "segmentation":
        layers.show_segmentation(value, session.value("volume").volume.channels)
    elif stage == "trust" and value.study.ensemble is not None:
        layers.show_probabilities(value.study.ensemble.probability, value.study.volume.voxel_nm)


def volume_group(index: int) -> str:
    """Name of the layers of the finished reconstruction of that index."""
    return f"volume {index}"


def _clear(stage: Stage, layers: Layers) -> None:
    groups = {
        "series": ("sums", "spectra", "regions", "window"),
        "unmixed": ("quality",),
        "maps": ("maps",),
        "tilt_series": ("aligned",),
        # volumes are drawn while they are made; without a current one, none may be left to be mistaken for it
        "volume": tuple(name for name in layers.groups() if name.startswith(("volume", "difference"))),
        "segmentation": ("labels",),
        "trust": (GROUP,),
    }
    layers.clear(*groups.get(stage, ()))
