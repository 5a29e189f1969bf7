"""The order of the data is a function of seed, epoch and batch, and of nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nadam_suite.experiment import Splits, batches
from nadam_suite.experiment.recipes import digits

pytestmark = pytest.mark.once

SPLITS = Splits(train=(np.arange(10), np.arange(10) * 2))


def _take(number, splits=SPLITS, **where):
    return list(itertools.islice(batches(splits, 4, 3, **where), number))


def test_an_epoch_has_each_example_once():
    """Three batches of 4, 4 and 2 examples hold all ten, with their targets."""
    epoch = _take(3)
    assert [len(x) for x, _ in epoch] == [4, 4, 2]
    inputs = np.concatenate([x for x, _ in epoch])
    assert sorted(inputs) == list(range(10))
    np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), inputs * 2)


def test_epochs_differ_in_order():
    """The next epoch has another order, and another seed too."""
    both = _take(6)
    first, second = (np.concatenate([x for x, _ in part]) for part in (both[:3], both[3:]))
    assert list(first) != list(second)
    other = np.concatenate([x for x, _ in itertools.islice(batches(SPLITS, 4, 4), 3)])
    assert list(first) != list(other)


@pytest.mark.parametrize("start", range(9))
def test_any_start_sees_what_the_whole_sees(start):
    """A stream that begins at any batch of any epoch is the rest of the whole stream."""
    splits = digits.data(train_examples=10)  # augmented, which must not depend on what came before
    whole = _take(12, splits)
    rest = _take(12 - start, splits, epoch=start // 3, batch=start % 3)
    for (x, y), (x_rest, y_rest) in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(x, x_rest)
        np.testing.assert_array_equal(y, y_rest)


def test_augmentation_differs_between_batches_and_epochs():
    """Each batch of each epoch draws its own numbers."""
    drawn = Splits(SPLITS.train, augment=lambda x, generator: generator.integers(1 << 60, size=1))
    values = [int(x[0]) for x, _ in _take(9, drawn)]
    assert len(set(values)) == 9


def test_global_generators_make_no_difference():
    """Neither NumPy's global seed nor its use changes the order."""
    np.random.seed(5)  # noqa: NPY002
    first = _take(3)
    np.random.rand(7)  # noqa: NPY002
    for (x, _), (x_again, _) in zip(first, _take(3), strict=True):
        np.testing.assert_array_equal(x, x_again)
