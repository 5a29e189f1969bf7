"""The mixture of averages that comes nearest to another one, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.averaging.posthoc import profile_error, solve
from nadam_suite.averaging.posthoc_solve import scalar_products
from nadam_suite.averaging.power import exponent
from nadam_suite.errors import ArgumentError
from tests.reference.posthoc import distance, nearest_mixture, power_profiles, scalar_product

pytestmark = pytest.mark.once

TRACKED = (0.05, 0.1)
TARGETS = (0.02, 0.075, 0.15, 0.25)
# Relative L2 errors of the profile, for these targets by the number of snapshots, as they are known
# of the method's own code; a unit of the last digit is allowed.
KNOWN = {
    8: ((0.25, 0.01), (0.013, 0.001), (0.033, 0.001), (0.18, 0.01)),
    16: ((0.12, 0.01), (0.0035, 0.0001), (0.009, 0.001), (0.079, 0.001)),
    32: ((0.04, 0.01), (0.0009, 0.0001), (0.0023, 0.0001), (0.034, 0.001)),
    64: ((0.011, 0.001), (0.0002, 0.0001), (0.0006, 0.0001), (0.015, 0.001)),
}

widths = st.floats(0.02, 0.28)
spaced = st.lists(st.integers(1, 50), min_size=1, max_size=12).map(np.cumsum)


def columns(count, length, tracked=TRACKED):
    """Times and exponents of so many snapshots of the tracked averages."""
    times = np.arange(1, count + 1) * (length / count)
    gammas = [exponent(sigma) for sigma in tracked]
    return np.tile(times, len(gammas)), np.repeat(gammas, count)


def mixture(count, length, sigma):
    times, gammas = columns(count, length)
    weights = solve(times, gammas, length, exponent(sigma))
    return weights, profile_error(times, gammas, weights, length, exponent(sigma))


@given(st.floats(1, 1e3), st.floats(1, 1e3), widths, widths)
def test_scalar_products_are_integrals(first, second, sigma_a, sigma_b):
    """The closed form is the integral of the product of two profiles."""
    expected = scalar_product(first, exponent(sigma_a), second, exponent(sigma_b))
    found = scalar_products(first, exponent(sigma_a), second, exponent(sigma_b))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("count", KNOWN)
def test_errors_are_no_larger_than_known(count):
    """Each number of snapshots brings the profile as near to each target as is known."""
    for sigma, (known, unit) in zip(TARGETS, KNOWN[count], strict=True):
        error = mixture(count, 1e5, sigma)[1]
        assert known - unit < error < known + unit / 2, (count, sigma, error)


@pytest.mark.parametrize("sigma", [0.02, 0.075, 0.15, 0.25])
@pytest.mark.parametrize(("count", "length"), [(8, 64), (8, 640), (32, 640)])
def test_true_profiles_are_mixed_as_well_as_by_brute_force(count, length, sigma):
    """In the running averages as they are computed, the error is what is predicted or less.

    It is as small as the mixture that brute force finds on them, but for what the steps between
    two updates make of a profile.
    """
    times = list(range(length // count, length + 1, length // count))
    profiles = np.concatenate([power_profiles(times, exponent(s), length) for s in TRACKED])
    target = power_profiles([length], exponent(sigma), length)[0]
    weights, predicted = mixture(count, length, sigma)
    error = distance(profiles, weights, target)
    best = distance(profiles, nearest_mixture(profiles, target), target)
    assert best <= error <= predicted
    assert error <= best * (1.01 + 1.0 / length) + 1e-5
    assert error >= predicted * (1.0 - 20.0 / length)


def test_a_snapshot_at_every_update_misses_nothing():
    """With all averages at hand every other one is put together without an error."""
    weights, _ = mixture(24, 24, 0.2)
    profiles = np.concatenate([power_profiles(range(1, 25), exponent(s), 24) for s in TRACKED])
    target = power_profiles([24], exponent(0.2), 24)[0]
    assert distance(profiles, weights, target) < 0.02


@pytest.mark.parametrize("sigma", TRACKED)
def test_tracked_average_is_taken_as_it_is(sigma):
    """Of the target itself the weight is one, to the last bit, and all others are zero."""
    weights, error = mixture(32, 3200, sigma)
    expected = np.zeros(64)
    expected[31 if sigma == TRACKED[0] else 63] = 1.0
    np.testing.assert_array_equal(weights, expected)
    assert error == 0.0


@given(spaced, widths)
def test_weights_sum_to_one(times, sigma):
    """Equal weights have themselves for an average, however few snapshots there are."""
    gammas = [exponent(s) for s in TRACKED]
    weights = solve(np.tile(times, 2), np.repeat(gammas, len(times)), times[-1], exponent(sigma))
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)


@given(spaced, widths, st.randoms(use_true_random=False))
def test_order_of_snapshots_does_not_matter(times, sigma, random):
    """Each average gets the same weight wherever it stands."""
    t, g = np.tile(times, 2), np.repeat([exponent(s) for s in TRACKED], len(times))
    order = list(range(t.size))
    random.shuffle(order)
    weights = solve(t, g, times[-1], exponent(sigma))
    shuffled = solve(t[order], g[order], times[-1], exponent(sigma))
    np.testing.assert_allclose(shuffled, weights[order], atol=1e-6 * abs(weights).max())


@given(st.sampled_from([1e-3, 7.0, 1e6]), widths)
def test_unit_of_time_does_not_matter(unit, sigma):
    """Counting every n-th update only, or batches, changes no weight."""
    t, g = columns(8, 80)
    weights = solve(t, g, 80, exponent(sigma))
    np.testing.assert_allclose(solve(t * unit, g, 80 * unit, exponent(sigma)), weights, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.07, 0.28])
def test_more_snapshots_never_make_it_worse(sigma):
    """Up to 256 snapshots, whose equations are almost singular, the error falls."""
    errors = [mixture(count, 1e5, sigma)[1] for count in (4, 8, 16, 32, 64, 128, 256)]
    assert np.all(np.diff(errors) < 0.0)
    assert errors[-1] < errors[0] / 15


@pytest.mark.parametrize("sigma", [0.02, 0.15, 0.25])
def test_early_snapshots_do_no_harm(sigma):
    """Those of the first updates of a very long training take nothing from the exactness."""
    length = 1e10
    times = np.append([1.0, 2.0, 3.0], np.arange(1, 33) * length / 32)
    t, g = np.tile(times, 2), np.repeat([exponent(s) for s in TRACKED], times.size)
    error = profile_error(t, g, solve(t, g, length, exponent(sigma)), length, exponent(sigma))
    assert error == pytest.approx(mixture(32, length, sigma)[1], rel=1e-3)


def test_early_target_is_mixed_of_earlier_snapshots():
    """A target before the last snapshot is approximated as well as one at the end."""
    t, g = columns(32, 3200)
    early = t <= 1600
    weights = solve(t[early], g[early], 1600, exponent(0.15))
    error = profile_error(t[early], g[early], weights, 1600, exponent(0.15))
    assert error == pytest.approx(mixture(16, 1600, 0.15)[1], rel=1e-6)


@pytest.mark.parametrize(
    ("times", "gammas"), [([], []), ([1, 2], [3]), ([0, 2], [3, 3]), ([[1]], [[3]])], ids=str
)
def test_arrays_that_do_not_fit_are_refused(times, gammas):
    """One time > 0 and one exponent belong to each average."""
    with pytest.raises(ArgumentError, match=r"`times` and `gammas` must .*Received.*Leave out"):
        solve(times, gammas, 1, 1)


def test_weights_of_other_averages_are_refused():
    """The error of a mixture takes a weight for each average."""
    with pytest.raises(ArgumentError, match=r"`weights` must .*Received: 1 numbers for 2"):
        profile_error([1, 2], [3, 3], [1.0], 2, 1)
