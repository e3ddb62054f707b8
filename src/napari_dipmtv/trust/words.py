"""A trust report to sentences that a reviewer can read."""

from __future__ import annotations

import math

import numpy as np

from napari_dipmtv.trust.result import (
    LEAST_NATS,
    SEEN,
    CavityTest,
    Detection,
    HeldOut,
    Interval,
    NullTest,
    Resolution,
    TrustReport,
)

INTERVALS = (
    "The estimates are of the object, not of the volume: the boundaries of its phases were fitted to the projections, "
    "and what the same did to particles like it, whose phases are known, has been taken off. That takes for granted "
    "that each phase has one composition throughout."
)
CAVEAT = (
    "The repeats carry the noise, the tilts and the method of this study. They cannot show errors of the data that are "
    "no noise: impure reference spectra, a wrong alignment, diffraction contrast."
)


def verdict(null: NullTest) -> str:
    """One sentence on whether the feature is more than noise, tilts and method make by themselves."""
    if null.repeats == 0:
        return "The null test has not begun."
    b = sum(1 for strength in null.anywhere if strength >= null.observed)
    how = f"In {b} of {null.repeats} repeats without the {null.feature}, one at least as strong appeared by itself"
    place = " anywhere in the particle" if null.feature == "void" else ""
    least = " (the least that so many repeats can show)" if b == 0 else ""
    said = "is more than" if null.p_anywhere <= SEEN else "cannot be told from what"
    end = f"The {null.feature} {said} noise, tilts and method make by themselves."
    return f"{how}{place}: p = {null.p_anywhere:.2g}{least}. {end}"


def report_text(report: TrustReport) -> str:
    """The whole report as plain text, one block per question."""
    blocks = [
        "IS IT REAL? Trust report\n"
        f"Channels {', '.join(report.channels)}; {len(report.tilts_deg)} views from {min(report.tilts_deg):g} to "
        f"{max(report.tilts_deg):g} deg; voxels of {report.voxel_nm:g} nm; noise: {report.noise}.\n"
        f"Volume under test: {report.method}. Repeats: {report.repeat_method}; every number below holds for these."
    ]
    if report.cavity is not None:
        blocks.append("Likelihood of a void\n" + cavity_text(report.cavity))
    if report.null is not None:
        blocks.append("Null test\n" + null_text(report.null))
    if which := which_counts(report):
        blocks.append("Which verdict counts\n" + which)
    if report.detection is not None:
        blocks.append("Detection\n" + detection_text(report.detection))
    if report.resolution is not None:
        blocks.append("Resolution\n" + resolution_text(report.resolution))
    if report.intervals:
        blocks.append(
            f"Uncertainty from noise ({report.members} members)\n{INTERVALS}\n"
            + "\n".join(map(interval_text, report.intervals))
        )
    if report.held_out:
        blocks.append("Held-out views\n" + "\n".join(map(held_out_text, report.held_out)))
    if report.coverage is not None:
        c = report.coverage
        blocks.append(
            "Sampling\n"
            f"For an object of {c.object_nm:.3g} nm the views measure {100 * c.share:.0f} % of the Fourier components "
            f"up to 1/({1 / c.highest_per_nm:.2g} nm); {100 * c.wedge_share:.0f} % lie in the missing wedge of "
            f"{c.largest_gap_deg:.0f} deg. Detail that these tilts sample fully (Crowther): {c.crowther_nm:.2g} nm."
        )
    if report.methods:
        blocks.append("Methods on the same data\n" + methods_text(report))
    blocks.append("What this study cannot show\n" + CAVEAT)
    if report.notes:
        blocks.append("Notes\n" + "\n".join(report.notes))
    return "\n\n".join(blocks) + "\n"


def which_counts(report: TrustReport) -> str:
    """Which verdict counts, and why, where likelihood and repeats disagree about a void; empty where they agree."""
    null, found = report.null, report.cavity
    if null is None or found is None or null.feature != "void" or not null.repeats or not len(found.null):
        return ""
    shown = null.p_anywhere <= SEEN
    if shown == found.exceeds:
        return ""
    if found.apart_nm > max(found.size_nm, null.size_nm):
        return (
            "Likelihood and repeats judge two places, which lie "
            f"{found.apart_nm:.2g} nm apart: neither verdict says anything about the place of the other."
        )
    asks = (
        "the likelihood asks whether the data demand the void, the repeats only whether a picture by "
        f"{report.repeat_method} can be believed by itself"
    )
    if found.exceeds:
        return f"The likelihood counts, and it says yes: {asks}, and such a picture alone does not show it."
    return (
        f"The likelihood counts, and it says no: {asks}. The picture shows more than noise makes, but a particle "
        "without the void explains the data nearly as well; do not claim the void."
    )


