"""The batches of a training as one stream that is a pure function of seed, epoch and batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nadam_suite.experiment.parts import Splits

__all__ = ["batches"]


def batches(
    splits: Splits, batch_size: int, seed: int, *, epoch: int = 0, batch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches for ever, epoch after epoch, each in an order of its own.

    A training that goes on at any batch sees what it would have seen without an interruption.

    Args:
        splits: The data; `train` is what is yielded.
        batch_size: Examples in a batch; an epoch's last one may have fewer.
        seed: Seed of the order and of the augmentation.
        epoch: Epoch of the first batch.
        batch: Number of the first batch within that epoch.

    Example:

    >>> import itertools, numpy as np
    >>> from nadam_suite.experiment import Splits, batches
    >>> splits = Splits(train=(np.arange(4), np.arange(4)))
    >>> whole = list(itertools.islice(batches(splits, 2, seed=0), 6))
    >>> later = list(itertools.islice(batches(splits, 2, seed=0, epoch=1, batch=1), 3))
    >>> all(np.array_equal(a[0], b[0]) for a, b in zip(whole[3:], later))
    True
    """
    inputs, targets = splits.train
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(splits.examples)
        for number in range(batch, -(-splits.examples // batch_size)):
            chosen = order[number * batch_size : (number + 1) * batch_size]
            x = inputs[chosen]
            if splits.augment is not None:
                x = splits.augment(x, np.random.default_rng([seed, epoch, number]))
            yield x, targets[chosen]
        epoch, batch = epoch + 1, 0
