"""Moving statistics of batch normalization that fit the weights, exactly and from data.

The moving mean and variance of a `BatchNormalization` belong to the raw weights of the last
hundred batches. Under averaged weights its inputs are others, and the statistics are wrong for
them. Running the training data through the model once gives the right ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.averaging import shown
from nadam_suite.averaging.beside import put_aside
from nadam_suite.backends import get_backend
from nadam_suite.callbacks.batches import batches_of
from nadam_suite.errors import ArgumentError, StateError
from nadam_suite.optimizers.arguments import check_integer

__all__ = [
    "Moments",
    "copies",
    "kept_state",
    "normalization_layers",
    "recalibrate_batch_norm",
    "statistics_of",
]

_AT_ONCE = 1 << 22  # elements that are turned into float64 together: 32 MiB


class Moments:
    """Count, mean and sum of squared deviations of each channel, in float64.

    Parts are merged by the formulas of Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances", 1979: no large numbers are subtracted from each
    other, and the result does not depend on how the data were cut.

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self.count = np.zeros(channels)
        self.mean = np.zeros(channels)
        self.squares = np.zeros(channels)

    @property
    def variance(self) -> np.ndarray:
        """Mean of the squared deviations from the mean."""
        return self.squares / self.count

    def add(self, values: np.ndarray, chosen: np.ndarray | None = None) -> None:
        """Take in more values.

        Args:
            values: Array of shape (rows, channels).
            chosen: Which of them count, a bool array of the same shape; None for all of them.
        """
        rows = max(_AT_ONCE // max(values.shape[1], 1), 1)
        for start in range(0, len(values), rows):
            part = values[start : start + rows].astype("float64")
            where = True if chosen is None else chosen[start : start + rows]
            count = np.broadcast_to(where, part.shape).sum(axis=0, dtype="float64")
            with np.errstate(invalid="ignore"):  # infinite values are refused at the end
                mean = part.sum(axis=0, where=where) / np.maximum(count, 1.0)
                squares = np.square(part - mean).sum(axis=0, where=where)
                self._merge(count, mean, squares)

    def _merge(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        total = np.maximum(self.count + count, 1.0)
        difference = mean - self.mean
        self.mean = self.mean + difference * (count / total)
        self.squares = self.squares + squares + np.square(difference) * (self.count * count / total)
        self.count = self.count + count


def recalibrate_batch_norm(
    model: keras.Model, data: Any, steps: int | None = None, batch_size: int = 32
) -> None:
    """Give batch normalization the mean and variance that its inputs have over `data`.

    The data run forward through the model as in training, so that layers behind a normalization
    see what they saw there. Each trainable `BatchNormalization` that is applied, in nested models
    too, then gets the exact mean and variance of all inputs together, every element weighing the
    same whatever batch it was in; masked ones do not count. It is the mean of the batches'
    variances plus the variance of their means, which a moving average of variances leaves out.
    Nothing else changes: momentum, other state and random generators are as before, and if reading
    the data fails, the statistics are too. A model without such layers reads no data. While a model
    has averages for its weights, the old statistics wait beside the raw weights and return with
    them.

    Args:
        model: A built model.
        data: An array of inputs, a tuple `(inputs, targets)` or `(inputs, targets, weights)` of
            arrays, or batches of either: an iterable, a `tf.data.Dataset`, a
            `keras.utils.PyDataset` or a PyTorch `DataLoader`.
        steps: Number of batches to read, >= 1; None, the default, reads all.
        batch_size: Examples of a batch that is cut from arrays, >= 1. Defaults to 32. Pass that of
            the training: what a normalization puts out in training depends on it.

    Raises:
        ArgumentError: There are no data, or no batches in them, or a number is less than one.
        StateError: The inputs of a layer are not finite.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite.callbacks import recalibrate_batch_norm
    >>> layer = keras.layers.BatchNormalization()
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> recalibrate_batch_norm(model, np.array([[1.0], [2.0], [6.0]], "float32"), batch_size=2)
    >>> float(layer.moving_mean[0]), round(float(layer.moving_variance[0]), 4)
    (3.0, 4.6667)
    """
    steps = check_integer("steps", steps, 1)
    batch_size = check_integer("batch_size", batch_size, 1) or 32
    layers = normalization_layers(model)
    if not layers:
        return
    if data is None:
        raise ArgumentError(
            "Argument `data` must be given for a model with batch normalization. Received: "
            f"data=None, and the model has {len(layers)} such layers. Pass the training data."
        )
    with kept_state(model):
        moments = _moments_of(model, layers, batches_of(data, batch_size, steps))
    _check_finite(moments)
    if shown(model) is not None:
        put_aside(model, copies(statistics_of(model)))
    for layer, found in moments:
        layer.moving_mean.assign(found.mean)
        layer.moving_variance.assign(found.variance)
        if getattr(layer, "renorm", False):  # what the moving variance is computed from there
            layer.moving_stddev.assign(np.sqrt(found.variance + layer.epsilon))


def normalization_layers(model: keras.Layer) -> list[Any]:
    """Return every trainable `BatchNormalization` in a model, however deep, each once."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, keras.layers.BatchNormalization) and thing.trainable and thing.built:
            found.append(thing)
        # Layers are also kept in lists and dicts; both kinds hold layers in attributes.
        waiting.extend(_held_by(thing))
    return sorted(found, key=lambda layer: layer.path)


def _held_by(thing: Any) -> Iterable[Any]:
    """Return what a layer or container holds, where a layer could be in it."""
    if isinstance(thing, keras.Layer):
        held: Iterable[Any] = list(vars(thing).values())
    elif isinstance(thing, dict):
        held = list(thing.values())
    else:
        held = list(thing)
    return [each for each in held if isinstance(each, (keras.Layer, dict, list, tuple, set))]


def statistics_of(model: keras.Model) -> list[Any]:
    """Return the variables that `recalibrate_batch_norm` may assign."""
    names = ("moving_mean", "moving_variance", "moving_stddev")
    held = [getattr(layer, name, None) for layer in normalization_layers(model) for name in names]
    return [variable for variable in held if variable is not None]


def copies(variables: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of each variable and a copy of its value."""
    return [(variable, get_backend().copy(variable)) for variable in variables]


@contextlib.contextmanager
def kept_state(model: keras.Model) -> Iterator[None]:
    """Give the model's state that no gradient moves, and the random state, back at the end."""
    backend = get_backend()
    kept, random = copies(model.non_trainable_variables), backend.random_state()
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)
        if random is not None:
            backend.set_random_state(random)


def _moments_of(
    model: keras.Model, layers: Sequence[Any], batches: Iterable[Any]
) -> list[tuple[Any, Moments]]:
    """Run the batches through the model; return what the layers were given, if they were used."""
    found: dict[int, Moments] = {}
    count = 0
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_recorded(layer, found))
        stack.enter_context(_training_mode(model))
        stack.enter_context(get_backend().no_grad())
        for inputs in batches:
            model(inputs, training=True)
            count += 1
    if not count:
        raise ArgumentError(
            "Argument `data` must have at least one batch. Received: data that ended at once. Pass "
            "data that can be read again, not a generator that has been used up."
        )
    return [(layer, found[id(layer)]) for layer in layers if id(layer) in found]


