"""Schedules: numbers that follow the step, and the plan that says how many steps there are."""

from __future__ import annotations

from nadam_suite.schedules.plan import (
    TrainingPlan,
    format_duration,
    parse_duration,
    resolve_duration,
)
from nadam_suite.schedules.scaling import scale_learning_rate
from nadam_suite.schedules.warmup import Constant, WarmupCosine, WarmupLinear

__all__ = [
    "Constant",
    "TrainingPlan",
    "WarmupCosine",
    "WarmupLinear",
    "format_duration",
    "parse_duration",
    "resolve_duration",
    "scale_learning_rate",
]
