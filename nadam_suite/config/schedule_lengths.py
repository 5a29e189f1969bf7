"""Turns the durations of a schedule's table into steps, and checks that its phases fit."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from nadam_suite.config import faults
from nadam_suite.config.schedule_kinds import DURATIONS, KINDS, cools, uses
from nadam_suite.errors import ArgumentError
from nadam_suite.schedules.plan import TrainingPlan, resolve_duration

__all__ = ["Lengths"]


@dataclasses.dataclass
class Lengths:
    """What durations are resolved against, and the faults that came up.

    Args:
        plan: Length of the training, or None where unknown.
        of: What a step is: "batches" or "updates".
        found: Faults, one sentence each.
    """

    plan: TrainingPlan | None
    of: str
    found: list[str] = dataclasses.field(default_factory=list)

    def resolved(self, config: Any, key: str, whole: int | None = None) -> Any:
        """Return a schedule's config with its durations in steps.

        If there are faults, they are added to `found` and what is returned is not to be used.

        Args:
            config: A `ScheduleConfig`.
            key: Its dotted key, for messages.
            whole: What its percentages refer to, in steps: the length of a part. None for the
                length of the training.
        """
        changes: dict[str, Any] = {}
        keys, before = uses(dict(config)), len(self.found)
        if "total" in keys:
            if config.total is None and whole is None and self.plan is None:
                requirement = "given, or the length of the training must be known"
                remedy = "Set it to a number of steps, or pass plan=TrainingPlan.from_data(...)."
                self.found.append(faults.fault(f"{key}.total", requirement, None, remedy))
                return config
            total = "100%" if config.total is None else config.total
            whole = changes["total"] = self._steps(total, whole, f"{key}.total")
            if whole is None:
                return config
        for name in DURATIONS:
            if name in keys and name != "total" and (value := getattr(config, name)) is not None:
                changes[name] = self._steps(value, whole, f"{key}.{name}")
        if config.points is not None:
            changes["points"] = self._points(config.points, f"{key}.points", whole)
        if config.parts is not None:
            changes |= self._parts(config, key, whole)
        if len(self.found) > before:
            return config
        self._check_fit(config, changes, key)
        return config.replace(**changes)

    def updates(self, duration: Any, name: str) -> int | None:
        """Return a duration of an average in real updates, or None and a fault in `found`.

        Args:
            duration: The duration.
            name: Its dotted key, for messages.
        """
        return self._steps(duration, None, name, of="updates")

    def _steps(
        self, duration: Any, whole: int | None, name: str, of: str | None = None
    ) -> int | None:
        try:
            return resolve_duration(duration, whole, self.plan, of=of or self.of, name=name)
        except ArgumentError as error:
            self.found.append(str(error))
            return None

    def _points(self, points: Any, key: str, whole: int | None) -> list[Any] | None:
        """Return points at steps, or None if there are faults."""
        steps = [self._steps(at, whole, f"{key}.{i}.0") for i, (at, _) in enumerate(points)]
        for index, (before, after) in enumerate(itertools.pairwise(steps), start=1):
            self._check_order(before, after, points[index][0], f"{key}.{index}.0")
        return [[step, value] for step, (_, value) in zip(steps, points, strict=True)]

    def _parts(self, config: Any, key: str, whole: int | None) -> dict[str, Any]:
        """Return the parts, each resolved against its own length, and where they begin."""
        if whole is None and self.plan is not None:
            whole = self._steps("100%", None, key)
        begins: list[int | None] = [0]
        for index, boundary in enumerate(config.boundaries):
            name = f"{key}.boundaries.{index}"
            begins.append(self._steps(boundary, whole, name))
            self._check_order(begins[-2], begins[-1], boundary, name)
        parts = []
        for index, part in enumerate(config.parts):
            begin, end = begins[index], [*begins[1:], whole][index]
            length = None if begin is None or end is None else end - begin
            if length is not None and length <= 0:
                if index + 1 < len(config.parts):
                    continue  # out of order, which was found
                if _is_relative(part):
                    requirement = f"less than {end}, where the part that begins there ends"
                    remedy = "Begin it earlier, or train longer."
                    name, value = f"{key}.boundaries.{index - 1}", config.boundaries[index - 1]
                    self.found.append(faults.fault(name, requirement, value, remedy))
                    continue
                length = None  # it is never reached
            parts.append(self.resolved(part, f"{key}.parts.{index}", length).to_dict())
        return {"parts": parts, "boundaries": begins[1:]}

    def _check_order(self, before: int | None, after: int | None, typed: Any, name: str) -> None:
        if before is not None and after is not None and after <= before:
            requirement = f"later than step {before}, where what comes before it begins"
            remedy = f"It is step {after}. Move it, or train longer."
            self.found.append(faults.fault(name, requirement, typed, remedy))

    def _check_fit(self, config: Any, steps: dict[str, Any], key: str) -> None:
        """Find phases that do not leave each other room."""
        own = KINDS[config.kind].defaults
        total, cooldown = steps.get("total"), steps.get("cooldown", 0)
        if total is None:
            return
        if cools(dict(config)):
            if cooldown > total:
                requirement = f"at most as long as the whole, which is {total} steps"
                self._refuse("cooldown", requirement, config, steps, key)
            cooldown = 0
        if "total" not in own or "warmup" not in own:
            return
        warmup = steps["warmup"]
        if cooldown and warmup + cooldown > total - (config.kind != "wsd"):
            requirement = f"shorter: the whole is {total} steps, and the warm-up {warmup} of them"
            self._refuse("cooldown", requirement, config, steps, key)
        elif warmup >= total:
            requirement = f"shorter than the schedule, whose length of {total} steps includes it"
            self._refuse("warmup", requirement, config, steps, key)

    def _refuse(
        self, name: str, requirement: str, config: Any, steps: dict[str, Any], key: str
    ) -> None:
        remedy = f"It is {steps[name]} steps long. Shorten it, or train longer."
        typed = getattr(config, name)
        self.found.append(faults.fault(f"{key}.{name}", requirement, typed, remedy))


def _is_relative(config: Any) -> bool:
    """Return whether a part's lengths depend on how long it lasts."""
    keys = uses(dict(config))
    durations = [getattr(config, name) for name in DURATIONS if name in keys]
    durations += [at for at, _ in config.points or ()] + list(config.boundaries or ())
    unknown = "total" in keys and config.total is None
    percent = any(isinstance(duration, str) and duration.endswith("%") for duration in durations)
    return unknown or percent or any(map(_is_relative, config.parts or ()))
