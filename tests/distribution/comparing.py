"""How equal two trained models are: element by element, relative to the element itself."""

from __future__ import annotations

import numpy as np


def worst_deviation(actual, expected) -> tuple[float, str]:
    """The largest relative deviation of any element of any array, and the name of its array."""
    assert sorted(actual) == sorted(expected)
    assert any(name.startswith("weight_") for name in expected)
    assert any(name.startswith("momentum_") for name in expected)
    worst = (0.0, "nothing")
    for name in expected:
        a, b = actual[name], expected[name]
        assert a.shape == b.shape, name
        error = np.abs(a - b)
        relative = np.divide(error, np.abs(b), out=np.full_like(error, np.inf), where=b != 0)
        relative[error == 0] = 0.0
        worst = max(worst, (float(np.nan_to_num(relative, nan=np.inf).max(initial=0.0)), name))
    return worst


def assert_equal_training(actual, expected, rtol: float = 1e-5) -> None:
    """Everything that was trained is equal: weights, moments, sums, averages and counters."""
    deviation, name = worst_deviation(actual, expected)
    assert deviation <= rtol, f"{name} deviates by {deviation:.3g}"
