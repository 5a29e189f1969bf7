"""Which mixture of power function averages comes nearest to another one, and how near that is.

An average of exponent g after t updates weighs its weights by the profile
p(s) = (g + 1) s^g / t^(g + 1) for 0 < s <= t. The mixture sum_i X_i p_i that is nearest to a target
profile p in the mean square solves A X = B with the scalar products A_ij = <p_i, p_j> and
B_i = <p_i, p>. The running averages of `PowerEMA` weigh update j by the integral of p from j - 1 to
j, so that the mixture of them is nearer to its target than that of the profiles, never farther.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nadam_suite.errors import ArgumentError

__all__ = ["profile_error", "scalar_products", "solve", "solve_all"]

# Directions that the snapshots tell apart by less than this are rounding errors.
_CUT = 1e-13


def scalar_products(times_a: Any, gammas_a: Any, times_b: Any, gammas_b: Any) -> Any:
    """Return <p_a, p_b> of two profiles, or of arrays of them that broadcast.

    Example:

    >>> from nadam_suite.averaging.posthoc_solve import scalar_products
    >>> float(scalar_products(1.0, 1.0, 1.0, 2.0))  # the integral of 2 s * 3 s^2
    1.5
    """
    ta, ga, tb, gb = (np.asarray(x, "float64") for x in (times_a, gammas_a, times_b, gammas_b))
    ratio = (ta / tb) ** np.where(ta < tb, gb, -ga)  # never above one
    return (ga + 1.0) * (gb + 1.0) * ratio / ((ga + gb + 1.0) * np.maximum(ta, tb))


def solve(
    times: Sequence[float] | np.ndarray,
    gammas: Sequence[float] | np.ndarray,
    target_time: float,
    target_gamma: float,
) -> np.ndarray:
    """Return the weights, which sum to one, of the mixture that comes nearest to a target.

    Args:
        times: Number of updates after which each average was taken, > 0.
        gammas: Exponent of each average, > -1/2.
        target_time: Number of updates of the target.
        target_gamma: Its exponent.

    Returns:
        float64 array with a weight for each average. Of one that is the target itself it is one.

    Raises:
        ArgumentError: There are no averages, or the arrays do not fit.

    Example:

    >>> from nadam_suite.averaging.power import exponent
    >>> from nadam_suite.averaging.posthoc import solve
    >>> gammas = [exponent(0.05), exponent(0.1)]
    >>> solve([100, 100], gammas, 100, exponent(0.07)).round(2).tolist()
    [0.44, 0.56]

    Reference: Karras et al., 2024, algorithm 3.
    """
    return solve_all(times, gammas, target_time, [target_gamma])[0]


def solve_all(
    times: Sequence[float] | np.ndarray,
    gammas: Sequence[float] | np.ndarray,
    target_time: float,
    target_gammas: Sequence[float],
) -> np.ndarray:
    """Return what `solve` returns for each of several targets, as the rows of a matrix."""
    t, g = _checked(times, gammas)
    targets = np.asarray(target_gammas, "float64")
    # Profiles of length one: early averages are short and tall, which alone would make A look
    # ill-conditioned.
    scale = scalar_products(t, g, t, g) ** -0.5
    products = scalar_products(t[:, None], g[:, None], t, g) * scale * scale[:, None]
    wanted = scalar_products(t[:, None], g[:, None], target_time, targets) * scale[:, None]
    weights = (np.linalg.lstsq(products, wanted, rcond=_CUT)[0] * scale[:, None]).T
    weights /= weights.sum(axis=1, keepdims=True)
    for row, target in zip(weights, targets, strict=True):
        same = np.flatnonzero(_close(t, target_time) & _close(g, target))
        if same.size:  # to the last bit
            row[:] = 0.0
            row[same[0]] = 1.0
    return weights


def profile_error(
    times: Sequence[float] | np.ndarray,
    gammas: Sequence[float] | np.ndarray,
    weights: Sequence[float] | np.ndarray,
    target_time: float,
    target_gamma: float,
) -> float:
    """Return how far the profile of a mixture is from its target, relative to it, in the L2 norm.

    Args:
        times: See `solve`.
        gammas: See `solve`.
        weights: What `solve` returned.
        target_time: See `solve`.
        target_gamma: See `solve`.

    Raises:
        ArgumentError: There are no averages, or the arrays do not fit.

    Example:

    >>> from nadam_suite.averaging.power import exponent
    >>> from nadam_suite.averaging.posthoc import profile_error, solve
    >>> times, gammas = [100, 100], [exponent(0.05), exponent(0.1)]
    >>> weights = solve(times, gammas, 100, exponent(0.07))
    >>> round(profile_error(times, gammas, weights, 100, exponent(0.07)), 3)
    0.056
    """
    t, g = _checked(times, gammas)
    x = np.asarray(weights, "float64")
    if x.shape != t.shape:
        raise ArgumentError(
            "Argument `weights` must have one number for each average. Received: "
            f"{x.size} numbers for {t.size} averages. Pass what `solve` returned."
        )
    products = scalar_products(t[:, None], g[:, None], t, g)
    wanted = scalar_products(t, g, target_time, target_gamma)
    whole = float(scalar_products(target_time, target_gamma, target_time, target_gamma))
    square = float(x @ products @ x - 2.0 * (x @ wanted)) + whole
    return float(np.sqrt(max(square, 0.0) / whole))


def _checked(times: Any, gammas: Any) -> tuple[np.ndarray, np.ndarray]:
    t, g = np.asarray(times, "float64"), np.asarray(gammas, "float64")
    if t.ndim != 1 or t.shape != g.shape or not t.size or not (t > 0.0).all():
        raise ArgumentError(
            "Arguments `times` and `gammas` must have one number for each average, at least one, "
            f"and times > 0. Received: times of shape {t.shape}, gammas of shape {g.shape}, "
            f"min(times)={t.min(initial=np.inf)}. Leave out averages that have not begun."
        )
    return t, g


def _close(values: np.ndarray, target: float) -> np.ndarray:
    return np.abs(values - target) <= 1e-12 * np.abs(target)
