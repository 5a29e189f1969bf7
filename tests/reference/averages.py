"""Running averages in float64, one update after the other, as their sources write them.

Nothing of the package is used: decays are multiplied up update by update, equal averages are sums.
"""

from __future__ import annotations

import numpy as np


def decay_at(j, momentum, warmup):
    """The share of the old average that update j keeps, counted from the start of the average."""
    if warmup == "inverse":
        return min(momentum, (1 + j) / (10 + j))
    if warmup == "power":
        return min(momentum, 1 - (1 + j) ** (-2 / 3))
    return momentum


def ema(path, momentum, warmup=None, start=0, update_every=1):
    """The average after each update; None before it has begun.

    Args:
        path: Weights after update 1, 2, ..., as arrays.
        momentum: Of one update.
        warmup: "inverse", "power" or None.
        start: Updates before it begins.
        update_every: Updates from one time to the next.
    """
    averages, average, kept = [], None, 1.0
    for t, weights in enumerate(path, start=1):
        if t > start:
            kept *= decay_at(t - start, momentum, warmup)
            if (t - start) % update_every == 0:
                average = weights if average is None else kept * average + (1 - kept) * weights
                kept = 1.0
        averages.append(average)
    return averages


def power(path, gamma, update_every=1):
    """Karras et al. (2024), equation 2: the share that stays is (1 - dt / t) ** (gamma + 1)."""
    averages, average = [], None
    for t, weights in enumerate(path, start=1):
        if t % update_every == 0:
            kept = (1 - update_every / t) ** (gamma + 1)
            average = weights if average is None else kept * average + (1 - kept) * weights
        averages.append(average)
    return averages


def last(path, start, every, size=None):
    """The mean of the last `size` weights that were taken, or of all of them."""
    averages, taken = [], []
    for t, weights in enumerate(path, start=1):
        if t > start and (t - start) % every == 0:
            taken.append(weights)
        held = taken if size is None else taken[-size:]
        averages.append(np.mean(held, axis=0) if held else None)
    return averages


def exponent(sigma_rel):
    """Karras et al. (2024), algorithm 2: gamma of a relative width."""
    roots = np.roots([1, 7, 16 - sigma_rel**-2, 12 - sigma_rel**-2])
    return roots.real.max()
