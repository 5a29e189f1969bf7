"""The course of a number over a training as settings, with durations relative to the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from nadam_suite.config import faults
from nadam_suite.config.base import Config, Fraction, Number, Positive
from nadam_suite.config.schedule_checks import schedule_faults
from nadam_suite.config.schedule_kinds import VALUES, completed, uses
from nadam_suite.config.schedule_lengths import Lengths
from nadam_suite.errors import ArgumentError, ArgumentTypeError, ConfigError
from nadam_suite.schedules.plan import TrainingPlan, format_duration, parse_duration

__all__ = ["Duration", "ScheduleConfig"]


def _duration(value: Any) -> int | str:
    try:
        return format_duration(value)
    except (ArgumentError, ArgumentTypeError) as error:
        text = str(error).rpartition(". ")[2]
        requirement = 'a number of steps such as 500, or "5%", "3ep" (epochs) or "20000ex"'
        raise faults.refuse(requirement + " (examples)", text) from None


def _length(value: Any) -> int | str:
    duration = _duration(value)
    if parse_duration(duration).number == 0:
        raise faults.refuse("longer than nothing", "Lengthen it.")
    return duration


def _items(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pairs(value: Any) -> Any:
    pairs = _items(value)
    if isinstance(pairs, tuple):
        pairs = tuple(map(_items, pairs))
        if all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            return pairs
    requirement = "a list of pairs of a duration and a value"
    raise faults.refuse(requirement, 'Write for instance [[0, 1.0], ["50%", 0.1]].')


_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(%|ep|ex)\s*$"},
        ]
    }
)
Duration = Annotated[Any, BeforeValidator(_duration), PlainSerializer(lambda v: v), _SCHEMA]
Length = Annotated[Any, BeforeValidator(_length), PlainSerializer(lambda v: v), _SCHEMA]
_Share = Annotated[Positive, Field(le=1.0)]
_Ratio = Annotated[Number, Field(ge=1.0)]
_Count = Annotated[int, Field(ge=1, lt=2**31)]
_Shape = Literal["1-sqrt", "linear", "cosine", "exponential"]


class ScheduleConfig(Config):
    """The course of a learning rate, of a weight decay or of `beta_1`.

    A duration is a number of steps, or "5%", "3ep" (epochs) or "20000ex" (examples). A percentage
    is one of `total`; that of a `total`, and all of a kind without one, of the training; within a
    part of "joined" it is one of the part, and its steps count from where the part begins.

    Each kind takes the keys that are named with it; the formulas are those of the classes.

    * "constant" (`Constant`), "inverse_sqrt" (`WarmupInverseSqrt`): `peak`, `warmup`, `start`; the
      second one also `timescale`.
    * "linear", "cosine", "polynomial", "exponential" (`WarmupCosine` and so on): `peak`, `warmup`,
      `total`, `start`, `end`; also `power`; or `decay_rate`, `decay_every` and `staircase`.
    * "wsd" (`WarmupStableDecay`): the same five, `cooldown` and `shape`.
    * "noam" (`Noam`): `peak`, the formula's factor, `d_model` and `warmup`.
    * "one_cycle" (`OneCycle`): `peak`, `warmup`, `total`, `cooldown`, `div_factor`,
      `final_div_factor`, `anneal`.
    * "one_cycle_momentum" (`OneCycleMomentum`), for `beta_1` alone: `warmup`, `total`, `cooldown`,
      `anneal`, `base_momentum`, `max_momentum`.
    * "cyclical" (`Cyclical`): `peak`, `base`, `step_size`, `step_size_down`, `mode`, `gamma`.
    * "cosine_restarts" (`CosineRestarts`): `peak`, `end`, `first_period`, `t_mul`, `m_mul`,
      `cycles`.
    * "piecewise" (`Piecewise`): `points` and `interpolation`.
    * "joined" (`Joined`): `parts` and `boundaries`.

    Args:
        kind: The course, "cosine" by default.
        peak: Highest value, >= 0, where a warm-up ends; "linear" and "polynomial" may also rise
            from it. In a `TrainConfig`'s `schedule` it is left out: the learning rate is the peak.
        warmup: Length of the warm-up. Defaults to none, of the two "one_cycle" to "30%"; required
            for "noam", which has 4,000 steps in its paper.
        total: Length of the schedule, the warm-up included. None, the default, is the whole
            training. Kinds that do not name it take it together with `cooldown`.
        start: Value at step 0, if there is a warm-up. Defaults to 0.
        end: Value at the end and after it; of "exponential" the lowest one. Defaults to 0.
        power: > 0. Defaults to 1, a straight line.
        decay_rate: Factor, in (0, 1]. Defaults to 0.1.
        decay_every: In which time the value is multiplied by it. Defaults to the whole decay.
        staircase: Whether it is multiplied at once. Defaults to false.
        timescale: After which time the peak has fallen by the root of 2. Defaults to `warmup`, or
            10,000 steps without one.
        d_model: Width of the model, an integer >= 1; required.
        cooldown: Length of a cooldown over the last steps of the total. Required for "wsd"; a third
            phase of the two "one_cycle", by default none. Any other kind goes down from wherever it
            is then (`WithCooldown`), by default not.
        shape: Curve of the cooldown of "wsd": "1-sqrt" (the default), "linear", "cosine" or
            "exponential", which needs an `end` > 0.
        base: Value at the ends of a cycle. Defaults to 0.
        step_size: Length from the base to the peak; required.
        step_size_down: Length from the peak to the base. Defaults to `step_size`.
        mode: "triangular" (the default), "triangular2" or "exp_range".
        gamma: Factor of "exp_range" in each step, in (0, 1]. Defaults to 1.
        first_period: Length of the first period; required.
        t_mul: Each period's length divided by the one before, 1 or at least 1.01. Defaults to 2.
        m_mul: Each period's height divided by the one before, in (0, 1]. Defaults to 1.
        cycles: Number of periods, an integer >= 1, or None, the default, for no end.
        div_factor: The peak divided by the first value, >= 1. Defaults to 25.
        final_div_factor: The first value divided by the last one, > 0. Defaults to 1e4.
        anneal: "cosine" (the default) or "linear".
        base_momentum: Lowest value, in [0, 1). Defaults to 0.85.
        max_momentum: Highest value, likewise. Defaults to 0.95.
        points: Pairs of a duration, the first of them 0, and a value >= 0; required. In a
            `TrainConfig`'s `schedule` the values are factors of the learning rate.
        interpolation: "linear" (the default), "cosine" or "constant".
        parts: Tables of schedules, one after the other; required. In a `TrainConfig`'s `schedule`
            those without a peak take the learning rate.
        boundaries: Where each part but the first begins, as durations; required.
        factor: What the whole is multiplied by, the values of a cooldown included, >= 0 (`Scaled`).
            None, the default, leaves it as it is.
        cooldown_shape: Curve of the cooldown that another kind than "wsd" is given. Defaults to
            "1-sqrt"; see `shape`.
        cooldown_end: Value at its end. Defaults to 0.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import ScheduleConfig
    >>> from nadam_suite.schedules import TrainingPlan
    >>> schedule = ScheduleConfig(kind="wsd", peak=1e-3, warmup="5%", cooldown="20%")
    >>> resolved = schedule.resolve(TrainingPlan(steps_per_epoch=100, epochs=10))
    >>> resolved.warmup, resolved.cooldown, resolved.total
    (50, 200, 1000)
    """

    kind: Literal[
        "constant",
        "linear",
        "cosine",
        "polynomial",
        "exponential",
        "inverse_sqrt",
        "noam",
        "wsd",
        "one_cycle",
        "one_cycle_momentum",
        "cyclical",
        "cosine_restarts",
        "piecewise",
        "joined",
    ] = "cosine"
    peak: Number | None = None
    warmup: Duration | None = None
    total: Length | None = None
    start: Number | None = None
    end: Number | None = None
    power: Positive | None = None
    decay_rate: _Share | None = None
    decay_every: Length | None = None
    staircase: bool | None = None
    timescale: Length | None = None
    d_model: _Count | None = None
    cooldown: Duration | None = None
    shape: _Shape | None = None
    base: Number | None = None
    step_size: Length | None = None
    step_size_down: Length | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] | None = None
    gamma: _Share | None = None
    first_period: Length | None = None
    t_mul: _Ratio | None = None
    m_mul: _Share | None = None
    cycles: _Count | None = None
    div_factor: _Ratio | None = None
    final_div_factor: Positive | None = None
    anneal: Literal["cosine", "linear"] | None = None
    base_momentum: Fraction | None = None
    max_momentum: Fraction | None = None
    points: Annotated[tuple[tuple[Duration, Number], ...], BeforeValidator(_pairs)] | None = None
    interpolation: Literal["linear", "cosine", "constant"] | None = None
    parts: Annotated[tuple[ScheduleConfig, ...], BeforeValidator(_items)] | None = None
    boundaries: Annotated[tuple[Duration, ...], BeforeValidator(_items)] | None = None
    factor: Number | None = None
    cooldown_shape: _Shape | None = None
    cooldown_end: Number | None = None

    def resolve(
        self, plan: TrainingPlan | None = None, *, of: str = "batches", key: str = "schedule"
    ) -> ScheduleConfig:
        """Return the schedule with its durations in steps.

        Args:
            plan: Length of the training; needed unless all durations are in steps.
            of: What a step is: "batches" or "updates".
            key: Dotted key of this table, for messages.

        Raises:
            ConfigError: A duration cannot be resolved, or the phases do not fit.
        """
        lengths = Lengths(plan, of)
        resolved: ScheduleConfig = lengths.resolved(self, key)
        if lengths.found:
            raise ConfigError(lengths.found)
        return resolved

    def around(self, rate: float) -> ScheduleConfig:
        """Return the schedule of a learning rate, put in where there is no peak yet.

        Args:
            rate: The peak; values of "piecewise" are multiplied by it.
        """
        if self.kind == "piecewise":
            return self.replace(factor=rate if self.factor is None else rate * self.factor)
        if self.parts is not None:
            return self.replace(parts=[part.around(rate).to_dict() for part in self.parts])
        return self.replace(peak=rate) if self.peak is None else self

    def times(self, factor: float, *, around: bool = False) -> ScheduleConfig:
        """Return the schedule with its values multiplied; its lengths stay.

        Args:
            factor: The factor.
            around: Whether a learning rate, multiplied itself, is still to be put in: see `around`.
        """
        changes: dict[str, Any] = {}
        if around and self.kind == "piecewise":
            return self
        for key in VALUES:
            if (value := getattr(self, key)) is not None:
                changes[key] = value * factor
        if self.points is not None:
            changes["points"] = [[at, value * factor] for at, value in self.points]
        if self.parts is not None:
            changes["parts"] = [part.times(factor, around=around).to_dict() for part in self.parts]
        return self.replace(**changes)

    @classmethod
    def cross_faults(
        cls, values: Mapping[str, Any], prefix: str = "", peak: float | None = None
    ) -> list[str]:
        """Return the faults that concern several keys."""
        return schedule_faults(values, prefix, peak)

    def make_lasting(self, table: dict[str, Any]) -> None:
        """Add what every table had when the first fingerprints were made."""
        for key, value in {"total": None, "end": 0.0}.items() if self.kind == "constant" else ():
            table.setdefault(key, value)

    def __repr_args__(self) -> Any:
        """Show the keys that have a value."""
        return [(key, value) for key, value in super().__repr_args__() if value is not None]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return completed(values) if isinstance(values, Mapping) else values

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the keys that this kind does not use, and modifiers that are not set."""
        keys = {"kind", *uses(dict(self))}
        set_ = {"factor", "cooldown"}
        return {
            key: value
            for key, value in handler(self).items()
            if key in keys and not (key in set_ and value is None)
        }
