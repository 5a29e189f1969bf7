"""Rates, betas and decays as callables, tensors and NumPy numbers; read anew at each step."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.errors import SerializationError, SettingError
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, record
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

VALUES = {"learning_rate": 0.02, "weight_decay": 0.3, "beta_1": 0.5, "beta_2": 0.9}
KINDS = {
    "float": float,
    "np.float32": np.float32,
    "np.float64": np.float64,
    "0-d array": np.array,
    "tensor": lambda v: keras.ops.convert_to_tensor(v, dtype="float32"),
    "callable": lambda v: lambda: v,
    "callable of a tensor": lambda v: lambda: keras.ops.convert_to_tensor(v, dtype="float32"),
}


@keras.saving.register_keras_serializable(package="nadam_suite_tests")
def registered_rate():
    """A rate that a file can name."""
    return 0.125


@keras.saving.register_keras_serializable(package="nadam_suite_tests")
def registered_beta():
    """A beta that a file can name."""
    return 0.75


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument", VALUES)
def test_every_kind_of_number_trains_as_the_float(argument, kind, compiled):
    """K21, K25, K27: floats, NumPy numbers, tensors and callables give the twin's trajectory."""
    start, gradients = start_values(), gradient_list(8)
    optimizer = Nadam(**{argument: KINDS[kind](VALUES[argument])})
    path = record(optimizer, start, gradients, compiled=compiled)
    twin = trajectory(start, gradients, **{argument: VALUES[argument]})
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("argument", ["learning_rate", "weight_decay", "beta_1", "beta_2"])
def test_an_integer_counts_as_a_number(argument):
    """K27: 0 (and 1 for a rate) need no decimal point."""
    value = 1 if argument == "learning_rate" else 0
    start, gradients = start_values(), gradient_list(3)
    path = record(Nadam(**{argument: value}), start, gradients)
    twin = trajectory(start, gradients, **{argument: float(value)})
    assert_paths_close(path, twin, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("argument", VALUES)
def test_a_callable_is_read_again_at_every_step(argument, compiled):
    """D58: a Python number that changes between steps is seen by the compiled step as well."""
    now = {"value": VALUES[argument]}
    optimizer = Nadam(**{argument: lambda: now["value"]})
    start, gradients = start_values(), gradient_list(8)
    loop = Loop(optimizer, make_variables(start), compiled)
    values = [VALUES[argument] * (0.9**i) for i in range(len(gradients) + 1)]
    path = []
    for value, row in zip(values, gradients, strict=False):
        now["value"] = value
        loop.step(row)
        path.append(loop.values())

    options = {argument: lambda step: values[step]}
    if argument == "beta_1":
        # What the callable will say at the next step is not known: today's value stands for it.
        twin = _beta_1_known_only_today(start, gradients, values)
    else:
        twin = trajectory(start, gradients, **options)
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-5)


def _beta_1_known_only_today(start, gradients, values):
    from tests.reference.nadam import initial_state, nadam_step

    x, state, path = start, initial_state(start), []
    for value, row in zip(values, gradients, strict=False):
        x, state = nadam_step(x, row, state, beta_1=value)
        path.append(x)
    return path


def test_fit_reads_a_callable_rate_at_every_step():
    """D58: in fit() a rate that falls to zero stops the weights, whatever was compiled."""
    now = {"rate": 0.1}
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(Nadam(lambda: now["rate"]), "mse")
    x = np.ones((8, 2), dtype="float32")
    model.fit(x, x[:, :1] * 5, verbose=0)
    before = model.get_weights()
    now["rate"] = 0.0
    model.fit(x, x[:, :1] * 5, verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("argument", ["learning_rate", "beta_1", "beta_2", "weight_decay"])
def test_an_unregistered_callable_is_refused_when_the_config_is_asked_for(argument):
    """D38, D39: get_config names the argument and how to register; nothing fails at load."""
    optimizer = Nadam(**{argument: lambda: 0.5})
    with pytest.raises(SerializationError, match=rf"(?s){argument}.*register_keras_serializable"):
        optimizer.get_config()


def test_registered_callables_come_back_by_name():
    """D39: registered functions survive JSON and train after it."""
    optimizer = Nadam(registered_rate, beta_1=registered_beta)
    config = json.loads(json.dumps(optimizer.get_config()))
    copy = Nadam.from_config(config)
    start, gradients = start_values(), gradient_list(3)
    twin = trajectory(start, gradients, learning_rate=0.125, beta_1=0.75)
    assert_paths_close(record(copy, start, gradients), twin, rtol=1e-5, atol=1e-5)


def test_a_model_with_registered_callables_loads(tmp_path):
    """D39: load_model gives back a model that trains, not a dictionary."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(Nadam(registered_rate, beta_2=registered_beta), "mse")
    x = np.ones((4, 2), dtype="float32")
    model.fit(x, x[:, :1], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, Nadam)
    loaded.fit(x, x[:, :1], verbose=0)


def test_a_constant_tensor_is_a_number_in_the_config():
    """D38: tensors for the betas are JSON numbers afterwards."""
    tensor = keras.ops.convert_to_tensor(0.5, dtype="float32")
    config = json.loads(json.dumps(Nadam(beta_1=tensor, beta_2=tensor).get_config()))
    assert (config["beta_1"], config["beta_2"]) == (0.5, 0.5)


def test_setting_a_rate_on_a_callable_one_says_what_to_do():
    """D41: after build a callable rate is not settable, and the message names the way out."""
    optimizer = Nadam(registered_rate)
    optimizer.build(make_variables([np.ones(2)]))
    with pytest.raises((SettingError, TypeError), match=r"(?s)learning_rate.*replace"):
        optimizer.learning_rate = 0.1
