"""The kinds of schedule as data: the class of each one, its keys and their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nadam_suite import schedules
from nadam_suite.config.base import Config

__all__ = [
    "DURATIONS",
    "KEYS",
    "KINDS",
    "REQUIRED",
    "VALUES",
    "Kind",
    "completed",
    "cools",
    "kind_of",
    "parts_of",
    "uses",
]

REQUIRED = "<required>"  # stands for a default where there is none

# Keys that any kind takes: a factor, and a cooldown over the last steps, which end at `total`. A
# kind whose schedule has a cooldown of its own takes that instead.
_FACTOR = {"factor": None}
_COOLDOWN = {"cooldown_shape": "1-sqrt", "cooldown_end": 0.0}

# Keys whose value is a length, and keys whose value is one of what is scheduled.
DURATIONS = (
    "warmup",
    "total",
    "cooldown",
    "decay_every",
    "timescale",
    "step_size",
    "step_size_down",
    "first_period",
)
VALUES = ("peak", "start", "end", "base", "cooldown_end")


@dataclasses.dataclass(frozen=True)
class Kind:
    """What belongs to one value of `kind`.

    Args:
        make: The schedule's class.
        defaults: Its keys and their defaults, which may be `REQUIRED`.
        arguments: Its keys that the class calls by another name than the other classes do.
    """

    make: type[Any]
    defaults: Mapping[str, Any]
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def argument(self, key: str) -> str:
        """Return what the class calls a key."""
        return self.arguments.get(key, _ARGUMENTS.get(key, key))


_ARGUMENTS = {
    "warmup": "warmup_steps",
    "total": "total_steps",
    "cooldown": "cooldown_steps",
    "decay_every": "decay_steps",
    "parts": "schedules",
}
_RISE = {"peak": None, "warmup": 0, "start": 0.0}
_DECAY = {"peak": None, "warmup": 0, "total": None, "start": 0.0, "end": 0.0}
_CYCLE = {"total": None, "warmup": "30%", "anneal": "cosine", "cooldown": 0}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "constant": Kind(schedules.Constant, _RISE, {"peak": "value"}),
        "linear": Kind(schedules.WarmupLinear, _DECAY),
        "cosine": Kind(schedules.WarmupCosine, _DECAY),
        "polynomial": Kind(schedules.WarmupPolynomial, {**_DECAY, "power": 1.0}),
        "exponential": Kind(
            schedules.WarmupExponential,
            {**_DECAY, "decay_rate": 0.1, "decay_every": None, "staircase": False},
        ),
        "inverse_sqrt": Kind(schedules.WarmupInverseSqrt, {**_RISE, "timescale": None}),
        "noam": Kind(
            schedules.Noam,
            {"peak": None, "d_model": REQUIRED, "warmup": REQUIRED},
            {"peak": "scale"},
        ),
        "wsd": Kind(
            schedules.WarmupStableDecay, {**_DECAY, "cooldown": REQUIRED, "shape": "1-sqrt"}
        ),
        "one_cycle": Kind(
            schedules.OneCycle,
            {"peak": None, **_CYCLE, "div_factor": 25.0, "final_div_factor": 1e4},
        ),
        "one_cycle_momentum": Kind(
            schedules.OneCycleMomentum, {**_CYCLE, "base_momentum": 0.85, "max_momentum": 0.95}
        ),
        "cyclical": Kind(
            schedules.Cyclical,
            {
                "peak": None,
                "base": 0.0,
                "step_size": REQUIRED,
                "step_size_down": None,
                "mode": "triangular",
                "gamma": 1.0,
            },
        ),
        "cosine_restarts": Kind(
            schedules.CosineRestarts,
            {
                "peak": None,
                "end": 0.0,
                "first_period": REQUIRED,
                "t_mul": 2.0,
                "m_mul": 1.0,
                "cycles": None,
            },
        ),
        "piecewise": Kind(schedules.Piecewise, {"points": REQUIRED, "interpolation": "linear"}),
        "joined": Kind(schedules.Joined, {"parts": REQUIRED, "boundaries": REQUIRED}),
    }
)


KEYS = frozenset({*_FACTOR, *_COOLDOWN, *(key for kind in KINDS.values() for key in kind.defaults)})


def kind_of(table: Mapping[str, Any]) -> str | None:
    """Return a table's kind, or None if there is none of that name."""
    kind = table.get("kind", "cosine")
    return kind if isinstance(kind, str) and kind in KINDS else None


def cools(table: Mapping[str, Any]) -> bool:
    """Return whether a schedule has a cooldown that its kind does not have of its own.

    Args:
        table: Keys and values; the kind is a known one.
    """
    own = KINDS[kind_of(table) or "cosine"].defaults
    return table.get("cooldown") is not None and "cooldown" not in own


def uses(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a table of this kind may have, and their defaults.

    Args:
        table: Keys and values; the kind is a known one.

    Example:
    >>> from nadam_suite.config.schedule_kinds import uses
    >>> list(uses({"kind": "constant"}))
    ['peak', 'warmup', 'start', 'factor', 'cooldown']
    >>> list(uses({"kind": "constant", "cooldown": "10%"}))[-2:]
    ['cooldown_shape', 'cooldown_end']
    """
    keys = {**KINDS[kind_of(table) or "cosine"].defaults, **_FACTOR}
    keys.setdefault("cooldown", None)
    return {"total": None, **keys, **_COOLDOWN} if cools(table) else keys


def completed(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with its kind's defaults, and without known keys that its kind does not use.

    Example:
    >>> from nadam_suite.config.schedule_kinds import completed
    >>> completed({"kind": "constant", "end": 0.0})
    {'kind': 'constant', 'peak': None, 'warmup': 0, 'start': 0.0, 'factor': None, 'cooldown': None}
    """
    if kind_of(table) is None:
        return dict(table)
    keys = uses(table)
    result = {key: value for key, value in table.items() if key in keys or key not in KEYS}
    for key, default in keys.items():
        if result.get(key) is None:
            result[key] = None if default is REQUIRED else default
    return result


def parts_of(table: Mapping[str, Any], prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the parts that are tables, each with its dotted key and a dot.

    Args:
        table: Keys and values.
        prefix: Dotted key of the table, ending in a dot.
    """
    parts = table.get("parts")
    return [
        (f"{prefix}parts.{index}.", dict(part))
        for index, part in enumerate(parts if isinstance(parts, (list, tuple)) else ())
        if isinstance(part, (Mapping, Config))
    ]
