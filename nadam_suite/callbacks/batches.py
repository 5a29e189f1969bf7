"""The inputs of a model, batch by batch, from whatever `fit()` takes as data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from nadam_suite.errors import ArgumentError, ArgumentTypeError

__all__ = ["batches_of"]


def batches_of(data: Any, batch_size: int = 32, steps: int | None = None) -> Iterator[Any]:
    """Yield the inputs of each batch, without targets and weights.

    Args:
        data: See `nadam_suite.callbacks.recalibrate_batch_norm`.
        batch_size: Examples of a batch that is cut from arrays.
        steps: Number of batches at most; None for all.

    Raises:
        ArgumentError: The data have no end, and `steps` is None.
        ArgumentTypeError: `data` is none of these.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.callbacks.batches import batches_of
    >>> x, y = np.arange(5), np.zeros(5)
    >>> [batch.tolist() for batch in batches_of((x, y), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    for batch in itertools.islice(_batches(data, batch_size, steps), steps):
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        yield keras.tree.map_structure(_plain, inputs)


def _batches(data: Any, batch_size: int, steps: int | None) -> Iterable[Any]:
    if isinstance(data, keras.utils.PyDataset):
        return _items(data, steps)
    if _is_array(data) or isinstance(data, dict) or _are_arrays(data):
        return _cut(data, batch_size)
    if isinstance(data, Iterable):
        return data
    raise ArgumentTypeError(
        "Argument `data` must be an array, a tuple of arrays, or an iterable of batches. Received: "
        f"data of type {type(data).__name__}. Pass what `fit()` was given."
    )


def _items(data: keras.utils.PyDataset, steps: int | None) -> Iterator[Any]:
    count = data.num_batches
    if count is None and steps is None:
        raise ArgumentError(
            "Argument `steps` must be given for data that have no end. Received: steps=None, and a "
            f"{type(data).__name__} without a length. Pass the number of batches to read."
        )
    return (data[index] for index in (itertools.count() if count is None else range(count)))


def _is_array(data: Any) -> bool:
    """Whether it is an array or a tensor; data sets of TensorFlow have no shape."""
    return hasattr(data, "shape") and hasattr(data, "__getitem__")


def _are_arrays(data: Any) -> bool:
    """Whether it is (inputs, targets), or (inputs, targets, weights): a tuple, as for `fit()`."""
    return isinstance(data, tuple) and all(_is_array(a) for a in keras.tree.flatten(data))


def _cut(data: Any, batch_size: int) -> Iterator[Any]:
    inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    count = len(keras.tree.flatten(inputs)[0])
    for start in range(0, count, batch_size):
        yield (keras.tree.map_structure(lambda a, s=start: a[s : s + batch_size], inputs),)


def _plain(tensor: Any) -> Any:
    """Return a tensor of any framework as this one takes it.

    A model that JAX has divided over devices takes NumPy arrays, and no arrays of one device.
    """
    if tensor is None or (keras.ops.is_tensor(tensor) and keras.backend.backend() != "jax"):
        return tensor
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor)
