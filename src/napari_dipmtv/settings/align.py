"""The knobs of the alignment: how shifts, tilt axis and dose differences are found and removed."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob


class AlignSettings(StageSettings):
    """How a series of maps is brought into the ideal geometry."""

    signal: str = knob(
        "",
        "Align on",
        "Name of the channel that the alignment looks at, or of images that were recorded with the spectra, such as "
        "HAADF. Empty: the sum of all channels, which has the least noise of them.",
        empty="sum of all channels",
    )
    start: Literal["centre of mass", "cross-correlation", "none"] = knob(
        "centre of mass",
        "First guess",
        "Centre of mass suits a particle that stays inside every view; cross-correlation of neighbouring "
        "views suits a field full of matter; none keeps the views where they are and only refines.",
    )
    exclude_views: tuple[int, ...] = knob(
        (),
        "Leave out views",
        "Numbers of the views that neither the alignment nor the reconstruction may look at; the first is 0, as "
        "on the slider. Views that show nothing are left out by themselves.",
        empty="none",
    )
    ignore_spikes: bool = knob(
        True,
        "Ignore spikes",
        "Pixels that stand out like X-ray hits or a saturated detector, never more than one in a thousand, get no "
        "weight in the search and in the reconstruction. Off: they are taken as signal.",
        advanced=True,
    )
    find_axis_angle: bool = knob(
        True,
        "Find the axis angle",
        "Also searches the direction of the tilt axis in the image. Off: the angle below is taken as it is.",
    )
    axis_angle_deg: float = knob(
        0.0,
        "Axis angle",
        "Direction of the tilt axis, clockwise from vertical as the image is shown. The search begins here and comes "
        "back here where the views do not tell; without a search all views are turned by this angle.",
        unit="deg",
        ge=-90,
        le=90,
    )
    max_axis_angle_deg: float = knob(
        5.0,
        "Axis angle searched to",
        "The axis is searched so far to both sides of the angle above; a larger value takes longer.",
        unit="deg",
        gt=0,
        le=20,
    )
    rounds: int = knob(
        6,
        "Rounds of projection matching",
        "Each round reconstructs, projects again and moves every view onto its projection, at every scale. "
        "More rounds move less and less; 0 keeps the first guess.",
        ge=0,
        le=100,
    )
    coarsest_binning: int = knob(
        2,
        "Coarsest scale",
        "Matching starts on maps reduced by this factor and ends at full size. Larger values catch larger "
        "errors of the first guess.",
        ge=1,
        le=16,
        advanced=True,
    )
    smoothing_px: float = knob(
        1.0,
        "Smoothing for the search",
        "Gaussian blur (sigma) of the maps while the alignment is searched, never of the result. Larger "
        "values calm noisy maps and lose fine detail to hold on to.",
        unit="px",
        ge=0.5,
        le=10,
        advanced=True,
    )
    damping: float = knob(
        0.5,
        "Damping",
        "Share of every proposed move that is made. Larger values converge faster and may oscillate.",
        gt=0,
        le=1,
        advanced=True,
    )
    max_update_px: float = knob(
        0.5,
        "Largest move per round",
        "No view moves further than this in one round, in pixels of the current scale.",
        unit="px",
        gt=0,
        le=5,
        advanced=True,
    )
    interpolation: Literal["cubic", "linear"] = knob(
        "cubic",
        "Interpolation",
        "How the maps are read between pixels, once. Cubic keeps detail and may undershoot slightly below "
        "zero; linear never does, but blurs.",
        advanced=True,
    )
    equalise_dose: bool = knob(
        False,
        "Equalise the dose",
        "Scales every view to the same total signal. Right when all views see the whole object but were "
        "recorded with different doses; wrong for quantified maps and where the object leaves the field of "
        "view.",
    )
