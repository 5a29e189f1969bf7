"""Strategies of TensorFlow that training_scope really opens, each in processes of its own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.cluster import result_of, run_cluster
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.multi_device,
    pytest.mark.once,
    pytest.mark.skipif(not installed("tensorflow"), reason="tensorflow is not installed"),
]

# A model on which plain SGD shows how large the gradient was; the optimizer is Keras' own.
_PROGRAM = """
import json
import keras
import numpy as np
from nadam_suite import training_scope
from nadam_suite.errors import NadamSuiteError

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)

def build(normalize=False, **compile_options):
    keras.utils.set_random_seed(0)
    between = [keras.layers.BatchNormalization()] if normalize else []
    model = keras.Sequential([keras.layers.Dense(3), *between, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"], **compile_options)
    return model

def weights(model):
    return [float(value) for w in model.get_weights() for value in w.ravel()]

def fit(model, examples):
    model.build((None, 4))
    start = weights(model)
    data = x[:examples], y[:examples]
    history = model.fit(*data, batch_size=16, shuffle=False, verbose=0, validation_data=data)
    logs = {key: values[0] for key, values in history.history.items()}
    predictions = model.predict(x[:examples], batch_size=16, verbose=0)
    return {"start": start, "end": weights(model), "logs": logs, "shape": predictions.shape}

def tell(result):
    print("RESULT", json.dumps(result))
"""


def mirrored(body: str) -> dict:
    """Run a program on two logical CPUs, which training_scope makes of the one."""
    begin = 'scope = training_scope("mirrored", devices=2, batch_size=16)\n'
    done = run_python(_PROGRAM + begin + body, backend="tensorflow")
    line = "Strategy: mirrored on CPU:0, CPU:1; replicas: 2; workers: 1; global batch: 16, 8 a "
    assert line in done.stdout
    return result_of(done.stdout)


_SIZES = """
sizes = (48, 17, 3, 1)
with scope:
    shared = {n: fit(build(), n) for n in sizes}
tell({"single": {n: fit(build(), n) for n in sizes}, "shared": shared})
"""


@pytest.fixture(scope="module")
def sizes() -> tuple[dict, dict]:
    """Trainings on 48 (even), 17 (16 and 1), 3 and 1 examples in batches of 16."""
    told = mirrored(_SIZES)
    return told["shared"], told["single"]


def step_ratio(shared: dict, single: dict) -> float:
    """How large the one step was, against that of one device; all elements must agree."""
    own = np.subtract(shared["end"], shared["start"])
    other = np.subtract(single["end"], single["start"])
    ratio = float(own @ other / (other @ other))
    np.testing.assert_allclose(own, ratio * other, rtol=1e-3, atol=1e-7)
    return ratio


def assert_equal_runs(shared: dict, single: dict) -> None:
    """The same weights, logs and shapes of predictions."""
    np.testing.assert_allclose(shared["end"], single["end"], rtol=1e-5, atol=1e-7)
    assert shared["logs"].keys() == single["logs"].keys()
    for key, value in single["logs"].items():
        assert shared["logs"][key] == pytest.approx(value, rel=1e-5)
    assert shared["shape"] == single["shape"]


@pytest.mark.slow
def test_even_batches_train_as_on_one_device(sizes):
    """fit, its validation and predict under two replicas give what one device gives."""
    shared, single = sizes
    assert_equal_runs(shared["48"], single["48"])


@pytest.mark.slow
@pytest.mark.parametrize("examples", ["17", "3", "1"])
def test_uneven_batches_are_measured_and_predicted_in_full(sizes, examples):
    """Every example is trained on and predicted; losses and metrics count each of them once."""
    shared, single = sizes
    assert shared[examples]["shape"] == single[examples]["shape"]
    for key in ("loss", "mae"):  # of the weights before the last step, so they are alike
        assert shared[examples]["logs"][key] == pytest.approx(
            single[examples]["logs"][key], rel=1e-5
        )


@pytest.mark.slow
def test_keras_halves_the_step_of_an_empty_replica(sizes):
    """One example on two replicas: Keras takes the mean of its gradient and of nothing.

    This is a fact about Keras' losses that no optimizer can see; README and training_scope say to
    cut the last batch.
    """
    shared, single = sizes
    assert step_ratio(shared["1"], single["1"]) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.slow
def test_the_scope_ends_and_what_keras_cannot_do_under_it_fails_with_an_error():
    """After the block no strategy is open, the model keeps its own; known limits do not hang.

    An empty replica spoils the moving statistics of BatchNormalization; several steps per execution
    and XLA on CPU fail for every optimizer (keras issue 19246). All three are Keras' own.
    """
    told = mirrored("""
import tensorflow as tf

with scope:
    inside = tf.distribute.get_strategy() is scope.distribution
    model = build()
    model.build((None, 4))
told = {"inside": inside, "after": tf.distribute.has_strategy()}
told["kept"] = model.distribute_strategy is scope.distribution
outside = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
with scope:
    again = build()
    inside = again.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
    told["statistics"] = bool(np.isfinite(fit(build(normalize=True), 17)["end"]).all())
told["histories"] = [inside, outside]
for name, option in (("steps", {"steps_per_execution": 2}), ("xla", {"jit_compile": True})):
    try:
        with scope:
            fit(build(**option), 48)
    except tf.errors.InvalidArgumentError:
        told[name] = "refused"
try:
    training_scope("mirrored", devices=3)
except NadamSuiteError as error:
    told["late"] = str(error)
tell(told)
""")
    assert (told["inside"], told["after"], told["kept"]) == (True, False, True)
    assert told["histories"][0] == told["histories"][1]
    assert told["statistics"] is False
    assert (told["steps"], told["xla"]) == ("refused", "refused")
    assert "devices=3, where there are CPU:0, CPU:1. On a CPU call training_scope()" in told["late"]


def test_auto_takes_one_device_of_a_cpu_with_two():
    """Two logical CPUs are there, and "auto" leaves them alone: they share one processor."""
    told = result_of(
        run_python(
            _PROGRAM
            + """
from nadam_suite.backends import get_backend

assert get_backend().split_cpu(2)
scope = training_scope()
with scope:
    model = build()
tell([scope.strategy, scope.replicas, type(model.distribute_strategy).__name__])
""",
            backend="tensorflow",
        ).stdout
    )
    assert told == ["none", 1, "_DefaultDistributionStrategy"]


_CLUSTER = (
    _PROGRAM
    + """
scope = training_scope("auto", batch_size=16, scale_learning_rate="linear")
with scope:
    shared = {n: fit(build(), n) for n in (48, 17, 3, 1)}
    measured = build()
    measured.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    again = measured.evaluate(x, y, batch_size=16, verbose=0)
tell({
    "shared": shared,
    "chosen": [scope.strategy, scope.replicas, scope.workers, scope.worker, scope.is_chief],
    "factor": scope.learning_rate_factor,
    "evaluated": again,
})
"""
)


@pytest.fixture(scope="module")
def cluster() -> list[str]:
    """What two workers print that fit, evaluate and predict, with Keras' own optimizer."""
    return run_cluster(_CLUSTER, backend="tensorflow")


@pytest.mark.slow
def test_two_workers_are_found_and_joined(cluster):
    """Strategy "auto" makes TF_CONFIG's workers one cluster; only the chief prints the choice."""
    first, second = (result_of(text) for text in cluster)
    assert first["chosen"] == ["multi_worker", 2, 2, 0, True]
    assert second["chosen"] == ["multi_worker", 2, 2, 1, False]
    assert first["factor"] == second["factor"] == 2.0
    line = "Strategy: multi_worker on CPU:0 of each worker; replicas: 2; workers: 2; global batch"
    assert line in cluster[0]
    assert "Strategy:" not in cluster[1]


@pytest.mark.slow
def test_two_workers_fit_as_one_device(cluster, sizes):
    """Training runs under MultiWorkerMirroredStrategy, where the stock class always fails (D34)."""
    shared, single = sizes
    first, second = (result_of(text) for text in cluster)
    assert_equal_runs(first["shared"]["48"], single["48"])
    assert first == second | {"chosen": first["chosen"]}
    for examples in ("17", "3", "1"):  # uneven and empty parts: as two replicas of one process
        assert_equal_runs(first["shared"][examples], shared[examples])
    assert np.isfinite(first["evaluated"]).all()


@pytest.mark.slow
def test_a_cluster_must_be_joined_before_devices_are_open():
    """A layer built before training_scope is too early, and the message says so."""
    told = run_cluster(
        _PROGRAM
        + """
keras.ops.convert_to_tensor(0.0)
try:
    training_scope()
except NadamSuiteError as error:
    tell(str(error))
""",
        backend="tensorflow",
    )
    assert "must be joined before TensorFlow runs its first operation" in result_of(told[0])
