"""One model variable together with everything that the optimizer keeps for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

__all__ = ["HALF_PRECISION", "Slot", "dtype_of", "path_of"]

HALF_PRECISION = ("bfloat16", "float16")


def dtype_of(variable: Any) -> str:
    """Return the stored type of a variable, whatever autocast scope is active."""
    native = variable.value if isinstance(variable, keras.Variable) else variable
    return str(keras.backend.standardize_dtype(native.dtype))


def path_of(variable: Any) -> str:
    """Return the path of a Keras variable, or the name of a native one."""
    return str(getattr(variable, "path", None) or variable.name)


@dataclasses.dataclass
class Slot:
    """State of one model variable; fields that the settings do not need are None.

    Args:
        index: Position among the variables that the optimizer was built with.
        variable: The model variable.
        learning_rate: Multiplier of the learning rate, from the parameter rules.
        weight_decay: Multiplier of the weight decay, from the parameter rules.
        momentum: First moment m.
        velocity: Second moment v.
        master: Full-precision copy of a half-precision variable.
        accumulator: Sum of the gradients of the running window.
        average: Exponential moving average of the variable.
    """

    index: int
    variable: Any
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    momentum: Any = None
    velocity: Any = None
    master: Any = None
    accumulator: Any = None
    average: Any = None

    @property
    def overwrite(self) -> bool:
        """Whether the gradient replaces the variable, as float8 scales ask for."""
        return bool(getattr(self.variable, "overwrite_with_gradient", False))

    @property
    def frozen(self) -> bool:
        """Whether a multiplier of zero keeps the variable as it is."""
        return self.learning_rate == 0.0

    @property
    def compute_dtype(self) -> str:
        """The type of the arithmetic: float64 for float64 variables, else float32."""
        return compute_dtype(dtype_of(self.variable))

    def weight(self) -> Any:
        """Return the variable in full precision.

        A master copy counts where it still rounds to the variable; an element that something else
        has written since (a loaded file, a swap, a reset) is taken from the variable.
        """
        value = keras.ops.convert_to_tensor(self.variable)
        if self.master is None:
            return keras.ops.cast(value, self.compute_dtype)
        master = keras.ops.convert_to_tensor(self.master)
        untouched = keras.ops.equal(keras.ops.cast(master, dtype_of(self.variable)), value)
        return keras.ops.where(untouched, master, keras.ops.cast(value, self.compute_dtype))

    def write(self, weight: Any) -> None:
        """Write a full-precision weight into the variable and its master copy."""
        if weight is getattr(self.variable, "value", None):
            return  # updated in place
        if self.master is not None:
            self.master.assign(weight)
        self.variable.assign(keras.ops.cast(weight, dtype_of(self.variable)))


def compute_dtype(dtype: str) -> str:
    """Return the type that a variable of type `dtype` is updated in."""
    return "float64" if dtype == "float64" else "float32"
