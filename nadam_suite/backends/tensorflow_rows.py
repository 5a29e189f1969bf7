"""Embedding gradients of TensorFlow, which are `tf.IndexedSlices`; see `backends.rows`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from nadam_suite.backends.rows import Seen
from nadam_suite.backends.slot import native
from nadam_suite.backends.tensorflow_place import Place

__all__ = ["put", "seen", "take"]


def seen(gradient: Any, dtype: str) -> Seen | None:
    """See `Together.seen`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    values = tf.cast(gradient.values, dtype)
    indices = tf.reshape(gradient.indices, [-1])
    if Place.here().stacks:  # neither for XLA nor under a strategy
        rows, places = tf.unique(indices)
        return Seen(rows, tf.math.unsorted_segment_sum(values, places, tf.size(rows)))
    return _of_fixed_number(indices, values)


def take(variable: Any, rows: Seen) -> Any:
    """See `Together.take_rows`; nothing but the rows is read."""
    return tf.gather(native(variable), rows.indices)


def put(variable: Any, rows: Seen, values: Any) -> None:
    """See `Together.put_rows`.

    What stands for no row writes the first row once more: TensorFlow refuses positions that are not
    there, on a CPU at least.
    """
    if rows.present is not None:
        rank = values.shape.rank
        present = tf.reshape(rows.present, [-1] + [1] * (rank - 1))
        values = tf.where(present, values, values[:1])
    native(variable).scatter_update(tf.IndexedSlices(values, rows.indices))


def _of_fixed_number(indices: Any, values: Any) -> Seen:
    """Sum the entries of each row, by sorting: XLA knows no tensors of unknown size."""
    order = tf.argsort(indices, stable=True)
    ordered = tf.gather(indices, order)
    size = tf.size(indices)
    first = tf.concat([tf.ones_like(ordered[:1], tf.bool), ordered[1:] != ordered[:-1]], 0)
    places = tf.cumsum(tf.cast(first, tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(tf.gather(values, order), places, size)
    present = tf.range(size) < tf.reduce_sum(tf.cast(first, tf.int32))
    rows = tf.math.unsorted_segment_max(ordered, places, size)
    return Seen(tf.where(present, rows, ordered[:1]), sums, present)
