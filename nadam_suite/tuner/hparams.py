"""TensorBoard's table of hyperparameters, written without TensorFlow, alike on every backend.

keras-tuner writes it on TensorFlow only, and lets all trials share one log folder elsewhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from nadam_suite.experiment.event_hparams import (
    append_end,
    append_message,
    append_start,
    fill,
    hparams_path,
)

__all__ = ["hparams_session"]


@contextlib.contextmanager
def hparams_session(
    folder: Path,
    trial_id: str,
    hyperparameters: keras_tuner.HyperParameters,
    objectives: Sequence[str],
) -> Iterator[None]:
    """Tell TensorBoard of a trial for the length of a `with` block, and how it has ended.

    A block that ends with an exception is a failure; one that is interrupted has no end, until
    the trial is gone on with in another one. The executions of a trial are shown as one group.

    Args:
        folder: Log folder of this execution of the trial alone, in which `keras.callbacks.
            TensorBoard` writes its curves; created if it is missing.
        trial_id: Name of the trial.
        hyperparameters: Its values, and the space that they are from.
        objectives: Names of the metrics to show beside them, as in the logs of an epoch.

    Example:

    >>> import keras_tuner, pathlib, tempfile
    >>> from nadam_suite.tuner.hparams import hparams_session
    >>> hp = keras_tuner.HyperParameters()
    >>> rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with hparams_session(folder, "0", hp, ["val_loss"]):
    ...     pass  # fit() with a TensorBoard callback
    >>> [path.name.split(".")[1] for path in folder.iterdir()]
    ['out']
    """
    from tensorboard.plugins.hparams import plugin_data_pb2

    path = hparams_path(folder)
    content = plugin_data_pb2.HParamsPluginData
    append_message(path, "experiment", content(experiment=_experiment(hyperparameters, objectives)))
    append_start(path, trial_id, _shown(hyperparameters))
    success: bool | None = False
    try:
        yield
        success = True
    except BaseException as error:
        if not isinstance(error, Exception):
            success = None  # interrupted
        raise
    finally:
        if success is not None:
            append_end(path, success=success)


def _shown(hyperparameters: keras_tuner.HyperParameters) -> list[tuple[str, Any]]:
    """Return names and values of the active hyperparameters."""
    active = [hp.name for hp in hyperparameters.space if hyperparameters.is_active(hp)]
    values = hyperparameters.values
    return [(name, values[name]) for name in dict.fromkeys(active) if name in values]


def _experiment(hyperparameters: keras_tuner.HyperParameters, objectives: Sequence[str]) -> Any:
    """Return the message that says what there is to compare."""
    from tensorboard.plugins.hparams import api_pb2

    metrics = [api_pb2.MetricInfo(name=_place(name), display_name=name) for name in objectives]
    space = {hp.name: hp for hp in hyperparameters.space}  # conditional ones may share a name
    infos = []
    for name, hp in space.items():
        info = api_pb2.HParamInfo(name=name, display_name=name)
        values = _values(hp)
        if values is None:
            info.type = api_pb2.DATA_TYPE_FLOAT64
            info.domain_interval.min_value = hp.min_value
            info.domain_interval.max_value = hp.max_value
        else:
            info.type = _type(values[0])
            for value in values:
                fill(info.domain_discrete.values.add(), value)
        infos.append(info)
    return api_pb2.Experiment(
        time_created_secs=time.time(), hparam_infos=infos, metric_infos=metrics
    )


def _values(hp: Any) -> list[Any] | None:
    """Return all values of a hyperparameter, or None for a range."""
    if isinstance(hp, kinds.Fixed):
        return [hp.value]
    if isinstance(hp, (kinds.Choice, kinds.Boolean)):
        return list(hp.values)
    return None


def _type(value: Any) -> int:
    from tensorboard.plugins.hparams import api_pb2

    if isinstance(value, bool):
        return int(api_pb2.DATA_TYPE_BOOL)
    if isinstance(value, str):
        return int(api_pb2.DATA_TYPE_STRING)
    return int(api_pb2.DATA_TYPE_FLOAT64)


def _place(metric: str) -> Any:
    """Return where Keras' callback writes a metric: sub-folder and tag."""
    from tensorboard.plugins.hparams import api_pb2

    name = metric.removeprefix("val_")
    group = "train" if name == metric else "validation"
    return api_pb2.MetricName(group=group, tag=f"epoch_{name}")
