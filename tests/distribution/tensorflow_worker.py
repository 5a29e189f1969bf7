"""What TensorFlow computes on several replicas; run in a process of its own, task by task.

Each task writes what it found into a folder: arrays as `.npz`, facts as `.json`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nadam_suite import Nadam
from nadam_suite.backends.tensorflow_scope import (
    MirroredStrategy,
    MultiWorkerMirroredStrategy,
    process,
    split_cpu,
)
from nadam_suite.errors import NadamSuiteError
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.distribution import problem
from tests.distribution.problem import SCENARIOS, Batches, everything
from tests.distribution.scheduled import train as every_schedule


def strategy_of(setup: str) -> Any:
    """The strategy that a setup such as "mirrored-4" names; "shared" and "workers" are ours."""
    kind, _, number = setup.partition("-")
    devices = [f"CPU:{index}" for index in range(int(number or 1))]
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    if kind == "shared":
        return MirroredStrategy(devices)
    if kind == "central":
        return tf.distribute.experimental.CentralStorageStrategy(devices, "CPU:0")
    return MultiWorkerMirroredStrategy() if kind == "workers" else tf.distribute.get_strategy()


@contextlib.contextmanager
def begun(strategy: Any) -> Any:
    """Begin afresh, in the scope of a strategy."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        yield


class Recorder(keras.callbacks.Callback):
    """Keeps all weights and the optimizer's whole state after every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.rows.append(everything(self.model))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array with one row per batch."""
        return {name: np.stack([row[name] for row in self.rows]) for name in self.rows[0]}


def unlike_copies(strategy: Any, model: keras.Model) -> list[str]:
    """Variables whose copies on this process' replicas are not the same, bit for bit."""
    found = []
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        first, *others = strategy.experimental_local_results(variable.value)
        if any(not np.array_equal(first.numpy(), other.numpy()) for other in others):
            found.append(variable.path)
    return found


def train(folder: Path, setup: str, names: str) -> None:
    """Fit every scenario, from the same weights on the same global batches."""
    strategy, facts = strategy_of(setup), {}
    for name in names.split(","):
        with begun(strategy):
            model, batches = problem.compiled(SCENARIOS[name])
        recorder = Recorder()
        model.fit(Batches(batches), shuffle=False, verbose=0, callbacks=[recorder])
        facts[name] = {
            "unlike": unlike_copies(strategy, model),
            "replicas": strategy.num_replicas_in_sync,
        }
        written = f"{setup}-{process()[0]}" if setup == "workers" else setup
        np.savez(folder / f"{name}-{written}.npz", **recorder.arrays())
    (folder / f"facts-{setup}-{process()[0]}.json").write_text(json.dumps(facts))


def _custom_step(strategy: Any, model: keras.Model, optimizer: Any) -> Any:
    """A compiled step of a user's own loop; the optimizer is built in it, by the replicas."""

    def replica(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            error = keras.ops.sum(keras.ops.square(model(x) - y), axis=-1) / 2.0
            loss = keras.ops.sum(error) / problem.BATCH
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    return tf.function(lambda x, y: strategy.run(replica, args=(x, y)))


def loops(folder: Path, setup: str) -> None:
    """Custom loops: built late in a replica, called outside of replicas, called eagerly."""
    strategy = strategy_of(setup)
    with begun(strategy):
        model = problem.one_signed_model()
        options = {**problem.TOGETHER, "learning_rate": lambda: 0.015}
        model.optimizer = problem.make_optimizer(options)
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(problem.one_signed_batches(12)),
        output_signature=(
            (tf.TensorSpec((16, 3), "int32"), tf.TensorSpec((16, 4), "float32")),
            tf.TensorSpec((16, 2), "float32"),
        ),
    )
    step = _custom_step(strategy, model, model.optimizer)
    for x, y in strategy.experimental_distribute_dataset(dataset):
        step(x, y)
    np.savez(folder / f"loop-{setup}.npz", **everything(model))

    with begun(strategy):
        one, two = (keras.Variable(np.ones(3, "float32")) for _ in range(2))
        outside, eager = Nadam(0.1, weight_decay=0.1), Nadam(0.1, clipnorm=1.0)
    for scale in (1.0, 2.0):  # no replica: what all of them get
        outside.apply([tf.constant([1.0, 2.0, 3.0]) * scale], [one])

    def share() -> None:
        context = tf.distribute.get_replica_context()
        number = context.num_replicas_in_sync
        part = (tf.cast(context.replica_id_in_sync_group, "float32") + 1.0) / number
        eager.apply([tf.constant([1.0, 2.0, 3.0]) * part * 2.0 / (number + 1.0)], [two])

    for _ in range(2):
        strategy.run(share)
    for name, variable in {"outside": one, "eager": two}.items():
        copies = strategy.experimental_local_results(variable.value)
        np.savez(folder / f"{name}-{setup}.npz", *[copy.numpy() for copy in copies])


def save(folder: Path, setup: str) -> None:
    """Save in the midst of a window under a strategy, and go on without an interruption."""
    first, second = _halves()
    with begun(strategy_of(setup)):
        model = problem.one_signed_model()
        model.compile(problem.make_optimizer(problem.TOGETHER), "mse")
    model.fit(Batches(first), shuffle=False, verbose=0)
    model.save(folder / f"{setup}.keras")
    model.fit(Batches(second), shuffle=False, verbose=0)
    np.savez(folder / f"{setup}-uninterrupted.npz", **everything(model))


