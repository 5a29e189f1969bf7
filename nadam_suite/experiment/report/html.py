"""Parts of an HTML page that needs nothing else: no scripts, no files, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["details", "document", "paragraphs", "picture", "row", "shown", "table"]

# Colours that differ in lightness too, and keep a contrast of at least 3 on their background.
_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #5c5c5c; --page: #fff; --line: #ddd;
  --rule: #888; --mark: #fdecea; --warn: #fff6e9; --edge: #c06a10; --panel: #f7f7f8;
  --c0: #1f6fb4; --c1: #c2550a; --c2: #1e8449; --c3: #b03a6f; --c4: #6b4fb3; --c5: #8a6d00;
  --c6: #0f8b8d; --c7: #555b66; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a9a9b0; --page: #16171a;
  --line: #35363b; --rule: #6b6c73; --mark: #43272a; --warn: #3a2f1c; --edge: #e09a4a;
  --panel: #1f2024; --c0: #6db3f2; --c1: #f0955a; --c2: #63c58a; --c3: #ec86b4; --c4: #ab95ee;
  --c5: #d9b949; --c6: #4fc9cb; --c7: #a6adba; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page);
  margin: 2em auto; max-width: 1200px; padding: 0 1em; }
h1 { font-size: 1.5em; overflow-wrap: anywhere; } h2 { font-size: 1.15em; margin-top: 2em; }
h3 { font-size: 1em; margin: 1.4em 0 .3em; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .2em 0; }
th, td { padding: .25em .7em; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--rule); white-space: normal; vertical-align: bottom; }
.text { text-align: left; }
td.text { white-space: normal; min-width: 5em; overflow-wrap: break-word; }
tr.best { background: var(--mark); font-weight: 600; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; background: #fff; }
.warning { border-left: 4px solid var(--edge); background: var(--warn); padding: .5em .9em; }
.soft { color: var(--soft); }
pre { background: var(--panel); padding: .8em 1em; overflow-x: auto; font-size: .9em; }
summary { cursor: pointer; padding: .25em 0; overflow-wrap: anywhere; }
.charts { display: grid; gap: 1.4em 1.5em; margin-bottom: 1.4em;
  grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 11px; } svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--rule); } svg .curve { fill: none; stroke-width: 1.6;
  stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.legend { display: flex; flex-wrap: wrap; gap: .1em 1em; margin: .2em 0 0; padding: 0;
  list-style: none; font-size: .87em; } .legend li { overflow-wrap: anywhere; }
.legend svg { display: inline-block; width: 26px; height: 8px; margin-right: .4em; }
""".strip()


def document(title: str, body: Sequence[str]) -> str:
    """Return a page; it follows the reader's choice of light or dark.

    Args:
        title: Its title, plain text.
        body: HTML, section by section.
    """
    inner = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n{inner}\n</body>\n</html>\n"
    )


def paragraphs(lines: Iterable[str], kind: str = "") -> list[str]:
    """Return a paragraph for each line of plain text, of a class if one is given."""
    attribute = f' class="{kind}"' if kind else ""
    return [f"<p{attribute}>{escape(line)}</p>" for line in lines]


def picture(data: bytes, what: str) -> str:
    """Return a PNG picture; `what` says in words what is to be seen."""
    encoded = base64.b64encode(data).decode("ascii")
    return f'<p><img alt="{escape(what)}" src="data:image/png;base64,{encoded}"></p>'


def table(
    head: Sequence[str], rows: Sequence[str], text: Sequence[int] = (), caption: str = ""
) -> str:
    """Return a table, which scrolls by itself where the page is narrow.

    Args:
        head: Names of the columns.
        rows: See `row`.
        text: Numbers of the columns that hold words, not figures.
        caption: What the table is, or nothing.
    """
    cells = "".join(
        f'<th scope="col"{_class(number, text)}>{escape(name)}</th>'
        for number, name in enumerate(head)
    )
    body = "\n".join(rows)
    above = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return (
        f'<div class="wide"><table>\n{above}<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n'
        "</tbody>\n</table></div>"
    )


def row(cells: Sequence[str], attributes: str = "", text: Sequence[int] = ()) -> str:
    """Return a row of a table.

    Args:
        cells: Plain text.
        attributes: Attributes of the row, HTML.
        text: Numbers of the columns that hold words, not figures.
    """
    inner = "".join(
        f"<td{_class(number, text)}>{escape(cell)}</td>" for number, cell in enumerate(cells)
    )
    return f"<tr {attributes}>{inner}</tr>" if attributes else f"<tr>{inner}</tr>"


def details(summary: str, body: Sequence[str], *, opened: bool = False) -> list[str]:
    """Return what is shown when its summary, plain text, is clicked."""
    head = f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>"
    return [head, *body, "</details>"]


def shown(value: Any) -> str:
    """Return a value as text, floats in four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _class(number: int, text: Sequence[int]) -> str:
    return ' class="text"' if number in text else ""
