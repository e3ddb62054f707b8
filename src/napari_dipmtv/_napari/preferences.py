"""Napari's preferences page of the plugin to the two choices that outlive a session: device and preview rate."""

from __future__ import annotations

from dataclasses import dataclass

PLUGIN = "napari-dipmtv"


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the person has chosen under File > Preferences; the defaults hold where the plugin is not installed."""

    device: str = "auto"
    preview: bool = True
    preview_interval_s: float = 2.0


def preferences() -> Preferences:
    """Read the preferences as they are now."""
    from napari.settings import get_plugin_settings

    try:
        chosen = get_plugin_settings(PLUGIN).compute
    except KeyError:  # napari does not know the plugin: it runs from source, or it is switched off
        return Preferences()
    return Preferences(chosen.device, chosen.preview, float(chosen.preview_interval_s))
