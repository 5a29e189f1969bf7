"""Cells about what a config holds, and what comes back from it."""

from __future__ import annotations

import copy
import json
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import BACKENDS, Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    apply_all,
    compare,
    line_model,
    nadam,
    scratch,
    train,
    value,
    variable,
)

__all__ = ["CELLS", "registered_rate"]

_GRADIENTS = [[0.5, -1.0], [1.0, 0.25], [-0.5, 0.5], [0.25, 1.0]]


@keras.saving.register_keras_serializable(package="nadam_suite.doctor")
def registered_rate() -> float:
    """Return the learning rate of a probe: a callable that Keras knows by name."""
    return 0.1


def _tensor_betas(subject: Subject) -> Any:
    beta_1, beta_2 = (keras.ops.convert_to_tensor(b) for b in (0.75, 0.5))  # exact in float32
    return subject.optimizer(0.1, beta_1=beta_1, beta_2=beta_2)


def _resumed(optimizer: Any, **expected: Any) -> Observation:
    """Train two steps, save and load a `.keras` file, train two more."""
    model = line_model(optimizer)
    train(model, _GRADIENTS[:2])
    with scratch() as folder:
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
    train(model, _GRADIENTS[2:])
    path = nadam([1.0, 1.0], _GRADIENTS, 0.1, **expected)
    return compare(value(model.layers[0].kernel).ravel(), path[-1], 1e-5, "weights after 4 steps")


def _tensor_config(subject: Subject) -> Observation:
    optimizer = _tensor_betas(subject)
    config = json.loads(json.dumps(optimizer.get_config()))
    weight, gradients = variable([1.0, 1.0]), [np.array(g) for g in _GRADIENTS]
    apply_all(type(optimizer).from_config(config), [weight], gradients)
    expected = nadam([1.0, 1.0], gradients, 0.1, beta_1=0.75, beta_2=0.5)[-1]
    return compare(value(weight), expected, 1e-5, "weights")


def _tensor_file(subject: Subject) -> Observation:
    return _resumed(_tensor_betas(subject), beta_1=0.75, beta_2=0.5)


def _callable_file(subject: Subject) -> Observation:
    return _resumed(subject.optimizer(registered_rate))


def _unregistered_callable(subject: Subject) -> Observation:
    try:
        saved = keras.saving.serialize_keras_object(subject.optimizer(lambda: 0.1))
    except TypeError as error:
        message = str(error).partition("\n")[0]
        return Observation("learning_rate" in message, f"{type(error).__name__}: {message}")
    try:
        keras.saving.deserialize_keras_object(saved)
    except (TypeError, ValueError) as error:
        return Observation(False, f"saved, but cannot be loaded: {type(error).__name__}")
    return Observation(True, "saved and loaded")


def _from_config(subject: Subject) -> Observation:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10.0, 0.5)
    optimizer = subject.optimizer(schedule)
    config = optimizer.get_config()
    before = copy.deepcopy(config)
    type(optimizer).from_config(config)
    changed = [key for key, held in before.items() if config.get(key) != held]
    return Observation(not changed, f"changed: {changed or 'nothing'}")


def _deserialize(subject: Subject) -> Observation:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10.0, 0.5)
    config = keras.saving.serialize_keras_object(subject.optimizer(schedule))
    before = copy.deepcopy(config)
    keras.saving.deserialize_keras_object(config)
    changed = [key for key in before if config[key] != before[key]]
    return Observation(not changed, f"changed: {changed or 'nothing'}")


def _as_typed(subject: Subject) -> Observation:
    typed = {"learning_rate": 1e-3, "beta_1": 0.95, "weight_decay": 0.004, "clipnorm": 0.3}
    config = subject.optimizer(**typed).get_config()
    changed = [f"{key}={config[key]!r}" for key, held in typed.items() if config[key] != held]
    return Observation(not changed, f"came back: {', '.join(changed) or 'as typed'}")


def _as_typed_after_training(subject: Subject) -> Observation:
    model = line_model(subject.optimizer(1e-3))
    train(model, _GRADIENTS)
    with scratch() as folder:
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
    rate = model.optimizer.get_config()["learning_rate"]
    return Observation(rate == 1e-3, f"came back: learning_rate={rate!r}")


CELLS = (
    Cell(
        "K21/tensor",
        "beta_1 and beta_2 may be tensors, and the config is still JSON.",
        "constant tensors, config through JSON and back, 4 steps",
        _tensor_config,
    ),
    Cell(
        "D38/file",
        "A model whose optimizer was given tensor betas loads and trains on.",
        "tensor betas, .keras file after 2 of 4 steps",
        _tensor_file,
    ),
    Cell(
        "D39/registered",
        "A registered callable learning rate is saved, loaded and trains on.",
        "registered function as learning_rate, .keras file after 2 of 4 steps",
        _callable_file,
        stock_holds_on=BACKENDS,
    ),
    Cell(
        "D39/unregistered",
        "A callable that could not be loaded is refused when it is saved.",
        "lambda as learning_rate, get_config()",
        _unregistered_callable,
    ),
    Cell(
        "K30/from-config",
        "from_config() leaves the dict it is given as it is.",
        "config with a schedule",
        _from_config,
    ),
    Cell(
        "K30/deserialize",
        "Deserializing leaves the dict it is given as it is.",
        "serialize_keras_object, deserialize_keras_object",
        _deserialize,
    ),
    Cell(
        "K33/typed",
        "get_config() returns what was typed.",
        "learning_rate=1e-3, beta_1=0.95, weight_decay=0.004, clipnorm=0.3",
        _as_typed,
    ),
    Cell(
        "K33/saved",
        "What was typed comes back after training, save and load.",
        "learning_rate=1e-3, .keras file after 4 steps",
        _as_typed_after_training,
    ),
)
