"""A whole training as settings: what the command reads, and what a run folder keeps."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from nadam_suite.config import faults, migrations
from nadam_suite.config.average_use import (
    average_faults,
    averages_are_used,
    with_average_callbacks,
)
from nadam_suite.config.base import Config
from nadam_suite.config.callback_base import CallbackConfig
from nadam_suite.config.callback_config import Callback
from nadam_suite.config.distribution_config import DistributionConfig
from nadam_suite.config.logging_config import LoggingConfig
from nadam_suite.config.loss_scale_config import LossScaleConfig, loss_scale_faults
from nadam_suite.config.nadam_config import NadamConfig
from nadam_suite.config.schedule_checks import only_for_beta_1
from nadam_suite.config.schedule_config import ScheduleConfig
from nadam_suite.config.tuner_config import TunerConfig
from nadam_suite.errors import ConfigError
from nadam_suite.schedules.plan import TrainingPlan

if TYPE_CHECKING:
    from nadam_suite.optimizers.nadam import Nadam

__all__ = ["TrainConfig"]

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PART = rf"({_NAME}|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*)"
_PATH = r"(?:\.[/\\])?([\w./\\]*?)(?:\.py)?:(\w+)"


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        requirement = "letters, digits, dots, dashes and underscores"
        raise faults.refuse(requirement, "Remove other characters.")
    return text


def _part(text: str) -> str:
    if re.fullmatch(_PART, text) and ".py:" not in text:
        return text
    requirement = 'the name of a built-in one, or "module:function"'
    if (path := re.fullmatch(_PATH, text)) is not None:  # of a file, in place of its module
        module = re.sub(r"[/\\]+", ".", path[1]).strip(".")
        raise faults.refuse(requirement, f"Did you mean {f'{module}:{path[2]}'!r}?")
    raise faults.refuse(requirement, 'Write for instance "digits", or "mymodel:function".')


def _options(value: Any) -> Any:
    """Return a copy of a table that JSON can hold."""
    if not isinstance(value, Mapping):
        raise faults.refuse("a table of options", "Write a table of keys and values.")
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        plain = json.loads(text.encode("utf-8")) == value and not _has_none(value)
    except (TypeError, ValueError, RecursionError):
        plain = False
    if not plain:
        requirement = "a table of strings, finite numbers, booleans, lists and tables"
        raise faults.refuse(requirement, "Replace what else it holds by one of these.")
    return copy.deepcopy(dict(value))


def _has_none(value: Any) -> bool:
    """Return whether None, which TOML cannot hold, is anywhere in plain data."""
    if isinstance(value, Mapping):
        return any(_has_none(inner) for inner in value.values())
    return value is None or (isinstance(value, list) and any(map(_has_none, value)))


def _sequence(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_name)]
Part = Annotated[str, AfterValidator(_part)]
Options = Annotated[dict[str, Any], BeforeValidator(_options)]


class TrainConfig(Config):
    """Settings of a training: what is trained, on what, how, and where the result goes.

    The backend is no setting: `KERAS_BACKEND` chooses it, and every backend trains every config.

    Args:
        model: Name of a built-in recipe, or "module:function" of a function that returns a model.
        data: Name of a built-in data set, or "module:function" of a function that returns it.
        name: Name of the run. Defaults to "run".
        model_options: Keywords for the model's function.
        data_options: Keywords for the data's function.
        optimizer: A `NadamConfig`, or its table; `preset` in the table is its base.
        schedule: A `ScheduleConfig` without a peak, which is the optimizer's learning rate, or
            None, the default, for a constant rate or for the optimizer's own schedule. For "noam"
            the learning rate is the formula's factor; points of "piecewise" are factors of it.
        epochs: An integer >= 1. Defaults to 1.
        batch_size: Examples in a batch, over all devices and workers together, an integer >= 1.
            Defaults to 32.
        seed: An integer in [0, 2**32). Defaults to 0.
        precision: "float32" (the default), "mixed_bfloat16", "mixed_float16" or "bfloat16".
        loss_scale: A `LossScaleConfig`, or its table, for "mixed_float16", or None, the default,
            for its defaults. With `skip_nonfinite` its `max_consecutive_skips` counts in every
            precision.
        skip_nonfinite: Whether steps whose gradients are not finite are skipped in the other
            precisions too, as in "mixed_float16". Defaults to false.
        callbacks: Tables with a `kind` and that kind's options; see `CALLBACKS`.
        use_averages: Whether an optimizer with `averaging` or `use_ema` has its averages used: the
            validation after each epoch is theirs (val_*, beside val_raw_* of the raw weights), so
            early stopping goes by them, and the final model has them for weights. Defaults to true.
            Callbacks of kind "evaluate_average" and "ema_finalization" say which and how. With
            false `use_ema` does as in Keras: val_* is of the raw weights, the final model the
            average. So it does with `ema_overwrite_frequency`.
        distribution: A `DistributionConfig`, or its table: on which devices, and how the learning
            rate follows the batch size.
        output: Folder of the run, or None, the default, for one that the command chooses.
        checkpoint_every: Number of epochs, an integer >= 1, after each of which a run keeps its
            state for good, or None, the default, for the state before a cooldown alone.
        logging: A `LoggingConfig`, or its table: which norms are logged, or None, the default, for
            its defaults.
        tuner: A `TunerConfig`, or its table, for `nadam-suite tune`, or None, the default, for its
            defaults there. A training does not read it.
        schema_version: Version of these keys; left out, it is the current one.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite import TrainConfig
    >>> config = TrainConfig(model="digits", data="digits", schedule={"warmup": "5%"})
    >>> optimizer = config.build_optimizer(config.plan(examples=1437))
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"checkpoint_every", "logging", "loss_scale", "skip_nonfinite", "tuner", "use_averages"}
    )

    model: Part
    data: Part
    name: Name = "run"
    model_options: Options = {}  # noqa: RUF012 - pydantic copies defaults
    data_options: Options = {}  # noqa: RUF012
    optimizer: NadamConfig = NadamConfig()
    schedule: ScheduleConfig | None = None
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"] = "float32"
    loss_scale: LossScaleConfig | None = None
    skip_nonfinite: bool = False
    callbacks: Annotated[tuple[Callback, ...], BeforeValidator(_sequence)] = ()
    use_averages: bool = True
    distribution: DistributionConfig = DistributionConfig()
    output: Annotated[str, Field(min_length=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    logging: LoggingConfig | None = None
    tuner: TunerConfig | None = None
    schema_version: Literal[2] = 2

    def plan(self, examples: int, *, drop_remainder: bool = False) -> TrainingPlan:
        """Return the length of this training on so many examples."""
        accumulation = self.optimizer.gradient_accumulation_steps or 1
        return TrainingPlan.from_data(
            examples, self.batch_size, self.epochs, accumulation, drop_remainder=drop_remainder
        )

    def full_optimizer(self) -> NadamConfig:
        """Return the optimizer's settings with the schedule in their learning rate.

        A constant schedule without a warm-up stays a plain number, which callbacks can set.
        """
        if self.schedule is None or not _varies(self.schedule):
            return self.optimizer
        rate = self.optimizer.learning_rate
        if isinstance(rate, ScheduleConfig):  # refused together with a schedule
            return self.optimizer
        return self.optimizer.replace(learning_rate=self.schedule.around(rate))

    def full_callbacks(self) -> tuple[CallbackConfig, ...]:
        """Return the callbacks in their order, with those by which the averages are used.

        The averages are evaluated first, so that what the other callbacks do goes by them, and
        finalized last. Where early stopping restores the best weights, the final averages are those
        of the best epoch too, by the same metric.

        Example:
        >>> from nadam_suite import TrainConfig
        >>> config = TrainConfig(model="digits", data="digits", optimizer={"averaging": "ema"})
        >>> [callback.kind for callback in config.full_callbacks()]
        ['evaluate_average', 'ema_finalization']
        """
        return with_average_callbacks(self.callbacks, add=averages_are_used(dict(self)))

    def build_optimizer(self, plan: TrainingPlan | None = None) -> Nadam:
        """Return the optimizer with its schedule.

        Args:
            plan: Length of the training, which durations such as "5%" need.

        Raises:
            ConfigError: A duration is relative and there is no plan, or cannot be resolved.
        """
        return self.full_optimizer().build(plan)

    def resolve(self, plan: TrainingPlan | None = None) -> Self:
        """Return the settings with every duration in steps.

        Raises:
            ConfigError: A duration is relative and there is no plan, or cannot be resolved.
        """
        lengths = self.optimizer.lengths(plan)
        changes: dict[str, Any] = {"optimizer": self.optimizer.resolved(lengths, "optimizer.")}
        if self.schedule is not None and _varies(self.schedule):
            changes["schedule"] = lengths.resolved(self.schedule, "schedule")
        tables = [callback.to_dict() for callback in self.callbacks]
        for index, table in enumerate(tables):
            if isinstance(table.get("every"), str):
                key = f"callbacks.{index}.every"
                table["every"] = lengths.updates(table["every"], key)
                changes["callbacks"] = tables
        if lengths.found:
            raise ConfigError(lengths.found)
        return self.replace(**changes)

    def scaled(self, factor: float) -> Self:
        """Return the settings with the whole course of the learning rate multiplied.

        They no longer ask for scaling, so that training them again does not scale again.

        Args:
            factor: What the scaling rule says for this batch size.
        """
        unscaled = {"scale_learning_rate": None, "base_batch_size": None}
        values: dict[str, Any] = {"distribution": unscaled}
        if factor != 1.0:
            rate, highest = self.optimizer.learning_rate, self.optimizer.max_learning_rate
            own = rate.times(factor) if isinstance(rate, ScheduleConfig) else rate * factor
            values["optimizer"] = {
                "learning_rate": own,
                "max_learning_rate": None if highest is None else highest * factor,
            }
            if self.schedule is not None:
                values["schedule"] = self.schedule.times(factor, around=True)
        return self.replace(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return every key and value as plain data that JSON can hold."""
        values = super().to_dict()
        del values["optimizer"]["schema_version"]  # one version speaks for the whole file
        return values

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        optimizer, schedule = (_table(values.get(key)) for key in ("optimizer", "schedule"))
        found = NadamConfig.cross_faults(optimizer, f"{prefix}optimizer.")
        rate = optimizer.get("learning_rate", NadamConfig.model_fields["learning_rate"].default)
        found += ScheduleConfig.cross_faults(schedule, f"{prefix}schedule.", rate)
        found += only_for_beta_1(schedule, f"{prefix}schedule.")
        distribution = _table(values.get("distribution"))
        found += DistributionConfig.cross_faults(distribution, f"{prefix}distribution.")
        found += TunerConfig.cross_faults(_table(values.get("tuner")), f"{prefix}tuner.")
        own = isinstance(optimizer.get("learning_rate"), (Mapping, ScheduleConfig))
        if schedule.get("peak") is not None:
            requirement = "left out, because the optimizer's learning rate is the peak"
            remedy = f"Set `{prefix}optimizer.learning_rate` instead."
            key, peak = f"{prefix}schedule.peak", schedule["peak"]
            found.append(faults.fault(key, requirement, peak, remedy))
        if own and values.get("schedule") is not None:
            requirement = "left out, because the optimizer's learning rate is a schedule itself"
            remedy = f"Remove it, or make `{prefix}optimizer.learning_rate` a number."
            found.append(faults.fault(f"{prefix}schedule", requirement, schedule, remedy))
        if own or _varies(values.get("schedule")):
            found += _plateau_faults(values.get("callbacks"), prefix)
        return found + average_faults(values, prefix) + loss_scale_faults(values, prefix)

    @classmethod
    def _prepared(
        cls, values: dict[str, Any], found: list[str], prefix: str = ""
    ) -> dict[str, Any]:
        values = migrations.migrate(values, "train", found, prefix)
        if isinstance(values.get("optimizer"), Mapping):
            table = dict(values["optimizer"])
            values["optimizer"] = NadamConfig._prepared(table, found, f"{prefix}optimizer.")
        return values


def _table(value: Any) -> dict[str, Any]:
    """Return what may be a table as a dict, empty if it is none."""
    return dict(value) if isinstance(value, (Mapping, Config)) else {}


def _varies(schedule: Any) -> bool:
    """Return whether a schedule, or its table, makes the learning rate vary."""
    table = _table(schedule)
    changes = table.get("warmup") or table.get("cooldown") or table.get("factor") is not None
    return schedule is not None and (table.get("kind") != "constant" or bool(changes))


def _plateau_faults(callbacks: Any, prefix: str) -> list[str]:
    """Return the faults of callbacks that set the learning rate, which a schedule decides."""
    found = []
    for index, callback in enumerate(callbacks if isinstance(callbacks, (list, tuple)) else ()):
        kind = _table(callback).get("kind")
        if kind == "reduce_lr_on_plateau":
            requirement = "another one, because a schedule decides the learning rate"
            remedy = 'Choose kind = "plateau_scale", which scales what a schedule says.'
            key = f"{prefix}callbacks.{index}.kind"
            found.append(faults.fault(key, requirement, kind, remedy))
    return found
