"""The batches of a training as one stream that is a pure function of seed, epoch and batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
import numpy as np

from nadam_suite.experiment.splits import Pair, Splits, taken

__all__ = ["Epoch", "Evaluation", "SharedBatches", "batches"]


def batches(
    splits: Splits, batch_size: int, seed: int, *, epoch: int = 0, batch: int = 0
) -> Iterator[Pair]:
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
    while True:
        order = _order(splits, seed, epoch)
        for number in range(batch, -(-splits.examples // batch_size)):
            yield _batch(splits, batch_size, seed, epoch, number, order)
        epoch, batch = epoch + 1, 0


def _order(splits: Splits, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(splits.examples)


def _batch(
    splits: Splits, batch_size: int, seed: int, epoch: int, number: int, order: np.ndarray
) -> Pair:
    x, y = taken(splits.train, order[number * batch_size : (number + 1) * batch_size])
    if splits.augment is not None:
        x = splits.augment(x, np.random.default_rng([seed, epoch, number]))
    return x, y


class Epoch:
    """The batches of the first epoch, to be read any number of times, always the same.

    Args:
        splits: The data; `train` is what is yielded.
        batch_size: Examples in a batch.
        seed: Seed of the order and of the augmentation.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment import Splits
    >>> from nadam_suite.experiment.stream import Epoch
    >>> epoch = Epoch(Splits(train=(np.arange(5), np.arange(5))), 2, seed=0)
    >>> [[len(x) for x, y in epoch] for _ in range(2)]
    [[2, 2, 1], [2, 2, 1]]
    """

    def __init__(self, splits: Splits, batch_size: int, seed: int) -> None:
        self._splits = splits
        self._batch_size = batch_size
        self._seed = seed

    def __iter__(self) -> Iterator[Pair]:
        """Yield the batches."""
        number = -(-self._splits.examples // self._batch_size)
        return itertools.islice(batches(self._splits, self._batch_size, self._seed), number)


class SharedBatches(keras.utils.PyDataset):
    """The stream of `batches` for a training that several replicas share.

    It can be read again from its beginning, as TensorFlow's strategies do to learn its shapes. An
    epoch's last batch is cut to a multiple of the replicas, so that the mean of their means is the
    mean of the batch. Of each batch one process gets its part, drawn and augmented with the whole.

    Args:
        splits: The data; `train` is what is yielded.
        batch_size: Examples in a batch, of all processes together; a multiple of `replicas`.
        seed: Seed of the order and of the augmentation.
        replicas: Replicas of all processes together.
        epoch: Epoch of the first batch.
        part: (index, number): which of how many equal parts of each batch to yield.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment import Splits, batches
    >>> from nadam_suite.experiment.stream import SharedBatches
    >>> splits = Splits(train=(np.arange(8), np.arange(8)))
    >>> halves = [SharedBatches(splits, 4, 0, replicas=2, part=(i, 2))[0][0] for i in range(2)]
    >>> np.array_equal(np.concatenate(halves), next(batches(splits, 4, 0))[0])
    True
    """

    num_batches = None  # it never ends; `steps_per_epoch` says where an epoch does

    def __init__(
        self,
        splits: Splits,
        batch_size: int,
        seed: int,
        *,
        replicas: int,
        epoch: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        self._splits = splits
        self._batch_size = batch_size
        self._seed = seed
        self._replicas = replicas
        self._first = epoch
        self._part = part
        self._order = (-1, np.empty(0, int))

    @staticmethod
    def examples(splits: Splits, batch_size: int, replicas: int) -> int:
        """Return how many examples of an epoch are trained on."""
        return splits.examples - splits.examples % batch_size % replicas

    def __getitem__(self, index: int) -> Pair:
        """Return this process' part of a batch, counted from the first epoch's first."""
        examples = self.examples(self._splits, self._batch_size, self._replicas)
        epochs, number = divmod(index, -(-examples // self._batch_size))
        epoch = self._first + epochs
        # Read once and replaced as a whole: frameworks read ahead in threads of their own.
        known, order = self._order
        if known != epoch:
            order = _order(self._splits, self._seed, epoch)
            self._order = (epoch, order)
        batch = _batch(self._splits, self._batch_size, self._seed, epoch, number, order)
        size = min(self._batch_size, examples - number * self._batch_size) // self._part[1]
        mine = slice(self._part[0] * size, (self._part[0] + 1) * size)
        x, y = taken(batch, mine)
        return x, y


class Evaluation(keras.utils.PyDataset):
    """A split for `evaluate()` by several JAX processes, each of which sees all examples.

    Every process' batch is a part of the global one, so each example counts as often as every
    other, and metrics are those of one process, whatever the number of examples.

    Args:
        split: Inputs and targets.
        batch_size: Examples in a batch of one process.
        devices: Devices of one process, which share its batch; examples are repeated if they
            cannot be shared out evenly.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment.stream import Evaluation
    >>> evaluation = Evaluation((np.arange(5), np.arange(5)), 4, devices=2)
    >>> [len(evaluation[index][0]) for index in range(evaluation.num_batches)]
    [8, 2]
    """

    def __init__(self, split: Pair, batch_size: int, *, devices: int = 1) -> None:
        super().__init__()
        self._split = split
        self._examples = len(keras.tree.flatten(split)[0])
        self._repeats = 1 if self._examples % devices == 0 else devices
        self._size = max(devices, batch_size // devices * devices)

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return -(-self._examples // self._size)

    def __getitem__(self, index: int) -> Pair:
        """Return a batch."""
        chosen = slice(index * self._size, (index + 1) * self._size)
        x, y = keras.tree.map_structure(
            lambda array: np.repeat(array[chosen], self._repeats, axis=0), self._split
        )
        return x, y
