"""The optimizer, its parameter rules and its factories."""

from __future__ import annotations

from nadam_suite.optimizers.factory import nadam, nadamw
from nadam_suite.optimizers.nadam import Nadam
from nadam_suite.optimizers.parameter_rules import ParameterRule, layerwise_decay, no_decay

__all__ = ["Nadam", "ParameterRule", "layerwise_decay", "nadam", "nadamw", "no_decay"]
