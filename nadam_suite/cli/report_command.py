"""The arguments of `nadam-suite report`; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nadam_suite.cli import completion
from nadam_suite.cli.guard import guarded
from nadam_suite.cli.options import AsJson, Debug, Force

__all__ = ["EPILOG", "report"]

EPILOG = """Examples:

  nadam-suite report runs/digits

  nadam-suite report runs/seed-0 runs/seed-1 --output seeds.html

  nadam-suite report searches/digits --top 3 --output report-of-digits

  nadam-suite report searches/digits --json

Of runs, which may still train, have been interrupted or be trials of a search, one page has the
curves, schedules, norms, loss scale, config, environment and times; of several also what differs,
and the spread over seeds. It is never replaced unless --force is given.

A search that still runs, or that stock keras-tuner has made, can be reported on too. Where trials
are runs, the best one's config is written as best.toml, which `nadam-suite train` trains again; one
that you have edited is replaced with --force alone."""


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders of runs, or of one search.",
            autocompletion=completion.results,
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            help="Of a search: how many of the best trials are shown. Default: 10.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            help="Of runs: the page. Default: report.html in the run's folder, for several in the "
            "current one. Of a search: folder for page, pictures and best.toml. Default: "
            "DIR/report, which is replaced, and DIR for best.toml. None with --json.",
        ),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Show what runs have come to and how they differ, or what a search has found."""
    with guarded(debug=debug):
        from nadam_suite.cli.report_kind import report as run

        run(folders, top=top, output=output, as_json=as_json, force=force)
