"""JAX: which `keras.distribution` shares out a training, and the cluster that it joins."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from nadam_suite.backends.scope import (
    Sharing,
    devices_missing,
    listed,
    one_process_only,
    several_processes_only,
)
from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = [
    "DataParallel",
    "ModelParallel",
    "join",
    "open_scope",
    "process",
    "same_on_all",
    "split_cpu",
]

_PREFIX = "KERAS_DISTRIBUTION_"
_BATCH, _MODEL = "batch", "model"


def process() -> tuple[int, int]:
    """Return (index, number) of this process: of the environment, or of the cluster that runs.

    Raises:
        ArgumentError: The variables KERAS_DISTRIBUTION_* contradict each other.
    """
    from_environment = _read_environment()
    if from_environment[1] == 1 and jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    return from_environment


def _read_environment() -> tuple[int, int]:
    """Return (index, number) as the variables say that `keras.distribution.initialize` reads."""
    addresses = [a for a in os.environ.get(_PREFIX + "JOB_ADDRESSES", "").split(",") if a.strip()]
    count = _integer("NUM_PROCESSES", max(len(addresses), 1))
    index = _integer("PROCESS_ID", 0 if count == 1 else -1)
    if count == 1:
        return 0, 1
    if not 0 <= index < count:
        raise _malformed("PROCESS_ID", f"an integer from 0 to {count - 1}")
    if not addresses:
        raise _malformed("JOB_ADDRESSES", "the address of process 0, such as 'host1:12345'")
    if len(addresses) not in (1, count):
        raise _malformed("JOB_ADDRESSES", f"one address, or one for each of {count} processes")
    return index, count


def _integer(name: str, default: int) -> int:
    text = os.environ.get(_PREFIX + name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or (name == "NUM_PROCESSES" and int(text) == 0):
        raise _malformed(name, "an integer")
    return int(text)


def _malformed(name: str, allowed: str) -> ArgumentError:
    received = os.environ.get(_PREFIX + name)
    return ArgumentError(
        f"Environment variable {_PREFIX}{name} must be {allowed}. Received: "
        f"{_PREFIX}{name}={received!r}. Correct it, or unset all {_PREFIX}* to train alone."
    )


def join() -> None:
    """Join the cluster of the environment once; process 0 waits for the others, and they for it.

    Raises:
        NadamSuiteError: JAX has opened its devices already.
    """
    index, count = _read_environment()
    if count == 1 or jax.distributed.is_initialized():
        return
    try:
        keras.distribution.initialize(
            os.environ[_PREFIX + "JOB_ADDRESSES"].strip(), num_processes=count, process_id=index
        )
    except RuntimeError as error:
        raise NadamSuiteError(
            f"The cluster that {_PREFIX}* describes must be joined before JAX computes anything, "
            f"and within JAX' time limit. JAX said: {error}. Call training_scope() before anything "
            "else builds a layer or an array, and see that all processes run."
        ) from error


def same_on_all(number: int) -> bool:
    """Return whether all processes call this with the same number."""
    if process()[1] == 1:
        return True
    numbers = multihost_utils.process_allgather(np.asarray(number))
    return bool(np.all(numbers == number))


def split_cpu(count: int) -> bool:
    """Make the CPU look like `count` devices; return whether it does, which open devices forbid."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return len(jax.devices("cpu")) >= count  # JAX takes one of the two settings only
    if jax.config.jax_num_cpu_devices >= count:
        return True
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        return False
    return True


def open_scope(
    strategy: str,
    devices: int | Sequence[str] | None,
    layout: Mapping[str, Any] | None,
    model_devices: int | None,
) -> Sharing:
    """Choose and create the distribution; see `nadam_suite.training_scope` for what and when."""
    worker, workers = process()
    _check_processes(strategy, workers)
    join()
    if strategy != "none" and isinstance(devices, int):
        split_cpu(devices)
    if strategy == "none":
        return Sharing(strategy, enter=_undistributed)
    names = _names(strategy, devices)
    only_cpu = len(names) == 1 or names[0].startswith("cpu")
    if strategy == "auto" and only_cpu and devices is None and workers == 1:
        return Sharing("none", enter=_undistributed)
    native: Any
    if strategy == "model_parallel":
        native = _model_parallel(names, layout, model_devices)
        split, parts = native.device_mesh.devices.shape
        told = f"{listed(names)}, the model over {parts}"
        return Sharing(strategy, told, split, workers, worker, native, native.scope)
    native = DataParallel(devices=names)
    return Sharing(
        "data_parallel", listed(names), len(names), workers, worker, native, native.scope
    )


