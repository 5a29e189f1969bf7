"""What a config comes to before anything is trained: its plan, its optimizer, its durations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from nadam_suite.config import AveragingConfig, Config, NadamConfig, ScheduleConfig, TrainConfig
from nadam_suite.config.averaging_config import DURATIONS as DURATIONS_OF_AVERAGES
from nadam_suite.config.faults import counted
from nadam_suite.config.named_averages import averages_of
from nadam_suite.config.schedule_kinds import DURATIONS
from nadam_suite.errors import ArgumentError
from nadam_suite.experiment.average_rows import average_rows
from nadam_suite.experiment.parts import find_part
from nadam_suite.experiment.splits import Splits
from nadam_suite.experiment.stream import SharedBatches
from nadam_suite.optimizers import Nadam
from nadam_suite.schedules import TrainingPlan, scale_learning_rate
from nadam_suite.schedules.checks import count

__all__ = ["DurationRow", "Preview", "preview"]

# Keys of the length of the learning rate's schedule, in each of the places where that may stand.
_TOTALS = ("schedule.total", "learning_rate.total", "optimizer.learning_rate.total")
_SHARED = ("auto", "mirrored", "data_parallel")  # where each device is a replica


@dataclasses.dataclass(frozen=True)
class DurationRow:
    """A duration of a config, and what it became.

    Args:
        key: Dotted key.
        typed: As it was typed; None is the whole training.
        steps: In batches.
        epochs: In epochs.
    """

    key: str
    typed: int | str | None
    steps: int
    epochs: float


@dataclasses.dataclass(frozen=True)
class Preview:
    """A config with its durations in steps, and the length of its training.

    Args:
        typed: The config as it was given.
        resolved: The same with every duration in steps and the learning rate scaled.
        plan: Length of the training.
        notes: What a training could do differently.
    """

    typed: TrainConfig | NadamConfig
    resolved: TrainConfig | NadamConfig
    plan: TrainingPlan
    notes: tuple[str, ...] = ()

    def optimizer(self) -> Nadam:
        """Return the optimizer that the training would begin with."""
        if isinstance(self.resolved, TrainConfig):
            return self.resolved.build_optimizer(self.plan)
        return self.resolved.build(self.plan)

    def optimizer_config(self) -> NadamConfig:
        """Return the optimizer's settings, with the schedule of the training in them."""
        if isinstance(self.resolved, TrainConfig):
            return self.resolved.full_optimizer()
        return self.resolved

    def describe(self) -> str:
        """Return the length of the training, its relative durations and averages, in one line."""
        plan = self.plan
        updates = f", {counted(plan.total_updates, 'update')}" if plan.accumulation > 1 else ""
        length = (
            f"{counted(plan.epochs, 'epoch')} of {counted(plan.steps_per_epoch, 'step')}: "
            f"{plan.total_steps} in all{updates}"
        )
        lengths = [
            f"{row.key}={row.typed} is {counted(row.steps, 'step')}"
            for row in self.durations()
            if isinstance(row.typed, str)
        ]
        averages = [row.summary() for row in average_rows(self.optimizer_config(), plan)]
        return "; ".join([length, *lengths, *averages])

    def early_ends(self) -> tuple[str, ...]:
        """Return a note where the schedule of the learning rate ends before the training does.

        The config in a run's folder has its lengths in steps: trained for more epochs, it would
        else end in epochs that train nothing.
        """
        rate: object = self.optimizer_config().learning_rate
        steps = self.plan.total_steps
        total = next((row for row in self.durations() if row.key in _TOTALS), None)
        if not isinstance(rate, ScheduleConfig) or total is None or total.steps >= steps:
            return ()
        after = "nothing is trained then" if rate.end == 0.0 else "it keeps its last value then"
        remedy = f"Leave `{total.key}` out for the length of the training."
        note = (
            f"The schedule of the learning rate ends after {total.steps} of {steps} steps "
            f"({total.key}={total.typed}): {after}. {remedy}"
        )
        return (note,)

    def durations(self) -> list[DurationRow]:
        """Return one row per duration that the config has and that is not zero by default."""
        counts_updates = self.optimizer_config().schedule_step == "update"
        each = self.plan.accumulation if counts_updates else 1
        found = [(row, each) for row in _durations(self.typed, self.resolved)]
        averages = _durations_of_averages(self.typed, self.resolved)
        found += [(row, self.plan.accumulation) for row in averages]
        return [
            DurationRow(key, typed, count * each, count * each / self.plan.steps_per_epoch)
            for (key, typed, count), each in found
            if count or typed
        ]


def preview(
    config: TrainConfig | NadamConfig,
    *,
    examples: int | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
) -> Preview:
    """Return what a config comes to; of a training, its data are loaded to count the examples.

    No device is asked for. Where the config shares a training out over devices, their number is
    what it says; where it does not say it, one device is assumed and a note tells so.

    Args:
        config: A training's config, or an optimizer's, which does not know how long it trains.
        examples: Training examples in an epoch; of a training's config, instead of its data's.
        batch_size: Examples in a batch; of a training's config, instead of its own.
        epochs: Number of epochs, likewise. Defaults to 1 for an optimizer's config.
        steps: Batches in the whole training, for an optimizer's config alone.

    Raises:
        ArgumentError: The length of the training is not known, or given twice.
        ConfigError: A duration cannot be resolved, or the data do not exist.

    Example:

    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.experiment.preview import preview
    >>> config = NadamConfig(learning_rate={"peak": 1e-3, "warmup": "5%"})
    >>> seen = preview(config, steps=1000)
    >>> [(row.key, row.typed, row.steps) for row in seen.durations()]
    [('learning_rate.warmup', '5%', 50), ('learning_rate.total', None, 1000)]
    """
    if isinstance(config, NadamConfig):
        accumulation = config.gradient_accumulation_steps or 1
        plan = _plan(accumulation, examples, batch_size, epochs, steps)
        seen = Preview(config, config.resolve(plan), plan)
        return dataclasses.replace(seen, notes=seen.early_ends())
    if steps is not None:
        raise ArgumentError(
            "Argument `steps` must be left out for the config of a training, whose length follows "
            f"from its data. Received: steps={steps!r}. Pass examples, batch_size or epochs."
        )
    changes = {"batch_size": batch_size, "epochs": epochs}
    config = config.replace(**{key: value for key, value in changes.items() if value is not None})
    if examples is None:
        splits: Splits = find_part("data", config.data, config.data_options)()
        examples = SharedBatches.examples(splits, config.batch_size, _replicas(config))
    factor, notes = _factor(config)
    scaled = config.scaled(factor)
    plan = scaled.plan(examples)
    seen = Preview(config, scaled.resolve(plan), plan)
    return dataclasses.replace(seen, notes=(*notes, *seen.early_ends()))


