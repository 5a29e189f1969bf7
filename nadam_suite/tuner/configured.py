"""The search's own config as a point of its space, to be tried as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from nadam_suite.config import AveragingConfig, ScheduleConfig, TrainConfig
from nadam_suite.schedules.plan import parse_duration
from nadam_suite.tuner.points import Enqueued, Value, nearest_values
from nadam_suite.tuner.ranges import PARTS
from nadam_suite.tuner.search_record import CONFIGURED, POINT

__all__ = ["configured_point", "configured_values", "is_configured"]


def configured_point(config: TrainConfig, hyperparameters: keras_tuner.HyperParameters) -> Enqueued:
    """Return a search's config as a point that its hypermodel trains as it is.

    Its numbers are the config's own, within the ranges or not. What the space cannot express has
    the space's default there, which is what tables show of it.

    Args:
        config: The config.
        hyperparameters: The whole space, its conditional scopes declared.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.tuner.configured import configured_point
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    >>> config = TrainConfig(model="digits", data="digits", optimizer={"learning_rate": 0.3})
    >>> configured_point(config, hp).values
    {'learning_rate': 0.3}
    """
    values = nearest_values(configured_values(config), hyperparameters, within=False)
    return Enqueued(CONFIGURED, values, extra={POINT: CONFIGURED})


def is_configured(trial: Trial) -> bool:
    """Return whether a trial trains the search's config as it is."""
    return bool(trial.hyperparameters.values.get(POINT) == CONFIGURED)


def configured_values(config: TrainConfig) -> dict[str, Value]:
    """Return the values that a config has for hyperparameters of `nadam_space`, by their names.

    What no hyperparameter can say is left out: a course of `beta_1`, or a length in steps.

    Args:
        config: The config.

    Example:

    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.tuner.configured import configured_values
    >>> config = TrainConfig(model="digits", data="digits", schedule={"warmup": "5%"})
    >>> found = configured_values(config)
    >>> found["learning_rate"], found["schedule"], found["warmup"], found["decay"]
    (0.001, 'cosine', 0.05, False)
    """
    optimizer = config.full_optimizer()
    found: dict[str, Any] = {
        "epsilon": optimizer.epsilon,
        "decay": optimizer.weight_decay is not None,
        "weight_decay": optimizer.weight_decay or 0.0,
        "accumulation": optimizer.gradient_accumulation_steps or 1,
        **_schedule(optimizer.learning_rate, config.epochs),
    }
    for name in ("beta_1", "beta_2"):
        if isinstance(value := getattr(optimizer, name), float):
            found[f"one_minus_{name}"] = 1.0 - value
    if optimizer.clipnorm is None and optimizer.clipvalue is None:
        found["clipping"] = optimizer.global_clipnorm is not None
        found["global_clipnorm"] = optimizer.global_clipnorm
    average = optimizer.averaging
    if average is None and not optimizer.use_ema:
        found["averaging"] = "none"
    elif isinstance(average, AveragingConfig):  # of several the space has none
        found["averaging"] = average.kind
        found["averaging_half_life"] = _share(average.half_life, config.epochs)
    known = {name: value for name, value in found.items() if value is not None}
    return {name: value for name, value in known.items() if not isinstance(value, ScheduleConfig)}


def _schedule(rate: ScheduleConfig | float, epochs: int) -> dict[str, Any]:
    """Return the values of a learning rate, None for those that cannot be said."""
    if not isinstance(rate, ScheduleConfig):
        return {"learning_rate": rate, "schedule": "constant", "warmup": 0.0}
    table: Mapping[str, Any] = rate.to_dict()
    parts = {
        f"{rate.kind}/{key}": _share(value, epochs) if key in ("cooldown", "warmup") else value
        for key in PARTS.get(rate.kind, ())
        if (value := table.get(key)) is not None
    }
    warmup = _share(table.get("warmup"), epochs)
    return {"learning_rate": table.get("peak"), "schedule": rate.kind, "warmup": warmup, **parts}


def _share(duration: Any, epochs: int) -> float | None:
    """Return a duration as a share of the training, or None if that depends on the data."""
    if not isinstance(duration, str):
        return 0.0 if duration == 0 else None
    parsed = parse_duration(duration)
    whole = {"%": 100.0, "ep": float(epochs)}.get(parsed.unit)
    return None if whole is None else float(parsed.number) / whole
