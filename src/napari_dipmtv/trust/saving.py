"""A trust study to its files: numbers, words, pictures, probabilities, and one page with all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.io.atomic import output_folder, safe_names, write_bytes
from napari_dipmtv.io.figures import FigureFormat
from napari_dipmtv.io.html_report import html_of_folder, save_html
from napari_dipmtv.io.ome import write_ome
from napari_dipmtv.io.reports import provenance, save_report, save_table
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.trust.ensemble import Ensemble
from napari_dipmtv.trust.figures import save_figures
from napari_dipmtv.trust.parts import Study
from napari_dipmtv.trust.result import Interval, TrustReport
from napari_dipmtv.trust.words import INTERVALS, answers, report_text


def facts_of(
    study: Study,
    settings: TrustSettings,
    inputs: Sequence[Path],
    seconds: float,
    *,
    stopped: bool,
    made_by: Mapping[str, Any] | None = None,
    device: str = "",
) -> dict[str, Any]:
    """Everything a study found, in words and numbers, with settings, versions and hashes of the input files.

    Parameters
    ----------
    study : Study
    settings : TrustSettings
    inputs : sequence of Path
        Files, or folders of files, that went in.
    seconds : float
    stopped : bool
        It was ended early.
    made_by : mapping, optional
        Settings of the method and of the segmentation by stage, beside those of the study.
    device : str
    """
    story = provenance(
        {"trust": settings, **(made_by or {})},
        tilts_deg=study.report.tilts_deg,
        inputs=list(inputs),
        device=device,
        seconds=seconds,
    )
    told = {"verdict": headlines(study.report), "text": report_text(study.report)}
    about = {"about_measures": INTERVALS} if study.report.intervals else {}
    return {**story, "stopped": stopped, **told, **about, **study.report.facts()}


def save_study(
    study: Study,
    facts: dict[str, Any],
    folder: Path,
    *,
    segmentation: SegmentSettings | None = None,
    pictures: Sequence[FigureFormat] = ("png",),
) -> list[Path]:
    """Write what a study found, each file complete or not at all.

    Parameters
    ----------
    study : Study
    facts : dict
        Of `facts_of`.
    folder : Path
        Made when missing. Into it go ``measures.csv`` (of the volume under test, with intervals), ``trust.json``,
        ``trust.txt``, the pictures, ``report.html``, and of the ensemble ``ensemble_mean_<channel>.tif``,
        ``ensemble_std_<channel>.tif`` and ``probability_<phase>.tif``.
    segmentation : SegmentSettings, optional
        Those of the study; the measures of the volume under test are taken with them.
    pictures : sequence of {"png", "svg"}
        The page shows the PNG.

    Raises
    ------
    WriteError
    """
    folder = output_folder(folder)
    rows = measure_rows(study, segmentation)
    written = [
        *([save_table(rows, folder / "measures.csv")] if rows else []),
        save_report(facts, folder / "trust.json"),
        write_bytes(folder / "trust.txt", str(facts["text"]).encode()),
        *save_figures(study, folder, pictures),
    ]
    if study.ensemble is not None and study.ensemble.members > 1:
        written += _save_ensemble(study.ensemble, folder)
    page = html_of_folder(folder, title=f"Is the {facts['settings']['trust']['feature']} real?")
    return [*written, save_html(page, folder / "report.html")]


def headlines(report: TrustReport) -> list[str]:
    """The sentences of `answers`."""
    return [sentence for _, sentence in answers(report)]


def measure_rows(study: Study, segmentation: SegmentSettings | None = None) -> list[dict[str, Any]]:
    """Measures of the volume under test as rows, with the intervals of the ensemble where there are any.

    Where another method made the repeats, ``by_repeats`` is the measure of the same data by that one, for which the
    intervals hold; ``estimate`` is free of the bias that the ensemble shows. No rows before the first reconstruction.
    """
    if not study.volume.data.any():
        return []
    known = {one.name: one for one in study.report.intervals}
    another = study.volume is not study.observed
    rows = []
    for one in measure(segment(study.volume, segmentation), study.volume):
        row: dict[str, Any] = asdict(one)
        rows.append(row | _interval(known.get(one.name), another) if known else row)
    return rows


def _interval(found: Interval | None, another: bool) -> dict[str, Any]:
    numbers = {"estimate": "mean", **{name: name for name in ("std", "low68", "high68", "low95", "high95")}}
    values = {column: None if found is None else getattr(found, name) for column, name in numbers.items()}
    return ({"by_repeats": None if found is None else found.value} if another else {}) | values


def _save_ensemble(found: Ensemble, folder: Path) -> list[Path]:
    """Mean, spread and probabilities as OME-TIFF (z, y, x)."""
    arrays = {
        f"ensemble_{kind}_{name}": data
        for kind, volume in (("mean", found.mean), ("std", found.std))
        for name, data in zip(volume.channels, volume.data, strict=True)
    }
    arrays |= {f"probability_{phase}": share for phase, share in found.probability.items()}
    facts = {"members": found.members}
    return [
        write_ome(folder / f"{file}.tif", data.astype(np.float32), "ZYX", found.mean.voxel_nm, name, facts)
        for file, (name, data) in zip(safe_names(list(arrays)), arrays.items(), strict=True)
    ]
