"""`nadam-suite average`: which length of average is the best for a run, after its training."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nadam_suite.cli.backend import find_modules, load_backend
from nadam_suite.cli.outputs import checked_output, write_output
from nadam_suite.cli.printing import print_json

if TYPE_CHECKING:
    from nadam_suite.experiment.average_sweep import Sweep

__all__ = ["average"]

_NAME = "averages"


def average(
    run: Path,
    sigma: str,
    *,
    monitor: str = "loss",
    mode: str = "auto",
    step: int | None = None,
    output: Path | None = None,
    table: Path | None = None,
    write: Path | None = None,
    as_json: bool = False,
    force: bool = False,
    backend: str | None = None,
) -> None:
    """Evaluate averages of several lengths, show them, and write what is asked for.

    Args:
        run: The run's folder.
        sigma: Widths, see `nadam_suite.averaging.posthoc.sigmas`.
        monitor: Metric of the validation that the best is chosen by.
        mode: "min", "max" or "auto".
        step: Number of updates after which the averages are wanted.
        output: Picture to write; None is averages.png in the run's folder, or none with `as_json`.
        table: CSV file to write, likewise.
        write: File of a model with the best average to write.
        as_json: Print JSON.
        force: Replace files that exist.
        backend: Framework, or None for the one that Keras is set to.

    Raises:
        DataFileError: A file exists already, or cannot be written.
    """
    load_backend(backend)
    find_modules()
    from nadam_suite.averaging.posthoc import sigmas
    from nadam_suite.experiment.average_plot import plot_sweep
    from nadam_suite.experiment.average_sweep import check_run, sweep_averages

    widths = sigmas(sigma)
    check_run(run)
    if not as_json:
        output, table = output or run, table or run
    if output is not None:
        output = checked_output("--output", output, f"{_NAME}.png", force=force)
    if table is not None:
        table = checked_output("--csv", table, f"{_NAME}.csv", force=force)
    if write is not None:
        write = checked_output("--write", write, "best.keras", force=force)
    console = Console(highlight=False, markup=False, stderr=as_json)
    with bars.Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("averages", total=len(widths))
        sweep = sweep_averages(
            run,
            widths,
            monitor=monitor.removeprefix("val_"),
            mode=mode,
            step=step,
            write=write,
            watch=lambda _: bar.advance(task),
        )
    if as_json:
        print_json(sweep.to_dict())
    else:
        _show(console, sweep)
    if output is not None:
        picture = output
        write_output("--output", picture, lambda: plot_sweep(sweep, picture))
        console.print(f"Wrote {picture}", soft_wrap=True)
    if table is not None:
        text, rows = _csv(sweep), table
        write_output("--csv", rows, lambda: _write_text(rows, text))
        console.print(f"Wrote {rows}", soft_wrap=True)
    if write is not None and sweep.best is not None:
        console.print(f"Wrote {write}: sigma_rel {sweep.rows[sweep.best].sigma_rel:g}")


def _show(console: Console, sweep: Sweep) -> None:
    """Print a row for each average, and one for the raw weights."""
    title = f"Averages after {sweep.step:,} updates, from {sweep.snapshots} snapshots"
    shown = Table(title=title, title_justify="left")
    for column in ("sigma_rel", "error", *(f"val_{name}" for name in sweep.raw)):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for index, row in enumerate(sweep.rows):
        best = index == sweep.best
        error = Text(f"{row.error:.2%}", "" if row.exact else "yellow")
        metrics = (f"{row.metrics[name]:.5g}" for name in sweep.raw)
        mark = f"best {sweep.monitor}" if best else "" if row.exact else "inexact"
        style = "bold" if best else None
        shown.add_row(f"{row.sigma_rel:g}", error, *metrics, mark, style=style)
    raw_metrics = (f"{value:.5g}" for value in sweep.raw.values())
    shown.add_row("raw", "", *raw_metrics, "", style="dim")
    console.print(shown)
    if sweep.best is None:
        console.print("None is the best: the metric is never a number.")
    elif sweep.test is not None:
        test = ", ".join(f"{name} {value:.5g}" for name, value in sweep.test.items())
        console.print(f"Test of the best: {test}", soft_wrap=True)


def _csv(sweep: Sweep) -> str:
    text = io.StringIO()
    rows = sweep.csv_rows()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    from nadam_suite.callbacks.files import replace_text

    replace_text(path, text)
