"""Profiles of power function averages by recursion, and mixtures of them by brute force."""

from __future__ import annotations

import numpy as np


def power_profiles(times, gamma, length):
    """Return for each of the times the share of each of `length` weights in the average then."""
    profile, rows = np.zeros(length), {}
    for k in range(1, max(times) + 1):
        kept = (1.0 - 1.0 / k) ** (gamma + 1.0)
        profile *= kept
        profile[k - 1] += 1.0 - kept
        rows[k] = profile.copy() if k in times else None
    return np.array([rows[time] for time in times])


def nearest_mixture(profiles, target):
    """Return the weights, which sum to one, of the mixture of profiles (rows) next to a target."""
    others, last = profiles[:-1] - profiles[-1], profiles[-1]
    weights = np.linalg.lstsq(others.T, target - last, rcond=None)[0]
    return np.append(weights, 1.0 - weights.sum())


def distance(profiles, weights, target):
    """Return how far a mixture is from the target, relative to it."""
    return np.linalg.norm(weights @ profiles - target) / np.linalg.norm(target)


def scalar_product(time_a, gamma_a, time_b, gamma_b):
    """Return the integral of the product of two profiles, by Gauss' quadrature."""
    end = min(time_a, time_b)
    nodes, shares = np.polynomial.legendre.leggauss(60)
    s = end * (nodes + 1.0) / 2.0
    first = (gamma_a + 1.0) * s**gamma_a / time_a ** (gamma_a + 1.0)
    second = (gamma_b + 1.0) * s**gamma_b / time_b ** (gamma_b + 1.0)
    return np.sum(shares * first * second) * end / 2.0


def width(profile):
    """Return the standard deviation of the times in a profile, as a share of its length."""
    times = np.arange(1, len(profile) + 1) - 0.5
    mean = profile @ times
    return np.sqrt(profile @ (times - mean) ** 2) / len(profile)
