"""Batches that do not divide by the replicas: each replica's gradient counts by its examples.

Keras divides a replica's loss by its own examples and by the number of replicas. The sum over
replicas is then the mean over the batch only if all have as many. Of 29 examples the 14 of one
replica would weigh more than the 15 of the other, and a single example on two replicas half.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["CountsExamples", "shares"]

# By replica, while its train step runs: the examples that it has, in units of an even part.
_SHARES: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()
_MEANS = ("sum_over_batch_size", "mean")


class CountsExamples:
    """Mixin for a strategy: while Keras' train step runs, it knows each replica's share."""

    def run(self, fn: Any, args: Any = (), kwargs: Any = None, options: Any = None) -> Any:
        """Run a function on each replica; see `tf.distribute.Strategy.run`."""
        if _takes_means(fn):
            fn = self._counting(fn)
        return super().run(fn, args, kwargs, options)  # type: ignore[misc]

    def _counting(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(function)
        def counted(data: Any) -> Any:
            context, replica = tf.distribute.get_replica_context(), _replica()
            first = next(leaf for leaf in tf.nest.flatten(data) if hasattr(leaf, "shape"))
            rows = tf.cast(tf.shape(first)[0], tf.float32)
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
            held = _SHARES.setdefault(self, {})
            held[replica] = rows * context.num_replicas_in_sync / total
            try:
                return function(data)
            finally:
                del held[replica]

        return counted


def shares(strategy: Any, gradients: Sequence[Any]) -> list[Any]:
    """Return a replica's gradients, weighted by its examples where the replicas have not as many.

    Args:
        strategy: The strategy of the replica context that this runs in.
        gradients: Dense or sparse, in the type that they are summed in.
    """
    share = _SHARES.get(strategy, {}).get(_replica())
    if share is None or not gradients:
        return list(gradients)

    def weighted() -> list[Any]:
        return [_times(gradient, share) for gradient in gradients]

    # Even batches, which most are, keep every bit.
    return list(tf.cond(tf.equal(share, 1.0), lambda: list(gradients), weighted))


def _times(gradient: Any, share: Any) -> Any:
    """Multiply; a replica without examples contributes nothing, not even a NaN."""
    if isinstance(gradient, tf.IndexedSlices):
        values = _times(gradient.values, share)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.math.multiply_no_nan(gradient, tf.cast(share, gradient.dtype))


def _takes_means(function: Any) -> bool:
    """Return whether this is Keras' own train step on losses that are means over examples."""
    method = inspect.unwrap(function)
    if getattr(method, "__func__", None) is not keras.Model.train_step:
        return False
    losses = tf.nest.flatten(getattr(method.__self__, "loss", None))
    return all(getattr(loss, "reduction", _MEANS[0]) in _MEANS for loss in losses)


def _replica() -> int:
    context = tf.distribute.get_replica_context()
    return int(tf.get_static_value(context.replica_id_in_sync_group))
