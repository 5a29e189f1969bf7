"""Where the Gaussian process expects the best."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite.tuner.surrogate import promising

pytestmark = pytest.mark.once

KNOWN = np.random.default_rng(0).random((20, 2))
NOTHING = KNOWN[:0]


def bowl(points):
    """Lowest at (0.3, 0.8)."""
    return ((points - [0.3, 0.8]) ** 2).sum(axis=1)


def ask(known=KNOWN, scores=None, running=NOTHING, *, beta=0.5, seed=0):
    scores = bowl(known) if scores is None else scores
    return promising(known, scores, running, alpha=1e-6, beta=beta, seed=seed)


def test_the_minimum_of_what_is_known_is_found():
    """The first point is closest to it, and all lie in the cube."""
    found = ask()
    np.testing.assert_allclose(found[0], [0.3, 0.8], atol=0.02)
    assert ((found >= 0) & (found <= 1)).all()
    assert len(found) > 500
    assert bowl(found[-1:])[0] > 20 * bowl(found[:1])[0]


def test_it_is_a_function_of_its_arguments():
    """Whatever was asked before, and whatever NumPy's own generator is at."""
    first = ask()
    ask(seed=1)
    np.random.seed(5)  # noqa: NPY002 - what must not matter
    np.testing.assert_array_equal(ask(), first)
    assert not np.array_equal(ask(seed=1)[5:], first[5:])


def test_scores_in_other_units_change_nothing():
    """They are normalized: large numbers are no reason to explore."""
    np.testing.assert_allclose(ask(scores=1e4 * bowl(KNOWN) + 7)[0], ask()[0], atol=1e-3)


def test_a_larger_beta_goes_where_less_is_known():
    """Far from what is known, though that is not where the mean is lowest."""
    known = KNOWN[KNOWN[:, 0] < 0.6]
    near, far = (ask(known, beta=beta)[0] for beta in (0.0, 50.0))
    distance = [np.linalg.norm(known - point, axis=1).min() for point in (near, far)]
    assert distance[1] > 2 * distance[0]


def test_a_running_trial_keeps_the_next_one_away():
    """Two clients do not go to one place."""
    first = ask(beta=2.6)[0]
    second = ask(running=first[None], beta=2.6)[0]
    assert np.linalg.norm(first - second) > 1e-3


def test_one_point_and_equal_scores_are_enough():
    """No warning, no number that is not one."""
    assert np.isfinite(ask(KNOWN[:1])).all()
    assert np.isfinite(ask(KNOWN, np.ones(20))).all()
