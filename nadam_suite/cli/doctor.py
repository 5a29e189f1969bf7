"""`nadam-suite doctor`: the contract table, tried here and now."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from nadam_suite import versions
from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.printing import print_json
from nadam_suite.cli.status import FAILED
from nadam_suite.errors import NadamSuiteError

if TYPE_CHECKING:
    from nadam_suite.doctor.private import PrivateResult

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
    with _told_of_keras():
        load_backend(backend)
        import keras

        from nadam_suite.doctor import render, run_cells, select, to_json
        from nadam_suite.doctor.private import try_private

    select(rows or None, keras.backend.backend())  # refuses rows that there are not
    private = try_private()
    if not as_json:
        _print_private(private)
    progress = Console(stderr=True, highlight=False)
    with progress.status("Trying the promises …") as status:
        results = run_cells(
            rows or None,
            slow=not quick,
            progress=lambda result: status.update(f"Tried {result.cell.id}"),
        )
    if as_json:
        print_json(json.loads(to_json(results, private)))
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 160  # a file or pipe has no width of its own
        console.print(render(results))
    if not all(result.as_promised for result in results):
        raise typer.Exit(FAILED)


def _print_private(results: Sequence[PrivateResult]) -> None:
    """Print whether this Keras is a tested one, and which of its private parts have changed."""
    from nadam_suite.doctor.private import changed, summary

    wrong = changed(results)
    console = Console(highlight=False)
    style = "yellow" if wrong or versions.compared("keras") else ""
    for line in (summary(results), *map(str, wrong)):
        console.print(Text(line, style=style), soft_wrap=True)


@contextlib.contextmanager
def _told_of_keras() -> Iterator[None]:
    """Say of a Keras that was not tested, where not even the package can be imported with it.

    Raises:
        NadamSuiteError: That is so; what is known to work is told.
    """
    try:
        yield
    except NadamSuiteError:
        raise
    except Exception as error:
        found = versions.installed("keras")
        if not versions.compared("keras", found):
            raise
        raise NadamSuiteError(
            f"nadam_suite cannot be imported with this Keras. Received: Keras {found}, where "
            f"{type(error).__name__}: {error}. Known to work: Keras {versions.tested('keras')}. "
            f"Run: {versions.advice('keras')}"
        ) from error
