"""What a hypermodel may offer beyond keras-tuner's `build` and `fit`, and our tuners then use."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import keras_tuner

from nadam_suite.config.base import Config
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.trials import TrialContext

__all__ = ["KnowsConfig", "KnowsMetrics", "KnowsPoints", "RunsTrials"]


@runtime_checkable
class KnowsPoints(Protocol):
    """It has points that a search should try first."""

    def points(self, hyperparameters: keras_tuner.HyperParameters) -> list[Enqueued]:
        """Return them, for a space that is declared in full."""


@runtime_checkable
class KnowsConfig(Protocol):
    """It trains what a config says, which is saved beside each trial."""

    def config(self, hp: keras_tuner.HyperParameters) -> Config:
        """Return the config of a trial."""


@runtime_checkable
class KnowsMetrics(Protocol):
    """It knows the metrics that its trials have, without training one."""

    def objective_names(self) -> tuple[str, ...]:
        """Return their names."""


@runtime_checkable
class RunsTrials(Protocol):
    """It trains its trials by itself; the arguments of `search()` are not for it."""

    def run_trial(self, context: TrialContext) -> Any:
        """Train an execution of a trial, or go on with it; return what `result_of` knows."""
