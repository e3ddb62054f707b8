"""A finished run to one HTML page that needs nothing else: pictures inside, no scripts, no requests."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from napari_dipmtv import __version__
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import natural_key, plain, reading
from napari_dipmtv.io.html_parts import bullets, figure, folded, mapping, measure_table, page, prose, section

LARGEST_JSON = 50_000_000  # bytes
BOUNDARIES = (
    "The uncertainty tells how well a boundary is placed within this volume, not how right the volume is; "
    "napari-dipmtv trust asks the data for that."
)
_HIDDEN = (
    "created",
    "measures",
    "particles",
    "losses",
    "settings",
    "versions",
    "inputs",
    "trust",
    "notes",
    "estimate",
)
_STORY = ("created", "versions", "device", "seconds", "settings", "tilts_deg", "inputs", "stopped", "notes")


def html_report(
    facts: Mapping[str, Any],
    *,
    title: str = "Reconstruction",
    measures: Sequence[Any] = (),
    about_measures: str = BOUNDARIES,
    particles: Sequence[Sequence[Any]] = (),
    trust: Mapping[str, Any] | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """Write the page.

    Parameters
    ----------
    facts : mapping
        As `io.reports.provenance` gives it, with whatever the run added; all of it is at least in the folded part.
    title : str
    measures : sequence of Measure, Spread or mappings
        Each has ``name``, ``unit`` and ``value`` with ``uncertainty``, or ``mean`` with ``std``; and intervals
        ``low68``, ``high68``, ``low95``, ``high95`` where they are known.
    about_measures : str
        A sentence below their table.
    particles : sequence of sequences of the same
        Measures of each particle; shown where there are several.
    trust : mapping, optional
        How far the result can be believed: ``verdict`` (a list of sentences, shown first), ``text`` (blocks of
        words), and numbers in nested mappings, folded away where there is a text.
    pictures : mapping of str to bytes, optional
        PNG or SVG by name; see `html_parts.CAPTIONS`.

    Returns
    -------
    str
        HTML without any reference to a file or an address; a content security policy forbids requests.
    """
    data = plain(facts)
    believed = plain(trust or {})
    everything = f"<pre>{escape(json.dumps(data, indent=1, ensure_ascii=False))}</pre>"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">napari-dipmtv {escape(__version__)}{_when(data)}</p>',
        bullets(believed.pop("verdict", ()), "verdict"),
        bullets([str(note) for note in data.get("notes") or ()], "notes"),
        section("Run", mapping({key: value for key, value in data.items() if key not in _HIDDEN})),
        section("Pictures", "".join(figure(*picture) for picture in (pictures or {}).items())),
        section("Measures", _measures(measures, about_measures)),
        _particles(particles),
        section("Trust", _trust(believed)),
        section("Settings", mapping(data.get("settings") or {})),
        section("Data", mapping(data.get("inputs") or {}, "file", "SHA-256")),
        section("Versions", mapping(data.get("versions") or {})),
        folded("Everything, as JSON", everything),
    ]
    return page(title, "\n".join(part for part in parts if part))


def save_html(html: str, path: Path) -> Path:
    """Write a page; raises `WriteError`."""
    return write_bytes(Path(path), html.encode())


def html_of_folder(folder: Path, *, title: str | None = None) -> str:
    """Tell the story of a folder that ``run``, ``reconstruct``, ``segment`` or ``trust`` has written.

    Parameters
    ----------
    folder : Path
        With ``report.json`` or ``trust.json``; and ``measures.csv``, ``particles.csv``, a volume, ``labels.tif`` and
        pictures (``*.png``) where there are.
    title : str, optional
        The name of the folder.

    Raises
    ------
    ReadError
        Without a ``report.json`` and a ``trust.json``, or for damaged files.
    """
    folder = Path(folder)
    found = _json(folder / "trust.json") if (folder / "trust.json").exists() else {}
    if found and not (folder / "report.json").exists():
        facts = {key: found[key] for key in _STORY if key in found}
    else:
        facts = _json(folder / "report.json")
    believed = {key: value for key, value in found.items() if key not in _STORY} or facts.get("trust")
    return html_report(
        facts,
        title=title or folder.resolve().name,
        measures=_rows(folder / "measures.csv") or facts.get("measures") or (),
        about_measures=str(found.get("about_measures", BOUNDARIES)),
        particles=_grouped(_rows(folder / "particles.csv")),
        trust=believed,
        pictures=_pictures(folder, facts),
    )


def _pictures(folder: Path, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Figures made afresh from volume, labels and losses, and the pictures that lie in the folder."""
    from napari_dipmtv.io.figures import figure_bytes, figures
    from napari_dipmtv.io.volumes import load_labels, load_volume

    kinds = ("volume_*.tif", "volume.ome.zarr", "volume.hspy", "volume_*.mrc", "volume_*.emd")
    volume = load_volume(folder) if any(True for kind in kinds for _ in folder.glob(kind)) else None
    labels = load_labels(folder / "labels.tif") if (folder / "labels.tif").exists() else None
    if volume is not None and labels is not None and labels.labels.shape != volume.data.shape[1:]:
        labels = None
    losses = facts.get("losses")
    drawn = figures(volume, labels, losses if isinstance(losses, dict) else None)
    made = {name: figure_bytes(figure, "png") for name, figure in drawn.items()}
    there = sorted(folder.glob("*.png"), key=natural_key)
    return made | {p.stem: p.read_bytes() for p in there if p.stem.removeprefix("figure_") not in made}


def _json(path: Path) -> dict[str, Any]:
    with reading(path):
        if path.stat().st_size > LARGEST_JSON:
            raise ReadError(
                expected(
                    f"file {path}", f"at most {LARGEST_JSON / 1e6:g} MB", path.stat().st_size, "Check it"
                )
            )
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ReadError(expected(f"file {path}", "a JSON object", type(facts).__name__, "Check the file"))
        return facts


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def _grouped(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row.pop("particle", "")), []).append(row)
    return list(groups.values())


def _when(data: Mapping[str, Any]) -> str:
    when = str(data.get("created") or "").replace("T", " ").replace("+00:00", " UTC")
    return f" · {escape(when)}" if when else ""


def _measures(rows: Sequence[Any], about: str) -> str:
    table = measure_table(rows)
    return f'{table}<p class="fine">{escape(about)}</p>' if table else ""


def _particles(particles: Sequence[Sequence[Any]]) -> str:
    if len(particles) < 2:
        return ""
    tables = (f"<h3>Particle {i}</h3>{measure_table(one)}" for i, one in enumerate(particles, start=1))
    return section("Particles", "".join(tables))


def _trust(found: Mapping[str, Any]) -> str:
    """The report in words where there is one; the numbers behind it folded away."""
    words = found.get("text")
    numbers = mapping({key: value for key, value in found.items() if key not in ("text", "about_measures")})
    return f"{prose(str(words))}{folded('Numbers', numbers)}" if words else numbers
