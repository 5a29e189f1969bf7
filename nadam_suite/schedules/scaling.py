"""Rules that adapt a learning rate to another batch size."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import amount

__all__ = ["RULES", "derivation", "scale_learning_rate"]

RULES = ("sqrt", "linear", "none")


def scale_learning_rate(
    learning_rate: float, batch_size: int, base_batch_size: int, rule: str = "sqrt"
) -> float:
    """Return the learning rate for `batch_size` that was found good with `base_batch_size`.

    Args:
        learning_rate: The rate that goes with `base_batch_size`; a number >= 0. Of a schedule,
            scale its peak.
        batch_size: Examples of a global batch, over all replicas and, under gradient accumulation,
            over the whole window.
        base_batch_size: The batch size that `learning_rate` was tuned with.
        rule: "sqrt", the default, multiplies by sqrt(batch_size / base_batch_size): for Nadam and
            other optimizers that divide by the gradient's size, whose noise falls as the root of
            the batch. "linear" multiplies by batch_size / base_batch_size: for plain SGD.
            "none" returns the rate as it is.

    Raises:
        ArgumentTypeError: A rate that is no number, or a batch size that is no integer.
        ArgumentError: A negative rate, a batch size below 1, or an unknown rule.

    References:
        The linear rule: Goyal et al. 2017, "Accurate, Large Minibatch SGD", arXiv:1706.02677.
        The root for adaptive optimizers: Malladi et al. 2022, "On the SDEs and Scaling Rules for
        Adaptive Gradient Algorithms", arXiv:2205.10287, who also move beta_1, beta_2 and epsilon,
        which this function leaves to you; Granziol et al. 2022, "Learning Rates as a Function of
        Batch Size", arXiv:2006.09092.

    Example:

    >>> from nadam_suite.schedules import scale_learning_rate
    >>> scale_learning_rate(0.001, batch_size=256, base_batch_size=64)
    0.002
    >>> scale_learning_rate(0.001, batch_size=256, base_batch_size=64, rule="linear")
    0.004
    """
    rate = amount("learning_rate", learning_rate)
    batch = _examples("batch_size", batch_size)
    base = _examples("base_batch_size", base_batch_size)
    if not isinstance(rule, str) or rule not in RULES:
        raise ArgumentError(
            f"Argument `rule` must be one of {', '.join(map(repr, RULES))}. Received: "
            f"rule={rule!r}. Use 'sqrt' for Nadam."
        )
    ratio = batch / base
    return rate * {"sqrt": math.sqrt(ratio), "linear": ratio, "none": 1.0}[rule]


def derivation(batch_size: int, base_batch_size: int, rule: str) -> str:
    """Return the rule with its numbers, as a person would write it down.

    Example:

    >>> from nadam_suite.schedules.scaling import derivation
    >>> derivation(128, 64, "sqrt")
    'sqrt(128 / 64) = 1.41421'
    """
    factor = scale_learning_rate(1.0, batch_size, base_batch_size, rule)
    if rule == "none":
        return "1"
    ratio = f"{batch_size} / {base_batch_size}"
    return f"{f'sqrt({ratio})' if rule == 'sqrt' else ratio} = {factor:.6g}"


def _examples(name: str, value: Any) -> int:
    """Return a batch size as an int."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise ArgumentTypeError(
            f"Argument `{name}` must be an integer >= 1. Received: {name}={value!r} (of type "
            f"{type(value).__name__}). Pass a number of examples as an int."
        )
    if value < 1:
        raise ArgumentError(
            f"Argument `{name}` must be an integer >= 1. Received: {name}={value!r}. Pass the "
            "number of examples in a batch."
        )
    return int(value)
