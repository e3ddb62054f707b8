"""Numbers, words and pictures to the pieces of an HTML page: tables, sections, figures, and the style of it all."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from html import escape
from typing import Any

LONGEST_LIST = 24  # numbers in a cell; of more only how many and their range
CAPTIONS = {
    "slices": "Densities in three planes through the void, or through the middle.",
    "phases": "Phases in the same planes.",
    "profile": "Mean density against the depth below the surface and against the distance from the centre; the bands "
    "are one standard deviation.",
    "thickness": "Thickness of the layers over the surface, seen along the axes; grey where no normal is straight.",
    "losses": "Figures of merit of the reconstruction.",
    "trust_null": "Left: strength of the feature in repeats without it, and in the data. Middle: share of planted "
    "features that was found. Right: the plane of the feature.",
    "trust_cavity": "Evidence for a void in the data, and what chance and the fit make of it.",
    "trust_resolution": "Correlation of two halves by direction; the published power-spectrum measure, which a smooth "
    "method improves by itself; profiles across the outer surface; and the Fourier components that the tilts have "
    "measured (dark: not measured).",
    "trust_uncertainty": "Mean and standard deviation over the ensemble, and the probability of each phase.",
    "trust_methods": "The same data by several methods.",
}
_MORE = {"by_repeats": "By repeats", "estimate": "Estimate"}
_WORDS = {
    "device": "Device",
    "method": "Method",
    "iterations": "Iterations",
    "stopped": "Stopped early",
    "residual": "Relative residual of the projections",
    "data_residual": "Relative residual of the projections",
    "channels": "Channels",
    "voxel_nm": "Voxel (nm)",
    "shape_zyx": "Voxels along z, y, x",
    "seed": "Seed",
    "resumed": "Resumed",
    "seconds": "Time (s)",
    "tilts_deg": "Tilts (deg)",
    "fe3_share": "Fe³⁺ share of the iron",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f2f4f7; --line: #d5dae1;
  --faint: #5b6573; --warn: #9a5b00; --mark: #0b5cad }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --soft: #1f242b; --line: #38404a;
  --faint: #9aa5b3; --warn: #f0b45a; --mark: #7db7f0 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .2rem } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem }
p { margin: .2rem 0 .5rem } p.about, p.fine { color: var(--faint); margin: 0 0 1rem } p.fine { font-size: .88rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th, td { text-align: left;
  padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere }
th { font-weight: 600 } thead th { background: var(--soft); overflow-wrap: normal } th.n, td.n { text-align: right }
td.unit { white-space: nowrap } td.estimate { font-weight: 600 }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap } table.names > tbody > tr > th { width: 16rem }
td table { font-size: 1em } td table.names > tbody > tr > th { font-weight: 400; color: var(--faint) }
figure { margin: 1rem 0 } img { width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 4px } figcaption { color: var(--faint); font-size: .88rem }
ul.notes, ul.verdict { border-left: 4px solid var(--warn); margin: 1rem 0; padding: .5rem 1rem .5rem 2rem;
  background: var(--soft) } ul.verdict { border-color: var(--mark); font-size: 1.05rem }
details { margin: 1rem 0 } summary { cursor: pointer; font-weight: 600 }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; font-size: .82rem; line-height: 1.45;
  margin: .2rem 0 .6rem } details pre { white-space: pre-wrap; overflow-wrap: anywhere }
@media print { body { max-width: none; padding: 0; font-size: 11pt; color: #000; background: #fff }
  details { display: none } figure, tr { break-inside: avoid } h2, h3 { break-after: avoid } }
"""


def page(title: str, body: str) -> str:
    """A whole page; its policy forbids scripts and requests."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(heading: str, content: str) -> str:
    """A heading with its content; nothing without content."""
    return f"<h2>{escape(heading)}</h2>\n{content}" if content else ""


def folded(heading: str, content: str) -> str:
    """Content that a click unfolds; nothing without content."""
    return f"<details><summary>{escape(heading)}</summary>{content}</details>" if content else ""


def bullets(sentences: Sequence[str], kind: str) -> str:
    """Sentences in a box: ``kind`` is "notes" or "verdict"."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def figure(name: str, content: bytes) -> str:
    """A picture, PNG or SVG, with its caption inside the page."""
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/svg+xml"
    caption = CAPTIONS.get(name, name.replace("_", " "))
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    words = escape(caption, quote=True)
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'


def prose(text: str) -> str:
    """Blocks of plain text: the first line of several is a heading, lines that begin with blanks keep their columns."""
    return "".join(_block(block.splitlines()) for block in text.strip().split("\n\n"))


