"""The course of a training's hyperparameters over its whole plan, as data."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from nadam_suite.callbacks.files import replace_file
from nadam_suite.errors import ArgumentError
from nadam_suite.experiment.landmarks import landmarks
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.hyperparameters import normalize
from nadam_suite.optimizers.rate import highest_rate
from nadam_suite.optimizers.rule import momentum_schedule, weight_decay
from nadam_suite.schedules import TrainingPlan, sample

__all__ = ["LARGEST", "QUANTITIES", "Course", "course"]

LARGEST = 1_000_000  # updates that a course holds one by one; of more it holds so many
QUANTITIES = {
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "decay_per_update": "weight decay per update",
    "beta_1": "beta_1",
    "momentum": "momentum u_t",
}
_NUMPY = types.SimpleNamespace(pow=np.power)  # `np.pow` is not in every NumPy


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """What the real updates of a training use, one entry per update.

    Args:
        plan: Length of the training.
        step: The batches at which the updates happen, counted from 0 like `optimizer.iterations`.
        update: Numbers of the updates, counted from 1; those of `step` plus one unless gradients
            are accumulated.
        values: By a name of `QUANTITIES`, an array of the same length, float64. Weight decay and
            what an update takes of a weight are left out where there is none.
        marks: By the same names, what happens at which step, such as "warm-up ends".
    """

    plan: TrainingPlan
    step: np.ndarray
    update: np.ndarray
    values: Mapping[str, np.ndarray]
    marks: Mapping[str, tuple[tuple[int, str], ...]]

    @property
    def complete(self) -> bool:
        """Whether every update of the plan is there."""
        return len(self.update) == self.plan.total_updates

    @property
    def epoch(self) -> np.ndarray:
        """The epochs in which the updates happen, counted from 0 as in a run's history."""
        return self.step // self.plan.steps_per_epoch

    def varies(self, name: str) -> bool:
        """Return whether a quantity has more than one value."""
        array = self.values[name]
        return bool(np.any(array != array[0]))

    def constants(self) -> dict[str, float]:
        """Return the quantities that have one value only, and that value."""
        return {name: float(a[0]) for name, a in self.values.items() if not self.varies(name)}

    def describe(self) -> str:
        """Return the length of the training in a few words."""
        parts = [f"{self.plan.total_steps:,} steps"]
        if self.plan.epochs > 1:
            parts.append(f"{self.plan.epochs:,} epochs")
        if self.plan.accumulation > 1:
            parts.append(f"{self.plan.total_updates:,} updates")
        return ", ".join(parts)

    def thinned(self, points: int) -> Course:
        """Return a course of about so many points, at most, that looks the same when it is drawn.

        The first and the last update stay, those at the marks, and of every stretch between the
        lowest and the highest value of each quantity.

        Args:
            points: An integer >= 100.
        """
        names = [name for name in self.values if self.varies(name)]
        length = len(self.update)
        if length <= points:
            return self
        stretches = max(points // (2 * max(len(names), 1) + 1), 1)
        size = -(-length // stretches)
        begins = np.arange(0, length, size)
        kept = [begins, np.array([length - 1]), _near(self._marked(), self.step)]
        for name in names:
            # The rest of the last stretch is filled up with its last value.
            padded = np.pad(self.values[name], (0, len(begins) * size - length), mode="edge")
            rows = padded.reshape(-1, size)
            kept += [begins + rows.argmin(axis=1), begins + rows.argmax(axis=1)]
        return self._chosen(np.unique(np.minimum(np.concatenate(kept), length - 1)))

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per update, floats with all their digits; the file appears as a whole.

        Args:
            path: The file, which is replaced.
        """

        def write(file: Any) -> None:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["step", "epoch", "update", *self.values])
            writer.writerows(self._rows())
            text.detach()  # flushes, and leaves the file open

        replace_file(path, write)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold, a list per column."""
        plan = dataclasses.asdict(self.plan)
        plan |= {"total_steps": self.plan.total_steps, "total_updates": self.plan.total_updates}
        columns = {"step": self.step, "epoch": self.epoch, "update": self.update}
        return {
            "plan": plan,
            "complete": self.complete,
            **{name: array.tolist() for name, array in columns.items()},
            "values": {name: array.tolist() for name, array in self.values.items()},
            "marks": {
                name: [{"step": step, "what": what} for step, what in found]
                for name, found in self.marks.items()
            },
        }

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        columns = (self.step, self.epoch, self.update, *self.values.values())
        for first in range(0, len(self.step), 10_000):
            yield from zip(*(c[first : first + 10_000].tolist() for c in columns), strict=True)

    def _marked(self) -> np.ndarray:
        return np.array([step for marks in self.marks.values() for step, _ in marks], int)

    def _chosen(self, indices: np.ndarray) -> Course:
        values = {name: array[indices] for name, array in self.values.items()}
        return dataclasses.replace(
            self, step=self.step[indices], update=self.update[indices], values=values
        )


def course(optimizer: Nadam, plan: TrainingPlan, *, largest: int = LARGEST) -> Course:
    """Return what each real update of a training will use.

    Schedules are evaluated as the optimizer's step evaluates them: at the batch that ends an
    accumulation window, or, with `schedule_step="update"`, at the number of updates before.

    Args:
        optimizer: The optimizer; it is left as it is.
        plan: Length of the training.
        largest: Of a plan with more updates, so many are taken, evenly spread, and the marks.

    Raises:
        ArgumentError: The training is too short for a single update, or a value comes from a
            callable, which only the training itself can ask.

    Example:

    >>> from nadam_suite import Nadam
    >>> from nadam_suite.experiment.course import course
    >>> from nadam_suite.schedules import TrainingPlan, WarmupLinear
    >>> optimizer = Nadam(WarmupLinear(1.0, 8, 2), gradient_accumulation_steps=2)
    >>> used = course(optimizer, TrainingPlan(steps_per_epoch=4, epochs=2, accumulation=2))
    >>> used.step.tolist(), used.values["learning_rate"].round(6).tolist()
    ([1, 3, 5, 7], [0.5, 0.833333, 0.5, 0.166667])

    Reference for u_t: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop, 2016.
    """
    window = optimizer.gradient_accumulation_steps or 1
    plan = dataclasses.replace(plan, accumulation=window)
    if plan.total_updates < 1:
        raise ArgumentError(
            f"Argument `plan` must have at least the {window} batches of one accumulation window. "
            f"Received: total_steps={plan.total_steps}. Train longer, or lower "
            "`gradient_accumulation_steps`."
        )
    held = _held(optimizer)
    per_update = optimizer.schedule_step == "update"
    each = window if per_update else 1
    marks = {
        name: tuple((count * each, what) for count, what in landmarks(value))
        for name, value in held.items()
        if value is not None and not isinstance(value, float)
    }
    update = _updates(
        plan.total_updates, largest, [step // window for m in marks.values() for step, _ in m]
    )
    step = update * window - 1
    counter = update - 1 if per_update else step
    values = _values(optimizer, held, counter, update)
    end = plan.total_steps
    shown = {name: tuple(m for m in found if 0 < m[0] < end) for name, found in marks.items()}
    return Course(plan, step, update, values, shown)


def _held(optimizer: Nadam) -> dict[str, Any]:
    """Return the numbers and schedules of an optimizer, without a look at its inside."""
    config = optimizer.get_config()
    held = {name: normalize(name, config[name]) for name in _HELD}
    for name, value in held.items():
        schedule = isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
        if callable(value) and not schedule:
            raise ArgumentError(
                f"Argument `{name}` must be a number or a schedule for its course to be known. "
                f"Received: {name}={value!r}. Make it a schedule."
            )
    return held


_HELD = ("learning_rate", "weight_decay", "beta_1")


def _values(
    optimizer: Nadam, held: Mapping[str, Any], counter: np.ndarray, update: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the quantities at the counters that schedules read, and the updates' numbers."""

    def at(name: str) -> np.ndarray:
        value = held[name]
        return np.full(len(counter), value) if isinstance(value, float) else sample(value, counter)

    values = {"learning_rate": at("learning_rate")}
    if held["weight_decay"] is not None:
        mode, given = optimizer.weight_decay_mode, optimizer.max_learning_rate
        values["weight_decay"] = at("weight_decay")
        values["decay_per_update"] = weight_decay(
            mode,
            values["weight_decay"],
            values["learning_rate"],
            highest_rate(mode, held["learning_rate"], given),
        )
    values["beta_1"] = at("beta_1")
    values["momentum"] = momentum_schedule(
        values["beta_1"], update.astype("float64"), optimizer.momentum_decay, _NUMPY
    )
    return values


def _updates(total: int, largest: int, wanted: list[int]) -> np.ndarray:
    """Return the numbers of all updates, or of evenly spread ones and the wanted ones."""
    if total <= largest:
        return np.arange(1, total + 1)
    spread = np.linspace(1, total, largest).round().astype(int)
    # A mark lies between two updates; both stay.
    near = np.array([n + off for n in wanted for off in (0, 1)], int)
    return np.unique(np.concatenate([spread, np.clip(near, 1, total)]))


def _near(wanted: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the indices of the steps at, just before and just after the wanted ones."""
    found = np.searchsorted(steps, wanted)
    return np.clip(np.concatenate([found - 1, found, found + 1]), 0, len(steps) - 1)
