"""Schedules: numbers that follow the step, and the plan that says how many steps there are."""

from __future__ import annotations

from nadam_suite.schedules.compose import Joined, Piecewise, Scaled, WithCooldown, sample
from nadam_suite.schedules.cyclical import CosineRestarts, Cyclical, OneCycle, OneCycleMomentum
from nadam_suite.schedules.decay import (
    Linear,
    Noam,
    Polynomial,
    WarmupInverseSqrt,
    WarmupStableDecay,
)
from nadam_suite.schedules.plan import (
    TrainingPlan,
    format_duration,
    parse_duration,
    resolve_duration,
)
from nadam_suite.schedules.scaling import scale_learning_rate
from nadam_suite.schedules.warmup import (
    Constant,
    WarmupCosine,
    WarmupExponential,
    WarmupLinear,
    WarmupPolynomial,
)

__all__ = [
    "Constant",
    "CosineRestarts",
    "Cyclical",
    "Joined",
    "Linear",
    "Noam",
    "OneCycle",
    "OneCycleMomentum",
    "Piecewise",
    "Polynomial",
    "Scaled",
    "TrainingPlan",
    "WarmupCosine",
    "WarmupExponential",
    "WarmupInverseSqrt",
    "WarmupLinear",
    "WarmupPolynomial",
    "WarmupStableDecay",
    "WithCooldown",
    "format_duration",
    "parse_duration",
    "resolve_duration",
    "sample",
    "scale_learning_rate",
]
