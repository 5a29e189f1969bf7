"""The report of a search as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nadam_suite.tuner.report import SearchReport

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 2em auto;
  max-width: 1200px; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; } td.text, th.text { text-align: left; }
tr.best { background: #fdecea; font-weight: 600; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; }
.warning { border-left: 4px solid #d9822b; background: #fff6e9; padding: .5em .9em; }
""".strip()


def page(report: SearchReport, pictures: Mapping[str, bytes]) -> str:
    """Return the page: pictures are in it, there are no scripts, and it asks for no other file.

    Args:
        report: The report.
        pictures: PNG files "importance", "slices" and "parallel".
    """
    record = report.record
    name = escape(record.folder.resolve().name)
    sections = [
        f"<h1>Search {name}</h1>",
        *_paragraphs(report.summary()),
        *_warnings(report),
        "<h2>Trials</h2>",
        _trials(report),
        "<h2>Importance of each hyperparameter</h2>",
        *_importances(report, pictures),
        "<h2>Score along each hyperparameter</h2>",
        _picture(pictures["slices"], "Scatter plots of the score over each hyperparameter"),
        "<h2>All trials</h2>",
        _picture(pictures["parallel"], "A line for each trial through its values to its score"),
        *_failures(report),
        *_notes(record.notes),
    ]
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Search {name}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _paragraphs(lines: Iterable[str]) -> list[str]:
    return [f"<p>{escape(line)}</p>" for line in lines]


def _warnings(report: SearchReport) -> list[str]:
    return [f'<p class="warning">{escape(str(found))}</p>' for found in report.boundaries]


def _trials(report: SearchReport) -> str:
    """Return the ranked trials, the best one marked."""
    record = report.record
    names = list(dict.fromkeys(dimension.name for dimension in record.varied))
    lengths = any(trial.epochs is not None for trial in record.trials)
    origins = any(trial.origin for trial in record.trials)
    epochs = any(trial.best_step for trial in record.ranked)
    head = ["rank", "trial", record.objective, *["best epoch"] * epochs]
    head += ["epochs"] * lengths + names + ["point"] * origins
    rows = []
    for rank, trial in enumerate(record.configurations, 1):
        cells = [str(rank), trial.id, f"{trial.score:.6g}"]
        cells += [str((trial.best_step or 0) + 1)] * epochs
        cells += [_shown(trial.epochs)] * lengths
        cells += [_shown(trial.values.get(name)) for name in names]
        cells += [trial.origin or ""] * origins
        rows.append(_row(cells, 'class="best"' if rank == 1 else ""))
    return _table(head, rows)


def _importances(report: SearchReport, pictures: Mapping[str, bytes]) -> list[str]:
    """Return the importances as picture and table, or why there are none."""
    found = report.importances
    if not found.rows:
        return _paragraphs([found.note or ""])
    text = (
        f"Estimated from {found.trials} trials that ended well. An importance is the share of the "
        "scores' variance that the hyperparameter is responsible for, alone and together with "
        "others; behind it is the standard deviation of the estimate. Random forests predicted "
        f"{max(found.explained or 0.0, 0.0):.0%} of the variance of trials that they had not seen. "
        "What is unclear cannot be told from no importance at all."
    )
    rows = [
        _row([row.name, f"{row.mean:z.2f}", f"{row.std:.2f}", row.verdict], text=(0, 3))
        for row in found.rows
    ]
    return [
        *_paragraphs([text]),
        _picture(pictures["importance"], "Bars of the importances with error bars"),
        _table(["hyperparameter", "importance", "+/-", ""], rows, (0, 3)),
    ]


def _failures(report: SearchReport) -> list[str]:
    """Return the trials that have no score, and why."""
    record = report.record
    rows = [
        _row([trial.id, trial.reason or "", _values(trial.values)], text=(1, 2))
        for trial in record.failed
    ]
    rows += [
        _row([trial.id, "not finished", _values(trial.values)], text=(1, 2))
        for trial in record.unfinished
    ]
    if not rows:
        return []
    return ["<h2>Trials without a score</h2>", _table(["trial", "why", "values"], rows, (1, 2))]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["<h2>Notes</h2>", *_paragraphs(notes)] if notes else []


def _picture(data: bytes, what: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    return f'<p><img alt="{escape(what)}" src="data:image/png;base64,{encoded}"></p>'


def _table(head: Sequence[str], rows: Sequence[str], text: Sequence[int] = ()) -> str:
    cells = "".join(
        f"<th{_class(number, text)}>{escape(name)}</th>" for number, name in enumerate(head)
    )
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table></div>"
    )


def _row(cells: Sequence[str], attributes: str = "", text: Sequence[int] = ()) -> str:
    inner = "".join(
        f"<td{_class(number, text)}>{escape(cell)}</td>" for number, cell in enumerate(cells)
    )
    return f"<tr {attributes}>{inner}</tr>" if attributes else f"<tr>{inner}</tr>"


def _class(number: int, text: Sequence[int]) -> str:
    return ' class="text"' if number in text else ""


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
