"""What this package wants to reach, as factors, and whether a measured row does."""

from __future__ import annotations

from tests.benchmarks.rows import Row

# How many times as long the stock optimizer should take, for few, many and tiny variables.
FASTER = {
    ("tensorflow", "steps", "ours, plain"): (4.0, 4.0, 8.0),
    ("tensorflow", "steps", "ours, all options"): (4.0, 4.0, 10.0),
    ("tensorflow", "steps", "ours, plain, XLA"): (1.0, 1.5, 5.0),
    ("torch", "steps", "ours, plain"): (8.0, 8.0, 3.0),
    ("torch", "steps", "ours, all options"): (10.0, 40.0, 10.0),
    ("jax", "steps", "ours, plain"): (1.0, 1.0, 1.0),
    ("jax", "steps", "ours, all options"): (1.2, 1.2, 1.2),
    ("jax", "accumulation", "ours, micro-batch"): (3.0, 3.0, 2.0),
}
ORDER = ("few", "many", "tiny")

# The rival that ours should not be behind.
RIVAL = "torch.optim.NAdam(foreach=True), plain"

# By how much a step of few large variables may exceed the floor, and an average alone its own.
ABOVE_FLOOR = 1.3
AVERAGE_ABOVE_FLOOR = 1.25


def judge(backend: str, row: Row) -> list[tuple[str, bool]]:
    """Return the targets of a row, and whether it reaches each of them.

    Args:
        backend: Where it was measured.
        row: The row; one that was measured as zero or less has no factors, and no targets.
    """
    found = []
    for factor, wanted, text in _wanted(backend, row):
        if factor is not None:
            most = text.startswith("<=")
            met = factor <= wanted if most else factor >= wanted
            found.append((text.format(wanted), met))
    return found


def _wanted(backend: str, row: Row) -> list[tuple[float | None, float, str]]:
    """Return (factor, what it should be, how to say so)."""
    wanted: list[tuple[float | None, float, str]] = []
    faster = FASTER.get((backend, row.subject, row.what))
    if faster and row.shapes in ORDER:
        wanted.append((row.stock, faster[ORDER.index(row.shapes)], ">= {:g} of stock"))
    if row.subject == "steps" and row.what.startswith("ours, "):
        if row.what.endswith("first step"):
            wanted.append((row.stock, 1.0, ">= {:g} of stock"))
        elif row.shapes == "few":
            wanted.append((row.floor, ABOVE_FLOOR, "<= {:g} of the floor"))
    if row.what == RIVAL:
        wanted.append((row.ours, 1.0, "<= {:g} for ours"))
    if row.subject == "averages" and row.what.startswith("ours, EMA alone"):
        wanted.append((row.floor, AVERAGE_ABOVE_FLOOR, "<= {:g} of the floor"))
    if row.subject == "memory" and row.what.startswith("ours, "):
        wanted.append((row.stock, 1.0, ">= {:g} of stock"))
    return wanted
