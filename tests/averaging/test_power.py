"""The exponent of a power function average and the width of its profile belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.averaging.power import WIDEST, exponent, sigma_rel_of
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from tests.reference.posthoc import power_profiles, width

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("sigma", "gamma"), [(0.05, 16.97), (0.1, 6.94), (0.15, 3.56), (0.25, 0.72)]
)
def test_exponents_are_those_of_the_paper(sigma, gamma):
    """The usual widths have the exponents that the method's authors give."""
    assert exponent(sigma) == pytest.approx(gamma, abs=5e-3)


@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.05, 0.1, 0.2, 0.28])
def test_exponent_is_the_largest_root_of_the_cubic(sigma):
    """Newton's root is that of the polynomial, found through its companion matrix."""
    roots = np.roots([1.0, 7.0, 16.0 - sigma**-2, 12.0 - sigma**-2])
    assert exponent(sigma) == pytest.approx(max(roots.real), rel=1e-11)


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.25])
def test_profile_of_the_recursion_has_the_width(sigma):
    """The standard deviation of the updates in the running average is the width asked for."""
    assert width(power_profiles([2000], exponent(sigma), 2000)[0]) == pytest.approx(sigma, rel=1e-4)


@given(st.floats(1e-300, math.nextafter(WIDEST, 0.0)))
def test_width_to_exponent_and_back(sigma):
    """Going to the exponent and back gives the width, to the last digits; it is positive."""
    gamma = exponent(sigma)
    assert gamma > 0.0
    assert sigma_rel_of(gamma) == pytest.approx(sigma, rel=1e-14)


@given(st.floats(1e-6, 0.288), st.floats(1e-6, 0.288))
def test_wider_means_a_smaller_exponent(first, second):
    """The exponent falls with the width."""
    low, high = sorted((first, second))
    assert exponent(low) >= exponent(high)


def test_numpy_numbers_are_taken_as_typed():
    """A float32 stands for the digits that it was written with."""
    assert exponent(np.float32(0.05)) == exponent(0.05)
    assert exponent(np.float64(0.05)) == exponent(0.05)


@pytest.mark.parametrize("sigma", [0.0, -0.1, WIDEST, 0.3, math.inf, math.nan])
def test_impossible_width_is_refused(sigma):
    """Only widths between zero and that of the plain mean exist."""
    with pytest.raises(
        ArgumentError, match=r"`sigma_rel` must be .*\(0, 0\.2886\).*Received.*Pass"
    ):
        exponent(sigma)


@pytest.mark.parametrize("gamma", [-0.1, math.inf, math.nan])
def test_impossible_exponent_is_refused(gamma):
    """Negative exponents would weigh the oldest weights most."""
    with pytest.raises(ArgumentError, match=r"`gamma` must be .* >= 0\. Received"):
        sigma_rel_of(gamma)


@pytest.mark.parametrize("value", ["0.1", None, True, [0.1]])
def test_no_number_is_refused(value):
    """Text, None, bools and lists are no widths."""
    with pytest.raises(ArgumentTypeError, match=r"`sigma_rel` must be a number.*Received"):
        exponent(value)
    with pytest.raises(ArgumentTypeError, match=r"`gamma` must be a number.*Received"):
        sigma_rel_of(value)
