"""What a search over runs will try, in a few lines: its ranges, and what its preset replaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from nadam_suite.config import ABSENT, Change, ScheduleConfig, TrainConfig, TunerConfig
from nadam_suite.config.faults import counted
from nadam_suite.tuner.check import declared_space
from nadam_suite.tuner.runs import GROUPS, RunHyperModel

__all__ = ["overview", "replaced"]

# Keys of an optimizer whose values are those of hyperparameters, by the names of these.
_SEARCHED: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("learning_rate",),
    "one_minus_beta_1": ("beta_1",),
    "one_minus_beta_2": ("beta_2",),
    "epsilon": ("epsilon",),
    "decay": ("weight_decay",),
    "weight_decay": ("weight_decay",),
    "schedule": ("schedule.kind",),
    "warmup": ("schedule.warmup",),
    **GROUPS,
}


def overview(config: TrainConfig) -> list[str]:
    """Return what a search of a config will try, a line for each thing.

    Args:
        config: The config; its `tuner` table says what is searched for.

    Raises:
        ArgumentError: The `tuner` table names what no space has.
        ConfigError: The space does not go together with the rest of the config.

    Example:

    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.tuner.overview import overview
    >>> config = TrainConfig(model="digits", data="digits", tuner={"tune": ["beta_1"]})
    >>> for line in overview(config)[:2]:
    ...     print(line)
    Preset algoperf, searched for (quasi_random, 30 trials):
      one_minus_beta_1: 0.004 to 0.1, log (beta_1: 0.9 to 0.996)
    """
    settings = config.tuner or TunerConfig()
    space = declared_space(RunHyperModel(config))
    trials = settings.max_trials()
    count = "" if trials is None else f", {counted(trials, 'trial')}"
    lines = [f"Preset {settings.preset}, searched for ({settings.kind}{count}):"]
    lines += [f"  {_range(entry)}" for entry in space.space]
    changes = [f"  {change}" for change in replaced(config)]
    if changes:
        but = " but the first, which is the config as it is,"
        where = but if settings.points == "configured" else ""
        lines += [f"All trials{where} have the preset's values of these keys of the config:"]
        lines += changes
    return lines


def replaced(config: TrainConfig) -> list[Change]:
    """Return which keys of a config the space of its search decides, and what they become.

    Args:
        config: The config. What is searched for is not among them.

    Raises:
        ArgumentError: The `tuner` table names what no space has.
        ConfigError: The space does not go together with the rest of the config.
    """
    hypermodel = RunHyperModel(config)
    space = declared_space(hypermodel)
    trial = hypermodel.trial_config(keras_tuner.HyperParameters())
    before, after = _table(hypermodel.config), _table(trial)
    searched = {key for entry in space.space for key in _keys(entry.name)}
    own = isinstance(config.optimizer.learning_rate, ScheduleConfig)
    return [
        Change(_key(key, own=own), before.get(key, ABSENT), after.get(key, ABSENT))
        for key in sorted({*before, *after} - searched)
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


def _table(config: TrainConfig) -> dict[str, Any]:
    """Return an optimizer's settings, its learning rate's as `learning_rate` and `schedule.*`."""
    optimizer = config.full_optimizer()
    table = optimizer.to_dict()
    rate = table.pop("learning_rate")
    if not isinstance(optimizer.learning_rate, ScheduleConfig):
        rate = {"kind": "constant", "peak": rate}
    table["learning_rate"] = rate.pop("peak", None)
    return table | {f"schedule.{k}": value for k, value in rate.items() if value is not None}


def _keys(name: str) -> tuple[str, ...]:
    """Return the keys that a hyperparameter decides."""
    kind, _, part = name.partition("/")
    return (f"schedule.{part}",) if part else _SEARCHED.get(kind, ())


def _key(key: str, *, own: bool) -> str:
    """Return what a config calls a key; its schedule may be the optimizer's own."""
    if not key.startswith("schedule."):
        return f"optimizer.{key}"
    return f"optimizer.learning_rate.{key.partition('.')[2]}" if own else key


def _range(entry: Any) -> str:
    """Return a hyperparameter with its range, and where it is searched."""
    where = [f"{c.name} {_listed(c.values)}" for c in entry.conditions]
    return f"{entry.name}: {_values(entry)}{', where ' if where else ''}{' and '.join(where)}"


def _values(entry: Any) -> str:
    if not isinstance(entry, (kinds.Float, kinds.Int)):
        return _listed([True, False] if isinstance(entry, kinds.Boolean) else entry.values)
    low, high = entry.min_value, entry.max_value
    text = f"{low:g} to {high:g}" + (", log" if entry.sampling == "log" else "")
    other = entry.name.removeprefix("one_minus_")
    if other == entry.name:
        return text
    return f"{text} ({other}: {1.0 - high:g} to {1.0 - low:g})"


def _listed(values: Any) -> str:
    """Return values as words, in the order of the space."""
    return " or ".join(_words(values))


def _words(values: Any) -> Iterator[str]:
    for value in values:
        yield str(value).lower() if isinstance(value, bool) else str(value)
