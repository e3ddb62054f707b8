"""The options that name maps or a HAADF series to what they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_dipmtv.cli.options import AnglesOption, named_once, read_saved
from napari_dipmtv.data import ChannelMaps, MapStack
from napari_dipmtv.errors import InputError, expected

ChannelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="NAME=FILE",
        help="A stack of maps (t, y, x), tilt axis along y, and the name of its channel; repeatable.",
    ),
]
PixelOption = Annotated[
    float | None, typer.Option("--pixel-nm", help="Pixel size in nm; goes before that of the files.")
]
MapsOption = Annotated[
    Path | None, typer.Option("--maps", help="A folder of maps that unmix, align or simulate wrote.")
]
MapFolderOption = Annotated[
    Path | None, typer.Option("--map-folder", help="A folder with one file per view, each with all channels.")
]
ChannelsOption = Annotated[
    str | None,
    typer.Option("--channels", metavar="A,B,C", help="Names of the channels in the files of --map-folder."),
]
CountsOption = Annotated[
    bool, typer.Option("--counts", help="The maps are raw counted events (Poisson statistics).")
]
AxesOption = Annotated[
    str | None,
    typer.Option("--axes", help="Order of the axes in the files, where it cannot be told, e.g. yxt or yxc."),
]
TiltAxisOption = Annotated[
    str,
    typer.Option(
        "--tilt-axis", help="y where the tilt axis is vertical in the image, x where it is horizontal."
    ),
]
HaadfOption = Annotated[
    Path | None,
    typer.Option(
        "--haadf",
        help="A HAADF stack (t, y, x), vacuum at 0, on the pixels of the maps, or a folder of such that align wrote.",
    ),
]
HaadfAnglesOption = Annotated[
    Path | None, typer.Option("--haadf-angles", help="Tilt angles of the HAADF images in degrees.")
]
HaadfCountsOption = Annotated[
    bool, typer.Option("--haadf-counts", help="The HAADF images are counts (Poisson statistics).")
]


@dataclass(frozen=True, slots=True)
class MapsFrom:
    """Where the maps of a command are."""

    maps: MapsOption = None
    channel: ChannelOption = None
    angles: AnglesOption = None
    pixel_nm: PixelOption = None
    map_folder: MapFolderOption = None
    channels: ChannelsOption = None
    counts: CountsOption = False
    axes: AxesOption = None
    tilt_axis: TiltAxisOption = "y"

    @property
    def axis(self) -> Literal["y", "x"]:
        """Along which the tilt axis runs; raises `InputError` for another letter."""
        if self.tilt_axis not in ("y", "x"):
            advice = "Name the axis that the stage turns about"
            raise InputError(expected("--tilt-axis", "y or x", self.tilt_axis, advice))
        return "x" if self.tilt_axis == "x" else "y"

    def read(self) -> tuple[MapStack, tuple[Path, ...]]:
        """Read maps from the one source that the options name.

        Returns
        -------
        maps, files
            The maps, a `TiltSeries` where a saved folder holds one, and the files or folders they came from.

        Raises
        ------
        InputError
            Unless exactly one source is named, with what it needs.
        """
        axis = self.axis
        sources = {"--channel": self.channel, "--maps": self.maps, "--map-folder": self.map_folder}
        given = [name for name, value in sources.items() if value]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise InputError(expected("maps", f"one of {', '.join(sources)}", got, "Say where the maps are"))
        if self.maps is not None:
            return read_saved(self.maps), (self.maps,)
        return self._folder(self.map_folder, axis) if self.map_folder is not None else self._stacks(axis)

    def _folder(self, folder: Path, axis: Literal["y", "x"]) -> tuple[ChannelMaps, tuple[Path, ...]]:
        from napari_dipmtv.io.maps import load_map_folder

        names = [name.strip() for name in (self.channels or "").split(",") if name.strip()]
        if not names:
            advice = "Name the channels in order"
            raise InputError(expected("--map-folder", "--channels A,B,C beside it", "none", advice))
        stack = load_map_folder(
            folder, names, self.angles, self.pixel_nm, counts=self.counts, axes=self.axes, tilt_axis=axis
        )
        return stack, (folder, *([self.angles] if self.angles else []))

    def _stacks(self, axis: Literal["y", "x"]) -> tuple[ChannelMaps, tuple[Path, ...]]:
        from napari_dipmtv.io.maps import load_maps

        if self.angles is None:
            advice = "Give the file of tilt angles"
            raise InputError(expected("--channel", "--angles FILE beside it", "none", advice))
        words = named_once(self.channel or (), "--channel", "NAME=FILE")
        files = {name: Path(file) for name, file in words.items()}
        stack = load_maps(
            files, self.angles, self.pixel_nm, counts=self.counts, axes=self.axes, tilt_axis=axis
        )
        return stack, (*files.values(), self.angles)


@dataclass(frozen=True, slots=True)
class HaadfFrom:
    """Where the HAADF series of a command is, if it has one."""

    haadf: HaadfOption = None
    haadf_angles: HaadfAnglesOption = None
    haadf_counts: HaadfCountsOption = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Images and angles, both or none, or the folder; raises `InputError` for one without the other."""
        if self.haadf is not None and self.haadf.is_dir():
            return (self.haadf,)
        given = tuple(file for file in (self.haadf, self.haadf_angles) if file is not None)
        if len(given) == 1:
            advice = "Give both, or none"
            raise InputError(expected("--haadf and --haadf-angles", "both", given[0], advice))
        return given

    def read(
        self, pixel_nm: float, axes: str | None = None, tilt_axis: Literal["y", "x"] = "y"
    ) -> MapStack | None:
        """Read the images, on pixels of this size unless a folder says its own; None where no series is named."""
        from napari_dipmtv.io.maps import load_maps

        if not self.files:
            return None
        if self.haadf is not None and self.haadf.is_dir():
            return read_saved(self.haadf)
        images, angles = self.files
        return load_maps(
            {"HAADF": images}, angles, pixel_nm, counts=self.haadf_counts, axes=axes, tilt_axis=tilt_axis
        )
