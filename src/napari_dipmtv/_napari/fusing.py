"""An aligned series and a HAADF series to a volume that explains both; a verb of step 5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dipmtv import pipeline
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.kept_run import KeptRun
from napari_dipmtv._napari.reconstructing import Reconstructing
from napari_dipmtv.data import ChannelMaps, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.project import Fuse
from napari_dipmtv.settings.align import AlignSettings

if TYPE_CHECKING:
    from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings


class Fusing(Reconstructing):
    """Adds the fused reconstruction to the bench."""

    def fuse(
        self,
        source: HaadfSource,
        method: FusedMethod,
        settings: FusedMethodSettings,
        device: str,
        stream_s: float | None,
    ) -> None:
        """Fuse the maps with a HAADF series; it grows, leaves checkpoints and goes on as `reconstruct` does.

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

        def both() -> tuple[TiltSeries, TiltSeries]:
            images = source.load(series.pixel_nm)
            if source.align:
                return pipeline.align_both(maps, images, align, device)
            return series, pipeline.assume_aligned(images)

        kept = self._new_run(series, method, settings, device, both=both)
        kept.story = {**kept.story, "haadf": source.model_dump(mode="json")}
        self._keep_run(kept, stream_s)

    def _remember(self, kept: KeptRun) -> None:
        if kept.haadf is None:
            super()._remember(kept)
            return
        self._settings["haadf"] = HaadfSource.from_mapping(kept.story["haadf"])
        told = kept.settings.model_dump(exclude_defaults=True)
        self._settings["fuse"] = Fuse(method=kept.method, settings=told)
