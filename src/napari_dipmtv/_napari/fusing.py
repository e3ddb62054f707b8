"""An aligned series and a HAADF series to a volume that explains both; a verb of step 5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from napari_dipmtv._napari.drawing import volume_group
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.project_file import way_of
from napari_dipmtv._napari.runs import notes_of
from napari_dipmtv._napari.session import TITLES, Reconstruction
from napari_dipmtv._napari.trusting import Trusting
from napari_dipmtv.data import ChannelMaps, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.project import Fuse
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings


class Fusing(Trusting):
    """Adds the fused reconstruction to the bench."""

    def fuse(
        self,
        source: HaadfSource,
        method: FusedMethod,
        settings: FusedMethodSettings,
        device: str,
        stream_s: float | None,
    ) -> None:
        """Fuse the maps with a HAADF series; the volume grows while it is made, as in `reconstruct`.

        Raises
        ------
        InputError
            When both shall be aligned but the maps were loaded as aligned.
        """
        series: TiltSeries = self.session.value("tilt_series")
        maps: Any = self.session.value("maps") if source.align else series
        if source.align and not isinstance(maps, ChannelMaps):
            advice = "Switch 'Align both' off"
            raise InputError(expected("maps", "maps that are not aligned yet", "an aligned series", advice))
        align = self._settings.get("align", AlignSettings())

        def states() -> Iterator[State[Volume]]:
            from napari_dipmtv import pipeline
            from napari_dipmtv.tomo.fused import fuse_states

            images = source.load(series.pixel_nm)
            if source.align:
                both = pipeline.align_both(maps, images, align, device)
            else:
                both = series, pipeline.assume_aligned(images)
            return fuse_states(*both, method, settings, device)

        def keep(result: Result[Volume]) -> None:
            self._settings["haadf"] = source
            self._settings["fuse"] = Fuse(method=method, settings=settings.model_dump(exclude_defaults=True))
            self._keep_fused(series, method, settings, device, result)

        self._streamed_title = f"{TITLES[method]}, running"
        self._run("reconstruct", "volume", states, keep, stream_s=stream_s, keeps=True)

    def _keep_fused(
        self,
        series: TiltSeries,
        method: FusedMethod,
        settings: FusedMethodSettings,
        device: str,
        result: Result[Volume],
    ) -> None:
        title = f"{TITLES[method]}, stopped at {result.iterations}" if result.stopped else TITLES[method]
        made = Reconstruction(
            volume=result.value,
            title=title,
            series=series,
            method=method,
            settings={**self._settings, "reconstruct": settings},
            device=device,
            losses=result.losses,
            iterations=result.iterations,
            seconds=result.seconds,
            stopped=result.stopped,
            notes=(*notes_of(self.job.progress), *result.notes),
            way=way_of(self.session),
        )
        self.layers.finish_stream(made.volume, title, volume_group(len(self.session.results)))
        self.session.add_result(made)
