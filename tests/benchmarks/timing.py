"""Time functions against each other in one process, turn by turn, so that noise hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

Run = Callable[[], object]


def milliseconds(function: Run) -> float:
    """Return how long a function takes that ends when its work is done."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def medians(functions: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each function, which are called in turn.

    Args:
        functions: Functions that end when their work is done.
        rounds: How often each is called, after two calls that are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(rounds + 2):
        for name, function in functions.items():
            spent = milliseconds(function)
            if round_number >= 2:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def wait(variables: Sequence[Any]) -> None:
    """Wait until the device has computed the values of variables or arrays."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready([getattr(v, "value", v) for v in variables])
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        import tensorflow as tf

        tf.test.experimental.sync_devices()


def ways() -> tuple[str, ...]:
    """Return how a step is compiled: `fit()` on TensorFlow asks for XLA, a `tf.function` does not.

    Each is the end of a row's name.
    """
    return ("", ", XLA") if keras.backend.backend() == "tensorflow" else ("",)


def tensors(shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return gradients: small equal numbers, one tensor for each shape."""
    return [keras.ops.full(shape, 0.01, dtype="float32") for shape in shapes]


def stepper(
    optimizer: Any,
    shapes: Sequence[tuple[int, ...]],
    jit_compile: bool = False,
    gradients: Sequence[Any] | None = None,
) -> Run:
    """Return a function that does one step of a built optimizer, compiled as its backend does.

    Args:
        optimizer: One of Keras, not built yet.
        shapes: Of the variables, which are created here.
        jit_compile: Whether TensorFlow compiles the step with XLA.
        gradients: Of the variables; several functions may share them.
    """
    backend = keras.backend.backend()
    generator = np.random.default_rng(0)
    variables = [
        keras.Variable(generator.standard_normal(size=shape, dtype="float32")) for shape in shapes
    ]
    gradients = tensors(shapes) if gradients is None else list(gradients)
    optimizer.build(variables)
    if backend == "jax":
        return _jax_stepper(optimizer, variables, gradients)
    if backend == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(
            lambda: optimizer.apply(gradients, variables), jit_compile=jit_compile
        )
    else:

        def compiled() -> None:
            optimizer.apply(gradients, variables)

    def run_eager() -> None:
        compiled()
        wait(variables)

    return run_eager


def _jax_stepper(optimizer: Any, variables: list[Any], gradients: list[Any]) -> Run:
    """Return the step as the trainer of Keras compiles it.

    JAX pairs donated buffers with results of their shape in order of appearance: handed over in
    another order than they come back, weights would be computed into a moment's buffer, and XLA
    copies all of them first. The trainer of Keras keeps to one order, too.
    """
    import jax

    def apply(weights: Any, state: Any, gradients: Any) -> Any:
        return optimizer.stateless_apply(state, gradients, weights)

    step = jax.jit(apply, donate_argnums=(0, 1))
    held = [[v.value for v in variables], [v.value for v in optimizer.variables]]

    def run() -> None:
        weights, state = step(*held, gradients)
        held[:] = [weights, state]
        wait([*weights, *state])

    return run


def on_gpu() -> bool:
    """Whether tensors are put on a GPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def copying(shapes: Sequence[tuple[int, ...]]) -> Run:
    """Return a function that copies as many float32 numbers as the shapes have: the floor.

    It reads and writes 8 bytes a parameter. On a GPU it is one copy on the device, else NumPy's,
    by one thread.
    """
    if not on_gpu():
        source = [np.ones(shape, "float32") for shape in shapes]
        target = [np.empty(shape, "float32") for shape in shapes]

        def run() -> None:
            for a, b in zip(source, target, strict=True):
                np.copyto(b, a)

        return run

    tensor = keras.ops.ones((sum(math.prod(shape) for shape in shapes),))
    backend = keras.backend.backend()
    if backend == "torch":
        copied = tensor.clone
    elif backend == "jax":
        import jax

        added = jax.jit(lambda x: x + 1.0)

        def copied() -> Any:
            return added(tensor)
    else:

        def copied() -> Any:
            return tensor + 1.0

    return lambda: wait([copied()])
