"""Napari's preferences page of the plugin to the choices that outlive a session: how and where runs compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QStandardPaths

PLUGIN = "napari-dipmtv"


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the person has chosen under File > Preferences; the defaults hold where the plugin is not installed.

    Attributes
    ----------
    device : str
    preview : bool
    preview_interval_s : float
    threads : int
        Of the processor that a reconstruction takes; 0 leaves it to torch.
    checkpoint_min : float
        Minutes between two checkpoints of a reconstruction; 0 writes none.
    cache_folder : str
        Where the runs of projects that are not saved leave their checkpoints; empty for the usual place.
    """

    device: str = "auto"
    preview: bool = True
    preview_interval_s: float = 2.0
    threads: int = 0
    checkpoint_min: float = 2.0
    cache_folder: str = ""

    @property
    def cache(self) -> Path:
        """Folder for what may be deleted when nothing runs."""
        return Path(self.cache_folder).expanduser() if self.cache_folder else usual_cache()


def preferences() -> Preferences:
    """Read the preferences as they are now."""
    from napari.settings import get_plugin_settings

    try:
        chosen = get_plugin_settings(PLUGIN).compute
    except KeyError:  # napari does not know the plugin: it runs from source, or it is switched off
        return Preferences()
    return Preferences(
        device=chosen.device,
        threads=int(chosen.threads),
        preview=chosen.preview,
        preview_interval_s=float(chosen.preview_interval_s),
        checkpoint_min=float(chosen.checkpoint_min),
        cache_folder=chosen.cache_folder.strip(),
    )


def usual_cache() -> Path:
    """The folder of this system for caches."""
    where = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericCacheLocation)
    return Path(where) / PLUGIN
