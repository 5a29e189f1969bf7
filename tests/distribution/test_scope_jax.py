"""Distributions of JAX that training_scope really sets, on four devices made of one CPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.cluster import result_of, run_cluster
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.multi_device,
    pytest.mark.once,
    pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install '.[jax]'"),
]
FOUR = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}

_PROGRAM = """
import json
import keras
import numpy as np
from nadam_suite import Nadam, training_scope

rng = np.random.default_rng(0)
x = rng.normal(size=(61, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)

def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="inner"),
                              keras.layers.Dense(1, name="outer")])
    model.compile(Nadam(0.01, global_clipnorm=1.0), "mse", metrics=["mae"])
    return model

def told(model, batch_size=16):
    logs = model.evaluate(x, y, batch_size=batch_size, verbose=0)
    predictions = model.predict(x, batch_size=batch_size, verbose=0)
    return {
        "weights": [float(v) for w in model.get_weights() for v in np.asarray(w).ravel()],
        "logs": [float(value) for value in logs],
        "predictions": [float(value) for value in predictions.ravel()],
    }

def fit(model):
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)

def by_batches(model):
    for start in (0, 16, 32, 48) * 2:
        model.train_on_batch(x[start:start + 16], y[start:start + 16])

def tell(result):
    print("RESULT", json.dumps(result))

"""


def on_four(body: str) -> dict:
    """Run a program that sees four devices."""
    return result_of(run_python(_PROGRAM + body, backend="jax", **FOUR).stdout)


def assert_close(own: dict, other: dict) -> None:
    """The same weights, metrics and predictions."""
    assert own.keys() == other.keys()
    for key, values in other.items():
        np.testing.assert_allclose(own[key], values, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.fixture(scope="module")
def four() -> dict:
    """Two epochs over 61 examples in batches of 16, so the last one has 13, in several ways."""
    return on_four("""
single = build()
fit(single)
results = {"single": told(single)}
scope = training_scope("data_parallel", batch_size=16)
results["described"] = scope.describe()
results["auto"] = training_scope(verbose=False).strategy
with scope:
    model = build()
    by_batches(model)
    results["inside"] = told(model, 61)
    results["spread"] = len(model.weights[0].value.sharding.device_set)
    outside = build()
    try:
        build().fit(x, y, batch_size=16, shuffle=False, verbose=0)
    except ValueError as error:
        results["error"] = str(error)
results["restored"] = keras.distribution.distribution() is None
fit(outside)
results["outside"] = told(outside)
with training_scope("model_parallel", model_devices=2, batch_size=16) as divided:
    model = build()
    by_batches(model)
    results["divided"] = told(model, 61)
    results["kernels"] = [str(tuple(w.value.sharding.spec)) for w in model.weights]
    momentum = next(v for v in model.optimizer.variables if "inner_kernel_mom" in v.path)
    results["momentum"] = str(tuple(momentum.value.sharding.spec))
results["mesh"] = divided.describe()
layout = {".*inner/kernel": ("model", None)}
with training_scope("model_parallel", layout=layout, model_devices=4, verbose=False):
    model = build()
    by_batches(model)
    results["by layout"] = told(model, 61)
    results["layout"] = str(tuple(model.weights[0].value.sharding.spec))
tell(results)
""")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["inside", "outside", "divided", "by layout"])
def test_an_uneven_last_batch_trains_as_on_one_device(four, way):
    """Batch by batch in the scope, by fit after it, and with the model divided: equal to one."""
    assert_close(four[way], four["single"])


@pytest.mark.slow
def test_four_devices_share_the_batch(four):
    """The variables lie on all four devices, and the scope says so; "auto" counts no CPUs."""
    assert four["spread"] == 4
    assert four["described"] == (
        "Strategy: data_parallel on cpu:0, cpu:1, cpu:2, cpu:3; replicas: 4; workers: 1; global "
        "batch: 16, 4 a replica; learning rate: as given."
    )
    assert four["auto"] == "none"
    assert four["restored"] is True


@pytest.mark.slow
def test_fit_with_an_uneven_last_batch_fails_instead_of_going_wrong(four):
    """Keras lays out an epoch by its first batch: in the scope all must divide by the devices."""
    assert "the dimension size is 13" in four["error"]


@pytest.mark.slow
def test_a_model_is_divided_along_its_last_axis(four):
    """Without a layout kernels whose last axis divides are shared; the momentum lies with them."""
    kernel, bias, thin, _ = four["kernels"]
    assert kernel == four["momentum"] == "(None, 'model')"
    assert "model" not in bias + thin
    assert "cpu:3, the model over 2; replicas: 2; workers: 1;" in four["mesh"]
    assert four["layout"] == "('model', None)"


def test_a_cpu_is_divided_if_nothing_is_open_yet():
    """Four devices by number, without XLA_FLAGS; once they are open, more are refused."""
    body = """
import os
from nadam_suite.errors import ArgumentError

os.environ.pop("XLA_FLAGS", None)
scope = training_scope("mirrored", devices=4, verbose=False)
told = [scope.strategy, scope.replicas, len(keras.distribution.list_devices())]
try:
    training_scope("mirrored", devices=5)
except ArgumentError as error:
    told.append(str(error))
tell(told)
"""
    *chosen, error = result_of(run_python(_PROGRAM + body, backend="jax").stdout)
    assert chosen == ["data_parallel", 4, 4]
    assert "devices=5, where there are cpu:0, cpu:1, cpu:2, cpu:3. On a CPU call" in error


@pytest.mark.slow
def test_two_processes_share_a_batch_and_refuse_an_uneven_part():
    """Each fits its half of every batch; what cannot be divided is refused before it can hang."""
    texts = run_cluster(
        _PROGRAM
        + """
from nadam_suite.errors import ArgumentError

scope = training_scope("auto", batch_size=16)
told = {"chosen": [scope.strategy, scope.replicas, scope.workers, scope.worker]}
with scope:
    model = build()
    try:
        model.fit(x[:48], y[:48], batch_size=16, verbose=0)
    except ValueError as error:
        told["arrays"] = str(error)
    scope.distribution.auto_shard_dataset = False
    try:
        model.train_on_batch(x[:7], y[:7])
    except ArgumentError as error:
        told["uneven"] = str(error)
    for start in range(0, 48, 16):
        own = slice(start + 8 * scope.worker, start + 8 * scope.worker + 8)
        model.train_on_batch(x[own], y[own])
    told["weights"] = [float(v) for w in model.get_weights() for v in w.ravel()]
single = build()
single.fit(x[:48], y[:48], batch_size=16, shuffle=False, verbose=0)
told["single"] = [float(v) for w in single.get_weights() for v in w.ravel()]
tell(told)
""",
        backend="jax",
        JAX_NUM_CPU_DEVICES="2",
    )
    for worker, told in enumerate(result_of(text) for text in texts):
        assert told["chosen"] == ["data_parallel", 4, 2, worker]
        np.testing.assert_allclose(told["weights"], told["single"], rtol=1e-5, atol=1e-6)
        assert "auto_shard_dataset" in told["arrays"]
        assert "must divide by its 2 devices" in told["uneven"]
        assert "a batch of 7. Leave out 1" in told["uneven"]
    assert "Strategy: data_parallel" in texts[0]
    assert "Strategy:" not in texts[1]
