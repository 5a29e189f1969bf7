"""The report of a search as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nadam_suite.experiment.report.html import document, paragraphs, picture, row, shown, table

if TYPE_CHECKING:
    from nadam_suite.tuner.report import SearchReport

__all__ = ["page"]


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
        *paragraphs(report.summary()),
        *_warnings(report),
        "<h2>Trials</h2>",
        _trials(report),
        "<h2>Importance of each hyperparameter</h2>",
        *_importances(report, pictures),
        "<h2>Score along each hyperparameter</h2>",
        picture(pictures["slices"], "Scatter plots of the score over each hyperparameter"),
        "<h2>All trials</h2>",
        picture(pictures["parallel"], "A line for each trial through its values to its score"),
        *_failures(report),
        *_notes(record.notes),
    ]
    return document(f"Search {record.folder.resolve().name}", sections)


def _warnings(report: SearchReport) -> list[str]:
    return paragraphs(map(str, report.boundaries), "warning")


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
        cells += [shown(trial.epochs)] * lengths
        cells += [shown(trial.values.get(name)) for name in names]
        cells += [trial.origin or ""] * origins
        rows.append(row(cells, 'class="best"' if rank == 1 else ""))
    return table(head, rows)


def _importances(report: SearchReport, pictures: Mapping[str, bytes]) -> list[str]:
    """Return the importances as picture and table, or why there are none."""
    found = report.importances
    if not found.rows:
        return paragraphs([found.note or ""])
    text = (
        f"Estimated from {found.trials} trials that ended well. An importance is the share of the "
        "scores' variance that the hyperparameter is responsible for, alone and together with "
        "others; behind it is the standard deviation of the estimate. Random forests predicted "
        f"{max(found.explained or 0.0, 0.0):.0%} of the variance of trials that they had not seen. "
        "What is unclear cannot be told from no importance at all."
    )
    rows = [
        row([each.name, f"{each.mean:z.2f}", f"{each.std:.2f}", each.verdict], text=(0, 3))
        for each in found.rows
    ]
    return [
        *paragraphs([text]),
        picture(pictures["importance"], "Bars of the importances with error bars"),
        table(["hyperparameter", "importance", "+/-", ""], rows, (0, 3)),
    ]


def _failures(report: SearchReport) -> list[str]:
    """Return the trials that have no score, and why."""
    record = report.record
    rows = [
        row([trial.id, trial.reason or "", _values(trial.values)], text=(1, 2))
        for trial in record.failed
    ]
    rows += [
        row([trial.id, "not finished", _values(trial.values)], text=(1, 2))
        for trial in record.unfinished
    ]
    if not rows:
        return []
    return ["<h2>Trials without a score</h2>", table(["trial", "why", "values"], rows, (1, 2))]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["<h2>Notes</h2>", *paragraphs(notes)] if notes else []


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())
