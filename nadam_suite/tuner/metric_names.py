"""Which metrics a training will log, known before its first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras

from nadam_suite.averaging import average_names
from nadam_suite.callbacks import (
    AverageCheckpoint,
    AverageSnapshots,
    EMAFinalization,
    EvaluateAverage,
)
from nadam_suite.tuner.ordered import first_batch

__all__ = ["adds_no_names", "logged", "metric_names"]

# Callbacks that add no metric to the logs of an epoch.
_ADD_NONE = (
    AverageCheckpoint,
    AverageSnapshots,
    EMAFinalization,
    EvaluateAverage,
    keras.callbacks.CSVLogger,
    keras.callbacks.EarlyStopping,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)


def adds_no_names(callbacks: Iterable[Any]) -> bool:
    """Return whether the callbacks are known to leave the logs of an epoch as they are."""
    return all(type(callback) in _ADD_NONE for callback in callbacks)


def metric_names(model: keras.Model, arguments: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return what `fit()` will log, by evaluating one batch of its training data.

    Args:
        model: A compiled model, of which nothing else is asked afterwards.
        arguments: Arguments of `keras.Model.fit` by name.

    Returns:
        The names, or None where the data can be read only once.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite.tuner.metric_names import metric_names
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse", metrics=["mae"])
    >>> x = np.ones((4, 2), "float32")
    >>> metric_names(model, {"x": x, "y": x[:, :1], "validation_split": 0.5})
    ('loss', 'mae', 'val_loss', 'val_mae')
    """
    if arguments.get("x") is None or isinstance(arguments["x"], Iterator):
        return None
    logs = model.evaluate(**first_batch(arguments), steps=1, verbose=0, return_dict=True)
    validated = arguments.get("validation_data") is not None or arguments.get("validation_split")
    return logged(logs, validated=bool(validated), averaged=bool(average_names(model)))


def logged(names: Iterable[str], *, validated: bool, averaged: bool) -> tuple[str, ...]:
    """Return what an epoch logs of a model's metrics.

    Args:
        names: Names of the metrics.
        validated: Whether there is data to validate with.
        averaged: Whether averages are validated then, beside the raw weights.
    """
    prefixes = ["", *(["val_"] * validated), *(["val_raw_"] * (validated and averaged))]
    own = tuple(names)
    return tuple(f"{prefix}{name}" for prefix in prefixes for name in own)