def _block(lines: Sequence[str]) -> str:
    heading, rest = (lines[0], lines[1:]) if len(lines) > 1 else ("", lines)
    html, columns = [f"<h3>{escape(heading)}</h3>"] if heading else [], []
    for line in (*rest, ""):
        if line.startswith("  "):
            columns.append(escape(line[2:]))
            continue
        if columns:
            html.append("<pre>" + "\n".join(columns) + "</pre>")
            columns = []
        if line:
            html.append(f"<p>{escape(line)}</p>")
    return "".join(html)


def measure_table(rows: Sequence[Any]) -> str:
    """A table of measures: `Measure`, `Spread`, or mappings with ``name``, ``unit`` and their numbers.

    ``by_repeats`` is the same measure by the method that the intervals hold for, where that is another one, and
    ``estimate`` what it becomes without the bias of that method.
    """
    table = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row) for row in rows]
    if not table:
        return ""
    shares = [share for share in ("68", "95") if any(_given(row.get(f"low{share}")) for row in table)]
    heads = "<th>Measure</th>" + "".join(f'<th class="n">{head}</th>' for head in ("Value", "Uncertainty"))
    more = [column for column in _MORE if any(_given(row.get(column)) for row in table)]
    heads += "<th>Unit</th>" + "".join(f'<th class="n">{_MORE[column]}</th>' for column in more)
    heads += "".join(f'<th class="n">{share} % interval</th>' for share in shares)
    body = "".join(_measure_row(row, shares, more) for row in table)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _measure_row(row: Mapping[str, Any], shares: Sequence[str], more: Sequence[str]) -> str:
    value = row["value"] if "value" in row else row.get("mean")
    spread = row["uncertainty"] if "uncertainty" in row else row.get("std")
    finest = spread if _given(spread) else row.get("std")
    cells = [f"<td>{escape(str(row['name']))}</td>", f'<td class="n">{number(value, finest)}</td>']
    cells += [f'<td class="n">{"± " if _given(spread) else ""}{number(spread, spread)}</td>']
    cells += [f'<td class="unit">{escape(str(row["unit"]))}</td>']
    cells += [f'<td class="n {column}">{number(row.get(column), finest)}</td>' for column in more]
    for share in shares:
        low, high = row.get(f"low{share}"), row.get(f"high{share}")
        said = f"{number(low, finest)} … {number(high, finest)}" if _given(low) else ""
        cells.append(f'<td class="n">{said}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def mapping(values: Any, name: str = "", content: str = "") -> str:
    """A table of names and values; what is empty is left out, nested mappings become tables in it."""
    if not isinstance(values, Mapping):
        return _value(values)
    rows = "".join(
        f"<tr><th>{escape(_WORDS.get(str(key), str(key)))}</th><td>{mapping(value)}</td></tr>"
        for key, value in values.items()
        if _given(value)
    )
    if not rows:
        return ""
    head = f"<thead><tr><th>{escape(name)}</th><th>{escape(content)}</th></tr></thead>" if name else ""
    return f'<div class="wide"><table class="names">{head}<tbody>{rows}</tbody></table></div>'


def number(value: Any, spread: Any = None) -> str:
    """Four digits, or as many as two digits of the spread ask for; empty where there is no number."""
    if not _given(value):
        return ""
    try:
        given = float(value)
    except (TypeError, ValueError):
        return escape(str(value))
    digits = _decimals(spread)
    if digits is not None:
        return f"{given:.{digits}f}"
    return f"{given:.0f}" if 1e4 <= abs(given) < 1e7 else f"{given:.4g}"


def _decimals(spread: Any) -> int | None:
    """Decimals that show two digits of a spread; None without a positive one."""
    try:
        size = abs(float(spread))
    except (TypeError, ValueError):
        return None
    return min(max(0, 1 - math.floor(math.log10(size))), 9) if 0 < size < math.inf else None


def _given(value: Any) -> bool:
    return value is not None and value not in ("", [], {}, ())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else escape(str(value))


def _list(values: list[Any]) -> str:
    """Numbers beside each other, records as a table, and of long lists what they hold."""
    if all(isinstance(one, Mapping) for one in values):
        heads = list(dict.fromkeys(key for one in values for key in one))
        head = "".join(f"<th>{escape(str(key))}</th>" for key in heads)
        body = "".join(
            "<tr>" + "".join(f"<td>{mapping(one.get(key, ''))}</td>" for key in heads) + "</tr>"
            for one in values
        )
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    if len(values) <= LONGEST_LIST and not any(isinstance(one, list | Mapping) for one in values):
        return ", ".join("–" if one is None else _value(one) for one in values)
    known = list(_numbers(values))
    if not known:
        return f"{len(values)} entries"
    return f"{len(known)} numbers from {number(min(known))} to {number(max(known))}"


def _numbers(values: Any) -> Iterator[float]:
    if isinstance(values, list):
        for one in values:
            yield from _numbers(one)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield float(values)
