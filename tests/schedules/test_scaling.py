from __future__ import annotations

import numpy as np
import pytest

from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules import scale_learning_rate
from nadam_suite.schedules.scaling import derivation


@pytest.mark.parametrize(
    ("rule", "factor"), [("sqrt", 3.0), ("linear", 9.0), ("none", 1.0)], ids=str
)
def test_each_rule_multiplies_by_its_power_of_the_ratio(rule, factor):
    """Nine times the batch: three times the rate, nine times, or the same; and back again."""
    assert scale_learning_rate(0.5, 288, 32, rule) == 0.5 * factor
    assert scale_learning_rate(0.5, 32, 288, rule) == pytest.approx(0.5 / factor, rel=1e-15)


def test_the_root_is_the_default():
    """Nadam divides by the gradient's size, so the root is meant where nothing is said."""
    assert scale_learning_rate(1.0, 4, 1) == 2.0


def test_the_digits_that_were_typed_are_scaled():
    """A float32 rate counts as the decimal number it was written as."""
    assert scale_learning_rate(np.float32(0.001), 4, 1) == 0.002
    assert scale_learning_rate(0, 4, 1) == 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-0.1, 2, 1), ArgumentError, "learning_rate=-0.1"),
        ((float("nan"), 2, 1), ArgumentError, "learning_rate=nan"),
        (("0.1", 2, 1), ArgumentTypeError, "learning_rate='0.1'"),
        ((0.1, 0, 1), ArgumentError, "batch_size=0"),
        ((0.1, 2.0, 1), ArgumentTypeError, "batch_size=2.0 (of type float)"),
        ((0.1, True, 1), ArgumentTypeError, "batch_size=True"),
        ((0.1, 2, -1), ArgumentError, "base_batch_size=-1"),
        ((0.1, 2, 1, "cubic"), ArgumentError, "'sqrt', 'linear', 'none'"),
        ((0.1, 2, 1, None), ArgumentError, "rule=None"),
    ],
    ids=str,
)
def test_what_is_refused_is_named(arguments, error, words):
    """A wrong argument is refused with its name and its value."""
    with pytest.raises(error, match="Argument `") as caught:
        scale_learning_rate(*arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "text"),
    [("sqrt", "sqrt(96 / 32) = 1.73205"), ("linear", "96 / 32 = 3"), ("none", "1")],
    ids=str,
)
def test_the_derivation_is_written_with_its_numbers(rule, text):
    """What is printed can be checked by hand."""
    assert derivation(96, 32, rule) == text
