"""The one place where settings become objects and objects become settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from nadam_suite.config import faults
from nadam_suite.config.nadam_config import NadamConfig
from nadam_suite.config.schedule_config import ScheduleConfig
from nadam_suite.errors import ConfigError
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.parameter_rules import ParameterRule
from nadam_suite.schedules import Constant, TrainingPlan, WarmupCosine, WarmupLinear

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
    arguments = {key: value for key, value in dict(config).items() if key not in _NOT_ARGUMENTS}
    if isinstance(config.learning_rate, ScheduleConfig):
        arguments["learning_rate"] = build_schedule(config.learning_rate)
    arguments["parameter_rules"] = [ParameterRule(**dict(rule)) for rule in config.parameter_rules]
    return Nadam(**arguments)


def build_schedule(config: ScheduleConfig) -> Any:
    """Return the schedule that a resolved config with a peak describes.

    Example:
    >>> from nadam_suite.config import ScheduleConfig
    >>> from nadam_suite.config.build import build_schedule
    >>> build_schedule(ScheduleConfig(kind="constant", peak=0.5, warmup=10))
    Constant(value=0.5, warmup_steps=10, start=0.0)
    """
    values: dict[str, Any] = dict(config)
    if config.kind == "constant":
        return Constant(values["peak"], values["warmup"], values["start"])
    kind = {"cosine": WarmupCosine, "linear": WarmupLinear}[config.kind]
    lengths = {"total_steps": values["total"], "warmup_steps": values["warmup"]}
    return kind(values["peak"], **lengths, end=values["end"], start=values["start"])


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
    if not isinstance(optimizer, Nadam):
        config["learning_rate"] = _typed(config["learning_rate"])
    if isinstance(config["learning_rate"], Mapping):
        config["learning_rate"] = _schedule_settings(config["learning_rate"])
    found = [
        faults.fault(key, "a number", config[key], "Keep `optimizer.get_config()` instead.")
        for key in ("beta_1", "beta_2", "weight_decay")
        if isinstance(config[key], Mapping)
    ]
    if found:
        raise ConfigError(found)
    return config


def _typed(rate: Any) -> Any:
    """Return a stock optimizer's learning rate, which comes from a float32 variable, as typed."""
    exact = isinstance(rate, float) and float(np.float32(rate)) == rate
    return float(str(np.float32(rate))) if exact else rate


def _schedule_settings(serialized: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a serialized schedule of ours."""
    config = serialized.get("config")
    name = serialized.get("registered_name")
    if name not in _SETTINGS or not isinstance(config, Mapping):
        requirement = "a number or one of " + ", ".join(key.split(">")[1] for key in _SETTINGS)
        shown = config if isinstance(config, str) else serialized.get("class_name")
        remedy = "Keep `optimizer.get_config()` instead."
        raise ConfigError(faults.fault("learning_rate", requirement, shown, remedy))
    return _SETTINGS[name](config)


def _decay_settings(kind: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    names = {"peak": "peak", "warmup_steps": "warmup", "total_steps": "total"}
    names |= {"start": "start", "end": "end"}
    return lambda config: {"kind": kind, **{new: config[old] for old, new in names.items()}}


def _constant_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {"peak": config["value"], "warmup": config["warmup_steps"], "start": config["start"]}
    return {"kind": "constant", **renamed}


_SETTINGS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "nadam_suite>Constant": _constant_settings,
    "nadam_suite>WarmupCosine": _decay_settings("cosine"),
    "nadam_suite>WarmupLinear": _decay_settings("linear"),
}
