"""`LossScaleMonitor`: scale and skipped steps of every epoch; an end to a stuck training."""

from __future__ import annotations

from typing import Any

import keras

from nadam_suite.optimizers.arguments import check_integer
from nadam_suite.precision.loss_scale import DynamicLossScaleOptimizer
from nadam_suite.precision.scale_rule import COUNTERS
from nadam_suite.precision.skips import loss_scale_report, raise_if_stuck

__all__ = ["LossScaleMonitor"]


class LossScaleMonitor(keras.callbacks.Callback):
    """Adds what the loss scale did to the logs of each epoch, and ends a training that is stuck.

    The logs go to all callbacks, and so into History, CSV files and TensorBoard; put this one
    before those that should see them. They get

    * "loss_scale", that of the next step,
    * "skipped_steps", how many steps of this epoch were skipped, their gradients not being finite,
    * "loss_scale_growths", how often the scale has grown in this epoch.

    A stock loss scale knows its scale alone, one that never scales (`skip_nonfinite`) its skipped
    steps alone. Without either there is nothing to tell, and nothing is added: one script serves
    every precision.

    The step itself counts, on the device. The counts are read at both ends of an epoch and every
    `check_every` batches, not with each step. Where so many steps in a row were skipped that
    training further makes no sense, the error names the variables; weights, optimizer and averages
    are those from before these steps, ready for the next `fit()`.

    Args:
        check_every: Batches of an epoch between two looks at the skips in a row, >= 1, or None
            for a look at its end alone. Defaults to 100.
        max_consecutive_skips: Number of steps skipped in a row that ends the training, >= 1. None,
            the default, takes that of the optimizer, which may be none.

    Raises:
        ArgumentError: A number is less than one.
        ArgumentTypeError: A number is no integer.
        NonFiniteError: In `fit()`: so many steps in a row were skipped.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.callbacks import LossScaleMonitor
    >>> from nadam_suite.precision import DynamicLossScaleOptimizer
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(DynamicLossScaleOptimizer(Nadam(), initial_scale=1024.0), loss="mse")
    >>> x = np.ones((4, 2), "float32")
    >>> x[0] = np.nan
    >>> history = model.fit(x, x[:, :1], batch_size=2, shuffle=False, epochs=2, verbose=0,
    ...                     callbacks=[LossScaleMonitor()]).history
    >>> history["loss_scale"], history["skipped_steps"]
    ([512.0, 256.0], [1, 1])
    """

    def __init__(
        self, check_every: int | None = 100, max_consecutive_skips: int | None = None
    ) -> None:
        super().__init__()
        self.check_every = check_integer("check_every", check_every, 1)
        limit = check_integer("max_consecutive_skips", max_consecutive_skips, 1)
        self.max_consecutive_skips = limit
        self._forget()

    def _forget(self) -> None:
        """Count from the next epoch's beginning on."""
        self.skips_before: int | None = None
        self.growths_before: int | None = None
        self._checked = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Forget an earlier training."""
        self._forget()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember the counts so far, unless this goes on with an epoch that was begun before."""
        optimizer = self.model.optimizer
        if self.skips_before is None and isinstance(optimizer, DynamicLossScaleOptimizer):
            state: dict[str, Any] = {}
            optimizer.save_own_variables(state)  # a loaded one may wait for the first step
            counts = dict(zip(COUNTERS, state.get("counters", [0] * len(COUNTERS)), strict=True))
            self.skips_before, self.growths_before = int(counts["skips"]), int(counts["growths"])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look whether the training is stuck, once in so many batches."""
        if self.check_every is not None and batch + 1 - self._checked >= self.check_every:
            self._checked = batch + 1
            self._raise_if_stuck()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put what happened in this epoch into the logs; look whether the training is stuck."""
        optimizer = self.model.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and logs is not None:
            logs.update(self._told(optimizer))
        self._forget()
        self._raise_if_stuck()

    def _told(self, optimizer: Any) -> dict[str, float]:
        """Return what there is to say of this epoch, which reads it from the device."""
        report = loss_scale_report(optimizer)
        ours = isinstance(optimizer, DynamicLossScaleOptimizer)
        told: dict[str, float] = {}
        if not ours or optimizer.scales_loss:
            told["loss_scale"] = report["loss_scale"]
        if ours:
            told["skipped_steps"] = report["skips"] - (self.skips_before or 0)
        if ours and optimizer.scales_loss:
            told["loss_scale_growths"] = report["growths"] - (self.growths_before or 0)
        return told

    def _raise_if_stuck(self) -> None:
        # By way of `self.model`: JAX gives a model its state back when a callback asks for it.
        optimizer = self.model.optimizer
        if isinstance(optimizer, DynamicLossScaleOptimizer):
            raise_if_stuck(optimizer, self.max_consecutive_skips)
