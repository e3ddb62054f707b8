"""What the tests ask of a void or a skin: the volume without it, with another size of it, and its strength."""

from __future__ import annotations

from typing import Literal, Protocol, Self

import numpy as np

from napari_dipmtv.data import Segmentation, TiltSeries, Volume

FeatureName = Literal["void", "skin"]
# blur has carried this much of the emptiness of a void, or of the matter of a skin, beyond its voxels
RIM_PX = 2


class Feature(Protocol):
    """What can be taken out of a volume and put back in another size."""

    @property
    def name(self) -> FeatureName:
        """Of the feature."""
        ...

    @property
    def unit(self) -> str:
        """Of its strength."""
        ...

    @property
    def smoother(self) -> float:
        """How much stronger it looks by itself in data than in repeats of a fitted particle, which is smoother."""
        ...

    @property
    def volume(self) -> Volume:
        """Under test."""
        ...

    @property
    def size_nm(self) -> float:
        """Diameter or thickness in the volume under test."""
        ...

    @property
    def misfit(self) -> float:
        """Of the fitted particle to the data, 1 where only noise is left; NaN before `explained`."""
        ...

    def explained(self, series: TiltSeries, *, grain: bool = True) -> Self:
        """The same feature, its absence the best particle without it that the data know, with its grain if wanted."""
        ...

    def drawn(self, random: np.random.Generator) -> Self:
        """The same feature, its absence another particle that might be meant."""
        ...

    @property
    def absent(self) -> Volume:
        """The particle without the feature."""
        ...

    def planted(self, size_nm: float) -> Volume:
        """The volume with a feature of this size in place of the found one."""
        ...

    def strength(self, volume: Volume, size_nm: float) -> tuple[float, float]:
        """Strength of a feature of this size in the same place, and the largest anywhere."""
        ...

    def segmented(self, segmentation: Segmentation) -> tuple[float, float]:
        """Size in nm that a segmentation shows in the same place, and its largest anywhere; 0 for none."""
        ...
