"""An end to a run whose loss is no number, before its last good state is overwritten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from nadam_suite.errors import NonFiniteError

__all__ = ["FiniteLoss", "watches_loss"]


class FiniteLoss(keras.callbacks.Callback):
    """Raises after an epoch whose loss is not finite, where nothing skips such steps.

    Then weights and averages are not finite either, and further epochs cannot mend them. It must
    come before the callback that saves the state, so that the state of the epoch before stays.

    Where the optimizer skips steps that are not finite, the loss of an epoch may be NaN for one
    bad batch, and the training goes on.

    Args:
        folder: The run's folder, for the message.

    Raises:
        NonFiniteError: In `fit()`: the loss of an epoch is NaN or infinite.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.experiment.finite_loss import FiniteLoss
    >>> watch = FiniteLoss(Path("runs", "digits"))
    >>> watch.on_epoch_end(0, {"loss": 0.5})
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the loss of the epoch."""
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss) or self._skips():
            return
        kept = f"The state of epoch {epoch} is kept" if epoch else "No epoch is kept"
        raise NonFiniteError(
            f"The loss of epoch {epoch + 1} is {loss}, and so the weights are no numbers any more. "
            f"{kept} in {str(self._folder)!r}. Look for NaN and infinity in the data, and go on "
            "with --resume once they are gone; or start another run with a lower learning rate, "
            "or with skip_nonfinite=true, which leaves out steps that are not finite."
        )

    def _skips(self) -> bool:
        optimizer = getattr(self.model, "optimizer", None)
        return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def watches_loss(callbacks: Iterable[keras.callbacks.Callback]) -> bool:
    """Return whether one of some callbacks ends a training that has diverged by itself.

    Such a callback, as that of a search, says so by an attribute `watches_loss` that is true.
    """
    return any(getattr(callback, "watches_loss", False) for callback in callbacks)
