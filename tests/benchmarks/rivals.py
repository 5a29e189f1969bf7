"""Other optimizers that do about the same step, on the same shapes: what a user might take."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections.abc import Sequence
from typing import Any

import keras

from tests.benchmarks.rows import SETTINGS
from tests.benchmarks.timing import Run, tensors, wait

Shapes = Sequence[tuple[int, ...]]


def rivals(shapes: Shapes, settings: str, patience: float) -> tuple[dict[str, Run], dict[str, str]]:
    """Return functions that do one step, by name, and the reasons why others are missing.

    Args:
        shapes: Of the variables.
        settings: A key of `SETTINGS`.
        patience: Seconds that a compilation may take.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        if importlib.util.find_spec("optax") is None:
            return {}, {"optax.nadam": "optax is not installed"}
        return {"optax.nadam": _optax(shapes, settings)}, {}
    if backend == "torch" and settings == "plain":
        return _torch(shapes, patience)
    return {}, {}


def least(shapes: Shapes, jit_compile: bool = False) -> Run:
    """Return a function that subtracts gradients from weights, and does nothing else.

    What it takes beyond moving the bytes is the handing over of so many variables, which no
    optimizer is spared.

    Args:
        shapes: Of the variables.
        jit_compile: Whether TensorFlow compiles it with XLA.
    """
    backend = keras.backend.backend()
    weights, gradients = tensors(shapes), tensors(shapes)
    if backend == "tensorflow":
        import tensorflow as tf

        variables = [tf.Variable(weight) for weight in weights]

        def subtract() -> None:
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(gradient, read_value=False)

        compiled = tf.function(subtract, jit_compile=jit_compile)

        def run() -> None:
            compiled()
            wait(())

    elif backend == "jax":
        import jax

        step = jax.jit(lambda x, g: [a - b for a, b in zip(x, g, strict=True)], donate_argnums=0)
        held = [weights]

        def run() -> None:
            held[0] = step(held[0], gradients)
            jax.block_until_ready(held[0])

    else:
        import torch

        def run() -> None:
            torch._foreach_sub_(weights, gradients)
            wait(())

    return run


def _optax(shapes: Shapes, settings: str) -> Run:
    import jax
    import optax

    options = SETTINGS[settings]
    if options:
        transformation = optax.chain(
            optax.clip_by_global_norm(options["global_clipnorm"]),
            optax.nadamw(1e-3, weight_decay=options["weight_decay"]),
        )
    else:
        transformation = optax.nadam(1e-3)
    weights, gradients = tensors(shapes), tensors(shapes)
    average = tensors(shapes) if options else []

    def apply(weights: Any, state: Any, average: Any, gradients: Any) -> Any:
        updates, state = transformation.update(gradients, state, weights)
        weights = optax.apply_updates(weights, updates)
        if options:
            average = optax.incremental_update(weights, average, 0.01)
        return weights, state, average

    step = jax.jit(apply, donate_argnums=(0, 1, 2))
    held = [weights, transformation.init(weights), average]

    def run() -> None:
        held[:] = step(*held, gradients)
        jax.block_until_ready(held)

    return run


def _torch(shapes: Shapes, patience: float) -> tuple[dict[str, Run], dict[str, str]]:
    import torch

    def parameters() -> list[Any]:
        made = [torch.nn.Parameter(tensor.clone()) for tensor in tensors(shapes)]
        for parameter in made:
            parameter.grad = torch.full_like(parameter, 0.01)
        return made

    def stepping(step: Any) -> Run:
        def run() -> None:
            step()
            wait(())

        return run

    functions = {
        "torch.optim.NAdam(foreach=True)": stepping(
            torch.optim.NAdam(parameters(), foreach=True).step
        ),
        "torch.optim.Adam(fused=True)": stepping(torch.optim.Adam(parameters(), fused=True).step),
    }
    name = "torch.optim.NAdam, compiled"
    if patience <= 0:
        return functions, {name: "not asked for"}
    run = stepping(torch.compile(torch.optim.NAdam(parameters(), foreach=True).step))
    if reason := _fails(run, patience):
        return functions, {name: reason}
    return functions | {name: run}, {}


def _fails(run: Run, patience: float) -> str:
    """Call a function that compiles at its first calls; return why that cannot be waited for."""

    def too_long(*_: Any) -> None:
        raise TimeoutError

    start = time.perf_counter()
    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        run()
        run()
    except Exception as error:  # noqa: BLE001 - whatever a compiler does, the other rows count
        if time.perf_counter() - start >= patience:
            return f"not compiled within {patience:.0f} s"
        return f"cannot be compiled here: {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""
