"""Sharing out a training over devices and machines by the name of a strategy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import keras

from nadam_suite.backends import get_backend
from nadam_suite.backends.scope import STRATEGIES, Sharing
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.arguments import check_choice, check_flag, check_integer
from nadam_suite.schedules import scaling
from nadam_suite.schedules.checks import amount

__all__ = ["TrainingScope", "training_scope"]


class TrainingScope:
    """What `training_scope` has chosen; a context manager in which a model is made and trained.

    Args:
        sharing: What the backend has chosen and created.
        asked: The strategy that was asked for.
        batch_size: The global batch size, if it is known.
        scaling_rule: Rule of the learning rate, or None where none was asked for.
        base_batch_size: Batch size that the learning rate was tuned with.

    Attributes:
        strategy: One of "none", "mirrored", "multi_worker", "tpu", "data_parallel" and
            "model_parallel": what was asked for, or what it became on this backend.
        replicas: Parts that each global batch is divided into.
        workers: Processes that take part.
        worker: Index of this process, from 0.
        is_chief: Whether this is process 0, which writes what is written once.
        batch_size: The global batch size, or None.
        learning_rate_factor: What `scaled` multiplies by; 1.0 unless scaling was asked for.
        distribution: The `tf.distribute.Strategy` or `keras.distribution.Distribution`, or None.
    """

    def __init__(
        self,
        sharing: Sharing,
        asked: str,
        batch_size: int | None,
        scaling_rule: str | None,
        base_batch_size: int | None,
    ) -> None:
        self.strategy = sharing.strategy
        self.replicas = sharing.replicas
        self.workers = sharing.workers
        self.worker = sharing.worker
        self.is_chief = sharing.worker == 0
        self.batch_size = batch_size
        self.distribution = sharing.native
        self.learning_rate_factor = 1.0
        self._sharing = sharing
        self._asked = asked
        self._open: list[contextlib.AbstractContextManager[Any]] = []
        self._derivation = "as given"
        if scaling_rule is not None:
            batch = batch_size or self.replicas
            base = base_batch_size or batch // self.replicas
            self.learning_rate_factor = scaling.scale_learning_rate(1.0, batch, base, scaling_rule)
            self._derivation = f"x {scaling.derivation(batch, base, scaling_rule)}"
            self._derivation += f" ({scaling_rule} rule)"

    def __enter__(self) -> Self:
        context = self._sharing.enter()
        context.__enter__()
        self._open.append(context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._open.pop().__exit__(kind, error, traceback)

    def scaled(self, learning_rate: float) -> float:
        """Return a learning rate times `learning_rate_factor`; of a schedule, pass its peak.

        Raises:
            ArgumentTypeError: `learning_rate` is no number.
            ArgumentError: `learning_rate` is negative.
        """
        return amount("learning_rate", learning_rate) * self.learning_rate_factor

    def describe(self) -> str:
        """Return one line: strategy, replicas, workers, batch sizes and the rate's derivation."""
        strategy = f"Strategy: {self.strategy}"
        if self._asked not in {"auto", self.strategy}:
            strategy += f" (what {self._asked} is on {keras.backend.backend()})"
        batch = "global batch: not given"
        if self.batch_size is not None:
            batch = f"global batch: {self.batch_size}"
            if self.replicas > 1:
                batch += f", {self.batch_size // self.replicas} a replica"
        return (
            f"{strategy} on {self._sharing.devices}; replicas: {self.replicas}; workers: "
            f"{self.workers}; {batch}; learning rate: {self._derivation}."
        )