@contextlib.contextmanager
def _recorded(layer: Any, found: dict[int, Moments]) -> Iterator[None]:
    """Note the inputs of a layer while it works in training mode."""
    original = layer.call

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        training = kwargs.get("training", args[0] if args else None)
        if training:
            mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
            moments = found.setdefault(id(layer), Moments(inputs.shape[layer.axis]))
            moments.add(*_by_channel(layer, inputs, mask))
        return original(inputs, *args, **kwargs)

    layer.call = call  # on the instance: its class, and other layers, are as they were
    try:
        yield
    finally:
        del layer.call


def _by_channel(layer: Any, inputs: Any, mask: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return inputs, and whether they count, as arrays of shape (rows, channels)."""
    values = _array(layer, inputs)
    channels = values.shape[layer.axis]

    def rows(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, layer.axis, -1).reshape(-1, channels)

    if mask is None:
        return rows(values), None
    chosen = np.expand_dims(_array(layer, mask).astype(bool), -1)  # as Keras spreads a mask
    return rows(values), rows(np.broadcast_to(chosen, values.shape))


def _array(layer: Any, tensor: Any) -> np.ndarray:
    """Return a tensor as an array; half precision becomes float32."""
    try:
        if tensor.dtype != "bool" and keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
            tensor = keras.ops.cast(tensor, "float32")
        return np.asarray(keras.ops.convert_to_numpy(tensor))
    except Exception as error:
        raise StateError(
            f"The inputs of layer {layer.path!r} must be known when it is applied. Received: a "
            f"tensor of a compiled function, {type(error).__name__}. Take the layer out of "
            "`keras.remat`, loops and functions that are compiled, or keep its statistics."
        ) from error


@contextlib.contextmanager
def _training_mode(model: Any) -> Iterator[None]:
    """Put PyTorch modules into training mode, and back into what each was in."""
    if not hasattr(model, "modules"):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check_finite(moments: Sequence[tuple[Any, Moments]]) -> None:
    """Refuse statistics that would turn every later output into NaN."""
    for layer, found in moments:
        if not (np.isfinite(found.mean).all() and np.isfinite(found.squares).all()):
            raise StateError(
                f"The inputs of layer {layer.path!r} must be finite. Received: infinite or NaN "
                "values among them. Its statistics are unchanged; look at the data and the weights."
            )
        if not found.count.all():
            raise ArgumentError(
                f"Argument `data` must have values for every channel of layer {layer.path!r}. "
                "Received: data in which all of a channel is masked. Pass more data."
            )
