"""Faults of a schedule's table that concern several of its keys, found before any training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from nadam_suite.config import faults
from nadam_suite.config.schedule_kinds import KEYS, KINDS, REQUIRED, cools, kind_of, parts_of, uses
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.plan import Duration, parse_duration

__all__ = ["only_for_beta_1", "schedule_faults", "too_high", "without_peak"]

_EXAMPLES = {
    "boundaries": 'boundaries = ["50%"]',
    "cooldown": 'cooldown = "20%"',
    "d_model": "d_model = 512",
    "first_period": 'first_period = "10ep"',
    "parts": 'parts = [{kind = "constant"}, {kind = "cosine"}]',
    "points": 'points = [[0, 1.0], ["50%", 0.1]]',
    "step_size": 'step_size = "4ep"',
    "warmup": "warmup = 4000",
}
# What a cooldown of a kind's own calls the keys of the one that the others have.
_OWN = {
    "wsd": {"cooldown_shape": "shape", "cooldown_end": "end"},
    "one_cycle": {"cooldown_shape": "anneal", "cooldown_end": "final_div_factor"},
    "one_cycle_momentum": {"cooldown_shape": "anneal", "cooldown_end": "max_momentum"},
}
_TWIN = 'Choose "one_cycle", its twin for the learning rate.'
# Where a key means nothing, these values of it do.
_NOTHING = {"start": 0.0, "end": 0.0, "warmup": 0}


def schedule_faults(
    table: Mapping[str, Any], prefix: str = "", peak: float | None = None
) -> list[str]:
    """Return the faults of a table whose values may be anything.

    Args:
        table: Keys and values.
        prefix: Dotted key of the table, ending in a dot.
        peak: What is put in where a peak is left out, if that is known.
    """
    kind = kind_of(table)
    if kind is None:
        return []
    typed = {key: value for key, value in table.items() if value is not None}
    keys = uses(typed)
    found = [
        _unused(typed, kind, key, prefix)
        for key, value in typed.items()
        if key in KEYS and key not in keys and not _is_nothing(key, value)
    ]
    found += [
        f"`{prefix}{key}` is missing. Received: {prefix}kind={kind!r} without it. Add it, for "
        f"instance {_EXAMPLES[key]}."
        for key, default in keys.items()
        if default is REQUIRED and key not in typed
    ]
    values = {"peak": peak, **{key: typed.get(key, default) for key, default in keys.items()}}
    values["peak"] = typed.get("peak", peak)
    found += _numbers(kind, values, prefix)
    if kind == "piecewise":
        found += _points(values["points"], f"{prefix}points")
    if kind == "joined":
        found += _boundaries(values, prefix)
    for at, part in parts_of(typed, prefix):
        found += schedule_faults(part, at, peak)
    return found


def without_peak(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return the tables, this one and its parts, that lack a peak, each with its dotted key."""
    if kind_of(table) is None:
        return []
    own = "peak" in uses(table) and table.get("peak") is None
    inner = [item for at, part in parts_of(table, prefix) for item in without_peak(part, at)]
    typed = {key: value for key, value in table.items() if value is not None}
    return [(prefix, typed), *inner] if own else inner


def too_high(table: Mapping[str, Any], prefix: str, by: float = 1.0) -> list[str]:
    """Return the faults of values that are not below 1, as those of `beta_1` must be.

    Args:
        table: Keys and values.
        prefix: Dotted key of the table, ending in a dot.
        by: What the values are multiplied by.
    """
    kind = kind_of(table)
    if kind is None:
        return []
    by *= table["factor"] if _is_number(table.get("factor")) else 1.0
    keys = {"peak", "start", "end", "base", "cooldown_end", "max_momentum"} & uses(table).keys()
    if kind == "noam":
        keys -= {"peak"}  # a factor, which no step has as its value
    pairs = [(key, table[key]) for key in sorted(keys) if key in table]
    for index, point in enumerate(table.get("points") or ()):
        pairs += [(f"points.{index}.1", point[1])] if _is_pair(point) else []
    found = [
        faults.fault(f"{prefix}{key}", f"a number < {1.0 / by:g}", value, "Lower it.")
        for key, value in pairs
        if _is_number(value) and value * by >= 1.0
    ]
    return found + [item for at, part in parts_of(table, prefix) for item in too_high(part, at, by)]


