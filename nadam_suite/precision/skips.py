"""What a loss scale tells: how many steps it skipped, and why; and when that is too many."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends.slot import path_of
from nadam_suite.errors import NadamSuiteWarning, NonFiniteError
from nadam_suite.precision.scale_rule import COUNTERS

__all__ = ["loss_scale_report", "raise_if_stuck", "stuck_message", "warn_if_stuck"]

_NAMED = 8  # variables and scales that a message has room for


def loss_scale_report(optimizer: Any) -> dict[str, float]:
    """Return what a built loss scale has done so far, which reads it from the device.

    Args:
        optimizer: A `DynamicLossScaleOptimizer`, or a stock loss scale, which only knows its scale.

    Returns:
        "loss_scale", and of ours "skips" (steps skipped so far), "consecutive_skips" (the last
        ones without a finite one between) and "growths".

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.precision import DynamicLossScaleOptimizer, loss_scale_report
    >>> weight = keras.Variable(np.ones(2, "float32"))
    >>> optimizer = DynamicLossScaleOptimizer(Nadam(), initial_scale=8.0)
    >>> optimizer.apply([np.array([np.inf, 1.0], "float32")], [weight])
    >>> report = loss_scale_report(optimizer)
    >>> report["loss_scale"], report["skips"]
    (4.0, 1)
    """
    report: dict[str, float] = {"loss_scale": float(_read(optimizer.dynamic_scale))}
    if (held := getattr(optimizer, "scale_variables", None)) is not None:
        named = dict(zip(COUNTERS, _read(held.counters).tolist(), strict=True))
        del named["hysteresis_left"]
        report |= named
    return report


def raise_if_stuck(optimizer: Any, limit: int | None = None) -> None:
    """End a training that does nothing but skip.

    Args:
        optimizer: A built `DynamicLossScaleOptimizer`.
        limit: Number of skips in a row; the optimizer's `max_consecutive_skips` by default.

    Raises:
        NonFiniteError: There were that many.
    """
    if message := stuck_message(optimizer, limit):
        raise NonFiniteError(message)


def warn_if_stuck(optimizer: Any) -> None:
    """Tell of a training that ended in nothing but skips, unless it was an error that ended it."""
    if sys.exception() is not None:
        return  # JAX comes by here on its way out of `fit()`, when variables may have no values
    if optimizer.built and (message := stuck_message(optimizer)):
        warnings.warn(message, NadamSuiteWarning, stacklevel=3)


def stuck_message(optimizer: Any, limit: int | None = None) -> str | None:
    """Return what there is to say after too many skips in a row, or None.

    Args:
        optimizer: A built `DynamicLossScaleOptimizer`.
        limit: As for `raise_if_stuck`.
    """
    limit = optimizer.max_consecutive_skips if limit is None else limit
    if limit is None:
        return None
    held = optimizer.scale_variables
    skips = int(_read(held.counters)[COUNTERS.index("consecutive_skips")])
    if skips < limit:
        return None
    scales = [float(scale) for scale in _read(held.last_scales) if scale > 0.0]
    went = ", ".join(f"{scale:g}" for scale in scales)
    scaled = f" The loss scale was {went} in the last of them." if optimizer.scales_loss else ""
    return (
        f"{skips} steps in a row were skipped, because their gradients were not finite "
        f"(max_consecutive_skips={limit}). Not finite in the last one: "
        f"{_listed(optimizer, _read(held.shares))}.{scaled} The weights are as they were before "
        "these steps. Look for NaN in the data or the loss, lower the learning rate, or set "
        "`max_consecutive_skips` to None to go on regardless."
    )


def _listed(optimizer: Any, shares: np.ndarray) -> str:
    """Return the variables whose gradients were not finite, the worst ones first."""
    variables: Sequence[Any] = optimizer.model_variables
    worst = [int(place) for place in np.argsort(-shares, kind="stable") if shares[place] > 0.0]
    named = [
        f"{path_of(variables[place])} ({shares[place]:.3g} of {np.prod(variables[place].shape):g} "
        "entries)"
        for place in worst[:_NAMED]
    ]
    rest = len(worst) - _NAMED
    return ", ".join(named) + (f" and {rest} more variables" if rest > 0 else "")


def _read(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
