"""`nadam()` and `nadamw()`: from flat keywords to a ready optimizer with its schedule."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nadam_suite.averaging import EMA, SWA, Average, PowerEMA
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.named_schedules import NAMED, is_peak, rate_of
from nadam_suite.optimizers.parameter_rules import as_rules
from nadam_suite.optimizers.parameter_rules import no_decay as no_decay_rules
from nadam_suite.optimizers.presets import get_preset
from nadam_suite.schedules import TrainingPlan

__all__ = ["nadam", "nadamw"]

_ARGUMENTS = tuple(inspect.signature(Nadam.__init__).parameters)[1:]
# Averages that a name alone stands for, as all of their arguments have defaults.
_AVERAGES: Mapping[str, type[Average]] = MappingProxyType(
    {"ema": EMA, "power_ema": PowerEMA, "swa": SWA}
)


def nadam(
    learning_rate: Any = None,
    *,
    preset: str | None = None,
    schedule: str | None = None,
    warmup: int | str | None = None,
    total_steps: int | str | None = None,
    plan: TrainingPlan | None = None,
    start: float | None = None,
    end: float | None = None,
    power: float | None = None,
    decay_rate: float | None = None,
    cooldown: int | str | None = None,
    shape: str | None = None,
    no_decay: Any = None,
    averaging: Any = None,
    **arguments: Any,
) -> Nadam:
    """Return a Nadam from flat keywords.

    Args:
        learning_rate: A number, which is the peak of the schedule, or what else `Nadam` takes: a
            schedule object or a callable, which leave no room for `schedule` and `warmup`.
            Defaults to the preset's, or to 0.001.
        preset: Name of published settings, which are the base of the other keywords; see
            `nadam_suite.list_presets`.
        schedule: What follows the warm-up: "constant", "cosine", "linear", "polynomial",
            "exponential", "inverse_sqrt", "wsd" or "one_cycle". Defaults to the preset's, or to
            "constant".
        warmup: Length of the linear warm-up: a number of steps, or "5%" of the schedule, "3ep",
            "20000ex". Defaults to the preset's, or to none; of "one_cycle" to 30 %.
        total_steps: Length of the schedule, the warm-up included, likewise. Defaults to the whole
            plan. "constant" and "inverse_sqrt" have none.
        plan: Length of the training, which relative durations need.
        start: Learning rate at step 0 of a warm-up, but of "one_cycle". Defaults to 0.
        end: Learning rate at the end of a schedule that has one, but of "one_cycle"; of
            "exponential" the lowest one. Defaults to 0.
        power: Power of "polynomial", > 0. Defaults to 1.
        decay_rate: What "exponential" multiplies by over its whole length, in (0, 1]. Defaults to
            0.1.
        cooldown: Length of the cooldown of "wsd", as for `warmup`; required there.
        shape: Curve of that cooldown: "1-sqrt" (the default), "linear", "cosine" or "exponential".
        no_decay: True leaves variables of rank 1 or less (biases, normalization layers) out of the
            weight decay; a pattern, or several, leaves out the paths that they are found in, too;
            False leaves out none. Defaults to the preset's, or to False.
        averaging: "ema", "power_ema" or "swa", an average of `nadam_suite.averaging`, a dict of
            these by name, or None, the default. Durations are resolved against the plan.
        **arguments: Every other argument of `Nadam`.

    Raises:
        ArgumentError: A value lies out of its range, two keywords exclude each other, a keyword
            or a preset is unknown, or a duration cannot be resolved.
        ArgumentTypeError: A value has the wrong type.

    Example:
    >>> from nadam_suite import nadam
    >>> optimizer = nadam(1e-3, schedule="cosine", warmup="5%", total_steps=1000)
    >>> optimizer.get_config()["learning_rate"]["config"]["warmup_steps"]
    50
    >>> nadam(preset="torch").momentum_decay
    0.004
    >>> from nadam_suite.averaging import EMA
    >>> from nadam_suite.schedules import TrainingPlan
    >>> plan = TrainingPlan.from_data(1000, batch_size=50, epochs=10)
    >>> nadam(averaging=EMA(half_life="2ep"), plan=plan).averaging.half_life
    40
    """
    course = {"schedule": schedule, "warmup": warmup, "total_steps": total_steps, "end": end}
    course |= {"start": start, "power": power, "decay_rate": decay_rate}
    course |= {"cooldown": cooldown, "shape": shape}
    if averaging is not None:
        arguments["averaging"] = averaging
    return _make(learning_rate, arguments, preset=preset, course=course, plan=plan, spare=no_decay)


def nadamw(
    learning_rate: Any = None,
    *,
    weight_decay: Any = None,
    preset: str | None = None,
    schedule: str | None = None,
    warmup: int | str | None = None,
    total_steps: int | str | None = None,
    plan: TrainingPlan | None = None,
    start: float | None = None,
    end: float | None = None,
    power: float | None = None,
    decay_rate: float | None = None,
    cooldown: int | str | None = None,
    shape: str | None = None,
    no_decay: Any = None,
    averaging: Any = None,
    **arguments: Any,
) -> Nadam:
    """Return a Nadam with decoupled weight decay that spares biases and normalization layers.

    Args:
        learning_rate: As in `nadam`.
        weight_decay: Number >= 0, schedule or callable. Defaults to the preset's, or to 0.004 as
            in `keras.optimizers.AdamW`; optax has 1e-4, timm 1e-2. As in all of these it is
            multiplied by the learning rate.
        preset: As in `nadam`.
        schedule: As in `nadam`.
        warmup: As in `nadam`.
        total_steps: As in `nadam`.
        plan: As in `nadam`.
        start: As in `nadam`.
        end: As in `nadam`.
        power: As in `nadam`.
        decay_rate: As in `nadam`.
        cooldown: As in `nadam`.
        shape: As in `nadam`.
        no_decay: As in `nadam`, but by default True, unless a preset with a weight decay of its
            own says otherwise, as those of AlgoPerf do.
        averaging: As in `nadam`.
        **arguments: Every other argument of `Nadam`.

    Raises:
        ArgumentError: See `nadam`.
        ArgumentTypeError: See `nadam`.

    Example:
    >>> from nadam_suite import nadamw
    >>> optimizer = nadamw(1e-3, no_decay=["embeddings"])
    >>> optimizer.weight_decay, [rule.describe() for rule in optimizer.parameter_rules]
    (0.004, ['max_ndim=1', "match='embeddings'"])
    """
    if weight_decay is not None:
        arguments["weight_decay"] = weight_decay
    course = {"schedule": schedule, "warmup": warmup, "total_steps": total_steps, "end": end}
    course |= {"start": start, "power": power, "decay_rate": decay_rate}
    course |= {"cooldown": cooldown, "shape": shape}
    if averaging is not None:
        arguments["averaging"] = averaging
    return _make(
        learning_rate,
        arguments,
        preset=preset,
        course=course,
        plan=plan,
        spare=no_decay,
        defaults={"weight_decay": 0.004},
    )


def _make(
    learning_rate: Any,
    arguments: dict[str, Any],
    *,
    preset: str | None,
    course: dict[str, Any],
    plan: TrainingPlan | None,
    spare: Any,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Nadam:
    """Return the optimizer: keywords over the preset over `defaults` over Nadam's own."""
    _check_known(arguments)
    base = dict(defaults)
    spares = "weight_decay" in defaults
    if preset is not None:
        found = get_preset(preset)
        base |= found.arguments
        spares = found.no_decay if "weight_decay" in found.arguments else spares
        if is_peak(learning_rate) and course["schedule"] != "constant":
            own = found.schedule or {}
            course["schedule"] = course["schedule"] or own.get("kind")
            named = NAMED.get(str(course["schedule"] or "constant"))
            for key in ("warmup", "end"):
                if course[key] is None and named is not None and key in named.keywords:
                    course[key] = own.get(key)
    values = {**base, **arguments}
    if learning_rate is None:
        learning_rate = values.get("learning_rate", 0.001)
    averaging = _averages(values.get("averaging"))
    _check_window(values, plan, averaging)
    values["averaging"] = _resolved(averaging, plan)
    of = "updates" if values.get("schedule_step") == "update" else "batches"
    values["learning_rate"] = rate_of(learning_rate, course, plan, of)
    rules = _exclusions(spares if spare is None else spare)
    values["parameter_rules"] = (*as_rules(values.get("parameter_rules", ())), *rules)
    return Nadam(**values)


