"""What a step does to all variables at once, for backends that have one call for it.

Here each is done for one variable after the other, in `keras.ops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from nadam_suite.backends import rounding
from nadam_suite.backends.rows import Seen
from nadam_suite.backends.slot import Slot, dtype_of

__all__ = ["Together"]


class Together:
    """The part of an adapter that a framework may do faster for many variables."""

    # Whether `update` multiplies the gradients by what the scalars say, block by block.
    scales_in_update = False

    def averages_in_update(self) -> bool:
        """Return whether `update` may let averages take weights in, by the scalars' shares."""
        return False

    def densify(self, gradient: Any) -> Any:
        """Return a dense gradient; contributions to the same row are summed."""
        return gradient

    def prepared(self, slots: Sequence[Slot], gradients: Sequence[Any], scale: Any) -> list[Any]:
        """Return dense gradients in the type of the arithmetic, divided by `scale` unless None.

        A value that overwrites its variable stays as it is.
        """

        def one(slot: Slot, gradient: Any) -> Any:
            gradient = self.densify(gradient)
            if slot.overwrite:
                return gradient
            gradient = keras.ops.cast(gradient, slot.compute_dtype)
            return gradient if scale is None else gradient / scale

        return [one(slot, gradient) for slot, gradient in zip(slots, gradients, strict=True)]

    def is_sparse(self, gradient: Any) -> bool:
        """Return whether a gradient comes as rows that `seen` takes."""
        return False

    def seen(self, gradient: Any, dtype: str) -> Seen | None:
        """Return the rows that a sparse gradient has, with sums in type `dtype`; None if dense."""
        return None

    def take_rows(self, variable: Any, seen: Seen) -> Any:
        """Return rows of a variable; what is returned for an entry without a row is not used."""
        raise NotImplementedError

    def put_rows(self, variable: Any, seen: Seen, values: Any) -> None:
        """Assign rows of a variable, in place where the framework can."""
        raise NotImplementedError

    def narrowed_rows(
        self, slot: Slot, seen: Seen, momentum: Any, velocity: Any, scalars: Any
    ) -> tuple[Any, Any]:
        """Return rows of the moments in the type that they are stored in; see `rounding`."""
        elements = None
        if rounding.is_stochastic(slot, scalars):
            elements = rounding.row_positions(seen.indices, tuple(slot.variable.shape))
        return rounding.narrowed([slot], momentum, velocity, scalars, elements)

    def values(self, variables: Sequence[Any]) -> list[Any]:
        """Return what the variables hold; on some backends it is their own memory."""
        return [keras.ops.convert_to_tensor(variable) for variable in variables]

    def weights(self, slots: Sequence[Slot]) -> list[Any]:
        """Return `slot.weight()` of each; a variable's own memory may be among it."""
        return [slot.weight() for slot in slots]

    def norm(self, tensors: Sequence[Any], dtype: str) -> Any:
        """Return the Euclidean norm of all tensors together, for arithmetic in type `dtype`."""
        squares = [keras.ops.cast(square, dtype) for square in self.squares(tensors)]
        return keras.ops.sqrt(keras.ops.sum(keras.ops.stack(squares)))

    def squares(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sum of the squares of each tensor, a scalar of its type."""
        return [keras.ops.sum(keras.ops.square(tensor)) for tensor in tensors]

    def scaled(self, tensors: Sequence[Any], factor: Any, scalars: Any) -> tuple[list[Any], Any]:
        """Multiply all gradients by one factor, now or in the update.

        Args:
            tensors: The gradients.
            factor: A scalar tensor.
            scalars: `optimizers.rule.StepScalars` of the step.

        Returns:
            The scaled gradients with the same scalars; or the same gradients, with scalars whose
            `gradient_scale` tells `update` to scale them.
        """
        if self.scales_in_update:
            return list(tensors), dataclasses.replace(scalars, gradient_scale=factor)
        return [tensor * keras.ops.cast(factor, tensor.dtype) for tensor in tensors], scalars

    def accumulate(self, accumulators: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Add gradients to the sums of the running window."""
        for accumulator, gradient in zip(accumulators, gradients, strict=True):
            accumulator.assign(keras.ops.convert_to_tensor(accumulator) + gradient)

    def mean_of_window(
        self, accumulators: Sequence[Any], gradients: Sequence[Any], window: int
    ) -> list[Any]:
        """Return the means of a window that ends with these gradients.

        They may lie in the accumulators, which the caller clears after it has used them.
        """
        return [
            (keras.ops.convert_to_tensor(accumulator) + gradient) / window
            for accumulator, gradient in zip(accumulators, gradients, strict=True)
        ]

    def clear(self, variables: Sequence[Any]) -> None:
        """Set variables to zero."""
        for variable in variables:
            variable.assign(keras.ops.zeros_like(keras.ops.convert_to_tensor(variable)))

    def clear_window(self, slots: Sequence[Slot]) -> None:
        """Set the sums of a window to zero, after their means have gone into the weights."""
        self.clear([slot.accumulator for slot in slots])

    def kept_weights(self, slots: Sequence[Slot]) -> list[Any]:
        """Return `slot.weight()` of each so that no later assignment changes it."""
        return self.weights(slots)  # reading gives values

    def put(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        """Assign tensors of any float type; the variables share no memory with them afterwards."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(keras.ops.cast(value, dtype_of(variable)))  # assigning copies

    def put_back(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        """Assign tensors that nothing else will use any more."""
        for variable, value in zip(variables, values, strict=True):
            # As it is, since reading the type of a variable may fail: JAX leaves them empty where
            # a loop is interrupted.
            variable.assign(value)