def only_for_beta_1(table: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the faults of tables, this one and its parts, that another number cannot follow.

    Args:
        table: Keys and values.
        prefix: Dotted key of the table, ending in a dot.
    """
    found = []
    if table.get("kind") == "one_cycle_momentum":
        requirement = "another one here, because this one is for `beta_1`"
        found.append(faults.fault(f"{prefix}kind", requirement, table["kind"], _TWIN))
    for at, part in parts_of(table, prefix):
        found += only_for_beta_1(part, at)
    return found


def _is_nothing(key: str, value: Any) -> bool:
    return key in _NOTHING and _is_number(value) and value == _NOTHING[key]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _unused(table: Mapping[str, Any], kind: str, key: str, prefix: str) -> str:
    """Return the sentence about a key that its kind does not use."""
    requirement = f'left out where kind is "{kind}", which does not use it'
    others = [f'"{name}"' for name, other in KINDS.items() if key in other.defaults]
    listed = " or ".join([", ".join(others[:-1]), others[-1]][len(others) < 2 :]) if others else ""
    remedy = f"Remove it, or choose kind = {listed}."
    if not others and kind in _OWN:
        requirement = f'left out where kind is "{kind}", whose cooldown is its own'
        remedy = f"Write `{_OWN[kind][key]}` instead."
    elif not others:
        requirement, remedy = "left out without a cooldown", "Remove it, or add `cooldown`."
    elif key in ("shape", "end") and cools(table):
        remedy = f"Write `cooldown_{key}` for the cooldown, or choose kind = {listed}."
    elif key == "total":
        remedy = f"Remove it, add a `cooldown` that ends there, or choose kind = {listed}."
    return faults.fault(f"{prefix}{key}", requirement, table[key], remedy)


def _numbers(kind: str, values: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the faults of values that do not fit each other; others are found elsewhere."""
    found = []

    def check(key: str, *needed: str, wrong: Any, requirement: str, remedy: str) -> None:
        operands = [values.get(name) for name in (key, *needed)]
        if all(map(_is_number, operands)) and wrong(*operands):
            found.append(faults.fault(f"{prefix}{key}", requirement, values[key], remedy))

    peak = f"at most the peak, {values['peak']!r}"
    if kind in ("exponential", "cosine_restarts"):
        check("end", "peak", wrong=lambda e, p: e > p, requirement=peak, remedy="Lower it.")
    for shape, end in (("shape", "end"), ("cooldown_shape", "cooldown_end")):
        if values.get(shape) == "exponential":
            requirement = f'a number > 0 where `{shape}` is "exponential", which never reaches 0'
            remedy = "Raise it, or choose another shape."
            check(end, wrong=lambda e: e == 0.0, requirement=requirement, remedy=remedy)
    if values.get("shape") == "exponential":
        check("end", "peak", wrong=lambda e, p: e > p, requirement=peak, remedy="Lower it.")
    if kind == "cyclical" and values["mode"] != "exp_range":
        requirement, remedy = '1 unless `mode` is "exp_range"', 'Set mode = "exp_range".'
        check("gamma", wrong=lambda g: 0.0 < g < 1.0, requirement=requirement, remedy=remedy)
    requirement, remedy = "1 or at least 1.01", "Set it to 1 for periods of equal length."
    check("t_mul", wrong=lambda t: 1.0 < t < 1.01, requirement=requirement, remedy=remedy)
    requirement, remedy = f"at most `max_momentum`, {values.get('max_momentum')!r}", "Lower it."
    order = ("base_momentum", "max_momentum")
    check(*order, wrong=lambda b, m: b > m, requirement=requirement, remedy=remedy)
    lengths = ["warmup"] if kind == "noam" else []
    lengths += ["cooldown"] if kind == "wsd" or cools({"kind": kind, **values}) else []
    for key in lengths:
        duration = _parsed(values[key])
        if duration is not None and duration.number == 0:
            requirement = "longer than nothing"
            found.append(faults.fault(f"{prefix}{key}", requirement, values[key], "Lengthen it."))
    return found


def _points(points: Any, key: str) -> list[str]:
    """Return the faults of points whose durations do not begin with zero, or do not increase."""
    if not isinstance(points, (list, tuple)) or not all(map(_is_pair, points)):
        return []
    if not points:
        return [faults.fault(key, "not empty", points, f"Add {_EXAMPLES['points']}.")]
    durations = [_parsed(point[0]) for point in points]
    found = []
    if durations[0] is not None and durations[0].number != 0:
        requirement, remedy = "0, where the schedule begins", "Add a point in front."
        found.append(faults.fault(f"{key}.0.0", requirement, points[0][0], remedy))
    for index, (before, after) in enumerate(itertools.pairwise(durations), start=1):
        if _falls(before, after):
            requirement, remedy = "later than the point before it", "Put them in order."
            found.append(faults.fault(f"{key}.{index}.0", requirement, points[index][0], remedy))
    return found


def _boundaries(values: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the faults of parts and boundaries whose numbers do not fit."""
    parts, boundaries = values["parts"], values["boundaries"]
    if not isinstance(parts, (list, tuple)) or not isinstance(boundaries, (list, tuple)):
        return []
    if not parts:
        return [faults.fault(f"{prefix}parts", "not empty", parts, f"Add {_EXAMPLES['parts']}.")]
    if len(boundaries) != len(parts) - 1:
        requirement = f"{len(parts) - 1} durations, where each part but the first begins"
        if len(parts) == 1:
            requirement = "empty, because there is one part alone"
        remedy = "Add or remove some."
        return [faults.fault(f"{prefix}boundaries", requirement, boundaries, remedy)]
    found = []
    durations = [Duration(Fraction(0), "steps"), *map(_parsed, boundaries)]
    for index, (before, after) in enumerate(itertools.pairwise(durations)):
        zero = after is not None and after.number == 0
        if zero or _falls(before, after):
            requirement, remedy = "later than where the part before it begins", "Put them in order."
            key = f"{prefix}boundaries.{index}"
            found.append(faults.fault(key, requirement, boundaries[index], remedy))
    return found


def _parsed(value: Any) -> Duration | None:
    """Return a duration, or None if it is malformed, which is found elsewhere."""
    try:
        return parse_duration(value)
    except (ArgumentError, ArgumentTypeError):
        return None


def _falls(before: Duration | None, after: Duration | None) -> bool:
    """Return whether a duration is not longer than another one of the same unit."""
    if before is None or after is None or before.unit != after.unit:
        return False
    return after.number <= before.number
