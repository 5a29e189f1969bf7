"""`AverageCheckpoint`: one file to go on training from, and one to use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.averaging import averaged_weights
from nadam_suite.callbacks.model_files import (
    checked_path,
    formatted_path,
    save_model,
    without_optimizer,
)
from nadam_suite.callbacks.monitored import (
    better,
    checked_monitor,
    monitored_value,
    not_validated,
)
from nadam_suite.callbacks.showing import Statistics, begin_raw, saved_seeds
from nadam_suite.callbacks.validation import (
    check_evaluated,
    release_validation,
    watch_validation,
)
from nadam_suite.errors import ArgumentError
from nadam_suite.optimizers.arguments import check_flag

__all__ = ["AverageCheckpoint"]


class AverageCheckpoint(keras.callbacks.Callback):
    """Saves two files at the end of epochs: the training with raw weights, and the averages.

    The first is what `model.save()` writes, raw weights and the whole state of the optimizer,
    averages included, and the state of the layers' random generators, which Keras leaves out. A
    `fit()` of the loaded model with a callback of this family goes on as if it had not stopped.
    (On PyTorch a dropout without `seed` draws from PyTorch's own generator, which only
    `TrainingState` keeps.) The second holds the
    averages for weights and is for use: it can be loaded without this package, on any backend, and
    has losses and metrics, but nothing of the optimizer. Compile it before you train it.

    Together with `EvaluateAverage` of the same `name` and `batch_norm` the second file evaluates
    to exactly the val_* that was logged. `save_best_only` by such a metric asks for that callback:
    without it the best raw weights would be chosen, and the averages be saved.

    Each file is written beside the old one and replaces it when it is whole. Of the processes of
    one training only the chief's files stay.

    Args:
        path: Where the training is saved, ending in .keras. It may have fields as in
            "{epoch:02d}-{val_loss:.3f}.keras": the epoch, from 1, and the metrics of the epoch.
            Folders are created.
        average_path: Where the averages are saved, likewise. None, the default, puts the name of
            the average into `path`, as in "1.ema.keras".
        monitor: Metric that `save_best_only` goes by. Defaults to "val_loss".
        save_best_only: Save where the metric is better than at any epoch before, instead of every
            epoch. Defaults to False.
        name: Name of the average; None, the default, takes the first one.
        mode: "min" or "max": whether the metric should fall or rise. "auto", the default, knows it
            of names that end in words such as "loss", "error", "accuracy" or "auc".
        batch_norm: "keep", the default, saves the averages with the moving statistics of the raw
            weights, "recalibrate" with those that the averages have over `data`.
        data: Training data to recalibrate with, see `recalibrate_batch_norm`. Not read where
            `EvaluateAverage` has done so in this epoch.
        steps: Number of batches to read of them, or None, the default, for all.

    Raises:
        ArgumentError: A path does not end in .keras, both are the same, or "auto" does not know
            the metric. At the start of `fit()`: no such average, or no data to recalibrate with.
            Within it: no such metric, or one of the raw weights.
        SettingError: At the start of `fit()`: the optimizer keeps no averages.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA
    >>> from nadam_suite.callbacks import AverageCheckpoint, EvaluateAverage
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.1, averaging=EMA(0.9)), loss="mse")
    >>> x = np.ones((8, 2), "float32")
    >>> history = model.fit(x, x[:, :1], verbose=0, validation_data=(x, x[:, :1]),
    ...                     callbacks=[EvaluateAverage(), AverageCheckpoint("best.keras")])
    >>> best = keras.saving.load_model("best.ema.keras")
    >>> bool(best.evaluate(x, x[:, :1], verbose=0) == history.history["val_loss"][0])
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        average_path: str | os.PathLike[str] | None = None,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        name: str | None = None,
        mode: str = "auto",
        batch_norm: str = "keep",
        data: Any = None,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.path = checked_path("path", path)
        self.average_path = average_path and checked_path("average_path", average_path)
        if self.average_path == self.path:
            raise ArgumentError(
                "Arguments `path` and `average_path` must be different files. Received: "
                f"{self.path!r} for both. Leave `average_path` out."
            )
        self.save_best_only = check_flag("save_best_only", save_best_only)
        self.monitor, self.mode = monitor, mode
        self.rises = self.save_best_only and checked_monitor(monitor, mode)
        self.name = name
        self.statistics = Statistics(batch_norm, data, steps)
        self.best: float | None = None
        self.average = name
        self._evaluation: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin from the raw weights, without a best value."""
        self.average = begin_raw(self.model, self.name)
        self.statistics.check(self.model)
        self.best, self._evaluation = None, None
        watch_validation(self.model)

    def on_train_end(self, logs: Any = None) -> None:
        """Give the validation back."""
        release_validation(self.model)

    def check_others(self, callbacks: Sequence[Any]) -> None:
        """Refuse to choose averages by the metric of the raw weights, see `check_evaluated`."""
        if self.save_best_only:
            check_evaluated(self, self.monitor, callbacks)
        alike = [c for c in callbacks if hasattr(c, "validate") and c.average == self.average]
        self._evaluation = next(iter(alike), None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if every epoch counts or this one is the best."""
        logs = logs or {}
        if self.save_best_only:
            if not_validated(self.monitor, logs):
                return
            value = monitored_value(self.monitor, logs)
            if not better(value, self.best, self.rises):
                return
            self.best = value
        raw = formatted_path("path", self.path, epoch, logs)
        average = formatted_path("average_path", self._average_path(), epoch, logs)
        with saved_seeds(self.model):
            save_model(self.model, raw)
        self._save_average(average)

    def _average_path(self) -> str:
        return self.average_path or f"{self.path.removesuffix('.keras')}.{self.average}.keras"

    def _save_average(self, path: Path) -> None:
        model = self.model
        with averaged_weights(model, self.average):
            known = getattr(self._evaluation, "evaluated_statistics", None)
            if self.statistics.mode == "recalibrate" and known is not None:
                self.statistics.put(model, known)
            else:
                self.statistics.follow(model)
            with without_optimizer(model):
                save_model(model, path)
