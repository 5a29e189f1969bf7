"""How a training's length enters its config, and the check that a change of it rewrites no past."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nadam_suite.config import ScheduleConfig, TrainConfig
from nadam_suite.config.build import build_schedule
from nadam_suite.config.schedule_kinds import cools
from nadam_suite.errors import ArgumentError, ConfigError
from nadam_suite.schedules import TrainingPlan, sample

__all__ = [
    "change",
    "check_same_so_far",
    "counted",
    "extended",
    "first_of_cooldown",
    "kept_after",
    "longer_by",
    "schedules_of",
    "stable_epoch",
    "values_of",
]

_SCHEDULED = ("learning_rate", "weight_decay", "beta_1")
_BLOCK = 1 << 18  # steps that are compared at a time


def counted(config: TrainConfig, plan: TrainingPlan, epochs: int) -> int:
    """Return what the counter of the schedules says after so many epochs: batches, or updates.

    Args:
        config: The config.
        plan: Length of the training.
        epochs: Number of epochs.

    Example:

    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.lengths import counted
    >>> config = TrainConfig(model="digits", data="digits", epochs=4)
    >>> counted(config, config.plan(examples=320), 3)
    30
    """
    batches = plan.steps_per_epoch * epochs
    return batches // plan.accumulation if _per_update(config) else batches


def schedules_of(config: TrainConfig) -> dict[str, ScheduleConfig]:
    """Return the schedules of a config by their dotted keys."""
    places: dict[str, Any] = {"schedule": config.schedule}
    places |= {f"optimizer.{name}": getattr(config.optimizer, name) for name in _SCHEDULED}
    return {key: value for key, value in places.items() if isinstance(value, ScheduleConfig)}


def first_of_cooldown(schedule: ScheduleConfig) -> int | None:
    """Return the step at which the cooldown of a schedule begins, or None if it has none.

    Of several parts only the last one's counts. The third phase of a one-cycle is no cooldown that
    could begin later: all of it depends on the whole length.

    Args:
        schedule: The schedule, every duration in steps.

    Example:

    >>> from nadam_suite.config import ScheduleConfig
    >>> from nadam_suite.experiment.lengths import first_of_cooldown
    >>> first_of_cooldown(ScheduleConfig(kind="wsd", peak=1.0, total=100, cooldown=20))
    80
    """
    found = []
    if schedule.parts is not None and (last := first_of_cooldown(schedule.parts[-1])) is not None:
        found.append(_begin_of_last(schedule) + last)
    if schedule.kind == "wsd" or cools(dict(schedule)):
        found.append(int(schedule.total or 0) - int(schedule.cooldown or 0))
    return min(found, default=None)


def stable_epoch(config: TrainConfig, plan: TrainingPlan) -> int | None:
    """Return the last epoch that ends before any cooldown begins; None without a cooldown.

    Args:
        config: The config, every duration in steps.
        plan: Length of the training.
    """
    found = [first_of_cooldown(schedule) for schedule in schedules_of(config).values()]
    firsts = [first for first in found if first is not None]
    if not firsts:
        return None
    window = plan.accumulation if _per_update(config) else 1
    batches = (min(firsts) + 1) * window - 1  # the last at which the counter says so
    return min(batches // plan.steps_per_epoch, plan.epochs)


def kept_after(config: TrainConfig, plan: TrainingPlan) -> set[int]:
    """Return the numbers of finished epochs after which a training keeps its state.

    Args:
        config: The config, every duration in steps.
        plan: Length of the training.
    """
    every = config.checkpoint_every
    kept = set(range(every, plan.epochs + 1, every)) if every else set()
    return kept | {stable_epoch(config, plan) or 0} - {0}


def longer_by(duration: int | str, plan: TrainingPlan) -> int:
    """Return how many epochs a duration is.

    Args:
        duration: Epochs "10ep", a percentage of the plan "50%", examples "20000ex", or batches.
        plan: Length of the training.

    Raises:
        ArgumentError: It is malformed, or makes no whole number of epochs.

    Example:

    >>> from nadam_suite.experiment.lengths import longer_by
    >>> from nadam_suite.schedules import TrainingPlan
    >>> longer_by("50%", TrainingPlan(steps_per_epoch=10, epochs=4))
    2
    """
    steps = plan.resolve(duration, name="--extend")
    epochs, rest = divmod(steps, plan.steps_per_epoch)
    if rest or not epochs:
        nearest = max(round(steps / plan.steps_per_epoch), 1)
        raise ArgumentError(
            f"Argument `--extend` must make whole epochs, of {plan.steps_per_epoch} batches each. "
            f"Received: --extend={duration!r}, which is {steps} batches. Write {nearest}ep."
        )
    return epochs


def extended(config: TrainConfig, plan: TrainingPlan, duration: int | str) -> TrainConfig:
    """Return the config of a longer training.

    Schedules that last the whole training still do. Warm-ups and cooldowns keep their lengths.

    Args:
        config: The config, every duration in steps.
        plan: Length of the training as it is.
        duration: How much longer it is to be.

    Raises:
        ArgumentError: The duration makes no whole epochs.
    """
    longer = dataclasses.replace(plan, epochs=plan.epochs + longer_by(duration, plan))
    before, after = (counted(config, p, p.epochs) for p in (plan, longer))
    changes: dict[str, Any] = {"epochs": longer.epochs}
    for key, schedule in schedules_of(config).items():
        change(changes, key, _moved(schedule, before, after))
    return config.replace(**changes)


def _moved(schedule: ScheduleConfig, before: int, after: int) -> ScheduleConfig:
    """Return a schedule that lasts to `after` if it lasted to `before`; its last part likewise."""
    changes: dict[str, Any] = {}
    if schedule.total == before:
        changes["total"] = after
    if schedule.parts is not None:
        begin = _begin_of_last(schedule)
        last = _moved(schedule.parts[-1], before - begin, after - begin)
        changes["parts"] = [part.to_dict() for part in (*schedule.parts[:-1], last)]
    return schedule.replace(**changes)


def _begin_of_last(schedule: ScheduleConfig) -> int:
    """Return the step at which the last part of a schedule begins."""
    return int(schedule.boundaries[-1]) if schedule.boundaries else 0


def change(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables."""
    *parents, last = key.split(".")
    for part in parents:
        table = table.setdefault(part, {})
    table[last] = value


