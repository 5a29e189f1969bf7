"""What an adapter must do, and why each method differs from one framework to the next.

The optimizer is written once, as a stateful program over `keras.Variable`s. Five things cannot be
said in `keras.ops` alone: how a branch that assigns variables is taken, how a Python value is read
again at every compiled step, how several variables are updated at once, what a sparse gradient is,
and which arithmetic the few scalars of a step deserve.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends.slot import Slot

__all__ = ["Backend", "TensorMath"]


class TensorMath:
    """Scalar arithmetic on tensors, for backends whose step is compiled."""

    pow = staticmethod(keras.ops.power)
    sqrt = staticmethod(keras.ops.sqrt)
    expm1 = staticmethod(keras.ops.expm1)


class Backend:
    """The framework-neutral half of an adapter; the subclasses override what they must."""

    math: Any = TensorMath

    def scalar(self, value: Any, dtype: str) -> Any:
        """Return `value` as a scalar for the arithmetic of `self.math`."""
        if isinstance(value, (int, float)):  # a cast would go by way of float32
            return keras.ops.convert_to_tensor(value, dtype=dtype)
        return keras.ops.cast(value, dtype)

    def check_devices(self) -> None:
        """Refuse a distribution of the step that the optimizer does not know.

        Raises:
            NadamSuiteError: The step runs on several replicas of TensorFlow.
        """

    def counter(self, variable: Any) -> Any:
        """Return the value of an integer variable, for arithmetic and for comparisons."""
        return keras.ops.convert_to_tensor(variable)

    def flag(self, tensor: Any) -> Any:
        """Return a truth value that `select` takes."""
        return tensor

    def select(self, condition: Any, if_true: Any, if_false: Any) -> Any:
        """Return one of two tensors or numbers."""
        return keras.ops.where(condition, if_true, if_false)

    def call_time_value(self, function: Callable[[], Any], step: Any, dtype: str) -> Any:
        """Return what `function` returns now, and again at every later run of a compiled step.

        Args:
            function: Callable without arguments, free of side effects.
            step: The optimizer's counter, by which a traced step is recognised.
            dtype: Type of the scalar that is returned.
        """
        raise NotImplementedError

    def conditional(
        self,
        predicate: Any,
        if_true: Callable[[], None],
        if_false: Callable[[], None],
        variables: Sequence[Any],
    ) -> None:
        """Run one of two functions that assign `variables`; the other one must cost nothing."""
        raise NotImplementedError

    def densify(self, gradient: Any) -> Any:
        """Return a dense gradient; contributions to the same row are summed."""
        return gradient

    def copy(self, value: Any) -> Any:
        """Return a tensor with memory of its own."""
        return keras.ops.copy(value)

    @contextlib.contextmanager
    def no_grad(self) -> Iterator[None]:
        """Switch off gradient recording, where the framework records by default."""
        yield

    @contextlib.contextmanager
    def eagerly(self) -> Iterator[None]:
        """Run now and for real, even while a step is being traced."""
        yield

    def operations(self, function: Callable[..., Any], *arguments: Any) -> list[str]:
        """Return the names of the operations that every call of `function` performs.

        What only a branch of a conditional performs is left out. `nadam_suite.doctor` reads from
        it what a step costs, without a clock; on TensorFlow nothing needs it.
        """
        raise NotImplementedError

    def random_state(self) -> np.ndarray | None:
        """Return the state of the framework's global generator, if layers draw from it unasked.

        Keras' own generators are variables of the model and need no help.
        """
        return None

    def set_random_state(self, state: np.ndarray) -> None:
        """Give the global generator a state that `random_state` returned."""

    def update(
        self,
        slots: Sequence[Slot],
        gradients: Sequence[Any],
        scalars: Any,
        rule: Callable[..., tuple[Any, Any, Any]],
    ) -> list[Any]:
        """Apply `rule(weight, gradient, momentum, velocity, scalars, slot)` to every variable.

        Momentum and velocity are written; the new weights are returned in full precision and are
        the caller's to constrain and to write.
        """
        new_weights = []
        for slot, gradient in zip(slots, gradients, strict=True):
            dtype = slot.compute_dtype
            weight, momentum, velocity = rule(
                slot.weight(),
                gradient,
                keras.ops.cast(slot.momentum, dtype),
                keras.ops.cast(slot.velocity, dtype),
                scalars.cast(dtype),
                slot,
            )
            slot.momentum.assign(keras.ops.cast(momentum, slot.momentum.dtype))
            slot.velocity.assign(keras.ops.cast(velocity, slot.velocity.dtype))
            new_weights.append(weight)
        return new_weights
