"""Callbacks for `fit()`: exact resumption, what the optimizer used, and rates that adapt."""

from __future__ import annotations

from nadam_suite.callbacks.hyperparameters import HyperparameterLogger
from nadam_suite.callbacks.plateau import PlateauScale
from nadam_suite.callbacks.training_state import TrainingState

__all__ = ["HyperparameterLogger", "PlateauScale", "TrainingState"]