def _check_processes(strategy: str, workers: int) -> None:
    """Refuse a strategy for one process in a cluster, and one for a cluster in one process."""
    if workers == 1 and strategy == "multi_worker":
        raise several_processes_only(_PREFIX + "*")
    if workers > 1 and strategy in {"none", "mirrored"}:
        raise one_process_only(strategy, workers, _PREFIX + "*")


@contextlib.contextmanager
def _undistributed() -> Iterator[None]:
    """Train on one device, whatever distribution was set before."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _present(kind: str | None = None) -> list[str]:
    """Return the names of all devices of a kind, of every process; this opens them."""
    try:
        return list(keras.distribution.list_devices(kind))
    except RuntimeError:  # JAX has no such platform here
        return []


def _names(strategy: str, devices: int | Sequence[str] | None) -> list[str]:
    """Return the names of the devices that are asked for."""
    if strategy == "tpu":
        present = _present("tpu")
        if not present:
            raise ArgumentError(
                "Argument `strategy` must be another one where there is no TPU. Received: strategy="
                "'tpu'. Run on a TPU host, or choose \"auto\"."
            )
    else:
        present = _present()
    if devices is None:
        return present
    remedy = (
        "On a CPU call training_scope() before JAX opens its devices, which any layer or array "
        "does; then it divides the CPU."
    )
    if isinstance(devices, int):
        if devices > len(present):
            raise devices_missing(devices, present, remedy)
        return present[:devices]
    names = [name.lower() for name in devices]
    known = {name for kind in {n.split(":")[0] for n in names} for name in _present(kind)}
    if not set(names) <= known:
        raise devices_missing(devices, sorted(known) or present, remedy)
    return names


def _model_parallel(
    names: Sequence[str], layout: Mapping[str, Any] | None, model_devices: int | None
) -> ModelParallel:
    if isinstance(layout, keras.distribution.LayoutMap) and layout.device_mesh is not None:
        return ModelParallel(layout_map=layout)
    parts = len(names) if model_devices is None else model_devices
    if len(names) % parts:
        raise ArgumentError(
            f"Argument `model_devices` must divide the number of devices, {len(names)}. Received: "
            f"model_devices={model_devices!r}. Pass one of "
            f"{', '.join(str(d) for d in range(1, len(names) + 1) if len(names) % d == 0)}."
        )
    mesh = keras.distribution.DeviceMesh(
        (len(names) // parts, parts), (_BATCH, _MODEL), list(names)
    )
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, axes in (layout or {}).items():
        try:
            layouts[pattern] = keras.distribution.TensorLayout(axes)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                "Argument `layout` must map patterns of variable paths to tuples of "
                f"{_BATCH!r}, {_MODEL!r} and None, one for each dimension. Received: "
                f"layout={{{pattern!r}: {axes!r}}} ({error}). Pass for instance "
                '{".*dense.*/kernel": (None, "model")}.'
            ) from error
    return ModelParallel(layout_map=layouts, by_rule=layout is None)


class _WholeBatches:
    """Gives a batch that does not divide by the replicas to every replica as a whole.

    Each then computes all of it, which is slower and right. Keras asks once an epoch, for the
    first batch: a call with one batch may have any size, in a longer one all must divide alike.
    """

    def get_data_layout(self: Any, data_shape: Sequence[int]) -> Any:
        """Return the layout of one array of a batch, of which the process has its own part."""
        parts = max(self.num_model_replicas // self.num_processes, 1)
        if data_shape and data_shape[0] % parts == 0:
            return super().get_data_layout(data_shape)  # type: ignore[misc]
        if data_shape and self.num_processes > 1:
            raise ArgumentError(
                f"The batch of a process must divide by its {parts} devices, in a cluster of "
                f"several. Received: a batch of {data_shape[0]}. Leave out "
                f"{data_shape[0] % parts} of them."
            )
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


class DataParallel(_WholeBatches, keras.distribution.DataParallel):
    """The stock distribution, which also takes batches that do not divide by the devices."""


class ModelParallel(_WholeBatches, keras.distribution.ModelParallel):
    """The stock distribution, with a rule for variables where no layout is given.

    Args:
        by_rule: Divide the last axis of every matrix and kernel that is divisible, so that each
            device computes some of the outputs; other variables are replicated.
        **arguments: As in `keras.distribution.ModelParallel`.
    """

    def __init__(self, *, by_rule: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.by_rule = by_rule

    def get_variable_layout(self, variable: Any) -> Any:
        """Return the layout of a variable."""
        shape = variable.shape
        if not self.by_rule or len(shape) < 2 or shape[-1] % self.device_mesh.shape[-1]:
            return super().get_variable_layout(variable)
        axes = [None] * (len(shape) - 1) + [_MODEL]
        return keras.distribution.TensorLayout(axes, self.device_mesh)
