"""The examples of a training, in splits: arrays, or several arrays by position or name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from nadam_suite.errors import ArgumentTypeError

__all__ = ["Pair", "Splits", "shape_text", "taken"]

# Inputs and targets. Each is an array, or a tuple or dict of arrays.
Pair = tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples of a training, in splits; what a data function returns.

    Inputs and targets are arrays whose first axis counts the examples. A model with several inputs
    or outputs gets a tuple or dict of them, as in `fit()`: `train=({"a": a, "b": b}, y)`. Lists of
    numbers, and whatever else NumPy makes arrays of, become arrays.

    Args:
        train: A pair (inputs, targets), with as many examples in each.
        validation: Likewise, seen after each epoch; or None.
        test: Likewise, seen once, at the end; or None.
        augment: Called with a batch's inputs and a NumPy generator that depends on seed and epoch
            alone, returns the inputs to train on; or None.

    Raises:
        ArgumentTypeError: A split is no such pair, or has no examples.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment import Splits
    >>> Splits(train=(np.zeros((8, 2)), np.zeros(8))).examples
    8
    >>> Splits(train=({"width": [1.0, 2.0], "height": [3.0, 4.0]}, [0, 1])).examples
    2
    """

    train: Pair
    validation: Pair | None = None
    test: Pair | None = None
    augment: Callable[[Any, np.random.Generator], Any] | None = None

    def __post_init__(self) -> None:
        """Make arrays of what is given, and refuse what is empty or of different lengths."""
        for name in ("train", "validation", "test"):
            split = getattr(self, name)
            if split is not None or name == "train":
                object.__setattr__(self, name, _checked(name, split))

    @property
    def first(self) -> Pair:
        """The first training example, with the axis of the batch."""
        x, y = taken(self.train, slice(1))
        return x, y

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return len(keras.tree.flatten(self.train)[0])


def taken(arrays: Any, index: Any) -> Any:
    """Return some of the examples, from each of the arrays.

    Args:
        arrays: An array, or a tuple or dict of arrays.
        index: What NumPy takes between brackets, such as a slice.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment.splits import taken
    >>> taken({"a": np.arange(4), "b": np.arange(4) * 10}, slice(2))
    {'a': array([0, 1]), 'b': array([ 0, 10])}
    """
    return keras.tree.map_structure(lambda array: array[index], arrays)


def shape_text(value: Any) -> str:
    """Return what a value is made of, in words for a message.

    Example:

    >>> import numpy as np
    >>> from nadam_suite.experiment.splits import shape_text
    >>> shape_text((np.zeros((8, 2)), [1, 2, 3]))
    '(ndarray of shape (8, 2), list of 3)'
    """
    if isinstance(value, tuple):
        return "(" + ", ".join(map(shape_text, value)) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shape_text(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return f"list of {len(value)}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if shape is not None else repr(value)


def _checked(name: str, split: Any) -> Pair:
    """Return a split with arrays in it."""
    if not isinstance(split, (tuple, list)) or len(split) != 2:
        several = isinstance(split, (tuple, list)) and len(split) > 2
        remedy = (
            f"Several inputs or targets are a tuple or dict of arrays: {name}=((a, b), targets)."
            if several
            else f"Write {name}=(inputs, targets)."
        )
        raise _refusal(name, split, remedy)
    found = tuple(map(_arrays, split))
    leaves = keras.tree.flatten(found)
    if any(leaf is None for leaf in leaves) or not all(keras.tree.flatten(part) for part in found):
        raise _refusal(
            name,
            split,
            "Make an array of each, with numbers and the examples along its first axis: numpy.stack"
            " joins a list of arrays. Several inputs are a tuple or dict of arrays.",
        )
    if len({len(leaf) for leaf in leaves}) > 1:
        raise _refusal(name, split, "Give each example its target.")
    if len(leaves[0]) == 0:
        raise _refusal(name, split, "Check where the examples come from.")
    return found[0], found[1]


def _arrays(value: Any) -> Any:
    """Return a value with arrays for all that NumPy takes for one, and None for the rest."""
    if isinstance(value, tuple):
        return tuple(map(_arrays, value))
    if isinstance(value, dict):
        return {key: _arrays(inner) for key, inner in value.items()}
    # A list of arrays may be one array in rows, or several inputs.
    if isinstance(value, list) and any(hasattr(item, "shape") for item in value):
        return None
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or on another device
        return None
    return array if array.ndim and array.dtype != object else None


def _refusal(name: str, split: Any, remedy: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"Argument `{name}` must be a pair (inputs, targets) of arrays with as many examples, at "
        f"least one. Received: {shape_text(split)}. {remedy}"
    )
