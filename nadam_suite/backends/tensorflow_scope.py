"""TensorFlow: which strategy of `tf.distribute` shares out a training, and the cluster it joins."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nadam_suite.backends.scope import (
    Sharing,
    devices_missing,
    listed,
    one_process_only,
    several_processes_only,
)
from nadam_suite.backends.tensorflow_batches import CountsExamples
from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = [
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "join",
    "open_scope",
    "process",
    "same_on_all",
    "split_cpu",
]

_joined: Any = None  # the one multi-worker strategy of this process


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
    if "ps" in cluster:
        raise _malformed(text, "it describes parameter servers, which this package does not use")
    if len(workers) <= 1:
        return 0, 1
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
    """Create the multi-worker strategy once, which waits for the other workers; alone, None.

    Raises:
        NadamSuiteError: TensorFlow has opened its devices already.
    """
    global _joined  # noqa: PLW0603 - a process belongs to one cluster, and TensorFlow keeps it too
    if _joined is None and process()[1] > 1:
        try:
            _joined = MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise NadamSuiteError(
                "The cluster that TF_CONFIG describes must be joined before TensorFlow runs its "
                f"first operation. TensorFlow said: {error}. Call training_scope() before anything "
                "else builds a layer or a tensor."
            ) from error
    return _joined


def same_on_all(number: int) -> bool:
    """Return whether all workers call this with the same number."""
    strategy = join()
    return strategy is None or strategy.all_hold([[number]])


def split_cpu(count: int) -> bool:
    """Make the CPU look like `count` devices; return whether it does, which open devices forbid."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or (None,)) >= count:
        return True
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError:
        return False
    return True


def open_scope(strategy: str, devices: int | Sequence[str] | None) -> Sharing:
    """Choose and create the strategy; see `nadam_suite.training_scope` for what is chosen when."""
    if tf.distribute.has_strategy():
        raise NadamSuiteError(
            "training_scope() must be called outside of every other strategy's scope. Received: "
            f"the scope of a {type(tf.distribute.get_strategy()).__name__} is open. Leave it, or "
            "do without training_scope()."
        )
    worker, workers = process()
    kind = _kind(strategy, devices, workers)
    if kind == "none":
        return Sharing(kind)
    if kind == "multi_worker":
        native = join()
        names = list(native.extended.worker_devices)
        own = listed([_short(name) for name in names])
        return _sharing(kind, f"{own} of each worker", native, workers, worker)
    if kind == "tpu":
        native = _open_tpu()
        return _sharing(kind, "the cores of the TPU", native)
    names = _names(devices)
    return _sharing(kind, listed(names), _mirrored(tuple(names)))


@functools.cache
def _mirrored(names: tuple[str, ...]) -> MirroredStrategy:
    """Return one strategy per choice of devices: two would number their collectives alike.

    TensorFlow takes a sum of the second one for a sum of the first, and refuses its shape.
    """
    return MirroredStrategy(names)


def _sharing(kind: str, names: str, native: Any, workers: int = 1, worker: int = 0) -> Sharing:
    replicas = int(native.num_replicas_in_sync)
    return Sharing(kind, names, replicas, workers, worker, native, native.scope)


def _kind(strategy: str, devices: int | Sequence[str] | None, workers: int) -> str:
    """Return what a strategy comes to here."""
    if strategy == "model_parallel":
        raise ArgumentError(
            "Argument `strategy` must be another one on the tensorflow backend. Received: strategy="
            "'model_parallel'. Set KERAS_BACKEND=jax, where Keras can divide a model, or choose "
            '"mirrored".'
        )
    if workers > 1:
        if strategy not in {"auto", "multi_worker", "data_parallel"}:
            raise one_process_only(strategy, workers, "TF_CONFIG")
        return "multi_worker"
    if strategy == "multi_worker":
        raise several_processes_only("TF_CONFIG")
    if strategy == "data_parallel" or (strategy == "auto" and devices is not None):
        return "mirrored"
    if strategy == "auto":
        if _present("TPU"):
            return "tpu"
        return "mirrored" if len(_present("GPU")) > 1 else "none"
    return strategy


def _present(kind: str) -> Sequence[Any]:
    """Return the physical devices of a kind, without opening them."""
    return tf.config.list_physical_devices(kind)


