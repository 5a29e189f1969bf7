"""How long a training is, and durations that are written relative to it: 500, "5%", "3ep".

A duration is an integer, which counts steps; a percentage of the whole; a number of epochs; or a
number of examples. Only the plan of a training turns the last three into steps.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from fractions import Fraction
from typing import Any, NamedTuple

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import count

__all__ = ["Duration", "TrainingPlan", "format_duration", "parse_duration", "resolve_duration"]

_PATTERN = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>%|ep|ex)")
_KINDS = 'a number of steps such as 500, or "5%", "3ep" (epochs) or "20000ex" (examples)'


class Duration(NamedTuple):
    """A parsed duration: an exact number and its unit, "steps", "%", "ep" or "ex"."""

    number: Fraction
    unit: str


def parse_duration(duration: Any, name: str = "duration") -> Duration:
    """Return the number and the unit of a duration.

    Args:
        duration: An integer >= 0 (steps), or a string: `"5%"` up to 100, `"3ep"` or `"0.5ep"`,
            `"20000ex"`.
        name: What the message calls it.

    Raises:
        ArgumentTypeError: `duration` is neither an integer nor a string.
        ArgumentError: The string has another form, or the number is out of its range.

    Example:
    >>> from nadam_suite.schedules import parse_duration
    >>> parse_duration("12.5%")
    Duration(number=Fraction(25, 2), unit='%')
    """
    if isinstance(duration, numbers.Integral) and not isinstance(duration, bool):
        return Duration(Fraction(count(name, duration, 0)), "steps")
    if not isinstance(duration, str):
        raise ArgumentTypeError(
            f"Argument `{name}` must be {_KINDS}. Received: {name}={duration!r} "
            f"(of type {type(duration).__name__}). {_hint(duration)}"
        )
    match = _PATTERN.fullmatch(duration.strip())
    if match is None:
        raise ArgumentError(
            f"Argument `{name}` must be {_KINDS}. Received: {name}={duration!r}. {_hint(duration)}"
        )
    number, unit = Fraction(match["number"]), match["unit"]
    if unit == "%" and number > 100:
        raise ArgumentError(
            f"Argument `{name}` must be at most 100%. Received: {name}={duration!r}. "
            "Train for more epochs instead."
        )
    if unit == "ex" and number.denominator != 1:
        raise ArgumentError(
            f"Argument `{name}` must be a whole number of examples. Received: {name}={duration!r}. "
            f'Write "{round(number)}ex".'
        )
    return Duration(number, unit)


def format_duration(duration: Any) -> int | str:
    """Return the duration in its one normal form, without spaces.

    Args:
        duration: See `parse_duration`.

    Raises:
        ArgumentTypeError: See `parse_duration`.
        ArgumentError: See `parse_duration`.

    Example:
    >>> from nadam_suite.schedules import format_duration
    >>> format_duration(" 5 %"), format_duration(500)
    ('5%', 500)
    """
    parse_duration(duration)
    return re.sub(r"\s+", "", duration) if isinstance(duration, str) else int(duration)


def resolve_duration(
    duration: Any, whole: int | None = None, plan: TrainingPlan | None = None, **options: Any
) -> int:
    """Return a duration in steps.

    Args:
        duration: See `parse_duration`.
        whole: What a percentage refers to, in steps. Defaults to the plan's length.
        plan: The plan, which epochs, examples and, without `whole`, percentages need.
        **options: `of` ("batches", the default, or "updates") and `name`, as in
            `TrainingPlan.resolve`.

    Raises:
        ArgumentError: The duration cannot be resolved from what is given.

    Example:
    >>> from nadam_suite.schedules import resolve_duration
    >>> resolve_duration("5%", whole=1000)
    50
    """
    name = options.get("name", "duration")
    number, unit = parse_duration(duration, name)
    if unit == "steps":
        return int(number)
    if unit == "%" and whole is not None:
        return _nearest(number * whole / 100, number)
    if plan is None:
        raise ArgumentError(
            f"Argument `{name}` cannot be resolved without the length of the training. "
            f"Received: {name}={duration!r}. Pass plan=TrainingPlan.from_data(examples, "
            "batch_size, epochs), or write the duration as a number of steps."
        )
    return plan.resolve(duration, **options)


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """The length of a training, in every unit in which a duration may be written.

    Mostly made by `from_data`; by hand where the number of examples is unknown, as for a stream.

    Args:
        steps_per_epoch: Batches in an epoch, an integer >= 1.
        epochs: Number of epochs, an integer >= 1.
        accumulation: Batches whose mean gradient makes one update; 1 without accumulation. A
            window that an epoch's end cuts goes on in the next epoch.
        batch_size: Examples in a batch, or None where unknown.
        examples: Examples in an epoch, or None where unknown.

    Raises:
        ArgumentError: A number is below its minimum.
        ArgumentTypeError: A number is not an integer.

    Example:
    >>> from nadam_suite.schedules import TrainingPlan
    >>> plan = TrainingPlan.from_data(examples=1000, batch_size=64, epochs=10)
    >>> plan.steps_per_epoch, plan.total_steps, plan.resolve("5%"), plan.resolve("3ep")
    (16, 160, 8, 48)
    """

    steps_per_epoch: int
    epochs: int
    accumulation: int = 1
    batch_size: int | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                object.__setattr__(self, field.name, count(field.name, value, 1))

    @classmethod
    def from_data(
        cls,
        examples: int,
        batch_size: int,
        epochs: int,
        accumulation: int = 1,
        *,
        drop_remainder: bool = False,
    ) -> TrainingPlan:
        """Return the plan of a training on so many examples.

        Args:
            examples: Examples in an epoch.
            batch_size: Examples in a batch.
            epochs: Number of epochs.
            accumulation: `gradient_accumulation_steps` of the optimizer, or 1.
            drop_remainder: Whether a last batch that is not full is left out, as in
                `tf.data.Dataset.batch(drop_remainder=True)`. Keras keeps it, the default here.
        """
        examples = count("examples", examples, 1)
        batch_size = count("batch_size", batch_size, 1)
        if drop_remainder and examples < batch_size:
            raise ArgumentError(
                "Argument `batch_size` must be at most the number of examples where incomplete "
                f"batches are dropped. Received: batch_size={batch_size}, examples={examples}. "
                "Lower it, or pass drop_remainder=False."
            )
        steps = examples // batch_size if drop_remainder else -(-examples // batch_size)
        return cls(steps, epochs, accumulation, batch_size, examples)

    @property
    def total_steps(self) -> int:
        """Batches in the whole training."""
        return self.steps_per_epoch * self.epochs

    @property
    def total_updates(self) -> int:
        """Real updates in the whole training."""
        return self.total_steps // self.accumulation

    def resolve(self, duration: Any, *, of: str = "batches", name: str = "duration") -> int:
        """Return a duration in steps.

        Args:
            duration: An integer, which is returned as it is; a percentage of this plan, rounded to
                the nearest step, but at least one if it is positive; a number of epochs, rounded
                likewise; or a number of examples: the steps in which that many have been seen.
            of: What a step is: "batches", the default, or "updates", for an optimizer whose
                schedules count updates (`schedule_step="update"`).
            name: What a message calls the duration.

        Raises:
            ArgumentError: The duration is malformed, counts examples that the plan does not know,
                or `of` is neither of the two.

        Example:
        >>> from nadam_suite.schedules import TrainingPlan
        >>> plan = TrainingPlan.from_data(1000, batch_size=50, epochs=10, accumulation=4)
        >>> plan.resolve("2ep"), plan.resolve("2ep", of="updates"), plan.resolve("1500ex")
        (40, 10, 30)
        """
        number, unit = parse_duration(duration, name)
        if of not in ("batches", "updates"):
            raise ArgumentError(
                f'Argument `of` must be "batches" or "updates". Received: of={of!r}. Use "updates" '
                'for an optimizer with schedule_step="update".'
            )
        if unit == "steps":
            return int(number)
        per_step = self.accumulation if of == "updates" else 1
        if unit == "%":
            whole = self.total_updates if of == "updates" else self.total_steps
            return _nearest(number * whole / 100, number)
        if unit == "ep":
            return _nearest(number * self.steps_per_epoch / per_step, number)
        return _nearest(Fraction(self._batches_of(int(number), name), per_step), number)

    def _batches_of(self, examples: int, name: str) -> int:
        """Return the batches in which so many examples have been seen."""
        if self.batch_size is None:
            raise ArgumentError(
                f"Argument `{name}` counts examples, which this plan does not know. Received: "
                f'{name}="{examples}ex". Pass batch_size= to TrainingPlan, or use '
                "TrainingPlan.from_data(examples, batch_size, epochs)."
            )
        if self.examples is None:
            return math.ceil(Fraction(examples, self.batch_size))
        epochs, rest = divmod(examples, self.examples)
        steps = min(math.ceil(Fraction(rest, self.batch_size)), self.steps_per_epoch)
        return epochs * self.steps_per_epoch + steps


def _nearest(steps: Fraction, duration: Fraction) -> int:
    """Return the nearest integer, halves up, and at least one for a positive duration."""
    return max(math.floor(steps + Fraction(1, 2)), 1 if duration > 0 else 0)


def _hint(duration: Any) -> str:
    """Return the likely correction of a malformed duration."""
    if isinstance(duration, float) and 0.0 < duration < 1.0:
        return f'Write "{duration * 100:g}%" for that fraction of the training.'
    if isinstance(duration, float):
        return (
            f"Write {round(duration)} without a decimal point."
            if math.isfinite(duration)
            else ("Write a finite number.")
        )
    if isinstance(duration, str) and duration.strip().isdigit():
        return f"Write {duration.strip()} without quotes for steps."
    return 'Write for instance "5%".'
