"""`PlateauScale`: lower the learning rate on a plateau, whatever kind of rate it is."""

from __future__ import annotations

from typing import Any

import keras

from nadam_suite.callbacks.hyperparameters import innermost
from nadam_suite.callbacks.monitored import checked_monitor, monitored_value
from nadam_suite.errors import ArgumentTypeError, SettingError
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.arguments import check_integer, check_number

__all__ = ["PlateauScale"]


class PlateauScale(keras.callbacks.Callback):
    """Multiplies the learning rate when a metric has stopped improving.

    `keras.callbacks.ReduceLROnPlateau` assigns the rate, which only a number allows: with a
    schedule it fails when it first fires, in the middle of a training. This one multiplies. A
    number is assigned, as there; the rate of a schedule or a callable goes on its course times
    `learning_rate_scale`, a variable of `nadam_suite.Nadam` that is saved with its state.

    The factors add up in `scale`. `nadam_suite.callbacks.TrainingState` keeps it, the best value
    and the counters, so that a resumed training waits no longer and no shorter.

    Args:
        monitor: Name of the metric in the logs. Defaults to "val_loss".
        factor: What the rate is multiplied by, in (0, 1). Defaults to 0.1.
        patience: Epochs without improvement after which it is, an integer >= 0. Defaults to 10.
        mode: "min" or "max": whether the metric should fall or rise. "auto", the default, knows it
            of names that end in words such as "loss", "error", "accuracy" or "auc".
        min_delta: Least change that counts as an improvement, >= 0. Defaults to 1e-4.
        cooldown: Epochs after a reduction in which none are counted, an integer >= 0. Defaults to
            0.
        min_scale: The product of all factors stays at or above it, in [0, 1]. Defaults to 0. Of a
            number it is relative to the rate at the start of `fit()`.

    Raises:
        ArgumentError: An argument lies out of its range, or "auto" does not know the metric.
        ArgumentTypeError: An argument has the wrong type.
        SettingError: At the start of `fit()`: the rate of another optimizer is no number.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.callbacks import PlateauScale
    >>> from nadam_suite.schedules import WarmupLinear
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, trainable=True)])
    >>> model.compile(Nadam(WarmupLinear(0.0, total_steps=8)), loss="mse")  # nothing improves
    >>> plateau = PlateauScale("loss", factor=0.5, patience=1)
    >>> x = np.ones((4, 2), "float32")
    >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0, callbacks=[plateau])
    >>> plateau.scale, float(model.optimizer.learning_rate_scale.numpy())
    (0.25, 0.25)

    Source of rule and defaults: `keras.callbacks.ReduceLROnPlateau`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.rises = checked_monitor(monitor, mode)
        self.monitor = monitor
        self.factor = _number("factor", factor, "(0, 1)")
        self.patience = _count("patience", patience)
        self.mode = mode
        self.min_delta = _number("min_delta", min_delta, "[0, inf)")
        self.cooldown = _count("cooldown", cooldown)
        self.min_scale = _number("min_scale", min_scale, "[0, 1]")
        self._forget()

    def _forget(self) -> None:
        """Start anew: no best value yet, nothing counted, no reduction so far."""
        self.best: float | None = None
        self.wait = 0
        self.cooldown_counter = 0
        self.scale = 1.0

    def on_train_begin(self, logs: Any = None) -> None:
        """Start anew, and refuse a rate that cannot be scaled before the first step."""
        self._forget()
        optimizer = innermost(self.model)
        rate = getattr(optimizer, "learning_rate", None)
        if not isinstance(optimizer, Nadam) and not isinstance(rate, keras.Variable):
            raise SettingError(
                "`PlateauScale` can scale the rate of a `nadam_suite.Nadam`, or a number. "
                f"Received: {type(optimizer).__name__} with learning_rate={rate!r}. Train with "
                "`nadam_suite.Nadam`, or pass a number as its learning rate."
            )
        if isinstance(optimizer, Nadam) and optimizer.learning_rate_scale is not None:
            # What an earlier training or a loaded state has left, from which this one goes on.
            self.scale = float(keras.ops.convert_to_numpy(optimizer.learning_rate_scale))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, count, and scale when it is time."""
        value = monitored_value(self.monitor, logs)
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
        if self._improves(value):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce()

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return True
        gain = value - self.best if self.rises else self.best - value
        return gain > self.min_delta

    def _reduce(self) -> None:
        """Multiply the rate, but not to below the least scale."""
        wanted = max(self.scale * self.factor, self.min_scale)
        if wanted >= self.scale:
            return
        optimizer = innermost(self.model)
        scale = getattr(optimizer, "learning_rate_scale", None)
        if scale is None:
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            optimizer.learning_rate = rate * (wanted / self.scale)
        else:
            scale.assign(wanted)
        self.scale, self.wait, self.cooldown_counter = wanted, 0, self.cooldown


def _number(name: str, value: Any, interval: str) -> float:
    return check_number(name, value, interval) or 0.0


def _count(name: str, value: Any) -> int:
    if value is None:
        raise ArgumentTypeError(
            f"Argument `{name}` must be an integer >= 0. Received: {name}=None. Pass 0 for none."
        )
    return check_integer(name, value, 0) or 0
