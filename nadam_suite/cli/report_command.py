"""The arguments of `nadam-suite report`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import AsJson, Debug, Force

__all__ = ["EPILOG", "report"]

EPILOG = """Examples:

  nadam-suite report searches/digits

  nadam-suite report searches/digits --top 3 --output report-of-digits

  nadam-suite report searches/digits --json

A search that still runs, or that stock keras-tuner has made, can be reported on too. Where trials
are runs, the best one's config is written as best.toml, which `nadam-suite train` trains again; a
file of that name is never replaced."""


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a search.")],
    top: Annotated[
        int, typer.Option("--top", metavar="N", help="How many of the best trials are shown.")
    ] = 10,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for page, pictures and best.toml. Default: DIR/report, which is replaced, "
            "and DIR for best.toml; none with --json.",
        ),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Show a search's best trials, what mattered, and where its ranges were too narrow."""
    with guarded(debug=debug):
        from nadam_suite.cli.report import report as run

        run(folder, top=top, output=output, as_json=as_json, force=force)
