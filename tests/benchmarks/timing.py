"""Time functions against each other in one process, turn by turn, so that noise hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import keras
import numpy as np

SHAPES = {
    "few": [(2048, 2048)] * 8,
    "many": [(256, 256)] * 128 + [(256,)] * 256,
    "tiny": [(32, 32)] * 256 + [(32,)] * 256,
}


def medians(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each function, which are called in turn.

    Args:
        functions: Functions that end when their work is done.
        rounds: How often each is called, after two calls that are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(rounds + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_number >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def wait(variables) -> None:
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


def stepper(optimizer, shapes, jit_compile: bool = False) -> Callable[[], None]:
    """Return a function that does one step of a built optimizer, compiled as its backend does."""
    backend = keras.backend.backend()
    generator = np.random.default_rng(0)
    variables = [keras.Variable(generator.normal(size=s).astype("float32")) for s in shapes]
    gradients = [keras.ops.convert_to_tensor(0.01 * np.ones(s, "float32")) for s in shapes]
    optimizer.build(variables)
    if backend == "jax":
        import jax

        # JAX pairs donated buffers with results of their shape in order of appearance: handed over
        # in another order than they come back, weights would be computed into a moment's buffer,
        # and XLA copies all of them first. The trainer of Keras keeps to one order, too.
        def apply(weights, state, gradients):
            return optimizer.stateless_apply(state, gradients, weights)

        step = jax.jit(apply, donate_argnums=(0, 1))
        held = [[v.value for v in variables], [v.value for v in optimizer.variables]]

        def run() -> None:
            weights, state = step(*held, gradients)
            held[:] = [weights, state]
            wait([*weights, *state])

        return run
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


def jitted(function):
    """Compile a function of JAX arrays."""
    import jax

    return jax.jit(function)


def copying(shapes) -> Callable[[], None]:
    """Return a function that copies as many float32 numbers as the shapes have: the floor.

    On a GPU it is one copy on the device, else NumPy's, by one thread.
    """
    numbers = sum(int(np.prod(shape)) for shape in shapes)
    tensor = keras.ops.ones((numbers,))
    if "cuda" in str(getattr(tensor, "device", "")).lower():
        copied = jitted(lambda x: x * 1.0) if keras.backend.backend() == "jax" else None

        def run_on_device() -> None:
            wait([copied(tensor) if copied else tensor.clone()])

        return run_on_device
    source = [np.ones(shape, "float32") for shape in shapes]
    target = [np.empty(shape, "float32") for shape in shapes]

    def run() -> None:
        for a, b in zip(source, target, strict=True):
            np.copyto(b, a)

    return run