def _plan(
    accumulation: int,
    examples: int | None,
    batch_size: int | None,
    epochs: int | None,
    steps: int | None,
) -> TrainingPlan:
    """Return the length of a training of which only the optimizer is known."""
    given = {"examples": examples, "batch_size": batch_size, "epochs": epochs, "steps": steps}
    shown = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
    if (steps is None) == (examples is None) or (examples is not None and batch_size is None):
        raise ArgumentError(
            "The length of the training must be given: the config of an optimizer does not know "
            f"it. Received: {shown or 'none'}. Pass steps (--steps 10000), or examples and "
            "batch_size (--examples 50000 --batch-size 128 --epochs 10)."
        )
    epochs = 1 if epochs is None else count("epochs", epochs, 1)
    if examples is not None and batch_size is not None:
        return TrainingPlan.from_data(examples, batch_size, epochs, accumulation)
    steps = count("steps", steps, 1)
    if steps % epochs:
        raise ArgumentError(
            f"Argument `steps` must be a multiple of epochs={epochs}. Received: steps={steps}. "
            f"Pass {-(-steps // epochs) * epochs}, or leave epochs out."
        )
    return TrainingPlan(steps // epochs, epochs, accumulation, batch_size)


def _replicas(config: TrainConfig) -> int:
    """Return the replicas that the config asks for by number, or one."""
    settings = config.distribution
    if settings.strategy not in _SHARED or settings.devices is None:
        return 1
    return settings.devices if isinstance(settings.devices, int) else len(settings.devices)


def _factor(config: TrainConfig) -> tuple[float, tuple[str, ...]]:
    """Return what scaling multiplies the learning rate by, and what is assumed for it."""
    rule = config.distribution.scale_learning_rate
    if rule is None:
        return 1.0, ()
    replicas = _replicas(config)
    base = config.distribution.base_batch_size or max(config.batch_size // replicas, 1)
    factor = scale_learning_rate(1.0, config.batch_size, base, rule)
    if config.distribution.base_batch_size is None and replicas == 1:
        note = (
            "The learning rate is that of one device. On several it is multiplied by "
            f"{'the root of ' if rule == 'sqrt' else ''}their number "
            f'(distribution.scale_learning_rate = "{rule}").'
        )
        return factor, (note,)
    return factor, ()


def _durations(
    typed: Config, resolved: Config, prefix: str = ""
) -> Iterator[tuple[str, int | str | None, int]]:
    """Yield key, typed value and count of every duration in a config's schedules."""
    for key in type(typed).model_fields:
        before, after = getattr(typed, key), getattr(resolved, key)
        if isinstance(before, ScheduleConfig):
            yield from _lengths(before, after, f"{prefix}{key}")
        elif isinstance(before, NadamConfig):
            yield from _durations(before, after, f"{prefix}{key}.")


def _lengths(
    typed: ScheduleConfig, resolved: ScheduleConfig, key: str
) -> Iterator[tuple[str, int | str | None, int]]:
    """Yield the same for one schedule and the parts in it."""
    for name in DURATIONS:
        if (count := getattr(resolved, name)) is not None:
            yield f"{key}.{name}", getattr(typed, name), count
    points = zip(typed.points or (), resolved.points or (), strict=True)
    for index, ((before, _), (after, _)) in enumerate(points):
        yield f"{key}.points.{index}.0", before, after
    boundaries = zip(typed.boundaries or (), resolved.boundaries or (), strict=True)
    for index, (before, after) in enumerate(boundaries):
        yield f"{key}.boundaries.{index}", before, after
    for index, parts in enumerate(zip(typed.parts or (), resolved.parts or (), strict=True)):
        yield from _lengths(*parts, f"{key}.parts.{index}")


def _durations_of_averages(
    typed: TrainConfig | NadamConfig, resolved: TrainConfig | NadamConfig
) -> Iterator[tuple[str, int | str | None, int]]:
    """Yield key, typed value and real updates of every relative duration of an average."""
    known = {name: average for _, name, average in _averages(resolved)}
    for key, name, average in _averages(typed):
        for duration in DURATIONS_OF_AVERAGES:
            if isinstance(written := getattr(average, duration), str):
                yield f"{key}.{duration}", written, getattr(known[name], duration)


def _averages(
    config: TrainConfig | NadamConfig,
) -> Iterator[tuple[str, str | None, AveragingConfig]]:
    """Yield dotted key, name and settings of every average."""
    of_training = isinstance(config, TrainConfig)
    optimizer = config.optimizer if isinstance(config, TrainConfig) else config
    key = "optimizer.averaging" if of_training else "averaging"
    for name, average in averages_of(optimizer.averaging).items():
        yield key if name is None else f"{key}.{name}", name, average
