"""Callbacks for `fit()`: exact resumption, averages, rates, what optimizer and loss scale did."""

from __future__ import annotations

from nadam_suite.callbacks.average_checkpoint import AverageCheckpoint
from nadam_suite.callbacks.average_snapshots import AverageSnapshots
from nadam_suite.callbacks.batch_norm import recalibrate_batch_norm
from nadam_suite.callbacks.evaluate_average import EvaluateAverage
from nadam_suite.callbacks.finalization import EMAFinalization
from nadam_suite.callbacks.hyperparameters import HyperparameterLogger
from nadam_suite.callbacks.loss_scale_monitor import LossScaleMonitor
from nadam_suite.callbacks.norms import NormLogger
from nadam_suite.callbacks.plateau import PlateauScale
from nadam_suite.callbacks.training_state import TrainingState

__all__ = [
    "AverageCheckpoint",
    "AverageSnapshots",
    "EMAFinalization",
    "EvaluateAverage",
    "HyperparameterLogger",
    "LossScaleMonitor",
    "NormLogger",
    "PlateauScale",
    "TrainingState",
    "recalibrate_batch_norm",
]
