"""Relative width of a power function average, and the exponent that gives it.

After T updates such an average weighs the weights after update t in proportion to (t / T) ** gamma.
The standard deviation of this profile, as a share of T, is sigma_rel.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import exact_float

__all__ = ["WIDEST", "exponent", "sigma_rel_of"]

WIDEST = 12.0**-0.5  # of gamma = 0, where all weights count the same


def exponent(sigma_rel: Any) -> float:
    """Return the exponent gamma > 0 of the profile whose relative width is `sigma_rel`.

    Args:
        sigma_rel: A number in (0, 0.2886).

    Raises:
        ArgumentError: It lies outside.
        ArgumentTypeError: It is no number.

    Example:

    >>> from nadam_suite.averaging.power import exponent
    >>> [round(exponent(sigma_rel), 3) for sigma_rel in (0.05, 0.1, 0.25)]
    [16.972, 6.937, 0.72]

    Reference: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models",
    2024: the root of (gamma + 1) = sigma_rel^2 (gamma + 2)^2 (gamma + 3).
    """
    sigma = _number("sigma_rel", sigma_rel)
    if not 0.0 < sigma < WIDEST:
        raise ArgumentError(
            "Argument `sigma_rel` must be a number in (0, 0.2886), a share of the training. "
            f"Received: sigma_rel={sigma_rel!r}. Pass for instance 0.1; SWA(start=0) is the mean "
            "of all weights."
        )
    # In log(gamma + 2) the logarithm of the width falls, and is concave: from the right Newton's
    # steps fall to the root without a turn, and no power of a small number is taken.
    gamma = 1.0 / sigma
    for _ in range(100):
        rest = 0.5 * math.log((gamma + 1.0) / (gamma + 3.0)) - math.log(gamma + 2.0)
        slope = (gamma + 2.0) / ((gamma + 1.0) * (gamma + 3.0)) - 1.0
        step = (rest - math.log(sigma)) / slope
        gamma, before = (gamma + 2.0) * math.exp(-step) - 2.0, gamma
        if not gamma < before:
            break
    return gamma


def sigma_rel_of(gamma: Any) -> float:
    """Return the relative width of the profile whose exponent is `gamma`.

    Args:
        gamma: A number >= 0; 0 is the mean of all weights, with the width 12 ** -0.5 = 0.2887.

    Raises:
        ArgumentError: It is negative or not finite.
        ArgumentTypeError: It is no number.

    Example:

    >>> from nadam_suite.averaging.power import sigma_rel_of
    >>> round(sigma_rel_of(6.937), 4)
    0.1
    """
    g = _number("gamma", gamma)
    if not 0.0 <= g < math.inf:
        raise ArgumentError(
            f"Argument `gamma` must be a finite number >= 0. Received: gamma={gamma!r}. Pass what "
            "`exponent(sigma_rel)` returns."
        )
    return math.sqrt((g + 1.0) / (g + 3.0)) / (g + 2.0)


def _number(name: str, value: Any) -> float:
    """Return a number as a float with the digits that were typed: np.float32(0.05) gives 0.05."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a number. Received: {name}={value!r} (of type "
            f"{type(value).__name__}). Pass a float."
        )
    return exact_float(value)
