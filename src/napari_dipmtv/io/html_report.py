"""A finished run to one HTML page that needs nothing else: pictures inside, no scripts, no requests."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from html import escape
from pathlib import Path
from typing import Any

from napari_dipmtv import __version__
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import natural_key, plain, reading

LARGEST_JSON = 50_000_000  # bytes
LONGEST_LIST = 60  # numbers in a cell; loss curves are drawn instead
CAPTIONS = {
    "slices": "Densities in three planes through the void, or through the middle.",
    "phases": "Phases in the same planes.",
    "profile": "Mean density against the depth below the surface; the band is one standard deviation.",
    "losses": "Figures of merit of the reconstruction.",
}
_HIDDEN = ("measures", "particles", "losses", "settings", "versions", "inputs", "trust", "notes")

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f2f4f7; --line: #d5dae1;
  --faint: #5b6573; --warn: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --soft: #1f242b; --line: #38404a;
  --faint: #9aa5b3; --warn: #f0b45a } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .2rem } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
p.about { color: var(--faint); margin: 0 0 1rem } .wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th, td { text-align: left;
  padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere }
th { font-weight: 600 } thead th { background: var(--soft) } td.n { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 1rem 0 } img { width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 4px } figcaption { color: var(--faint); font-size: .88rem }
ul.notes { border-left: 4px solid var(--warn); margin: 1rem 0; padding: .5rem 1rem .5rem 2rem;
  background: var(--soft) } details { margin: 1rem 0 } summary { cursor: pointer; font-weight: 600 }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .8rem; white-space: pre-wrap }
@media print { body { max-width: none; padding: 0; font-size: 11pt; color: #000; background: #fff }
  details { display: none } figure, tr { break-inside: avoid } h2 { break-after: avoid } }
"""


def html_report(
    facts: Mapping[str, Any],
    *,
    title: str = "Reconstruction",
    measures: Sequence[Any] = (),
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
        Each has ``name``, ``unit`` and ``value`` with ``uncertainty``, or ``mean`` with ``std`` and intervals.
    particles : sequence of sequences of the same
        Measures of each particle; shown where there are several.
    trust : mapping, optional
        How far the result can be believed, in words, numbers and nested mappings.
    pictures : mapping of str to bytes, optional
        PNG or SVG by name; see `CAPTIONS`.

    Returns
    -------
    str
        HTML without any reference to a file or an address; a content security policy forbids requests.
    """
    data = plain(facts)
    notes = [str(note) for note in data.get("notes") or ()]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">napari-dipmtv {escape(__version__)}{_when(data)}</p>',
        _list(notes),
        _summary(data),
        "".join(_figure(name, content) for name, content in (pictures or {}).items()),
        _section("Measures", _measures([_fields(m) for m in measures])),
        _particles(particles),
        _section("Trust", _trust(plain(trust)) if trust else ""),
        _section("Settings", _mapping(data.get("settings") or {})),
        _section("Data", _mapping(data.get("inputs") or {}, "file", "SHA-256")),
        _section("Versions", _mapping(data.get("versions") or {})),
        f"<details><summary>Everything, as JSON</summary><pre>{escape(json.dumps(data, indent=1))}</pre></details>",
    ]
    return _page(title, "\n".join(part for part in parts if part))


def save_html(html: str, path: Path) -> Path:
    """Write a page; raises `WriteError`."""
    return write_bytes(Path(path), html.encode())


def html_of_folder(folder: Path, *, title: str | None = None) -> str:
    """Tell the story of a folder that a run, ``reconstruct`` or ``segment`` has written.

    Parameters
    ----------
    folder : Path
        With ``report.json``; and ``measures.csv``, ``particles.csv``, ``trust.json``, a volume, ``labels.tif`` and
        pictures (``*.png``) where there are.
    title : str, optional
        The name of the folder.

    Raises
    ------
    ReadError
        Without a ``report.json``, or for damaged files.
    """
    folder = Path(folder)
    facts = _json(folder / "report.json")
    trust = _json(folder / "trust.json") if (folder / "trust.json").exists() else facts.get("trust")
    return html_report(
        facts,
        title=title or folder.resolve().name,
        measures=_rows(folder / "measures.csv") or facts.get("measures") or (),
        particles=_grouped(_rows(folder / "particles.csv")),
        trust=trust,
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


def _page(title: str, body: str) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _when(data: Mapping[str, Any]) -> str:
    return f", {escape(str(data['created']))}" if data.get("created") else ""


def _section(heading: str, content: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n{content}" if content else ""


def _trust(found: Mapping[str, Any]) -> str:
    """The report in words where there is one; the numbers behind it folded away."""
    words, numbers = found.get("text"), {key: value for key, value in found.items() if key != "text"}
    if not words:
        return _mapping(numbers)
    said = "".join(
        f"<p>{escape(block).replace(chr(10), '<br>')}</p>" for block in str(words).strip().split("\n\n")
    )
    return f"{said}<details><summary>Numbers</summary>{_mapping(numbers)}</details>"


def _list(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _summary(data: Mapping[str, Any]) -> str:
    return _section("Run", _mapping({k: v for k, v in data.items() if k not in _HIDDEN and k != "created"}))


def _figure(name: str, content: bytes) -> str:
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/svg+xml"
    caption = CAPTIONS.get(name, name.replace("_", " "))
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    words = escape(caption, quote=True)
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'


def _fields(row: Any) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row)


def _measures(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    intervals = any("low95" in row for row in rows)
    heads = "<th>Measure</th><th>Value</th><th>Uncertainty</th><th>Unit</th>"
    lines = []
    for row in rows:
        value, spread = row.get("value", row.get("mean")), row.get("uncertainty", row.get("std"))
        cells = f'<td class="n">{_number(value)}</td><td class="n">{_number(spread, "± ")}</td>'
        line = f"<td>{escape(str(row['name']))}</td>{cells}<td>{escape(str(row['unit']))}</td>"
        if intervals:
            line += f'<td class="n">{_number(row.get("low95"))} … {_number(row.get("high95"))}</td>'
        lines.append(f"<tr>{line}</tr>")
    heads += "<th>95 % interval</th>" if intervals else ""
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _particles(particles: Sequence[Sequence[Any]]) -> str:
    if len(particles) < 2:
        return ""
    tables = (
        f"<h3>Particle {number}</h3>{_measures([_fields(m) for m in one])}"
        for number, one in enumerate(particles, start=1)
    )
    return _section("Particles", "".join(tables))


def _mapping(values: Any, name: str = "", content: str = "") -> str:
    """A table of names and values; nested mappings become tables in it."""
    if not isinstance(values, Mapping):
        return _value(values)
    if not values:
        return ""
    head = f"<thead><tr><th>{escape(name)}</th><th>{escape(content)}</th></tr></thead>" if name else ""
    rows = "".join(
        f"<tr><th>{escape(str(key))}</th><td>{_mapping(value)}</td></tr>" for key, value in values.items()
    )
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list):
        shown = ", ".join(_value(item) for item in value[:LONGEST_LIST])
        return shown + (f", … ({len(value)} in all)" if len(value) > LONGEST_LIST else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    return "none" if value is None else escape(str(value))


def _number(value: Any, before: str = "") -> str:
    """Four digits; empty where there is no number."""
    if value is None or value == "":
        return ""
    try:
        return f"{before}{float(value):.4g}"
    except ValueError:
        return escape(str(value))
