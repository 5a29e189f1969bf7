"""Tables of what was measured, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from rich.table import Table

from tests.benchmarks.rows import Row

_LEFT = ("shapes", "what", "target")
_COLUMNS = ("shapes", "what", "median", "stock / this", "ours / this", "this / floor", "target")


def subject_table(subject: str, rows: Iterable[Row], machine: Mapping[str, Any]) -> Table:
    """Return the table of one subject on one backend, a section for each set of shapes."""
    table = Table(title=f"{subject}, {described(machine)}")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _LEFT else "right")
    for shapes, group in groupby(rows, key=lambda row: row.shapes):
        for row in group:
            value = row.note if row.value is None else f"{row.value:.2f} {row.unit}"
            factors = (_factor(f) for f in (row.stock, row.ours, row.floor))
            table.add_row(shapes, row.what, value, *factors, _targets(row))
        table.add_section()
    return table


def target_table(found: Iterable[tuple[Mapping[str, Any], Iterable[Row]]]) -> Table:
    """Return every target that a measured row has, of all backends, and whether it is met."""
    table = Table(title="targets")
    for column in ("backend", "subject", "shapes", "what", "target", "met"):
        table.add_column(column)
    for machine, rows in found:
        for row in rows:
            for text, met in row.targets:
                cells = (machine["backend"], row.subject, row.shapes, row.what, text)
                table.add_row(*cells, "yes" if met else "[bold]no[/bold]")
        table.add_section()
    return table


def described(machine: Mapping[str, Any]) -> str:
    """Return backend, versions and device in one line."""
    return (
        f"{machine['backend']} {machine['version']}, Keras {machine['keras']}, "
        f"{machine['device']}, {machine['cores']} cores"
    )


def _factor(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _targets(row: Row) -> str:
    return ", ".join(f"{text}: {'yes' if met else 'no'}" for text, met in row.targets)