def _averages(value: Any) -> Any:
    """Return what `averaging` is with objects in the place of names.

    Raises:
        ArgumentError: There is no average of a name.
    """
    if isinstance(value, Mapping) and "class_name" not in value:
        return {name: _averages(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    if value not in _AVERAGES:
        raise ArgumentError(
            f"Argument `averaging` must be one of {', '.join(map(repr, _AVERAGES))}, an average, "
            f"or a dict of these by name. Received: averaging={value!r}. Pass for instance "
            "nadam_suite.averaging.Window(k=5)."
        )
    return _AVERAGES[value]()


def _is_relative(averaging: Any) -> bool:
    """Return whether averages have durations that depend on the length of the training."""
    several = averaging.values() if isinstance(averaging, Mapping) else (averaging,)
    return any(isinstance(each, Average) and not each.is_resolved for each in several)


def _resolved(averaging: Any, plan: TrainingPlan | None) -> Any:
    """Return averages with durations in real updates; what is no average is left to Nadam.

    Raises:
        ArgumentError: A duration needs a plan.
    """
    if not _is_relative(averaging):
        return averaging
    if plan is None:
        raise ArgumentError(
            "Argument `plan` must be given for averages whose durations are relative. Received: "
            f"averaging={averaging!r}, plan=None. Pass plan=TrainingPlan.from_data(examples, "
            "batch_size, epochs), or write numbers of updates."
        )
    if isinstance(averaging, Mapping):
        return {name: _resolved(each, plan) for name, each in averaging.items()}
    return averaging.resolved(plan)


def _check_window(values: dict[str, Any], plan: TrainingPlan | None, averaging: Any) -> None:
    """Refuse a plan whose updates are not those of the optimizer, where something counts them."""
    window = values.get("gradient_accumulation_steps")
    counts = "averages" if _is_relative(averaging) else None
    counts = "schedules" if values.get("schedule_step") == "update" else counts
    if plan is not None and counts and plan.accumulation != (window or 1):
        raise ArgumentError(
            "Argument `gradient_accumulation_steps` must be the plan's "
            f"accumulation={plan.accumulation}, as {counts} count updates. Received: "
            f"gradient_accumulation_steps={window!r}. Make the two agree."
        )


def _check_known(arguments: dict[str, Any]) -> None:
    """Refuse keywords that are no arguments of Nadam, with the nearest one that is."""
    keywords = [*_ARGUMENTS, *inspect.signature(nadam).parameters]
    keywords.remove("arguments")
    for name, value in arguments.items():
        if name not in keywords:
            near = difflib.get_close_matches(name, keywords, n=1)
            remedy = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(keywords)}."
            text = f"Unknown argument `{name}`. Received: {name}={value!r}. {remedy}"
            raise ArgumentTypeError(text)


def _exclusions(no_decay: Any) -> tuple[Any, ...]:
    """Return the rules that `no_decay` stands for."""
    if isinstance(no_decay, bool):
        return no_decay_rules() if no_decay else ()
    patterns = [no_decay] if isinstance(no_decay, str) else no_decay
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(p, str) for p in patterns):
        raise ArgumentTypeError(
            "Argument `no_decay` must be True, False, a pattern or a list of patterns. "
            f"Received: no_decay={no_decay!r}. Pass rules as `parameter_rules` instead."
        )
    return no_decay_rules(*patterns)
