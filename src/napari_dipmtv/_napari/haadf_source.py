"""What the window must be told to fuse maps with a HAADF series, and what a project file says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.project import Inputs
from napari_dipmtv.settings.base import StageSettings, knob


class HaadfSource(StageSettings):
    """The files of a HAADF series of the same object."""

    images: str = knob(
        "",
        "HAADF images",
        "Stack of the HAADF tilts (mrc, rec, st, tif, npy …), vacuum at 0.",
        empty="no file yet",
    )
    angles: str = knob("", "HAADF angles", "File with one angle in degrees per image.", empty="no file yet")
    counts: bool = knob(False, "HAADF counts", "The images are counted events.")
    align: bool = knob(
        True,
        "Align both",
        "Aligns the HAADF series, and the maps as they were loaded onto its volume. Off: both are taken as aligned to "
        "one axis already, and the maps of step 4 are used.",
    )

    @property
    def problem(self) -> str:
        """What is missing; empty when nothing."""
        return "" if self.images and self.angles else "Name the HAADF images and their angles."

    def in_project(self) -> dict[str, Any]:
        """The fields of the inputs of a project."""
        return {"haadf": Path(self.images), "haadf_angles": Path(self.angles), "haadf_counts": self.counts}

    @classmethod
    def of_project(cls, inputs: Inputs, *, aligned: bool) -> HaadfSource:
        """What a project says; empty fields where it names no HAADF."""
        images, angles = (str(path or "") for path in (inputs.haadf, inputs.haadf_angles))
        return cls(images=images, angles=angles, counts=inputs.haadf_counts, align=not aligned)

    def load(self, pixel_nm: float) -> ChannelMaps:
        """Read the images, on the pixels of the maps where they name no others; raises `InputError` without files."""
        from napari_dipmtv.io.maps import load_maps

        if self.problem:
            raise InputError(expected("HAADF series", "two files", "none", self.problem.rstrip(".")))
        return load_maps({"HAADF": Path(self.images)}, Path(self.angles), pixel_nm, counts=self.counts)