def check_same_so_far(
    before: TrainConfig, after: TrainConfig, plan: TrainingPlan, epoch: int, remedy: str
) -> None:
    """Refuse a config whose schedules have other values in the epochs that were trained already.

    Args:
        before: The config that they were trained with, every duration in steps.
        after: The one to go on with.
        plan: Length of the training; of it only the batches of an epoch count.
        epoch: Number of epochs that were trained.
        remedy: What the message ends with.

    Raises:
        ConfigError: Learning rate, weight decay or beta_1 differ at a step of them.
    """
    steps = counted(before, plan, epoch)
    for name in _SCHEDULED:
        was, becomes = (getattr(config.full_optimizer(), name) for config in (before, after))
        if was == becomes:
            continue
        for first in range(0, steps, _BLOCK):
            block = np.arange(first, min(first + _BLOCK, steps))
            differ = values_of(was, block) != values_of(becomes, block)
            if differ.any():
                step = int(block[differ.argmax()])
                sentence = _rewritten(before, after, name, step, steps)
                raise ConfigError(f"{sentence} {remedy}")


def values_of(value: ScheduleConfig | float | None, steps: Any) -> np.ndarray:
    """Return the values of a setting at some steps as the optimizer has them, in float32.

    Args:
        value: A number, or a schedule, every duration in steps; None is 0.
        steps: Integers.
    """
    schedule: Any = build_schedule(value) if isinstance(value, ScheduleConfig) else value or 0.0
    return sample(schedule, np.asarray(steps)).astype("float32")


def _rewritten(before: TrainConfig, after: TrainConfig, name: str, step: int, steps: int) -> str:
    """Return the sentence about a schedule that would have had another value."""
    known = schedules_of(before) | schedules_of(after)
    key = "schedule" if name == "learning_rate" and "schedule" in known else f"optimizer.{name}"
    was, becomes = (schedules_of(config).get(key) for config in (before, after))
    kind = was.kind if was is not None else "constant"
    lengths = "" if was is None or becomes is None else f", total={was.total} -> {becomes.total}"
    return (
        f"`{key}` must have the values that it had in the {steps} steps that were trained already. "
        f"Received: {key}.kind={kind!r}{lengths}, which differs from step {step} on."
    )


def _per_update(config: TrainConfig) -> bool:
    return config.optimizer.schedule_step == "update"
