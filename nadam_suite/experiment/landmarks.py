"""Where the parts of a schedule begin and end, for pictures that show them."""

from __future__ import annotations

from typing import Any

__all__ = ["landmarks"]


def landmarks(schedule: Any) -> list[tuple[int, str]]:
    """Return the counts at which something happens, in order, and what it is.

    A schedule of `nadam_suite` keeps its lengths under their names; of a foreign one nothing is
    known, and nothing is said.

    Args:
        schedule: A schedule, or a combination of several.

    Example:

    >>> from nadam_suite.experiment.landmarks import landmarks
    >>> from nadam_suite.schedules import WarmupCosine
    >>> landmarks(WarmupCosine(1.0, total_steps=100, warmup_steps=10))
    [(10, 'warm-up ends'), (100, 'schedule ends')]
    """
    found: dict[int, str] = {}
    for count, what in _parts(schedule):
        if count > 0:
            found.setdefault(count, what)
    return sorted(found.items())


def _parts(schedule: Any) -> list[tuple[int, str]]:
    """Return what a schedule itself says first, then what those inside of it do."""
    total, warmup = _length(schedule, "total_steps"), _length(schedule, "warmup_steps")
    found = [] if warmup is None else [(warmup, "warm-up ends")]
    cooldown = _length(schedule, "cooldown_steps")
    if total is not None and cooldown:
        found.append((total - cooldown, "cool-down begins"))
    if total is not None:
        found.append((total, "schedule ends"))
    boundaries = _list(schedule, "boundaries")
    found += [(boundary, "next schedule") for boundary in boundaries]
    found += [(int(step), "point") for step, _ in _list(schedule, "points")[1:]]
    if (inner := getattr(schedule, "schedule", None)) is not None:
        last = None if total is None else total - (cooldown or 0)
        found += [part for part in _parts(inner) if last is None or part[0] < last]
    starts = [0, *boundaries]
    ends: list[int | None] = [*boundaries, None]
    for start, end, part in zip(starts, ends, _list(schedule, "schedules"), strict=False):
        moved = [(start + count, what) for count, what in _parts(part) if count > 0]
        found += [(count, what) for count, what in moved if end is None or count < end]
    return found


def _length(schedule: Any, name: str) -> int | None:
    value = getattr(schedule, name, None)
    return value if isinstance(value, int) and type(schedule).__module__.startswith(_OURS) else None


def _list(schedule: Any, name: str) -> list[Any]:
    value = getattr(schedule, name, ())
    own = isinstance(value, (list, tuple)) and type(schedule).__module__.startswith(_OURS)
    return list(value) if own else []


_OURS = "nadam_suite."
