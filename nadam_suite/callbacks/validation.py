"""The validation that `fit()` runs at the end of an epoch, in the hands of callbacks.

Callbacks hear of it when it has begun, where they can neither run it again nor undo after an
exception what they have done to the model. So `model.evaluate` is replaced on the instance, for
the length of a `fit()`; only the call that `fit()` itself makes, with its own list of callbacks,
takes another way. What an interrupted `fit()` leaves behind therefore does nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras

from nadam_suite.errors import ArgumentError

__all__ = ["check_evaluated", "release_validation", "watch_validation"]

_FROM_FIT = "_use_cached_eval_dataset"  # the argument by which `fit()` asks for its validation data


def watch_validation(model: keras.Model) -> None:
    """Ask the callbacks of a `fit()` about its validation.

    Those with a method `check_others(callbacks)` may refuse the list that they are in. One with a
    method `validate(evaluate, args, kwargs)` runs the validation, and returns its logs.
    """
    held = vars(model).get("evaluate")
    if hasattr(held, "replaced"):
        return
    original = model.evaluate

    @functools.wraps(original)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        listed = getattr(kwargs.get("callbacks"), "callbacks", ()) if kwargs.get(_FROM_FIT) else ()
        for callback in listed:
            if check := getattr(callback, "check_others", None):
                check(listed)
        for callback in listed:
            if validate := getattr(callback, "validate", None):
                return validate(original, args, kwargs)
        return original(*args, **kwargs)

    evaluate.replaced = held  # type: ignore[attr-defined]
    model.evaluate = evaluate


def release_validation(model: keras.Model) -> None:
    """Give the model its own `evaluate` back."""
    evaluate = vars(model).get("evaluate")
    if not hasattr(evaluate, "replaced"):
        return
    if evaluate.replaced is None:
        del model.evaluate
    else:
        model.evaluate = evaluate.replaced


def check_evaluated(callback: Any, monitor: str, callbacks: Sequence[Any]) -> None:
    """Refuse a callback that would choose averages by the validation of other weights.

    Args:
        callback: It has `average`, a name, and `statistics`.
        monitor: The metric that it chooses by.
        callbacks: All callbacks of the `fit()`.

    Raises:
        ArgumentError: The metric is not that of these averages.
    """
    if not monitor.startswith("val_") or monitor.startswith("val_raw_"):
        return
    kind = type(callback).__name__
    evaluated = [c for c in callbacks if hasattr(c, "validate")]
    if not evaluated:
        raise ArgumentError(
            f"{kind} must be used together with `EvaluateAverage`. Received: monitor={monitor!r}, "
            "which is the metric of the raw weights, while the averages are what it keeps. Pass "
            f"EvaluateAverage({callback.average!r}) to `fit()` too."
        )
    wanted, found = ((c.average, c.statistics.mode_of(c.model)) for c in (callback, evaluated[0]))
    if found != wanted:
        raise ArgumentError(
            f"Arguments `name` and `batch_norm` of {kind} must be those of `EvaluateAverage`, by "
            f"whose {monitor!r} it chooses. Received: {wanted}, and {found} there. Pass the same "
            "to both."
        )
