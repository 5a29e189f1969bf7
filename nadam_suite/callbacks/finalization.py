"""`EMAFinalization`: the averages become the weights when a training has come to its end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.averaging import average_tensors, show_average, show_raw, shown, write_weights
from nadam_suite.averaging.shown import keepers
from nadam_suite.backends import get_backend
from nadam_suite.callbacks.batch_norm import statistics_of
from nadam_suite.callbacks.monitored import (
    better,
    checked_monitor,
    monitored_value,
    not_validated,
)
from nadam_suite.callbacks.showing import Statistics, begin_raw, build
from nadam_suite.callbacks.validation import (
    check_evaluated,
    release_validation,
    watch_validation,
)
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, StateError
from nadam_suite.optimizers.arguments import check_flag

__all__ = ["EMAFinalization"]


class EMAFinalization(keras.callbacks.Callback):
    """Gives the model its averages for weights at the end of `fit()`, once.

    It acts where `fit()` ends by itself or a callback stops it. An exception, or Ctrl-C, leaves
    the raw weights in the model, on every backend; `finalize()` then gives it the averages.

    The raw weights stay beside, in the optimizer and in what `model.save()` writes. The next
    `fit()` with any callback for averages goes on from them, as a longer training would have done;
    `nadam_suite.averaging.show_raw(model)` puts them back at once.

    In the list of callbacks it comes after `EarlyStopping(restore_best_weights=True)`, which
    overwrites the model's weights by its best raw ones at the end. The first validation refuses
    the other order; without validation data nothing can tell it.

    Args:
        name: Name of the average, of whatever kind; None, the default, takes the first one.
        restore_best: Take the averages of the epoch with the best `monitor`, kept on the device,
            instead of the last ones. Defaults to False.
        batch_norm: "recalibrate", the default, gives batch normalization the statistics that the
            averages have over `data`; "keep" keeps those of the raw weights of that epoch.
        data: Training data to recalibrate with, see `recalibrate_batch_norm`. Needed if the model
            has batch normalization.
        monitor: Metric that `restore_best` goes by. Defaults to "val_loss". A metric of the
            validation must be that of the averages: pass `EvaluateAverage` too.
        mode: "min" or "max": whether the metric should fall or rise. "auto", the default, knows it
            of names that end in words such as "loss", "error", "accuracy" or "auc".
        steps: Number of batches of `data` to read, or None, the default, for all.

    Raises:
        ArgumentError: "auto" does not know the metric. At the start of `fit()`: no such average, or
            no data to recalibrate with. Within it: no such metric, or one of the raw weights.
        SettingError: At the start of `fit()`: the optimizer keeps no averages.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, average_tensors
    >>> from nadam_suite.callbacks import EMAFinalization
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.1, averaging=EMA(0.9)), loss="mse")
    >>> x = np.ones((8, 2), "float32")
    >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0, callbacks=[EMAFinalization()])
    >>> all(bool((variable.numpy() == average).all())
    ...     for variable, average in average_tensors(model))
    True
    """

    def __init__(
        self,
        name: str | None = None,
        restore_best: bool = False,
        batch_norm: str = "recalibrate",
        data: Any = None,
        monitor: str = "val_loss",
        mode: str = "auto",
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.restore_best = check_flag("restore_best", restore_best)
        self.statistics = Statistics(batch_norm, data, steps)
        self.monitor, self.mode = monitor, mode
        self.rises = self.restore_best and checked_monitor(monitor, mode)
        self.average = name
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._best_averages: list[Any] | None = None
        self._best_statistics: list[Any] | None = None

    @property
    def best_averages(self) -> list[np.ndarray] | None:
        """The best averages so far as arrays, in the order of `average_tensors`; None without."""
        return _arrays(self._best_averages)

    @best_averages.setter
    def best_averages(self, arrays: Sequence[Any] | None) -> None:
        self._best_averages = _tensors(arrays)

    @property
    def best_statistics(self) -> list[np.ndarray] | None:
        """Statistics of batch normalization of the best epoch, if they are kept."""
        return _arrays(self._best_statistics)

    @best_statistics.setter
    def best_statistics(self, arrays: Sequence[Any] | None) -> None:
        self._best_statistics = _tensors(arrays)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin from the raw weights, and keep the optimizer from overwriting them at the end."""
        self.average = begin_raw(self.model, self.name)
        self.statistics.check(self.model)
        self._forget()
        self._let_finalize(False)
        watch_validation(self.model)

    def check_others(self, callbacks: Sequence[Any]) -> None:
        """Refuse a list in which another callback would undo this one, or mislead it.

        Raises:
            ArgumentError: Early stopping comes later, or `monitor` is a metric of the raw weights.
        """
        if self.restore_best:
            check_evaluated(self, self.monitor, callbacks)
        later = list(callbacks)[list(callbacks).index(self) :]
        if any(getattr(callback, "restore_best_weights", False) for callback in later):
            raise ArgumentError(
                "EMAFinalization must come after `EarlyStopping(restore_best_weights=True)` in the "
                "list of callbacks. Received: early stopping after it, which would overwrite the "
                "averages by raw weights. Put EMAFinalization last."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the averages if they are the best so far."""
        if not self.restore_best or not_validated(self.monitor, logs):
            return
        value = monitored_value(self.monitor, logs)
        if not better(value, self.best, self.rises):
            return
        copy, model = get_backend().copy, self.model
        self.best, self.best_epoch = value, epoch
        self._best_averages = [copy(tensor) for _, tensor in average_tensors(model, self.average)]
        if self.statistics.mode == "keep":
            self._best_statistics = [copy(variable) for variable in statistics_of(model)]

    def on_train_end(self, logs: Any = None) -> None:
        """Give the model the averages."""
        if self.restore_best and self.best is None and self.model.optimizer.built:
            warnings.warn(
                f"{self.monitor!r} was never there, or never a number, so that EMAFinalization "
                "cannot restore the best averages. The model gets the last ones. Pass validation "
                "data to `fit()`, or another `monitor`.",
                NadamSuiteWarning,
                stacklevel=2,
            )
        self.finalize()
        self._let_finalize(True)
        release_validation(self.model)

    def finalize(self) -> None:
        """Give the model the averages, unless it has them; for a `fit()` that was interrupted.

        Raises:
            StateError: There was no `fit()` with this callback.
        """
        model = self.model
        if model is None or self.average is None:
            raise StateError(
                "There must have been a `fit()` with this callback. Received: none. Pass the "
                "callback to `fit()`, or call `nadam_suite.averaging.show_average(model)`."
            )
        if shown(model) is not None:
            return
        build(model)
        if self._best_averages is None:
            show_average(model, self.average)
        else:
            write_weights(model, self.average, self._best_averages)
        try:
            if self._best_statistics is not None:
                self.statistics.put(model, self._best_statistics)
            self.statistics.follow(model)
        except BaseException:
            show_raw(model)
            raise

    def _let_finalize(self, allowed: bool) -> None:
        for optimizer in keepers(self.model):
            optimizer.finalizes = allowed


def _arrays(tensors: Sequence[Any] | None) -> list[np.ndarray] | None:
    if tensors is None:
        return None
    arrays = [np.array(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]
    # NumPy files know no bfloat16; float32 holds each of its values.
    return [array if array.dtype.kind == "f" else array.astype("float32") for array in arrays]


def _tensors(arrays: Sequence[Any] | None) -> list[Any] | None:
    return None if arrays is None else [keras.ops.convert_to_tensor(array) for array in arrays]
