"""Sums of squares of many tensors, at the speed of reading them."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Sequence
from typing import Any

import tensorflow as tf

from nadam_suite.backends.tensorflow_place import SMALL, STACKED, Place, size_of

__all__ = ["norm", "squares", "total"]

LANES = 16  # tensors, or parts of one, that XLA adds to each other before it adds up along them
WIDTH = 1024  # sums side by side that it forms of what that gives


def norm(tensors: Sequence[Any], dtype: str) -> Any:
    """Do what `Backend.norm` does, in one pass that only reads."""
    return tf.sqrt(total(tensors, dtype))


def total(tensors: Sequence[Any], dtype: str) -> Any:
    """Return the sum of the squares of all elements of all tensors, as a scalar of type `dtype`.

    Variables count as tensors.
    """
    tensors = list(map(tf.convert_to_tensor, tensors))
    place = Place.here()
    if place.compiled:
        # XLA widens as it reads, so that squares of half precision do not overflow.
        wide = [t if t.dtype == tf.float64 else tf.cast(t, tf.float32) for t in tensors]
        groups = _alike(wide).values()
        return tf.add_n([tf.cast(_of_lanes(group), dtype) for group in groups])
    whole: list[Any] = []
    for group in _alike(tensors).values():
        small = len(group) >= STACKED and size_of(group[0].shape) <= SMALL
        whole += [tf.stack(group)] if small and place.stacks else group
    return 2.0 * tf.add_n([tf.cast(tf.nn.l2_loss(tensor), dtype) for tensor in whole])


def squares(tensors: Sequence[Any]) -> list[Any]:
    """Return the sum of the squares of each tensor, in its own type."""
    if Place.here().compiled:
        return [_of_lanes([tensor]) for tensor in tensors]
    return [tf.reduce_sum(tf.square(tensor)) for tensor in tensors]


def _alike(tensors: Sequence[Any]) -> dict[Hashable, list[Any]]:
    """Return the tensors by type and shape; one of unknown shape is alone."""
    groups: dict[Hashable, list[Any]] = collections.defaultdict(list)
    for number, tensor in enumerate(tensors):
        shape = tensor.shape if tensor.shape.is_fully_defined() else (None, number)
        groups[tensor.dtype, tuple(shape)].append(tensor)
    return groups


def _of_lanes(group: Sequence[Any]) -> Any:
    """Return the sum of the squares of tensors of one shape, for XLA.

    On a CPU XLA adds up one element after the other, each waiting for the one before it: 3 ns an
    element, ten times as long as reading it. So tensors, and parts of large ones, are added to each
    other element by element first, which goes by vectors and on all threads; then row by row.
    """
    size, lanes = size_of(group[0].shape), 1
    if not SMALL < size < math.inf:
        return tf.reduce_sum(tf.add_n([tf.square(tensor) for tensor in group]))
    while 2 * lanes * len(group) <= LANES:
        lanes *= 2
    length = int(size) // (lanes * WIDTH) * WIDTH
    flat = [tf.reshape(tensor, [int(size)]) for tensor in group]
    parts = [f[start * length : (start + 1) * length] for f in flat for start in range(lanes)]
    rows = tf.reshape(tf.add_n([tf.square(part) for part in parts]), [-1, WIDTH])
    # The maximum keeps XLA from making one sum of the two, whose long chain would lose digits.
    result = tf.reduce_sum(tf.maximum(tf.reduce_sum(rows, 0), 0.0))
    if (rest := lanes * length) < size:
        result += tf.add_n([tf.reduce_sum(tf.square(f[rest:])) for f in flat])
    return result
