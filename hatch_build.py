"""Build hook: the manifest stands at the top level; every kind of install finds it inside the package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSIDE = "napari_dipmtv/napari.yaml"


class ManifestHook(BuildHookInterface):  # type: ignore[misc]
    """Put ``napari.yaml`` into wheels; link (or copy, where links are not allowed) it for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        manifest = Path(self.root) / "napari.yaml"
        if self.target_name != "wheel":
            return
        if version == "editable":
            _link(manifest, Path(self.root) / "src" / INSIDE)
        else:
            build_data["force_include"][str(manifest)] = INSIDE


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(Path("..") / ".." / source.name)
    except OSError:  # Windows without the right to make links
        shutil.copyfile(source, target)
