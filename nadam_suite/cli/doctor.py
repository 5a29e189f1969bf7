"""`nadam-suite doctor`: the contract table, tried here and now."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer
from rich.console import Console

from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.printing import print_json
from nadam_suite.cli.status import FAILED

__all__ = ["doctor"]


def doctor(
    rows: Sequence[str], *, backend: str | None = None, quick: bool = False, as_json: bool = False
) -> None:
    """Try the promises and print what came of them; status 1 if this package broke one.

    Args:
        rows: Rows or cells to try; none for all.
        backend: Framework, or None for the one that Keras is set to.
        quick: Leave out the cells that start another process.
        as_json: Print JSON instead of a table.
    """
    load_backend(backend)
    from nadam_suite.doctor import render, run_cells, to_json

    progress = Console(stderr=True, highlight=False)
    with progress.status("Trying the promises …") as status:
        results = run_cells(
            rows or None,
            slow=not quick,
            progress=lambda result: status.update(f"Tried {result.cell.id}"),
        )
    if as_json:
        print_json(json.loads(to_json(results)))
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 160  # a file or pipe has no width of its own
        console.print(render(results))
    if not all(result.as_promised for result in results):
        raise typer.Exit(FAILED)
