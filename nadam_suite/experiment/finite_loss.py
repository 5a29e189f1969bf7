"""An end to a run that is no longer finite, before its last good state is overwritten."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import path_of
from nadam_suite.errors import NonFiniteError

__all__ = ["FiniteLoss", "watches_loss"]

_NAMED = 3  # variables, at most


class FiniteLoss(keras.callbacks.Callback):
    """Raises after an epoch whose loss or weights are not finite, where nothing skips such steps.

    Further epochs cannot mend them. The weights are looked at because a loss may hide them: under
    XLA `relu` takes NaN for zero. It must come before the callback that saves the state, so that
    the state of the epoch before stays.

    Where the optimizer skips steps that are not finite, the loss of an epoch may be NaN for one
    bad batch, and the training goes on.

    Args:
        folder: The run's folder, for the message.

    Raises:
        NonFiniteError: In `fit()`: the loss of an epoch, or a weight after it, is NaN or infinite.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.experiment.finite_loss import FiniteLoss
    >>> watch = FiniteLoss(Path("runs", "digits"))
    >>> watch.on_epoch_end(0, {"loss": 0.5})  # as it should be
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the loss of the epoch, and at the weights that it ends with."""
        loss = float((logs or {}).get("loss", 0.0))
        if self._skips():
            return
        if not math.isfinite(loss):
            found = f"The loss of epoch {epoch + 1} is {loss}."
        elif spoilt := self._spoilt():
            found = f"Weights are no numbers any more after epoch {epoch + 1}: {spoilt}."
        else:
            return
        kept = f"The state of epoch {epoch} is kept" if epoch else "No epoch is kept"
        raise NonFiniteError(
            f"{found} {kept} in {str(self._folder)!r}. Look for NaN and infinity in the data, and "
            "go on with --resume once they are gone; or start another run with a lower learning "
            "rate, or with skip_nonfinite=true, which leaves out steps that are not finite."
        )

    def _skips(self) -> bool:
        optimizer = getattr(self.model, "optimizer", None)
        return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)

    def _spoilt(self) -> str:
        """Return the paths of the first variables that are not finite, empty if all are."""
        variables = [] if self.model is None else self.model.trainable_variables
        tensors = [keras.ops.convert_to_tensor(variable) for variable in variables]
        backend = get_backend()
        if not tensors or bool(backend.finite(tensors)):
            return ""
        pairs = zip(variables, tensors, strict=True)
        paths = [path_of(v) for v, tensor in pairs if not bool(backend.finite([tensor]))]
        return ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")


def watches_loss(callbacks: Iterable[keras.callbacks.Callback]) -> bool:
    """Return whether one of some callbacks ends a training that has diverged by itself.

    Such a callback, as that of a search, says so by an attribute `watches_loss` that is true.
    """
    return any(getattr(callback, "watches_loss", False) for callback in callbacks)
