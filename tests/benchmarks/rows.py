"""What a benchmark is asked for, and what it finds: one row for each thing that was timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SHAPES = {
    "few": [(2048, 2048)] * 8,
    "many": [(256, 256)] * 128 + [(256,)] * 256,
    "tiny": [(32, 32)] * 256 + [(32,)] * 256,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all options": {"weight_decay": 1e-3, "use_ema": True, "global_clipnorm": 1.0},
}

# Bytes that a step must move for each parameter: g, x, m and v are read, x, m and v written. An
# average is read and written, and a norm reads the gradients once more.
FLOOR_BYTES = {"plain": 28, "all options": 28 + 8 + 4}

# Bytes a parameter that a copy moves.
COPY_BYTES = 8


@dataclasses.dataclass
class Plan:
    """What to measure, and for how long.

    Args:
        shapes: Sets of variables' shapes, by name.
        rounds: How often each step is timed.
        epochs: How often an epoch of `fit()` is timed.
        examples: Examples in such an epoch.
        variables: Numbers of variables for the growth with them.
        parameters: Numbers of parameters for the growth with them; those that do not fit into the
            memory are left out.
        patience: Seconds that the compilation of a rival may take; 0 leaves it out.
        fresh: Whether memory is measured in processes of its own.
        say: Called with what is going on.
    """

    shapes: Mapping[str, Sequence[tuple[int, ...]]] = dataclasses.field(
        default_factory=lambda: dict(SHAPES)
    )
    rounds: int = 15
    epochs: int = 3
    examples: int = 1280
    variables: Sequence[int] = (16, 64, 256, 1024)
    parameters: Sequence[int] = (10**5, 10**6, 10**7, 10**8, 10**9)
    patience: float = 150.0
    fresh: bool = True
    say: Callable[[str], None] = lambda _: None


@dataclasses.dataclass
class Row:
    """One line of a table.

    Args:
        subject: Of which subject.
        shapes: Name of the set of variables, or of the model.
        what: What was measured; "ours, ..." and "stock, ..." stand beside each other.
        value: The median, or None where there is a note instead.
        unit: Of the value.
        stock: How many times as much the stock optimizer takes.
        ours: How many times as much ours takes, for what is neither.
        floor: By what the value exceeds the floor, as a factor.
        note: Why there is no value.
        targets: What the value should reach, and whether it does; `targets.judge` fills them in.
    """

    subject: str
    shapes: str
    what: str
    value: float | None = None
    unit: str = "ms"
    stock: float | None = None
    ours: float | None = None
    floor: float | None = None
    note: str = ""
    targets: list[tuple[str, bool]] = dataclasses.field(default_factory=list)


def compared(
    subject: str,
    shapes: str,
    found: Mapping[str, float],
    floors: Mapping[str, float] | None = None,
    unit: str = "ms",
) -> list[Row]:
    """Return a row for each value, beside those of the stock optimizer and ours.

    Args:
        subject: Of which subject.
        shapes: Name of the shapes.
        found: Values by "side, settings"; what has no partner of the same settings stands alone.
        floors: The least possible value by settings.
        unit: Of the values.
    """
    rows = []
    for what, value in found.items():
        side, _, settings = what.partition(", ")
        stock, ours = found.get(f"stock, {settings}"), found.get(f"ours, {settings}")
        floor = (floors or {}).get(settings.partition(", ")[0])
        row = Row(subject, shapes, what, value, unit)
        if value > 0:
            row.stock = stock / value if stock is not None and side != "stock" else None
            row.ours = ours / value if ours is not None and side not in ("stock", "ours") else None
            row.floor = value / floor if floor else None
        rows.append(row)
    return rows
