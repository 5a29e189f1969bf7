"""Stochastic rounding of the moments to bfloat16, by random bits that need no state.

A bfloat16 has eight bits. With beta_2 = 0.999 an update changes v by less than half of their last
one, and rounded to nearest v would stand still. Rounded up with the probability of what lies below
the last bit, it moves as it should in the mean: Zamirai, Zhang, Aberger and De Sa, "Revisiting
BFloat16 Training", 2020.

The bits are a hash of the step, the variable and the element. So they are the same on all replicas
and backends, and after a training is resumed. The hash of 32 bits is Wellons' "lowbias32"
(https://nullprogram.com/blog/2018/07/31/); its low half rounds the momentum, its high half the
velocity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends.slot import Slot, dtype_of

__all__ = [
    "FACTORS",
    "SEED",
    "SHIFTS",
    "WORD",
    "hashed",
    "hashed_tensor",
    "is_stochastic",
    "narrowed",
    "positions",
    "row_positions",
    "slot_key",
]

WORD = 0xFFFFFFFF
SEED = 0x9E3779B9  # so that step 0 does not hash zero, which gives zero
SHIFTS = (16, 15, 16)
FACTORS = (0x7FEB352D, 0x846CA68B)


def hashed(number: int) -> int:
    """Return the hash of a Python integer below 2 ** 32."""
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        number = ((number ^ number >> shift) * factor) & WORD
    return number


def hashed_tensor(number: Any) -> Any:
    """Return the hashes of the elements of a tensor of type uint32."""
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        number = keras.ops.bitwise_xor(number, _shifted(number, shift))
        number = number if factor == 1 else keras.ops.multiply(number, _word(factor))
    return number


def slot_key(index: int) -> int:
    """Return what tells the bits of one variable from those of the others."""
    return hashed(index + 1)


def is_stochastic(slot: Slot, scalars: Any) -> bool:
    """Return whether the moments of a slot are rounded here."""
    return scalars.rounding_key is not None and dtype_of(slot.momentum) == "bfloat16"


def narrowed(
    slots: Sequence[Slot], momentum: Any, velocity: Any, scalars: Any, elements: Any = None
) -> tuple[Any, Any]:
    """Return momentum and velocity in the type that they are stored in.

    Args:
        slots: The slot; or several that are stored alike, and whose tensors are in a stack.
        momentum: The new momentum, in the type of the arithmetic.
        velocity: The new velocity.
        scalars: `optimizers.rule.StepScalars` of the step.
        elements: Position in the variable of each element, of type uint32; None for all in order.
    """
    if not is_stochastic(slots[0], scalars):
        types = dtype_of(slots[0].momentum), dtype_of(slots[0].velocity)
        return keras.ops.cast(momentum, types[0]), keras.ops.cast(velocity, types[1])
    shape = tuple(slots[0].variable.shape)
    elements = positions(shape) if elements is None else elements
    keys = [keras.ops.bitwise_xor(scalars.rounding_key, _word(slot_key(s.index))) for s in slots]
    key = keys[0]
    if len(slots) > 1:
        key = keras.ops.reshape(keras.ops.stack(keys), (-1, *(1 for _ in shape)))
    bits = hashed_tensor(elements + key)
    low, high = keras.ops.bitwise_and(bits, _word(0xFFFF)), _shifted(bits, 16)
    return _rounded(momentum, low), _rounded(velocity, high)


def _rounded(values: Any, bits: Any) -> Any:
    """Add random bits below the last bit of bfloat16, and cut off what is below it then."""
    values = keras.ops.cast(values, "float32")
    words = keras.ops.view(values, "uint32") + bits
    words = keras.ops.bitwise_and(words, _word(0xFFFF0000))
    cut = keras.ops.view(words, "float32")
    # The bits of a NaN could carry over into its sign.
    return keras.ops.cast(keras.ops.where(keras.ops.isfinite(values), cut, values), "bfloat16")


def row_positions(indices: Any, shape: tuple[int, ...]) -> Any:
    """Return the position of each element of some rows of a variable of this shape."""
    below = shape[1:]
    firsts = keras.ops.cast(indices, "uint32") * _word(math.prod(below) & WORD)
    return keras.ops.reshape(firsts, (-1, *(1 for _ in below))) + positions(below)


def positions(shape: tuple[int, ...]) -> Any:
    """Return the position of each element, by broadcasting, so that a shard computes its own."""
    total = keras.ops.zeros((1,) * len(shape), "uint32")
    for axis, size in enumerate(shape):
        stride = math.prod(shape[axis + 1 :]) & WORD
        along = keras.ops.cast(keras.ops.arange(size, dtype="int32"), "uint32")
        along = keras.ops.reshape(along, [-1 if each == axis else 1 for each in range(len(shape))])
        total = total + along * _word(stride)
    return total


def _shifted(words: Any, by: int) -> Any:
    return keras.ops.bitwise_right_shift(words, _word(by))


def _word(number: int) -> Any:
    return keras.ops.convert_to_tensor(np.uint32(number))
