"""The arguments of `nadam-suite average`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import AsJson, Backend, Debug, Force

__all__ = ["EPILOG", "average"]

EPILOG = """Examples:

  nadam-suite train digits optimizer.use_ema=false optimizer.averaging=power_ema
'callbacks=[{kind="average_snapshots"}]'

  nadam-suite average runs/digits

  nadam-suite average runs/digits --sigma .05,.1,.15:.25:5 --monitor accuracy --write best.keras

The width sigma_rel is a share of the training: 0.05 looks back over about its last tenth. "error"
is that of the reconstruction; where it is large, more snapshots (count = 64) make it small."""


def average(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run that kept snapshots of averages.",
            autocompletion=completion.runs,
        ),
    ],
    sigma: Annotated[
        str,
        typer.Option(
            "--sigma",
            metavar="WIDTHS",
            help='Widths to try: ".05,.1", a range ".02:.25", or one of so many ".02:.25:5".',
        ),
    ] = ".02:.25",
    monitor: Annotated[
        str,
        typer.Option("--monitor", metavar="NAME", help="Metric of the validation, for the best."),
    ] = "loss",
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="auto|min|max",
            help="Whether it should fall or rise.",
            autocompletion=completion.modes,
        ),
    ] = "auto",
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", help="Updates to look at. Default: the last ones."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG to write. Default: RUN/averages.png, or none with --json.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Table to write. Default: RUN/averages.csv, or none with --json.",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Write a .keras model with the best average."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    backend: Backend = None,
    debug: Debug = False,
) -> None:
    """Find out which length of average is the best for a run, after its training."""
    with guarded(debug=debug):
        from nadam_suite.cli.average import average as run_sweep

        run_sweep(
            run,
            sigma,
            monitor=monitor,
            mode=mode,
            step=step,
            output=output,
            table=table,
            write=write,
            as_json=as_json,
            force=force,
            backend=backend,
        )