def cavity_text(found: CavityTest) -> str:
    """Evidence, what chance gives, and the smallest void that these data could show."""
    if len(found.null) == 0:
        return "The likelihood test has not begun."
    said = "The data demand a void" if found.exceeds else "The data do not demand a void"
    rule = (
        f"A void is demanded above {found.level:.1f} nats: the most of {LEAST_NATS:.1f}, 95 % of the repeats, and what "
        "hardly another refit would reach."
    )
    nats = f"{found.evidence:.1f} nats for emptying a ball of {found.size_nm:.2g} nm"
    where = (
        ""
        if math.isnan(found.apart_nm)
        else f", {found.apart_nm:.2g} nm from the middle of the segmented void"
    )
    level = float(np.quantile(found.null, 1 - SEEN))
    lines = [
        f"{said}: {nats}{where}.",
        f"Chance: {len(found.null)} measurements without it give at most {float(found.null.max()):.1f}, 95 % of "
        f"them less than {level:.1f} nats: p = {found.p_plug_in:.2g}, taking the particle without it as known.",
    ]
    if len(found.refitted):
        lines.append(
            f"{len(found.refitted)} that were reconstructed and fitted like the data ({found.method}) give at most "
            f"{float(found.refitted.max()):.1f} nats: p = {found.p_refitted:.2g}, which so few can show at best "
            f"as {1 / (len(found.refitted) + 1):.2g}."
        )
    else:
        lines.append("None were reconstructed: what the fit itself adds to the evidence is not known.")
    if math.isnan(found.apart_nm):
        lines.append(
            "No void is segmented; this is the evidence of the projections, whatever the volume shows."
        )
    return "\n".join([*lines, rule, _smallest_cavity(found)])


def _smallest_cavity(found: CavityTest) -> str:
    if not found.tried.sum():
        return "The smallest void has not been looked for."
    shares = ", ".join(
        f"{size:.2g} nm {100 * f / max(n, 1):.0f} %"
        for size, n, f in zip(found.sizes_nm, found.tried, found.found, strict=True)
    )
    if math.isnan(found.smallest_nm):
        end = "No void of the sizes that were tried is found in 90 % of the cases"
    else:
        high = "more than was tried" if math.isinf(found.high_nm) else f"{found.high_nm:.2g} nm"
        low = "less than was tried" if found.low_nm == 0 else f"{found.low_nm:.2g} nm"
        end = (
            "Found with 90 % power anywhere inside, if the volume were known but for the void: "
            f"{found.smallest_nm:.2g} nm (95 % interval: {low} to {high})"
        )
    return f"{end}. By diameter: {shares}."


def null_text(null: NullTest) -> str:
    """Verdict with the numbers behind it."""
    if null.repeats == 0:
        return verdict(null)
    lines = [verdict(null)]
    if null.feature == "void":
        lines.append(
            f"Missing matter in a ball of {null.size_nm:.2g} nm: {100 * null.observed:.0f} % in the data, "
            f"{100 * float(null.anywhere.max()):.0f} % in the strongest of the repeats. For a place that was chosen "
            f"before looking, p = {null.p_there:.2g}."
        )
    else:
        lines.append(
            f"Mass thickness outside the middle of the shell: {null.observed:.2g} nm in the data, at most "
            f"{float(null.anywhere.max()):.2g} nm in the repeats."
        )
    if not math.isnan(null.misfit):
        lines.append(
            "The particle of uniform phases that was fitted to the projections misses the data by "
            f"{null.misfit:.2g} times their noise variance; much more than 1 says that it is not all there is."
        )
    lines.append(
        f"Segmented as a {null.feature} of at least {null.size_nm:.2g} nm: {null.segmented} of {null.repeats} repeats."
    )
    return "\n".join(lines)


