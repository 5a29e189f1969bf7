"""The weights of a trial's best epoch: those that its metric was measured with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from nadam_suite.averaging import averaged_weights
from nadam_suite.callbacks.files import replace_text, write_beside
from nadam_suite.tuner.trials import objective_names

__all__ = ["BUILD", "WEIGHTS", "BestWeights"]

WEIGHTS = "checkpoint.weights.h5"  # keras-tuner's own names, so that it can load them
BUILD = "build_config.json"


class BestWeights(keras.callbacks.Callback):
    """Saves the weights at the end of the best epoch, with which they evaluate to its metric.

    Where `EvaluateAverage` has measured the objective these are the averages, with the moving
    statistics that were used. The optimizer's state is in the file too, and in it the raw weights.

    Args:
        folder: The trial's folder.
        objective: What is to fall, or to rise. Where it is not among the metrics of an epoch every
            epoch is saved.
        best: Its best value so far, whose weights are in the folder; None at the beginning.
    """

    def __init__(
        self, folder: Path, objective: keras_tuner.Objective, best: float | None = None
    ) -> None:
        super().__init__()
        self.folder = folder
        self.objective = objective
        self.best = best
        self._evaluation: Any = None

    def check_others(self, callbacks: Sequence[Any]) -> None:
        """Learn who measures: called before each validation where someone replaces it."""
        self._evaluation = next((c for c in callbacks if hasattr(c, "validate")), None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if this epoch is the best."""
        logs = logs or {}
        if self.objective.has_value(logs):
            value = float(self.objective.get_value(logs))
            if self.best is not None and not self.objective.better_than(value, self.best):
                return
            self.best = value
        elif self.best is not None:
            return  # this epoch was not validated
        self._save()

    def _save(self) -> None:
        model, evaluation = self.model, self._evaluation
        replace_text(self.folder / BUILD, json.dumps(model.get_build_config()))
        if evaluation is None or not any(map(_of_averages, objective_names(self.objective))):
            self._write()
            return
        with averaged_weights(model, evaluation.average):
            if evaluation.evaluated_statistics is not None:
                evaluation.statistics.put(model, evaluation.evaluated_statistics)
            self._write()

    def _write(self) -> None:
        path = self.folder / WEIGHTS
        write_beside(path, ".checkpoint.tmp.weights.h5", self.model.save_weights)


def _of_averages(name: str) -> bool:
    return name.startswith("val_") and not name.startswith("val_raw_")
