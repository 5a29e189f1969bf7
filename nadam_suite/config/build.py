"""The one place where settings become objects and objects become settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from nadam_suite.config import faults
from nadam_suite.config.nadam_config import NadamConfig
from nadam_suite.config.named_averages import averaging_settings, build_averaging
from nadam_suite.config.schedule_config import ScheduleConfig
from nadam_suite.config.schedule_kinds import KINDS, cools
from nadam_suite.errors import ArgumentError, ArgumentTypeError, ConfigError
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.parameter_rules import ParameterRule
from nadam_suite.schedules import Scaled, TrainingPlan, WithCooldown

__all__ = ["build_optimizer", "build_schedule", "settings_of"]

_NOT_ARGUMENTS = ("schema_version",)


def build_optimizer(config: NadamConfig, plan: TrainingPlan | None = None) -> Nadam:
    """Return the optimizer that a config describes; see `NadamConfig.build`.

    Example:
    >>> from nadam_suite.config import NadamConfig
    >>> from nadam_suite.config.build import build_optimizer
    >>> build_optimizer(NadamConfig(beta_2=0.99)).beta_2
    0.99
    """
    config = config.resolve(plan)
    arguments = {
        key: build_schedule(value, key) if isinstance(value, ScheduleConfig) else value
        for key, value in dict(config).items()
        if key not in _NOT_ARGUMENTS
    }
    arguments["averaging"] = build_averaging(config.averaging)
    arguments["parameter_rules"] = [ParameterRule(**dict(rule)) for rule in config.parameter_rules]
    highest = getattr(arguments["beta_1"], "highest", 0.0)
    if highest >= 1.0:
        requirement = f"a schedule that stays below 1, and this one reaches {highest:g}"
        raise ConfigError(faults.fault("beta_1", requirement, config.beta_1, "Lower its values."))
    try:
        return Nadam(**arguments)
    except ArgumentError as error:  # arguments that only the built schedules could judge
        raise ConfigError(str(error)) from None


def build_schedule(config: ScheduleConfig, key: str = "schedule") -> Any:
    """Return the schedule that a resolved config with a peak describes.

    Args:
        config: The config.
        key: Its dotted key, for messages.

    Raises:
        ConfigError: A value that could not be judged before does not fit the others.

    Example:
    >>> from nadam_suite.config import ScheduleConfig
    >>> from nadam_suite.config.build import build_schedule
    >>> build_schedule(ScheduleConfig(kind="constant", peak=0.5, warmup=10))
    Constant(value=0.5, warmup_steps=10, start=0.0)
    """
    values: dict[str, Any] = dict(config)
    kind = KINDS[config.kind]
    arguments = {kind.argument(name): values[name] for name in kind.defaults}
    if config.parts is not None:
        parts = enumerate(config.parts)
        arguments["schedules"] = [build_schedule(part, f"{key}.parts.{i}") for i, part in parts]
        arguments["boundaries"] = list(config.boundaries or ())
    if config.points is not None:
        arguments["points"] = list(config.points)
    try:
        schedule = kind.make(**arguments)
        if cools(values):
            names = ("total", "cooldown", "cooldown_end", "cooldown_shape")
            schedule = WithCooldown(schedule, *(values[name] for name in names))
        return schedule if config.factor is None else Scaled(schedule, config.factor)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(f"`{key}` of kind {config.kind!r} makes no schedule: {error}") from None


def settings_of(optimizer: Any) -> dict[str, Any]:
    """Return the keys of a `NadamConfig` for an optimizer; see `NadamConfig.from_optimizer`.

    Raises:
        ConfigError: It is no Nadam, or holds what a config cannot.
    """
    if not isinstance(optimizer, keras.optimizers.Nadam):
        wrapped = isinstance(getattr(optimizer, "inner_optimizer", None), keras.optimizers.Nadam)
        remedy = "Pass `optimizer.inner_optimizer`." if wrapped else "Build one with `nadam()`."
        raise ConfigError(faults.fault("optimizer", "a Nadam", optimizer, remedy))
    known = [key for key in NadamConfig.model_fields if key not in _NOT_ARGUMENTS]
    config = {key: value for key, value in optimizer.get_config().items() if key in known}
    found: list[str] = []
    if not isinstance(optimizer, Nadam):
        config["learning_rate"] = _typed(config["learning_rate"])
    else:
        try:
            config["averaging"] = averaging_settings(optimizer.averaging)
        except ConfigError as error:
            found += error.faults
    for key in ("learning_rate", "weight_decay", "beta_1", "beta_2"):
        if not isinstance(config[key], Mapping):
            continue
        try:
            if key == "beta_2":
                shown = config[key].get("class_name")
                raise ConfigError(faults.fault(key, "a number", shown, _REMEDY))
            config[key] = _schedule_settings(config[key], key)
        except ConfigError as error:
            found += error.faults
    if found:
        raise ConfigError(found)
    return config


def _typed(rate: Any) -> Any:
    """Return a stock optimizer's learning rate, which comes from a float32 variable, as typed."""
    exact = isinstance(rate, float) and float(np.float32(rate)) == rate
    return float(str(np.float32(rate))) if exact else rate


def _schedule_settings(serialized: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the settings of a serialized schedule of ours."""
    config = serialized.get("config")
    name = str(serialized.get("registered_name")).removeprefix("nadam_suite>")
    if not isinstance(config, Mapping) or name not in {*_KINDS, *_WRAPPERS}:
        requirement = "a number or a schedule of nadam_suite, such as WarmupCosine"
        shown = config if isinstance(config, str) else serialized.get("class_name")
        raise ConfigError(faults.fault(key, requirement, shown, _REMEDY))
    if name in _WRAPPERS:
        return _WRAPPERS[name](config, _schedule_settings(config["schedule"], f"{key}.schedule"))
    kind, names = _KINDS[name]
    settings: dict[str, Any] = {"kind": kind}
    settings |= {k: config[argument] for k, argument in names.items() if argument in config}
    if kind == "joined":
        parts = enumerate(settings["parts"])
        settings["parts"] = [_schedule_settings(p, f"{key}.schedules.{i}") for i, p in parts]
    return settings


def _scaled(config: Mapping[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    if inner.get("factor") is not None:
        inner = _alone(inner)
    return {**inner, "factor": config["factor"]}


def _cooled(config: Mapping[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    cools = inner.get("cooldown") is not None or inner.get("factor") is not None
    if cools or inner.get("total", config["total_steps"]) != config["total_steps"]:
        inner = _alone(inner)
    renamed = {"cooldown": "cooldown_steps", "total": "total_steps"}
    renamed |= {"cooldown_shape": "shape", "cooldown_end": "end"}
    return {**inner, **{key: config[argument] for key, argument in renamed.items()}}


def _alone(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the same schedule as the only part of a joined one, which can be wrapped anew."""
    return {"kind": "joined", "parts": [settings], "boundaries": []}


_REMEDY = "Keep `optimizer.get_config()` instead."
_WRAPPERS = {"Scaled": _scaled, "WithCooldown": _cooled}

# By the name of a class, its kind, and its arguments by the keys of that kind.
_KINDS: dict[str, tuple[str, dict[str, str]]] = {
    kind.make.__name__: (name, {key: kind.argument(key) for key in kind.defaults})
    for name, kind in KINDS.items()
}
# Without a warm-up those begin at their peak.
_RAMP = {"peak": "start", "end": "end", "total": "total_steps", "power": "power"}
_KINDS |= {"Linear": ("linear", _RAMP), "Polynomial": ("polynomial", _RAMP)}
