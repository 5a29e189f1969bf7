"""Arrays for `fit()` in an order that depends on nothing but seed and epoch.

Keras shuffles arrays by generators whose state cannot be restored, so that a training that is cut
and gone on with would see other batches. The order is that of `nadam_suite.experiment.batches`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.tuner.trial_callbacks import FatalArgumentError

__all__ = ["OrderedBatches", "fit_arguments", "ordered"]


class OrderedBatches(keras.utils.PyDataset):
    """The batches of arrays, epoch after epoch, each in an order of its own.

    It never ends: `steps_per_epoch` says where an epoch does.

    Args:
        arrays: Inputs, targets and the weights of examples, as many of them as there are; each an
            array, or a nest of arrays, of equal length.
        batch_size: Examples in a batch; an epoch's last one may have fewer.
        seed: Seed of the order.
        epoch: Epoch of the first batch.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.tuner.ordered import OrderedBatches
    >>> batches = OrderedBatches((np.arange(5), np.arange(5)), 2, seed=0)
    >>> later = OrderedBatches((np.arange(5), np.arange(5)), 2, seed=0, epoch=1)
    >>> batches.steps, np.array_equal(batches[4][0], later[1][0])
    (3, True)
    """

    num_batches = None

    def __init__(self, arrays: Sequence[Any], batch_size: int, seed: int, epoch: int = 0) -> None:
        super().__init__()
        self._arrays = tuple(arrays)
        self._batch_size = batch_size
        self._seed = seed
        self._first = epoch
        self._examples = len(keras.tree.flatten(self._arrays)[0])
        self._order = (-1, np.empty(0, int))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self._examples // self._batch_size)

    def __getitem__(self, index: int) -> Any:
        """Return a batch, counted from the first epoch's first."""
        epochs, number = divmod(index, self.steps)
        epoch = self._first + epochs
        # Read once and replaced as a whole: frameworks read ahead in threads of their own.
        known, order = self._order
        if known != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._examples)
            self._order = (epoch, order)
        chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
        return tuple(keras.tree.map_structure(lambda array: array[chosen], self._arrays))


def fit_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `keras.Model.fit` by name."""
    bound = inspect.signature(keras.Model.fit).bind_partial(None, *args, **kwargs)
    return {name: value for name, value in bound.arguments.items() if name != "self"}


def ordered(
    arguments: Mapping[str, Any], seed: int, epoch: int, steps_per_execution: int = 1
) -> dict[str, Any]:
    """Return arguments for `fit()` that train on the same arrays in a restorable order.

    Data of other kinds, and arrays that are not to be shuffled, are left as they are: for them to
    be the same after a restart is up to the user.

    Args:
        arguments: Arguments of `keras.Model.fit` by name.
        seed: Seed of the order.
        epoch: Epoch at which the training begins or goes on.
        steps_per_execution: Batches that the model trains at a time.

    Raises:
        ArgumentError: An epoch is no whole number of executions, so that Keras would train batches
            of the next one in it.
    """
    arguments = dict(arguments)
    parts = [arguments.get(name) for name in ("x", "y", "sample_weight")]
    arrays = _present(parts)
    shuffled = arguments.get("shuffle", True) is True
    if arrays is None or not shuffled or arguments.get("steps_per_epoch") is not None:
        return arguments
    share = arguments.get("validation_split") or 0.0
    if share and arguments.get("validation_data") is None:
        arrays, arguments["validation_data"] = _split(arrays, share)
    for name in ("y", "sample_weight", "validation_split"):
        arguments.pop(name, None)
    batches = OrderedBatches(arrays, arguments.pop("batch_size", None) or 32, seed, epoch)
    if batches.steps % steps_per_execution:
        raise FatalArgumentError(
            "Argument `steps_per_execution` must divide the batches of an epoch, here "
            f"{batches.steps}. Received: steps_per_execution={steps_per_execution}. Compile the "
            "model with a divisor, or pass the data as a tf.data.Dataset."
        )
    return arguments | {"x": batches, "steps_per_epoch": batches.steps, "shuffle": False}


def _present(parts: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return inputs, targets and weights, or None unless they are arrays."""
    given = tuple(part for part in parts if part is not None)
    leaves = keras.tree.flatten(given)
    if parts[0] is None or (parts[1] is None and parts[2] is not None):
        return None
    return given if all(isinstance(leaf, np.ndarray) for leaf in leaves) else None


def _split(arrays: tuple[Any, ...], share: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return what is left for training, and the last examples for validation, as Keras does."""
    examples = len(keras.tree.flatten(arrays)[0])
    first = int(examples * (1.0 - share))
    return (
        tuple(keras.tree.map_structure(lambda array: array[:first], arrays)),
        tuple(keras.tree.map_structure(lambda array: array[first:], arrays)),
    )


def first_batch(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments for `evaluate()` of those for `fit()`; of arrays the first batch alone."""
    names = ("x", "y", "sample_weight", "batch_size")
    found = {name: arguments[name] for name in names if arguments.get(name) is not None}
    if _present([found.get(name) for name in names[:3]]) is None:
        return found
    size = found.get("batch_size", 32)
    arrays = {name: value for name, value in found.items() if name != "batch_size"}
    cut = {
        name: keras.tree.map_structure(lambda array: array[:size], value)
        for name, value in arrays.items()
    }
    return found | cut
