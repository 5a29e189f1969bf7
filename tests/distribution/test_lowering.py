"""The train step, all options on, lowers for accelerators that this machine does not have.

JAX exports it for TPU and CUDA, TensorFlow compiles it under XLA; in every precision.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.distribution.problem import TOGETHER, make_optimizer
from tests.processes import run_python

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")
# What can be on at the same time, in two halves.
OPTIONS: dict[str, dict[str, Any]] = {
    "accumulating": {**TOGETHER, "beta_2": "schedule"},
    "at every step": {
        "learning_rate": "of the step",
        "beta_1": "schedule",
        "weight_decay": "schedule",
        "clipnorm": 1.0,
        "use_ema": True,
        "ema_overwrite_frequency": 2,
        "slot_dtype": "bfloat16",
        "momentum_decay": None,
    },
}
QUICK = ("float32", "mixed_float16")
# Of the second half, what a precision could change is in the precisions that are used most.
CASES = [
    (policy, name)
    for policy in POLICIES
    for name in OPTIONS
    if name == "accumulating" or policy in (*QUICK, "bfloat16")
]
TRACED_CALLBACKS = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "XlaHostCompute"}


def skip_unless(name: str) -> None:
    if keras.backend.backend() != name:
        pytest.skip(f"about {name}")


def nadam(options: dict[str, Any]) -> Nadam:
    """An optimizer whose named placeholders are schedules, or a callable that reads the step."""
    schedule = keras.optimizers.schedules.ExponentialDecay
    made = dict(options)
    for name, start in (("beta_1", 0.9), ("beta_2", 0.99), ("weight_decay", 0.1)):
        if made.get(name) == "schedule":
            made[name] = schedule(start, decay_steps=100, decay_rate=0.9)
    if made.get("learning_rate") == "of the step":
        made["learning_rate"] = lambda: (
            0.1 / (1.0 + keras.ops.cast(optimizer.iterations, "float32"))
        )
    optimizer = make_optimizer(made)
    return optimizer


def text_model(policy: str, options: dict[str, Any]) -> tuple[keras.Model, Any]:
    """Embedding, dense layer with a constraint, layer normalization, classifier; and one batch."""
    keras.config.set_dtype_policy(policy)
    if policy == "float64":
        keras.config.set_floatx("float64")
    limit = keras.constraints.MaxNorm(2.0)
    layers = [
        keras.layers.Embedding(16, 8),
        keras.layers.Flatten(),
        keras.layers.Dense(8, "gelu", kernel_constraint=limit),
        keras.layers.LayerNormalization(),
        keras.layers.Dense(4),
    ]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer: Any = nadam(options)
    if policy == "mixed_float16":
        unscaled = nadam({**options, "loss_scale_factor": None})
        optimizer = DynamicLossScaleOptimizer(unscaled)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True)
    tokens = np.arange(24, dtype="int32").reshape(8, 3) % 16
    return model, (tokens, np.arange(8, dtype="int32") % 4)


def export_step(policy: str, options: dict[str, Any], platforms: tuple[str, ...]) -> Any:
    """Export the trainer's own train step; also its state, as arrays, and the batch."""
    import jax

    model, batch = text_model(policy, options)
    wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert wrapped == (policy == "mixed_float16")
    model.train_on_batch(*batch)
    state = tuple(
        [variable.value for variable in group]
        for group in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    step = jax.jit(model.train_step)
    return jax.export.export(step, platforms=platforms)(state, batch), step, state, batch


def check_export(policy: str, name: str) -> None:
    """The exported step names both platforms, asks no host, and can be written to a file."""
    exported, *_ = export_step(policy, OPTIONS[name], ("tpu", "cuda"))
    assert exported.platforms == ("tpu", "cuda")
    assert "callback" not in exported.mlir_module()
    assert len(exported.serialize()) > 10_000


@pytest.mark.parametrize(("policy", "name"), [case for case in CASES if case[0] != "float64"])
def test_the_step_of_jax_is_exported_for_accelerators(policy, name):
    """`jax.export` for TPU and CUDA succeeds on a CPU, without a callback to the host."""
    skip_unless("jax")
    check_export(policy, name)


@pytest.mark.slow
def test_the_step_of_jax_is_exported_in_float64():
    """With JAX_ENABLE_X64 also in float64."""
    skip_unless("jax")
    lines = ["from tests.distribution import test_lowering as t"]
    lines += [f"t.check_export(*{case!r})" for case in CASES if case[0] == "float64"]
    lines += ["import keras", "m, _ = t.text_model('float64', {})", "print(m.weights[0].dtype)"]
    printed = run_python("\n".join(lines), backend="jax", JAX_ENABLE_X64="1").stdout
    assert printed.split() == ["float64"]


def test_the_exported_step_computes_what_the_jitted_one_does():
    """Read back and called on this machine, it gives the same state."""
    skip_unless("jax")
    import jax

    exported, step, state, batch = export_step("float32", OPTIONS["accumulating"], ("cpu", "tpu"))
    read = jax.export.deserialize(exported.serialize())
    for _ in range(3):  # the third ends the window
        _, expected = step(state, batch)
        _, actual = read.call(state, batch)
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        state = expected
    counters = [int(array) for array in expected[2] if np.issubdtype(array.dtype, np.integer)]
    assert counters == [4, 1], "batches and updates"


def test_a_callable_that_returns_a_number_cannot_be_exported():
    """It is asked on the host at each step, which `jax.export` refuses; a schedule is not."""
    skip_unless("jax")
    with pytest.raises(NotImplementedError, match="callback"):
        export_step("float32", {"learning_rate": lambda: 0.01}, ("tpu", "cuda"))


@pytest.mark.parametrize(
    ("policy", "name"),
    [pytest.param(*case, marks=() if case[0] in QUICK else pytest.mark.slow) for case in CASES],
)
def test_the_step_of_tensorflow_compiles_under_xla(policy, name):
    """The whole train step is one XLA program of static shapes, and nothing in it asks the host."""
    skip_unless("tensorflow")
    import tensorflow as tf

    model, batch = text_model(policy, OPTIONS[name])
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    for _ in range(7):  # a window of four, and steps that lower the loss scale
        model.train_on_batch(*batch)
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    assert all(np.all(np.isfinite(weight.astype("float32"))) for weight in weights)
    assert not any(np.array_equal(a, b) for a, b in zip(weights, before, strict=True))
    step = tf.function(lambda x, y: model.train_step((x, y)), jit_compile=True)
    tensors = tuple(map(tf.constant, batch))
    definition = step.get_concrete_function(*tensors).graph.as_graph_def()
    nodes = [*definition.node]
    for function in definition.library.function:
        nodes += function.node_def
    operations = {node.op for node in nodes}
    assert "AssignVariableOp" in operations
    assert not operations & TRACED_CALLBACKS
    program = step.experimental_get_compiler_ir(*tensors)(stage="hlo")
    assert "<=" not in program, "a dynamic shape"
    assert not any(word in program for word in ("infeed", "outfeed", "custom-call"))


def test_a_callable_that_returns_a_number_is_no_host_call_in_tensorflow():
    """Its value is an input of the compiled step, read at each call, also under XLA."""
    skip_unless("tensorflow")
    asked = []

    def rate() -> float:
        asked.append(None)
        return 0.01

    model, batch = text_model("float32", {"learning_rate": rate})
    model.fit(*batch, batch_size=8, epochs=3, verbose=0)
    count = len(asked)
    model.fit(*batch, batch_size=8, epochs=2, verbose=0)
    assert len(asked) == count + 2
