"""The config of a training that cools down from a certain epoch of another one on."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

from nadam_suite.config import ScheduleConfig, TrainConfig, faults
from nadam_suite.config.schedule_kinds import KINDS, cools
from nadam_suite.errors import ArgumentError, ArgumentTypeError, ConfigError
from nadam_suite.experiment.lengths import (
    change,
    check_same_so_far,
    counted,
    first_of_cooldown,
    schedules_of,
    stable_epoch,
    values_of,
)
from nadam_suite.schedules import TrainingPlan, parse_duration

__all__ = ["Cooldown", "cooled"]

_KEY = "schedule.cooldown"


@dataclasses.dataclass(frozen=True)
class Cooldown:
    """What is wanted of a cooldown; None is what the schedule of the run has.

    Args:
        length: Steps, "5ep", "20000ex", or "20%" of the whole that it ends.
        shape: Its curve.
        end: Learning rate at its end.
    """

    length: int | str | None = None
    shape: str | None = None
    end: float | None = None


def cooled(
    config: TrainConfig, plan: TrainingPlan, epoch: int, wanted: Cooldown, source: Path
) -> TrainConfig:
    """Return the config of a training that goes down from an epoch on, and ends there.

    Other schedules that have a cooldown themselves go down with the learning rate. Callbacks that
    assign the rate, which a schedule decides from now on, are left out.

    Args:
        config: The config of the training so far, every duration in steps.
        plan: Length of that training.
        epoch: Number of epochs that were trained.
        wanted: The cooldown.
        source: Where the state is, for messages.

    Raises:
        ConfigError: The cooldown makes no whole epochs, does not go down, or the training is in
            one already.
    """
    schedules = schedules_of(config)
    key = "optimizer.learning_rate" if "optimizer.learning_rate" in schedules else "schedule"
    schedule = schedules.setdefault(key, ScheduleConfig(kind="constant"))
    begin = counted(config, plan, epoch)
    _check_stable(config, plan, begin, source)
    epochs = epoch + _epochs(config, plan, epoch, wanted.length, schedule)
    total = counted(config, plan, epochs)
    callbacks = [c.to_dict() for c in config.callbacks if c.kind != "reduce_lr_on_plateau"]
    changes: dict[str, Any] = {"epochs": epochs, "callbacks": callbacks}
    for name, known in schedules.items():
        if name == key:
            change(changes, name, _annealed(known, begin, total, wanted.shape, wanted.end))
        elif first_of_cooldown(known) is not None:
            change(changes, name, _annealed(known, begin, total))
    branch = config.replace(**changes)
    check_same_so_far(config, branch, plan, epoch, "Begin a new run.")
    _check_goes_down(branch, begin, total, epoch)
    return branch


def _annealed(
    schedule: ScheduleConfig,
    begin: int,
    total: int,
    shape: str | None = None,
    end: float | None = None,
) -> ScheduleConfig:
    """Return a schedule that goes down from step `begin` to step `total`."""
    table: dict[str, Any] = schedule.to_dict()
    prefix = "cooldown_"
    if schedule.kind == "wsd" and begin >= (schedule.warmup or 0):
        prefix = ""
    elif "total" in KINDS[schedule.kind].defaults:
        # The length of its own stays; what ends earlier is put around it.
        outer: dict[str, Any] = {"kind": "joined", "parts": [table], "boundaries": []}
        if cools(table):
            outer |= {key: table.pop(key) for key in ("cooldown_shape", "cooldown_end")}
            del table["cooldown"]
        elif schedule.kind == "wsd":
            outer |= {"cooldown_shape": schedule.shape, "cooldown_end": schedule.end}
        table = {**outer, "factor": table.pop("factor", None)}
    table |= {"total": total, "cooldown": total - begin}
    for name, value in (("shape", shape), ("end", end)):
        if value is not None:
            table[prefix + name] = value
    return ScheduleConfig.from_dict(table, source="schedule")


def _epochs(
    config: TrainConfig,
    plan: TrainingPlan,
    epoch: int,
    length: int | str | None,
    schedule: ScheduleConfig,
) -> int:
    """Return how many epochs the cooldown lasts.

    Raises:
        ConfigError: It is not known, or makes no whole epochs.
    """
    if length is None:
        if first_of_cooldown(schedule) is None or schedule.cooldown is None:
            raise ConfigError(
                f"`{_KEY}` is missing. Received: no value for it, and the run's schedule has no "
                f"cooldown of its own. Add it, for instance {_KEY}=2ep."
            )
        length = schedule.cooldown
    try:
        number, unit = parse_duration(length, _KEY)
        begin = counted(config, plan, epoch)
        if unit in ("ep", "ex"):
            batches = plan.resolve(length, name=_KEY)
            epochs = batches // plan.steps_per_epoch
            exact = epochs * plan.steps_per_epoch == batches
        else:
            until = Fraction(begin) + number
            if unit == "%":  # of the whole, of which the other part has been trained
                until = begin / (1 - min(number, Fraction(99)) / 100)
            each = Fraction(counted(config, plan, plan.epochs), plan.epochs)
            epochs = round(until / each) - epoch
            exact = counted(config, plan, epoch + epochs) == round(until)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(str(error)) from None
    if not exact or epochs < 1:
        requirement = f"whole epochs, of {plan.steps_per_epoch} batches each"
        remedy = f"Write for instance {_KEY}={max(epochs, 1)}ep."
        raise ConfigError(faults.fault(_KEY, requirement, length, remedy))
    return epochs


def _check_stable(config: TrainConfig, plan: TrainingPlan, begin: int, source: Path) -> None:
    """Refuse a state in which a cooldown has begun.

    Raises:
        ConfigError: It is one.
    """
    for key, schedule in schedules_of(config).items():
        first = first_of_cooldown(schedule)
        if first is not None and begin > first:
            stable = stable_epoch(config, plan)
            kept = source / "checkpoints" / str(stable)
            raise ConfigError(
                f"Argument `--cooldown-from` must be a state from before the cooldown. Received: "
                f"{str(source)!r} after {begin} steps, and that of `{key}` began at step {first}. "
                + (f"Pass {str(kept)!r}." if kept.is_dir() else "Pass an earlier checkpoint.")
            )


def _check_goes_down(branch: TrainConfig, begin: int, total: int, epoch: int) -> None:
    """Refuse a cooldown that ends no lower than it begins.

    Raises:
        ConfigError: It is one.
    """
    high, low = values_of(branch.full_optimizer().learning_rate, [begin, total])
    if low >= high:
        raise ConfigError(
            f"A cooldown must go down. Received: a learning rate of {high:g} after epoch {epoch} "
            f"and of {low:g} at the end. Branch from an earlier state, or lower the end."
        )
