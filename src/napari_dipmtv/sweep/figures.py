"""A table of trials to CSV rows and a picture: a curve for one searched setting, a heat map for two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipmtv.sweep.search import SweepTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rows(table: SweepTable) -> list[dict[str, Any]]:
    """One row per trial, best first: the searched settings, score, seconds, error."""
    ordered = sorted(table.trials, key=lambda t: float("inf") if t.score is None else t.score)
    return [
        {**trial.point, "score": trial.score, "seconds": round(trial.seconds, 3), "error": trial.error}
        for trial in ordered
    ]


def figure(table: SweepTable) -> Figure:
    """Draw the score over the first two searched settings; for each pair of them the best over all others.

    Settings that are no numbers are spread evenly; the best trial is ringed.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.2, 4), dpi=130, layout="constrained")
    axis: Any = drawn.subplots()
    scored = [trial for trial in table.trials if trial.score is not None]
    best, names = table.best(), [a.name for a in table.axes]
    if len(names) == 1:
        ordered = sorted(scored, key=lambda trial: str(trial.point[names[0]]))
        places, labels = _places([trial.point[names[0]] for trial in ordered])
        order = np.argsort(places, kind="stable")
        axis.plot(np.array(places)[order], np.array([t.score for t in ordered], float)[order], "o-")
        _label(axis.xaxis, labels, table.axes[0].log)
        axis.set(xlabel=names[0], ylabel="score (lower is better)")
        return drawn
    columns, rows_ = (
        sorted({repr(t.point[n]): t.point[n] for t in scored}.values(), key=_key) for n in names[:2]
    )
    lowest = np.full((len(rows_), len(columns)), np.nan)
    for trial in scored:
        i, j = rows_.index(trial.point[names[1]]), columns.index(trial.point[names[0]])
        lowest[i, j] = np.nanmin([lowest[i, j], float(trial.score or 0.0)])
    image = axis.imshow(lowest, origin="lower", cmap="viridis_r", aspect="auto")
    here = columns.index(best.point[names[0]]), rows_.index(best.point[names[1]])
    axis.plot(*here, "o", markersize=16, markerfacecolor="none", markeredgecolor="red", markeredgewidth=2)
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.set_xticks(range(len(columns)), [_text(v) for v in columns], rotation=45)
    axis.set_yticks(range(len(rows_)), [_text(v) for v in rows_])
    drawn.colorbar(image, label="score (lower is better)")
    return drawn


def _places(values: list[Any]) -> tuple[list[float], list[str]]:
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return [float(v) for v in values], []
    labels = list(dict.fromkeys(_text(v) for v in values))
    return [float(labels.index(_text(v))) for v in values], labels


def _label(axis: Any, labels: list[str], log: bool) -> None:
    if labels:
        axis.set_ticks(range(len(labels)), labels)
    elif log:
        axis.axes.set_xscale("log")


def _key(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float)
    return (not number, value if number else repr(value))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
