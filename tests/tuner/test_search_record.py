"""Positions in ranges, and numbers of values, are those of keras-tuner."""

from __future__ import annotations

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.tuner.search_record import Dimension

pytestmark = pytest.mark.once

ENDS = st.tuples(st.floats(1e-6, 1e3), st.floats(1.001, 1e6))


@given(ENDS, st.floats(0, 1), st.sampled_from(["linear", "log", "reverse_log"]))
def test_a_position_is_the_share_that_keras_tuner_draws(ends, share, sampling):
    """For every scale of a number without steps."""
    low, high = ends[0], ends[0] * ends[1]
    theirs = keras_tuner.engine.hyperparameters.Float("x", low, high, sampling=sampling)
    own = Dimension("x", "float", "x", low=low, high=high, sampling=sampling)
    value = theirs.prob_to_value(share)
    assert own.position(value) == pytest.approx(share, abs=1e-6)


@given(st.integers(1, 50), st.integers(0, 200), st.integers(1, 7))
def test_the_number_of_values_is_keras_tuner_s(low, more, step):
    """Of integers with a step."""
    theirs = keras_tuner.engine.hyperparameters.Int("x", low, low + more, step=step)
    own = Dimension("x", "int", "x", low=low, high=low + more, step=step)
    assert own.count == len(list(theirs.values))


def test_positions_of_choices():
    """Evenly spread; what is none of them counts as the nearest number, or as the middle."""
    numbers = Dimension("n", "choice", "n", values=(1, 2, 8), ordered=True)
    assert [numbers.position(value) for value in (1, 2, 8, 9, 0)] == [0.0, 0.5, 1.0, 1.0, 0.0]
    words = Dimension("w", "choice", "w", values=("a", "b", "c"))
    assert [words.position(value) for value in ("a", "c", "z")] == [0.0, 1.0, 0.5]