def resume(folder: Path, setup: str) -> None:
    """Load every file under a strategy, and go on."""
    strategy = strategy_of(setup)
    for file in sorted(folder.glob("*.keras")):
        with begun(strategy):
            model = keras.saving.load_model(file)
        model.fit(Batches(_halves()[1]), shuffle=False, verbose=0)
        np.savez(folder / f"{file.stem}-on-{setup}.npz", **everything(model))


def scheduled(folder: Path, setups: str) -> None:
    """Every kind of schedule, logged and scaled, in each setup; "one-8" is eight per execution."""
    for setup in setups.split(","):
        strategy = strategy_of(
            "one" if setup == "one-8" else setup
        )  # a process has one: TensorFlow fails with two
        for window in (None, 2):
            with begun(strategy):
                model = problem.one_signed_model()
                found = every_schedule(model, window, 8 if setup == "one-8" else 1)
            np.savez(folder / f"{setup}-{window}-{process()[0]}.npz", **found)


def _halves() -> tuple[list[Any], list[Any]]:
    batches = problem.one_signed_batches(24)
    return batches[:10], batches[10:]


def uneven(folder: Path, setup: str) -> None:
    """Batches that do not divide by the replicas, down to one that leaves a replica without any."""
    strategy = strategy_of(setup)
    whole = problem.one_signed_batches(1)[0]
    for case, loss in {"mean": "mse", "sum": keras.losses.MeanSquaredError("sum")}.items():
        for wrapped in (False, True):
            with begun(strategy):
                model = problem.one_signed_model()
                optimizer = Nadam(0.01, global_clipnorm=900.0, use_ema=True, name="nadam")
                if wrapped:
                    optimizer = DynamicLossScaleOptimizer(optimizer, initial_scale=8.0)
                model.compile(optimizer, loss)
            for size in (16, 13, 1, 3, 16):
                (tokens, x), y = whole
                inputs = (tokens[:size], x[:size])
                # Arrays: of several short PyDatasets Keras may read one twice under replicas.
                model.fit(inputs, y[:size], batch_size=size, shuffle=False, verbose=0)
            name = f"{case}{'-wrapped' * wrapped}-{setup}-{process()[0]}"
            np.savez(folder / f"{name}.npz", **everything(model))


def overflow(folder: Path, setup: str) -> None:
    """An overflow in the part of each replica in turn, in the midst of a window; ours and stock."""
    strategy, found = strategy_of(setup), {}
    number = strategy.num_replicas_in_sync
    wrappers = {"ours": DynamicLossScaleOptimizer, "stock": keras.optimizers.LossScaleOptimizer}
    for name, wrapper in wrappers.items():
        for index in range(number if name == "ours" else 2):
            keras.config.set_dtype_policy("mixed_float16")
            with begun(strategy):
                model = problem.exact_model()
                options = {"gradient_accumulation_steps": 2, "use_ema": True}
                model.compile(
                    wrapper(problem.make_optimizer(options), initial_scale=1024.0),
                    problem.linear_loss,
                )
            x, y = problem.exact_batches(1)[0]
            model.fit(x, y, batch_size=len(x), verbose=0)
            before = everything(model)
            x[index * len(x) // number] = np.inf
            model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0)
            after = everything(model)
            scales = [float(state.pop("dynamic_scale")) for state in (before, after)]
            found[f"{name} {index}"] = {
                "changed": [key for key in before if not np.array_equal(before[key], after[key])],
                "scales": scales,
                "unlike": unlike_copies(strategy, model),
            }
    (folder / "overflow.json").write_text(json.dumps(found))


def _message(function: Any) -> str:
    try:
        function()
    except (NadamSuiteError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def refusals(folder: Path) -> None:
    """What is refused, and with which words; no refusal may take a step first."""
    strategy, found = strategy_of("mirrored-2"), {}
    batch = problem.one_signed_batches(1)[0]

    def fit_with(optimizer: Any, model: keras.Model) -> None:
        model.compile(optimizer, "mse")
        model.fit(Batches([batch]), verbose=0)

    outside, plain_model = Nadam(), problem.one_signed_model()
    with begun(strategy):
        inside, model = Nadam(), problem.one_signed_model()
        found["optimizer outside"] = _message(lambda: fit_with(outside, model))
    found["model outside"] = _message(lambda: inside.build(plain_model.trainable_variables))
    with begun(tf.distribute.MirroredStrategy(["CPU:0"])):
        other = Nadam()
    found["another strategy"] = _message(lambda: other.build(model.trainable_variables))

    with begun(strategy):
        weight, optimizer = keras.Variable(np.ones(2, "float32")), Nadam()
        optimizer.build([weight])
    nothing = tf.function(lambda: strategy.run(lambda: optimizer.apply([None], [weight])))
    found["no gradients"] = _message(nothing)
    parts = strategy.run(lambda: tf.ones(2))
    found["distributed outside of run"] = _message(lambda: optimizer.apply([parts], [weight]))

    def one_sided() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.get_static_value(replica) == 0
        optimizer.apply([tf.ones(2) if first else None], [weight])

    found["one replica without"] = _message(lambda: strategy.run(one_sided))
    found["iterations"] = int(optimizer.iterations.numpy())
    (folder / "refusals.json").write_text(json.dumps(found))


TASKS = {
    function.__name__: function
    for function in (train, loops, save, resume, uneven, overflow, refusals, scheduled)
}

if __name__ == "__main__":
    task, where, *rest = sys.argv[1:]
    if rest[:1] != ["workers"]:
        split_cpu(4)
    TASKS[task](Path(where), *rest)
