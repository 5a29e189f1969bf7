"""`nadam-suite report` of a search: what it has found, on the screen, as a page and a config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nadam_suite.cli.outputs import write_output
from nadam_suite.cli.printing import print_json, widen
from nadam_suite.errors import ArgumentError, DataFileError

if TYPE_CHECKING:
    from nadam_suite.tuner.report import SearchReport
    from nadam_suite.tuner.search_record import SearchRecord, TrialRecord

__all__ = ["report_search", "show"]

_FOLDER = "report"
_BAR = 20
_FAILURES = 5


def report_search(
    folder: Path,
    *,
    top: int = 10,
    output: Path | None = None,
    as_json: bool = False,
    force: bool = False,
) -> None:
    """Show what a search has found, and write it as a page with pictures and as a config.

    Args:
        folder: The search's folder.
        top: How many of the best trials are shown.
        output: Folder for the page, its pictures and the best trial's config. None is the folder
            `report` in the search's, whose files are replaced, and the search's own folder for
            the config; with `as_json` it is none.
        as_json: Print JSON.
        force: Replace files that exist in `output`, and a config that was edited.

    Raises:
        ArgumentError: `top` is less than 1.
        SearchFolderError: There is no search in the folder.
        DataFileError: A file exists already, or cannot be written.
    """
    if top < 1:
        raise ArgumentError(
            f"Argument `--top` must be an integer >= 1. Received: --top={top}. Leave it out for 10."
        )
    from nadam_suite.tuner.best_config import write_best
    from nadam_suite.tuner.report import report as read

    if output is not None:
        _check(output, force=force)
    found = read(folder)
    console = Console(highlight=False, markup=False, stderr=as_json)
    if as_json:
        print_json(found.to_dict(top))
        if output is None:
            return
    else:
        show(console, found, top)
    place = output or folder / _FOLDER

    def write() -> None:
        found.write(place)

    write_output("--output", place, write)
    console.print(f"Wrote {place / 'report.html'}, and its pictures beside it.", soft_wrap=True)
    if (best := write_best(found.record, output, force=force)) is not None:
        console.print(str(best), soft_wrap=True)


def _check(output: Path, *, force: bool) -> None:
    """Refuse a folder that has files of the report's names.

    Raises:
        DataFileError: It has, or is no folder.
    """
    from nadam_suite.tuner.report import FILES

    shown = f"--output={str(output)!r}"
    if output.exists() and not output.is_dir():
        raise DataFileError(
            f"Argument `--output` must be a folder. Received: {shown}, which is a file. Name "
            "another place."
        )
    there = [name for name in FILES if (output / name).exists()]
    if there and not force:
        raise DataFileError(
            f"The files of a report must not exist yet. Received: {shown}, where there is "
            f"{', '.join(there)}, which was left as it is. Pass --force to replace it, or name "
            "another folder."
        )


def show(console: Console, found: SearchReport, top: int = 10) -> None:
    """Print what a search has found.

    Args:
        console: Where to; without markup.
        found: The report.
        top: How many of the best trials are shown.
    """
    widen(console)
    record = found.record
    console.print(f"Search {record.folder}", soft_wrap=True)
    for line in found.summary():
        console.print(line, soft_wrap=True)
    if record.ranked:
        console.print(_trials(record, record.configurations[:top], console.width))
    if found.importances.rows:
        console.print(_importances(found, ascii_only=console.options.ascii_only))
    elif found.importances.note:
        console.print(found.importances.note, soft_wrap=True)
    for boundary in found.boundaries:
        console.print(Text.assemble(("Warning: ", "yellow"), str(boundary)), soft_wrap=True)
    for line in _failures(record.failed):
        console.print(line, soft_wrap=True)
    for note in record.notes:
        console.print(f"Note: {note}", soft_wrap=True)


def _trials(record: SearchRecord, trials: Sequence[TrialRecord], width: int) -> Table:
    """Return the best trials: a column for each hyperparameter, or one for all if that is wide."""
    names = list(dict.fromkeys(dimension.name for dimension in record.varied))
    columns = {"trial": [trial.id for trial in trials]}
    columns[record.objective] = [f"{trial.score:.6g}" for trial in trials]
    if any(trial.best_step for trial in trials):
        columns["best epoch"] = [str((trial.best_step or 0) + 1) for trial in trials]
    if any(trial.epochs is not None for trial in trials):
        columns["epochs"] = [_shown(trial.epochs) for trial in trials]
    if any(trial.origin for trial in trials):
        columns["point"] = [trial.origin or "" for trial in trials]
    values = {name: [_shown(trial.values.get(name)) for trial in trials] for name in names}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    both = {"rank": [], **columns, **values}
    # A space behind each cell, a line between columns, and one at either end.
    needed = sum(max(map(len, [name, *cells])) + 2 for name, cells in both.items())
    whole = needed + 1 <= width
    if whole:
        columns |= values
    table.add_column("rank", justify="right", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    if not whole:
        table.add_column("values", overflow="fold", min_width=20)
    for rank, trial in enumerate(trials, 1):
        cells = [column[rank - 1] for column in columns.values()]
        if not whole:
            own = (f"{name} {_shown(trial.values[name])}" for name in names if name in trial.values)
            cells.append(", ".join(own))
        table.add_row(str(rank), *cells, style="bold" if rank == 1 else None)
    return table


def _importances(found: SearchReport, *, ascii_only: bool) -> Table:
    """Return the importances with bars."""
    importances = found.importances
    title = f"Importance of each hyperparameter, from {importances.trials} trials"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("hyperparameter", overflow="fold")
    for name in ("importance", "+/-"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in importances.rows:
        length = round(_BAR * min(max(row.mean, 0.0), 1.0))
        bar = ("#" if ascii_only else "█") * length
        style = None if row.clear else "dim"
        cells = (row.name, f"{row.mean:z.2f}", f"{row.std:.2f}", bar if row.clear else row.verdict)
        table.add_row(*cells, style=style)
    return table


def _failures(failed: Sequence[TrialRecord]) -> Iterable[str]:
    """Yield a line for each of the last trials that failed."""
    if len(failed) > _FAILURES:
        yield f"Trials that failed, the last {_FAILURES} of {len(failed)}; the page has all:"
    for trial in failed[-_FAILURES:]:
        yield f"Trial {trial.id} has no score. {trial.reason}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
