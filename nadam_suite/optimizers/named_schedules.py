"""The schedules that `nadam()` and `nadamw()` know by name, and the keywords of each."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nadam_suite.errors import ArgumentError
from nadam_suite.schedules import (
    Constant,
    OneCycle,
    TrainingPlan,
    WarmupCosine,
    WarmupExponential,
    WarmupInverseSqrt,
    WarmupLinear,
    WarmupPolynomial,
    WarmupStableDecay,
    resolve_duration,
)

__all__ = ["NAMED", "Named", "is_peak", "rate_of"]


@dataclasses.dataclass(frozen=True)
class Named:
    """A schedule with a name.

    Args:
        make: Its class, which takes the peak first.
        keywords: The keywords that it takes.
    """

    make: type[Any]
    keywords: tuple[str, ...]


_RISE = ("warmup", "start")
_DECAY = ("warmup", "start", "total_steps", "end")

NAMED: Mapping[str, Named] = MappingProxyType(
    {
        "constant": Named(Constant, _RISE),
        "cosine": Named(WarmupCosine, _DECAY),
        "linear": Named(WarmupLinear, _DECAY),
        "polynomial": Named(WarmupPolynomial, (*_DECAY, "power")),
        "exponential": Named(WarmupExponential, (*_DECAY, "decay_rate")),
        "inverse_sqrt": Named(WarmupInverseSqrt, _RISE),
        "wsd": Named(WarmupStableDecay, (*_DECAY, "cooldown", "shape")),
        "one_cycle": Named(OneCycle, ("warmup", "total_steps")),
    }
)


def is_peak(rate: Any) -> bool:
    """Return whether a learning rate is, or stands for, a peak that a schedule can scale."""
    return rate is None or isinstance(rate, numbers.Real)


def rate_of(rate: Any, course: Mapping[str, Any], plan: TrainingPlan | None, of: str) -> Any:
    """Return the learning rate: a number, or the schedule around it.

    Args:
        rate: The peak, or a schedule or callable, which no keyword can change.
        course: `schedule` and the keywords of all schedules; None where not given.
        plan: Length of the training.
        of: What schedules count, "batches" or "updates".

    Raises:
        ArgumentError: There is no such schedule, it lacks a keyword or does not take one, or a
            duration cannot be resolved.
    """
    kind = course["schedule"] or "constant"
    if not isinstance(kind, str) or kind not in NAMED:
        raise ArgumentError(
            f"Argument `schedule` must be one of {', '.join(map(repr, NAMED))}. "
            f"Received: schedule={kind!r}. Pass other schedules as the learning rate itself."
        )
    given = {key: value for key, value in course.items() if value is not None}
    given.pop("schedule", None)
    _check_taken(rate, kind, given, course)
    if not is_peak(rate):
        return rate
    lengths = _lengths(kind, given, plan, of)
    if kind == "constant" and not lengths.get("warmup_steps"):
        return rate
    arguments = {key: value for key, value in given.items() if key not in _LENGTHS}
    return NAMED[kind].make(rate, **arguments, **lengths)


_LENGTHS = ("warmup", "cooldown", "total_steps")


def _lengths(
    kind: str, given: Mapping[str, Any], plan: TrainingPlan | None, of: str
) -> dict[str, int]:
    """Return the lengths of a schedule in steps, by the names of its class' arguments."""
    whole, result = None, {}
    if "total_steps" in NAMED[kind].keywords:
        if "total_steps" not in given and plan is None:
            raise ArgumentError(
                f'Argument `total_steps` or `plan` must be given for schedule="{kind}". Received: '
                "total_steps=None, plan=None. Pass plan=TrainingPlan.from_data(examples, "
                'batch_size, epochs), or schedule="constant".'
            )
        total = given.get("total_steps", "100%")
        whole = resolve_duration(total, plan=plan, of=of, name="total_steps")
        result["total_steps"] = whole
    for key in ("warmup", "cooldown"):
        if key in given:
            steps = resolve_duration(given[key], whole, plan, of=of, name=key)
            result[f"{key}_steps"] = steps
    return result


def _check_taken(rate: Any, kind: str, given: Mapping[str, Any], course: Mapping[str, Any]) -> None:
    """Refuse keywords that the kind of schedule or of learning rate makes meaningless."""
    if not is_peak(rate):
        named = {"schedule": course["schedule"], **given}
        clashing = {k: v for k, v in named.items() if v not in (None, "constant", 0)}
        reason = "be left out where learning_rate is no number"
        remedy = "Pass the peak as a number, or leave them out."
    else:
        clashing = {k: v for k, v in given.items() if k not in NAMED[kind].keywords}
        takers = [n for n, other in NAMED.items() if clashing.keys() <= set(other.keywords)]
        reason = f'be left out where schedule is "{kind}", which does not use it'
        choices = " or ".join(f'"{name}"' for name in takers)
        remedy = f"Pass schedule={choices}, or leave it out." if takers else "Leave them out."
    if clashing:
        received = ", ".join(f"{key}={value!r}" for key, value in clashing.items())
        names = " and ".join(f"`{key}`" for key in clashing)
        raise ArgumentError(f"Argument {names} must {reason}. Received: {received}. {remedy}")
    if is_peak(rate) and kind == "wsd" and "cooldown" not in given:
        raise ArgumentError(
            'Argument `cooldown` must be given for schedule="wsd". Received: cooldown=None. Pass '
            'for instance cooldown="20%".'
        )