def detection_text(found: Detection) -> str:
    """How often each size was found, and the smallest that the data support."""
    table = [
        f"  {size:.2g} nm: found {f:.0f}, segmented {s:.0f} of {n:.0f}"
        for size, n, f, s in zip(found.sizes_nm, found.tried, found.found, found.segmented, strict=True)
    ]
    if math.isnan(found.smallest_nm):
        end = f"No {found.feature} of the sizes that were tried is found in 90 % of the repeats."
    else:
        high = "more than was tried" if math.isinf(found.high_nm) else f"{found.high_nm:.2g} nm"
        low = "less than was tried" if found.low_nm == 0 else f"{found.low_nm:.2g} nm"
        end = (
            f"The smallest {found.feature} that these data support (found in 90 % of the repeats at a false alarm of "
            f"5 %): {found.smallest_nm:.2g} nm (95 % interval: {low} to {high})."
        )
    return "\n".join([end, *table])


def resolution_text(resolution: Resolution) -> str:
    """FSC by channel and direction, edge width, and the published measure with its caveat."""
    lines = [f"Fourier shell correlation of two halves ({resolution.split}), in nm at 0.143 / 1/2 bit / 0.5:"]
    for curve in resolution.fsc:
        numbers = " / ".join(number(value) for value in curve.resolution_nm.values())
        where = {
            "all": "all directions",
            "x": "along x",
            "y": "along the tilt axis y",
            "z": "along the beam z",
        }
        lines.append(f"  {curve.channel}, {where[curve.direction]}: {numbers}")
    if resolution.fsc:
        lines.append(
            "Both halves share the prior of the method: in the missing wedge, and wherever the prior decides, they "
            "agree without having measured. The curve tells how repeatable the volume is."
        )
    edges = ", ".join(f"{e.direction} {e.width_nm:.2g} ± {e.error_nm:.1g} nm" for e in resolution.edges)
    lines.append(f"Width of the outer edge from 10 to 90 %: {edges or 'none found'}.")
    spectra = ", ".join(f"{s.axis} {number(s.resolution_nm)} nm" for s in resolution.spectra)
    lines.append(
        f"Published power-spectrum measure: {spectra}. A smooth method lowers its own noise line, so this measures "
        "smoothness, not signal to noise."
    )
    return "\n".join(lines)


def interval_text(one: Interval) -> str:
    """A measure of the volume, and the estimate for the object with its intervals."""
    measured = f"  {one.name}: {one.value:.3g} {one.unit}".rstrip()
    inner, outer = f"{one.low68:.3g} to {one.high68:.3g}", f"{one.low95:.3g} to {one.high95:.3g}"
    return f"{measured} in the volume; estimate {one.mean:.3g}, 68 % from {inner}, 95 % from {outer}"


def held_out_text(found: HeldOut) -> str:
    """Prediction error beside the noise."""
    noise = found.noise[~(found.noise != found.noise)]
    said = f", noise alone {100 * float((noise**2).mean() ** 0.5):.0f} %" if len(noise) else ""
    worst = int(found.error.argmax())
    return (
        f"  {found.method}: {100 * found.mean_error:.0f} %{said}; worst {100 * float(found.error[worst]):.0f} % at "
        f"{found.tilts_deg[worst]:g} deg"
    )


def methods_text(report: TrustReport) -> str:
    """The table of methods in columns."""
    heads = (
        "method",
        "s",
        "residual",
        "held out",
        "FSC nm",
        "edge nm",
        "void nm³",
        "skin nm",
        "NRMSE",
        "SSIM",
    )
    rows = [
        (
            row.method,
            f"{row.seconds:.0f}",
            *map(number, (row.residual, row.held_out, row.fsc_nm, row.edge_nm, row.void_nm3, row.skin_nm)),
            *map(number, (row.nrmse, row.ssim)),
        )
        for row in report.methods
    ]
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    )


def number(value: float) -> str:
    """Three digits, or a dash for what is not known."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def answers(report: TrustReport) -> list[tuple[bool | None, str]]:
    """The sentences that matter first: is it more than chance, do the data demand it, how small could it be.

    Each with what it answers: True for yes, False for not shown, None where it is neither.
    """
    said: list[tuple[bool | None, str]] = []
    if report.null is not None and report.null.repeats:
        said.append((report.null.p_anywhere <= SEEN, verdict(report.null)))
    if report.cavity is not None and len(report.cavity.null):
        first, *rest = cavity_text(report.cavity).splitlines()
        caveats = [line for line in rest if line.startswith("No void is segmented")]
        said.append((report.cavity.exceeds, " ".join([first, *caveats])))
    if which := which_counts(report):
        said.append((None, which))
    if report.detection is not None and report.detection.tried.sum():
        said.append((None, detection_text(report.detection).splitlines()[0]))
    return said
