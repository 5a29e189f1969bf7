"""`HyperparameterLogger`: what the optimizer used, in the logs of every epoch."""

from __future__ import annotations

from typing import Any

import keras

from nadam_suite.errors import ArgumentTypeError
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.monitor import last_update, restart

__all__ = ["HyperparameterLogger", "innermost"]


class HyperparameterLogger(keras.callbacks.Callback):
    """Adds what the optimizer used to the logs of each epoch, also where schedules decide.

    The logs go to all callbacks, and so into History, CSV files and TensorBoard; put this one
    before those that should see them. The values are those of the epoch's last real update:

    * "learning_rate", after all multipliers but those of parameter rules,
    * "weight_decay", where there is one,
    * "beta_1", and "momentum", the u_t that Nadam makes of it,
    * "gradient_norm": of all gradients together, before clipping, the mean over the epoch's
      updates.

    The step itself writes them into a variable on the device, which is read once an epoch. An
    epoch without a real update, because its only window goes on in the next one or loss scaling
    skipped all steps, adds nothing. Of another optimizer than `nadam_suite.Nadam` only the
    learning rate is known: a schedule's at the last step, or the number at the epoch's end.

    Args:
        gradient_norm: Whether to compute the norm of the gradients, which reads each of them once
            more. Defaults to True.

    Raises:
        ArgumentTypeError: `gradient_norm` is no bool.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.callbacks import HyperparameterLogger
    >>> from nadam_suite.schedules import WarmupLinear
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(WarmupLinear(1.0, total_steps=8)), loss="mse")
    >>> x = np.ones((8, 2), "float32")
    >>> history = model.fit(x, x[:, :1], batch_size=2, epochs=2, verbose=0,
    ...                     callbacks=[HyperparameterLogger()])
    >>> history.history["learning_rate"]
    [0.625, 0.125]
    """

    def __init__(self, gradient_norm: bool = True) -> None:
        super().__init__()
        if not isinstance(gradient_norm, bool):
            raise ArgumentTypeError(
                "Argument `gradient_norm` must be True or False. Received: "
                f"gradient_norm={gradient_norm!r} (of type {type(gradient_norm).__name__})."
            )
        self.gradient_norm = gradient_norm

    def set_model(self, model: keras.Model) -> None:
        """Have the step of the model's optimizer written down; called by `fit()` at its start."""
        super().set_model(model)
        optimizer = innermost(model)
        wanted = "norm" if self.gradient_norm else "values"
        if isinstance(optimizer, Nadam) and optimizer.monitored != wanted:
            optimizer.monitored = wanted
            model.train_function = None  # compiled without it; `fit()` compiles it anew

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the last epoch's updates."""
        if isinstance(optimizer := innermost(self.model), Nadam):
            restart(optimizer)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Read the values and put them into the logs that all callbacks share."""
        if logs is None:
            return
        optimizer = innermost(self.model)
        if isinstance(optimizer, Nadam):
            logs.update(last_update(optimizer) or {})
        else:
            logs["learning_rate"] = _rate_of_last_step(optimizer)


def innermost(model: keras.Model) -> Any:
    """Return the optimizer of a model without wrappers for loss scaling."""
    optimizer = model.optimizer
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _rate_of_last_step(optimizer: Any) -> float:
    """Return the learning rate of another optimizer at its last step."""
    schedule, rate = getattr(optimizer, "_learning_rate", None), optimizer.learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
        rate = schedule(max(steps - 1, 0))
    return float(keras.ops.convert_to_numpy(rate))
