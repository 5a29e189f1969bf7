"""What an update used, kept in one small variable on the device, so that no step waits for a read.

The values of schedules, callables and assigned numbers are written down by the step itself. Asking
the schedules afterwards would miss what a callable returned, or what a callback has assigned since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

__all__ = ["MONITORED", "last_update", "record", "restart"]

MONITORED = (
    "learning_rate",
    "weight_decay",
    "beta_1",
    "momentum",
    "gradient_norm",
    "gradient_norm_sum",
    "updates",
)


def record(monitor: Any, hyperparameters: Any, momentum: Any, norm: Any) -> None:
    """Write down what the running update uses.

    Args:
        monitor: The variable, one float32 for each of `MONITORED`.
        hyperparameters: Values of the step.
        momentum: u_t.
        norm: Norm of all gradients together, before clipping; or None where it is not known.
    """
    before = keras.ops.convert_to_tensor(monitor)
    h = hyperparameters
    decay = 0.0 if h.weight_decay is None else h.weight_decay
    norm = 0.0 if norm is None else norm
    used: Sequence[Any] = [h.learning_rate, decay, h.beta_1, momentum, norm]
    rows = [keras.ops.convert_to_tensor(value, dtype="float32") for value in used]
    monitor.assign(keras.ops.stack([*rows, before[5] + rows[4], before[6] + 1.0]))


def last_update(optimizer: Any) -> dict[str, float] | None:
    """Return what the last update of a Nadam used, which reads it from the device.

    Args:
        optimizer: A Nadam whose attribute `monitored` was "values", or "norm" to have the norm of
            the gradients too, when its step was compiled; False, the default, is neither.
            `nadam_suite.callbacks.HyperparameterLogger` sets it.

    Returns:
        "learning_rate", "weight_decay" (where there is one), "beta_1", "momentum" (u_t) and, of
        "norm", "gradient_norm", the mean over the updates since `restart`; None if there were
        none.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.optimizers.monitor import last_update
    >>> weight, optimizer = keras.Variable(np.ones(2, "float32")), Nadam(0.5)
    >>> optimizer.monitored = "norm"
    >>> optimizer.apply([np.array([3.0, 4.0], "float32")], [weight])
    >>> used = last_update(optimizer)
    >>> used["learning_rate"], used["gradient_norm"]
    (0.5, 5.0)
    """
    if not optimizer.built:
        return None
    held = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(optimizer._layout.state.monitor))
    values = dict(zip(MONITORED, map(float, held), strict=True))
    norms, updates = values.pop("gradient_norm_sum"), values.pop("updates")
    if not updates:
        return None
    values["gradient_norm"] = norms / updates
    if optimizer.monitored != "norm":
        del values["gradient_norm"]
    if optimizer.weight_decay is None:
        del values["weight_decay"]
    return values


def restart(optimizer: Any) -> None:
    """Forget the updates so far, such as those of the last epoch."""
    if optimizer.built:
        monitor = optimizer._layout.state.monitor
        monitor.assign(keras.ops.zeros(monitor.shape, dtype="float32"))
