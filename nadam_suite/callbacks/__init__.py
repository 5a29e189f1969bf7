"""Callbacks for `fit()`: keeping the whole state of a training, so that it can go on exactly."""

from __future__ import annotations

from nadam_suite.callbacks.training_state import TrainingState

__all__ = ["TrainingState"]