def training_scope(
    strategy: str = "auto",
    *,
    devices: int | Sequence[str] | None = None,
    batch_size: int | None = None,
    base_batch_size: int | None = None,
    scale_learning_rate: str | bool | None = None,
    layout: Mapping[str, Any] | None = None,
    model_devices: int | None = None,
    verbose: bool = True,
) -> TrainingScope:
    """Choose how a training is shared out, print the choice, and return the scope to train in.

    Call it before anything else makes a layer or a tensor: joining other processes and dividing a
    CPU are possible until the framework opens its devices. Create and compile the model inside
    the `with` block, and call `fit` there too; afterwards what was set before is set again. A model
    of TensorFlow keeps its strategy. One of JAX divides its batches inside the block only; outside
    each device computes the whole batch, with the same result, whatever its size.

    Args:
        strategy: "auto" takes several TensorFlow workers (TF_CONFIG) or JAX processes
            (KERAS_DISTRIBUTION_*) if the environment names them, else a TPU or several GPUs if
            they are there, else one device. "none" is one device. "mirrored" is the devices of one
            process, and "multi_worker" all devices of all processes; the devices of a CPU count
            only where one of these is asked for, or `devices` is given. "tpu" is a TPU.
            "data_parallel" is what divides the batch on JAX, and "model_parallel" divides the model
            as well, on JAX only. A name of the other backend becomes what is meant there. On
            PyTorch Keras trains on one device.
        devices: Number or names, such as `["GPU:0", "GPU:1"]`, of the devices of this process;
            None, the default, takes all. A CPU is divided if more are asked for than it has.
            In a cluster each process uses all of its devices.
        batch_size: Examples of a global batch, as `fit(batch_size=)` takes it; it must be divisible
            by the replicas. (JAX with several processes: each passes `fit` its own part.)
        base_batch_size: Batch size that the learning rate was tuned with. None, the default, takes
            that of one replica: the rate was tuned on one device.
        scale_learning_rate: "sqrt" (or True), "linear" or "none": how `scope.scaled()` adapts a
            learning rate to `batch_size`. None, the default, leaves it as given.
        layout: Of "model_parallel": patterns of variable paths to tuples of "batch", "model" and
            None, one for each dimension, or a `keras.distribution.LayoutMap`. None divides the last
            axis of all matrices and kernels where that is possible.
        model_devices: Of "model_parallel": devices that share one copy of the model. None, the
            default, takes all of them, so that there is one replica.
        verbose: Print the choice; in a cluster only the chief does.

    Raises:
        ArgumentTypeError: An argument of a wrong type.
        ArgumentError: An unknown strategy, one that is not possible here, or a batch that cannot be
            divided.
        NadamSuiteError: Another strategy's scope is open, or the framework's devices are, so that
            the cluster cannot be joined.

    Example:

    >>> import keras
    >>> from nadam_suite import Nadam, training_scope
    >>> with training_scope("none", batch_size=64, verbose=False) as scope:
    ...     model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(scope.scaled(1e-3)), loss="mse")
    >>> print(scope.describe())
    Strategy: none on one device; replicas: 1; workers: 1; global batch: 64; learning rate: as
    given.
    """
    check_choice("strategy", strategy, STRATEGIES)
    devices = _checked_devices(devices)
    batch_size = check_integer("batch_size", batch_size, 1)
    rule = _checked_rule(scale_learning_rate, batch_size, base_batch_size)
    base_batch_size = check_integer("base_batch_size", base_batch_size, 1)
    model_devices = check_integer("model_devices", model_devices, 1)
    verbose = check_flag("verbose", verbose)
    if strategy != "model_parallel" and not (layout is None and model_devices is None):
        raise ArgumentError(
            "Arguments `layout` and `model_devices` must be None unless strategy is "
            f'"model_parallel". Received: strategy={strategy!r}, layout={layout!r}, '
            f"model_devices={model_devices!r}. Leave them out."
        )
    _check_cluster(devices)
    sharing = get_backend().open_scope(
        strategy, devices=devices, layout=layout, model_devices=model_devices
    )
    _check_batch(batch_size, sharing)
    scope = TrainingScope(sharing, strategy, batch_size, rule, base_batch_size)
    if verbose and scope.is_chief:
        sys.stdout.write(scope.describe() + "\n")
        sys.stdout.flush()
    return scope


def _checked_devices(devices: Any) -> int | list[str] | None:
    """Return a number or names of devices."""
    if isinstance(devices, (list, tuple)) and all(isinstance(name, str) for name in devices):
        if devices and len(set(devices)) == len(devices):
            return list(devices)
        raise ArgumentError(
            "Argument `devices` must name at least one device, and none twice. Received: "
            f"devices={devices!r}. Pass None to take all of them."
        )
    if isinstance(devices, (str, list, tuple)):
        raise ArgumentTypeError(
            "Argument `devices` must be an integer >= 1, a list of names, or None. Received: "
            f'devices={devices!r} (of type {type(devices).__name__}). Pass for instance ["GPU:0"].'
        )
    return check_integer("devices", devices, 1)


def _checked_rule(rule: Any, batch_size: int | None, base_batch_size: Any) -> str | None:
    """Return the rule of the learning rate, or None."""
    if isinstance(rule, bool):
        rule = "sqrt" if rule else None
    rule = check_choice("scale_learning_rate", rule, (*scaling.RULES, None))
    if base_batch_size is not None and (batch_size is None or rule is None):
        missing = "batch_size" if batch_size is None else "scale_learning_rate"
        raise ArgumentError(
            f"Argument `{missing}` must be given together with base_batch_size. Received: "
            f"{missing}=None, base_batch_size={base_batch_size!r}. Pass both, or neither."
        )
    return rule


def _check_cluster(devices: Any) -> None:
    """Refuse a choice of devices where each process uses all that it has."""
    workers = get_backend().process()[1]
    if workers > 1 and devices is not None:
        raise ArgumentError(
            f"Argument `devices` must be None in a cluster, where each of the {workers} processes "
            f"uses all of its devices. Received: devices={devices!r}. Choose what a process sees "
            "by its environment (CUDA_VISIBLE_DEVICES), or with `nadam-suite launch "
            "--devices-per-worker`."
        )


def _check_batch(batch_size: int | None, sharing: Sharing) -> None:
    """Refuse a global batch that the replicas cannot share evenly."""
    replicas = sharing.replicas
    if batch_size is None or batch_size % replicas == 0:
        return
    below, above = batch_size // replicas * replicas, -(-batch_size // replicas) * replicas
    near = f"{below} or {above}" if below else str(above)
    raise ArgumentError(
        f"Argument `batch_size` must be divisible by the {replicas} replicas. Received: "
        f"batch_size={batch_size}, with {sharing.strategy} on {sharing.devices}. Pass {near}."
    )
