"""The learning rate's course as settings, with durations relative to the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from nadam_suite.config import faults
from nadam_suite.config.base import Config, Number
from nadam_suite.errors import ArgumentError, ArgumentTypeError, ConfigError
from nadam_suite.schedules.plan import (
    TrainingPlan,
    format_duration,
    resolve_duration,
)

__all__ = ["Duration", "ScheduleConfig"]


def _duration(value: Any) -> int | str:
    try:
        return format_duration(value)
    except (ArgumentError, ArgumentTypeError) as error:
        text = str(error).rpartition(". ")[2]
        requirement = 'a number of steps such as 500, or "5%", "3ep" (epochs) or "20000ex"'
        raise faults.refuse(requirement + " (examples)", text) from None


Duration = Annotated[
    Any,
    BeforeValidator(_duration),
    PlainSerializer(lambda value: value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(%|ep|ex)\s*$"},
            ]
        }
    ),
]


class ScheduleConfig(Config):
    """A warm-up and what follows it.

    Args:
        kind: "cosine" (the default), "linear" or "constant": the course after the warm-up.
        peak: Highest value, >= 0. In a `TrainConfig` it is left out there: the optimizer's
            learning rate is the peak.
        warmup: Length of the warm-up: steps, or "5%" of the schedule's total, "3ep", "20000ex".
            Defaults to none.
        total: Length of the schedule, the warm-up included: steps, or "80%" of the training,
            "30ep", "20000ex". None, the default, is the whole training. A constant has none.
        start: Value at step 0, if there is a warm-up. Defaults to 0.
        end: Value at the end and after it. Defaults to 0. A constant has none.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import ScheduleConfig
    >>> from nadam_suite.schedules import TrainingPlan
    >>> schedule = ScheduleConfig(peak=1e-3, warmup="5%")
    >>> resolved = schedule.resolve(TrainingPlan(steps_per_epoch=100, epochs=10))
    >>> resolved.warmup, resolved.total
    (50, 1000)
    """

    kind: Literal["cosine", "linear", "constant"] = "cosine"
    peak: Number | None = None
    warmup: Duration = 0
    total: Duration | None = None
    start: Number = 0.0
    end: Number = 0.0

    def resolve(
        self, plan: TrainingPlan | None = None, *, of: str = "batches", key: str = "schedule"
    ) -> ScheduleConfig:
        """Return the schedule with its durations in steps.

        Args:
            plan: Length of the training; needed unless all durations are in steps.
            of: What a step is: "batches" or "updates".
            key: Dotted key of this table, for messages.

        Raises:
            ConfigError: A duration cannot be resolved, or the warm-up fills the schedule.
        """
        if plan is None and self.total is None and self.kind != "constant":
            requirement = "given, or the length of the training must be known"
            remedy = "Set it to a number of steps, or pass plan=TrainingPlan.from_data(...)."
            raise ConfigError(faults.fault(f"{key}.total", requirement, None, remedy))
        try:
            total = self.total if self.total is not None else "100%"
            if self.kind == "constant":
                warm = resolve_duration(self.warmup, plan=plan, of=of, name=f"{key}.warmup")
                return self.replace(warmup=warm)
            steps = resolve_duration(total, plan=plan, of=of, name=f"{key}.total")
            warm = resolve_duration(self.warmup, steps, plan, of=of, name=f"{key}.warmup")
        except ArgumentError as error:
            raise ConfigError(str(error)) from None
        if warm >= steps:
            requirement = f"shorter than the schedule, whose length of {steps} steps includes it"
            remedy = f"It is {warm} steps long. Shorten it, or train longer."
            raise ConfigError(faults.fault(f"{key}.warmup", requirement, self.warmup, remedy))
        return self.replace(warmup=warm, total=steps)

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        if values.get("kind") != "constant":
            return []
        found = []
        if values.get("total") is not None:
            requirement = 'left out where kind is "constant", which has no end'
            remedy = 'Remove it, or choose kind = "cosine" or "linear".'
            found.append(faults.fault(f"{prefix}total", requirement, values["total"], remedy))
        if values.get("end", 0.0) != 0.0:
            requirement = 'left out where kind is "constant", which stays at its peak'
            remedy = 'Remove it, or choose kind = "cosine" or "linear".'
            found.append(faults.fault(f"{prefix}end", requirement, values["end"], remedy))
        return found
