"""`nadam-suite report` of runs: their results on the screen, and all else as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nadam_suite.cli.outputs import checked_output, write_output
from nadam_suite.cli.printing import print_json, widen

if TYPE_CHECKING:
    from nadam_suite.experiment.report import Comparison

__all__ = ["report_runs", "show"]

_PAGE = "report.html"
_KEYS = 12


def report_runs(
    folders: Sequence[Path],
    *,
    output: Path | None = None,
    as_json: bool = False,
    force: bool = False,
) -> None:
    """Show what runs have come to and how they differ, and write it as a page.

    Args:
        folders: Folders of runs, or of trials of a search that are runs.
        output: The page. None is `report.html` in the folder of the run, or for several in the
            current one; with `as_json` it is none.
        as_json: Print JSON.
        force: Replace a page that exists.

    Raises:
        RunFolderError: A file of a run is damaged.
        DataFileError: A file of a run is damaged; or the page exists, or cannot be written.
        ConfigError: A run's config has faults.
    """
    from nadam_suite.callbacks.files import replace_text
    from nadam_suite.experiment.report import page, read_runs

    place = output
    if place is None and not as_json:
        place = (folders[0] if len(folders) == 1 else Path()) / _PAGE
    if place is not None:
        place = checked_output("--output", place, _PAGE, force=force)
    found = read_runs(folders)
    console = Console(highlight=False, markup=False, stderr=as_json)
    if as_json:
        print_json(found.to_dict())
    else:
        show(console, found)
    if place is not None:
        path, text = place, page(found)
        write_output("--output", path, lambda: replace_text(path, text))
        console.print(f"Wrote {path}", soft_wrap=True)


def show(console: Console, found: Comparison) -> None:
    """Print how far each run came, their final metrics, and what differs.

    Args:
        console: Where to; without markup.
        found: The runs.
    """
    widen(console)
    for run in found.runs:
        style = "" if run.status == "finished" else "yellow"
        console.print(Text.assemble(f"{run.label}: ", (f"{run.state()}.", style)), soft_wrap=True)
        for remark in run.remarks():
            console.print(f"  {remark}", soft_wrap=True)
    console.print(_results(found))
    if len(found.runs) == 1:
        return
    for name, differences in (("configs", found.config), ("environments", found.environment)):
        if not differences:
            console.print(f"The {name} are alike.")
            continue
        console.print(f"The {name} differ:")
        for each in differences[:_KEYS]:
            console.print(f"  {each.key}: {' | '.join(each.shown())}", soft_wrap=True)
        if len(differences) > _KEYS:
            console.print(f"  and in {len(differences) - _KEYS} more keys, which the page has.")


def _results(found: Comparison) -> Table:
    """Return the metrics of each run, and their spread where runs differ in the seed alone."""
    runs = found.runs
    finals = list(dict.fromkeys(name for run in runs for name in run.final()))
    bests = list(dict.fromkeys(name for run in runs for name in run.best()))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    for name in ("seed", *finals, *(f"best {name}" for name in bests)):
        table.add_column(name, justify="right")
    for run in runs:
        final, best = run.final(), run.best()
        cells = [f"{final[name]:.5g}" if name in final else "–" for name in finals]
        cells += [
            f"{best[name][0]:.5g} ({best[name][1]})" if name in best else "–" for name in bests
        ]
        table.add_row(run.label, str(run.config.seed), *cells)
    for group in found.groups:
        if len(group.runs) > 1:
            cells = [str(group.final.get(name, "–")) for name in finals]
            cells += [str(group.best.get(name, "–")) for name in bests]
            table.add_row(found.name(group), f"{len(group.runs)} seeds", *cells, style="bold")
    return table
