"""Drive an optimizer by given gradients, compiled as its backend does, and record every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

BACKEND = keras.backend.backend()


def make_variables(values, dtypes: str | Sequence[str] = "float32", names=None, constraints=None):
    """One trainable `keras.Variable` a value, with the given types, names and constraints."""
    dtypes = [dtypes] * len(values) if isinstance(dtypes, str) else dtypes
    variables = []
    for i, (value, dtype) in enumerate(zip(values, dtypes, strict=True)):
        name = names[i] if names else f"w{i}"
        variable = keras.Variable(np.asarray(value), dtype=dtype, name=name)
        if constraints and constraints[i] is not None:
            variable.constraint = constraints[i]
        variables.append(variable)
    return variables


def to_float64(value: Any) -> np.ndarray:
    """A NumPy copy in float64 of a variable or tensor of any type."""
    value = keras.ops.convert_to_tensor(value)
    if keras.backend.standardize_dtype(value.dtype) != "float64":
        value = keras.ops.cast(value, "float32")
    return np.array(keras.ops.convert_to_numpy(value), dtype="float64")


class Loop:
    """A custom training loop round one optimizer: a graph, a jitted pure function, or plain calls.

    Args:
        optimizer: Any Keras optimizer; it is built here unless it is already.
        variables: What it trains.
        compiled: False calls `apply` eagerly on every backend.
        jit_compile: Passed on to `tf.function`.
    """

    def __init__(self, optimizer, variables, compiled: bool = True, jit_compile: bool = False):
        self.optimizer, self.variables = optimizer, list(variables)
        if not optimizer.built:
            optimizer.build(self.variables)
        self._pure = BACKEND == "jax" and compiled
        if self._pure:
            import jax

            self._step = jax.jit(optimizer.stateless_apply)
            self._refresh()
        elif BACKEND == "tensorflow" and compiled:
            import tensorflow as tf

            def apply(gradients):
                optimizer.apply(gradients, self.variables)

            self._step = tf.function(apply, jit_compile=jit_compile)
        else:
            self._step = lambda gradients: optimizer.apply(gradients, self.variables)

    def _refresh(self) -> None:
        import jax.numpy as jnp

        self._weights = [jnp.array(v.value) for v in self.variables]
        self._state = [jnp.array(v.value) for v in self.optimizer.variables]

    def tensors(self, gradients):
        """The gradients as tensors of their variables' types; None stays None."""
        return [
            None if g is None else keras.ops.convert_to_tensor(g, dtype=_dtype(v))
            for g, v in zip(gradients, self.variables, strict=True)
        ]

    def step(self, gradients) -> None:
        """Apply one list of gradients: arrays, ready tensors, or None."""
        ready = [g if _is_tensor(g) else None for g in gradients]
        made = self.tensors(
            [g if r is None else None for g, r in zip(gradients, ready, strict=True)]
        )
        gradients = [m if r is None else r for m, r in zip(made, ready, strict=True)]
        if self._pure:
            self._weights, self._state = self._step(self._state, gradients, self._weights)
        else:
            self._step(gradients)

    def values(self) -> list[np.ndarray]:
        """The variables now, in float64."""
        return [to_float64(v) for v in (self._weights if self._pure else self.variables)]

    def write_back(self) -> None:
        """Put what a pure loop carries into the variables (other loops do nothing here)."""
        if self._pure:
            for variable, value in zip(self.variables, self._weights, strict=True):
                variable.assign(value)
            for variable, value in zip(self.optimizer.variables, self._state, strict=True):
                variable.assign(value)

    def run(self, gradients) -> list[list[np.ndarray]]:
        """Apply all of `gradients` and give the variables after each."""
        path = []
        for row in gradients:
            self.step(row)
            path.append(self.values())
        self.write_back()
        return path


def _dtype(variable) -> str:
    return keras.backend.standardize_dtype(variable.value.dtype)


def _is_tensor(value) -> bool:
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return isinstance(value, tf.IndexedSlices) or tf.is_tensor(value)
    return keras.ops.is_tensor(value)


def record(optimizer, start, gradients, **options) -> list[list[np.ndarray]]:
    """Train variables that begin at `start`; give them after each step."""
    loop_options = {k: options.pop(k) for k in ("compiled", "jit_compile") if k in options}
    return Loop(optimizer, make_variables(start, **options), **loop_options).run(gradients)


def assert_paths_close(actual, expected, *, rtol: float, atol: float = 0.0) -> None:
    """Compare two trajectories at every step; the message names the first step that differs."""
    assert len(actual) == len(expected) > 0
    for step, (row, wanted) in enumerate(zip(actual, expected, strict=True), start=1):
        for i, (a, b) in enumerate(zip(row, wanted, strict=True)):
            np.testing.assert_allclose(
                a, b, rtol=rtol, atol=atol, err_msg=f"step {step}, variable {i}"
            )


def assert_paths_close_in_norm(actual, expected, *, rtol: float) -> None:
    """Compare at every step, the error relative to the largest element of the variable."""
    assert len(actual) == len(expected) > 0
    for step, (row, wanted) in enumerate(zip(actual, expected, strict=True), start=1):
        for i, (a, b) in enumerate(zip(row, wanted, strict=True)):
            error = np.max(np.abs(a - b)) / np.max(np.abs(b))
            assert error <= rtol, f"step {step}, variable {i}: relative error {error:.3g}"


def state_by_name(optimizer) -> dict[str, np.ndarray]:
    """What `save_own_variables` writes, as arrays."""
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    return {name: np.asarray(value, dtype="float64") for name, value in store.items()}
