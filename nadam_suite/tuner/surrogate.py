"""Where a Gaussian process expects the best of a search: a pure function of what is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import scipy.optimize
import sklearn.exceptions
import sklearn.gaussian_process

__all__ = ["promising"]

_CANDIDATES = 1000  # random points of the cube that are rated
_POLISHED = 5  # of them, those from which a minimum is looked for
_RESTARTS = 5  # starting points of the fit of one length scale, beside the one it has anyway


def promising(
    known: np.ndarray,
    scores: np.ndarray,
    running: np.ndarray,
    *,
    alpha: float,
    beta: float,
    seed: int,
) -> np.ndarray:
    """Return points of the unit cube, the one with the lowest confidence bound first.

    Points of running trials are taken to score what is expected there plus one standard deviation,
    so that trials at the same time do not all go to one place.

    Args:
        known: Points that have scores, of shape (n, d), n and d of 1 or more.
        scores: Their scores, of which low is good; finite, of shape (n,).
        running: Points without scores yet, of shape (m, d).
        alpha: Variance of the scores' noise, in units of their own variance.
        beta: How many standard deviations below the mean the bound is; larger explores more.
        seed: Of the fit's starting points and of the candidates.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.tuner.surrogate import promising
    >>> known = np.linspace(0, 1, 9)[:, None]
    >>> scores = (known[:, 0] - 0.3) ** 2
    >>> best = promising(known, scores, known[:0], alpha=1e-6, beta=0.1, seed=0)[0]
    >>> bool(abs(best[0] - 0.3) < 0.05)
    True

    Reference:
        Srinivas et al. (2010), Gaussian process optimization in the bandit setting,
        arXiv:0912.3995.
    """
    process = _fitted(known, scores, alpha, seed)
    if len(running):
        mean, deviation = process.predict(running, return_std=True)
        known, scores = np.concatenate([known, running]), np.append(scores, mean + deviation)
        process = _fitted(known, scores, alpha, seed)

    def bound(points: np.ndarray) -> np.ndarray:
        mean, deviation = process.predict(points, return_std=True)
        found: np.ndarray = mean - beta * deviation
        return found

    candidates = np.random.default_rng([seed, 1]).random((_CANDIDATES, known.shape[1]))
    ranked = candidates[np.argsort(bound(candidates), kind="stable")]
    polished = np.stack([_descended(bound, start) for start in ranked[:_POLISHED]])
    best = polished[np.argsort(bound(polished), kind="stable")]
    return np.concatenate([best, ranked])


def _fitted(
    known: np.ndarray, scores: np.ndarray, alpha: float, seed: int
) -> sklearn.gaussian_process.GaussianProcessRegressor:
    process = sklearn.gaussian_process.GaussianProcessRegressor(
        kernel=sklearn.gaussian_process.kernels.Matern(nu=2.5),
        n_restarts_optimizer=_RESTARTS,
        normalize_y=True,
        alpha=alpha,
        random_state=seed,
    )
    with warnings.catch_warnings():  # a length scale at an end of its range is no news
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return process.fit(known, scores)


def _descended(bound: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    found = scipy.optimize.minimize(
        lambda point: float(bound(point[None])[0]),
        x0=start,
        bounds=[(0.0, 1.0)] * len(start),
        method="L-BFGS-B",
    )
    point: np.ndarray = np.clip(found.x, 0.0, 1.0)
    return point
