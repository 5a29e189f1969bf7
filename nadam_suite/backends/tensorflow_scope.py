"""TensorFlow: which strategy of `tf.distribute` shares out a training, and the cluster it joins."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import tensorflow as tf

from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = ["join", "process"]

_joined: Any = None  # the one MultiWorkerMirroredStrategy of this process


def process() -> tuple[int, int]:
    """Return (index, number) of this worker as TF_CONFIG says; the chief comes first.

    Raises:
        ArgumentError: TF_CONFIG is malformed, or describes parameter servers.
    """
    return _read_cluster(os.environ.get("TF_CONFIG", ""))


@functools.lru_cache(maxsize=8)
def _read_cluster(text: str) -> tuple[int, int]:
    if not text.strip():
        return 0, 1
    try:
        table = json.loads(text)
        cluster = {str(kind): list(hosts) for kind, hosts in table.get("cluster", {}).items()}
        task = table.get("task", {})
        kind, index = str(task.get("type", "worker")), int(task.get("index", 0))
    except (AttributeError, TypeError, ValueError) as error:
        raise _malformed(text, f"it cannot be read ({error})") from error
    workers = [(k, i) for k in ("chief", "worker") for i in range(len(cluster.get(k, ())))]
    if len(workers) <= 1:
        return 0, 1
    if "ps" in cluster:
        raise _malformed(text, "it describes parameter servers, which this package does not use")
    if (kind, index) not in workers:
        raise _malformed(text, f"its task {kind}:{index} is not one of the {len(workers)} workers")
    return workers.index((kind, index)), len(workers)


def _malformed(text: str, reason: str) -> ArgumentError:
    return ArgumentError(
        'Environment variable TF_CONFIG must be JSON such as {"cluster": {"worker": '
        '["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}. Received: '
        f"TF_CONFIG={text!r}: {reason}. Correct it, or unset it to train alone."
    )


def join() -> Any:
    """Create the multi-worker strategy once, which waits for the other workers.

    Raises:
        NadamSuiteError: TensorFlow has opened its devices already.
    """
    global _joined  # noqa: PLW0603 - a process belongs to one cluster, and TensorFlow keeps it too
    if _joined is None and process()[1] > 1:
        try:
            _joined = MultiWorkerStrategy()
        except RuntimeError as error:
            raise NadamSuiteError(
                "The cluster that TF_CONFIG describes must be joined before TensorFlow runs its "
                f"first operation. TensorFlow said: {error}. Call training_scope() before anything "
                "else builds a layer or a tensor, keras.utils.clear_session() included."
            ) from error
    return _joined


class MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """The stock strategy, but `reduce` takes structures and scalars, as Keras' `fit` hands over.

    Keras builds a model from the first batch by reducing the tuple (x, y) at once, and takes the
    mean of the replicas' scalar losses along an axis that scalars have not. Both fail in the stock
    class, so no `fit` can start (https://github.com/keras-team/keras/issues/20585).
    """

    def reduce(self, reduce_op: Any, value: Any, axis: Any = None) -> Any:
        """Reduce every leaf of a structure; scalars have no axis to reduce along."""

        def reduce_leaf(leaf: Any) -> Any:
            scalar = self.experimental_local_results(leaf)[0].shape.rank == 0
            return super(MultiWorkerStrategy, self).reduce(
                reduce_op, leaf, None if scalar else axis
            )

        return tf.nest.map_structure(reduce_leaf, value)