def _names(devices: int | Sequence[str] | None) -> list[str]:
    """Return the names of the devices that are asked for: GPUs, or CPUs where there is no GPU."""
    kind = "GPU" if _present("GPU") else "CPU"
    if isinstance(devices, int) and kind == "CPU":
        split_cpu(devices)
    present = [_short(device.name) for device in tf.config.list_logical_devices(kind)]
    if devices is None:
        return present
    remedy = (
        "On a CPU call training_scope() before TensorFlow opens its devices, which any layer or "
        "tensor does; then it divides the CPU."
    )
    if isinstance(devices, int):
        if devices > len(present):
            raise devices_missing(devices, present, remedy)
        return present[:devices]
    every = [_short(device.name) for device in tf.config.list_logical_devices()]
    names = [_short(name) for name in devices]
    if not set(names) <= set(every):
        raise devices_missing(devices, every, remedy)
    return names


def _short(name: str) -> str:
    """Return "GPU:0" for "/device:GPU:0", "/job:worker/.../device:GPU:0" and "gpu:0"."""
    return name.rsplit("device:", 1)[-1].upper()


def _open_tpu() -> Any:
    """Connect to the TPU and return its strategy."""
    if not _present("TPU") and not os.environ.get("TPU_NAME"):
        raise ArgumentError(
            "Argument `strategy` must be another one where there is no TPU. Received: strategy="
            "'tpu'. Run on a TPU host, or set TPU_NAME, or choose \"auto\"."
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
        os.environ.get("TPU_NAME", "local")
    )
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


class MirroredStrategy(CountsExamples, tf.distribute.MirroredStrategy):
    """The stock strategy, but a first batch that the replicas share unevenly builds a model.

    Keras learns the shapes of a batch by taking the mean of its parts, whatever their sizes, and
    the stock class refuses to add three rows to two.
    """

    def reduce(self, reduce_op: Any, value: Any, axis: Any = None) -> Any:
        """Reduce; of parts that differ in size the first one stands for all."""

        def reduce_leaf(leaf: Any) -> Any:
            parts = self.experimental_local_results(leaf)
            sizes = {tuple(getattr(part, "shape", ())) for part in parts}
            if axis is None and len(sizes) > 1 and tf.executing_eagerly():
                return parts[0]
            return stock(reduce_op, leaf, axis)

        stock = super().reduce
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(reduce_leaf, value)
        return stock(reduce_op, value, axis)


class MultiWorkerMirroredStrategy(CountsExamples, tf.distribute.MultiWorkerMirroredStrategy):
    """The stock strategy, but `reduce` takes structures and scalars, as Keras' `fit` hands over.

    Keras builds a model from the first batch by reducing the tuple (x, y) at once, and takes the
    mean of the replicas' scalar losses along an axis that scalars have not. Both fail in the stock
    class, so no `fit` can start (https://github.com/keras-team/keras/issues/20585).
    """

    def reduce(self, reduce_op: Any, value: Any, axis: Any = None) -> Any:
        """Reduce every leaf of a structure; scalars have no axis to reduce along."""

        def reduce_leaf(leaf: Any) -> Any:
            parts = self.experimental_local_results(leaf)
            scalar = tf.TensorShape(getattr(parts[0], "shape", ())).rank == 0
            if axis is None and not scalar and nested and not self._agree(parts):
                return parts[0]
            return stock(reduce_op, leaf, None if scalar else axis)

        stock, nested = super().reduce, tf.nest.is_nested(value)
        return tf.nest.map_structure(reduce_leaf, value)

    def _agree(self, parts: Sequence[Any]) -> bool:
        """Return, alike on all workers, whether all replicas hold parts of one shape."""
        if not tf.executing_eagerly() or not all(isinstance(part, tf.Tensor) for part in parts):
            return True
        return self.all_hold([tf.shape(part) for part in parts])

    def all_hold(self, rows: Sequence[Any]) -> bool:
        """Return, alike on all workers, whether all rows of numbers of all workers are equal.

        Numbers are equal where n times the sum of their squares is the square of their sum; every
        worker sees the same two sums, so that none is left waiting by the others.

        Args:
            rows: One or more rows of this worker, as long as those of the others.
        """
        numbers = tf.cast(tf.stack(rows), tf.float64)
        # Each of this worker's replicas adds the worker's mean.
        share = tf.reduce_mean(tf.stack([numbers, numbers * numbers]), axis=1)
        own = self.experimental_distribute_values_from_function(lambda _: share)
        first, second = tf.unstack(super().reduce("SUM", own, None))
        return bool(tf.reduce_all(self.num_replicas_in_sync * second == first * first))
