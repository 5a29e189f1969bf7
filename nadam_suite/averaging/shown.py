"""Looking at a model with its averages: put them in, take them out, to the bit.

The averages live in the optimizer. Putting them into the model copies them; the raw weights wait
beside it, and the averages stay where they are, so that no arithmetic touches either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from nadam_suite.averaging.beside import put_back
from nadam_suite.errors import ArgumentError, SettingError, StateError

__all__ = [
    "average_names",
    "average_tensors",
    "averaged_weights",
    "keepers",
    "show_average",
    "show_raw",
    "shown",
    "write_weights",
]


def keepers(model: keras.Model) -> list[Any]:
    """Return the optimizers of a model that keep averages, inside of whatever wraps them."""
    found: list[Any] = []
    waiting: list[Any] = [getattr(model, "optimizer", None)]
    while waiting:
        optimizer = waiting.pop(0)
        if inner := getattr(optimizer, "inner_optimizer", None):
            waiting.append(inner)
        elif (several := getattr(optimizer, "optimizers", None)) is not None:
            # One that was given no variables is never built.
            waiting.extend(o for o in several if o.built or not optimizer.built)
        elif getattr(optimizer, "average_names", ()):
            found.append(optimizer)
    return found


def average_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of all running averages of a model's optimizer, () without any.

    Args:
        model: A compiled model.

    Example:

    >>> import keras
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, SWA, average_names
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(averaging={"fast": EMA(0.9), "tail": SWA(100, every=10)}))
    >>> average_names(model)
    ('fast', 'tail')
    """
    names = [name for optimizer in keepers(model) for name in optimizer.average_names]
    return tuple(dict.fromkeys(names))


def shown(model: keras.Model) -> str | None:
    """Return the name of the average that the model has for its weights now, or None.

    Args:
        model: A compiled model.

    Example: see `show_average`.
    """
    return next((o.shown_average for o in keepers(model) if o.shown_average), None)


@contextlib.contextmanager
def averaged_weights(model: keras.Model, name: str | None = None) -> Iterator[None]:
    """Give the model its averages for the length of a `with` block.

    Afterwards, also after an exception, its weights are what they were to the last bit. A model
    that is saved inside the block has the averages; its optimizer keeps the raw weights beside
    them, so that a training that goes on from the file goes on exactly. Before an average has
    begun it is the weights.

    Args:
        model: A compiled model whose optimizer keeps averages.
        name: Which of them; the first by default.

    Raises:
        ArgumentError: There is no average of that name.
        SettingError: The optimizer keeps no averages.
        StateError: The model has an average for its weights already, or is not built.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, averaged_weights
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.1, averaging=EMA(0.9)), loss="mse")
    >>> x = np.ones((4, 2), "float32")
    >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0)
    >>> raw = model.get_weights()
    >>> with averaged_weights(model):
    ...     loss = model.evaluate(x, x[:, :1], verbose=0)
    >>> all((a == b).all() for a, b in zip(raw, model.get_weights()))
    True
    """
    show_average(model, name)
    try:
        yield
    finally:
        show_raw(model)


def show_average(model: keras.Model, name: str | None = None) -> None:
    """Put the averages into the model, and leave them there until `show_raw`.

    Args:
        model: As in `averaged_weights`.
        name: As there.

    Raises:
        ArgumentError: As there.
        SettingError: As there.
        StateError: As there.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, show_average, show_raw, shown
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.1, averaging=EMA(0.9)), loss="mse")
    >>> x = np.ones((4, 2), "float32")
    >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0)
    >>> show_average(model)
    >>> shown(model), show_raw(model), shown(model)
    ('ema', True, None)
    """
    _show(model, name, None)


def write_weights(model: keras.Model, name: str | None, tensors: Sequence[Any]) -> None:
    """Put given values into the model as if they were the averages now, see `show_average`.

    Args:
        model: The model.
        name: Of which average they are.
        tensors: One for each pair of `average_tensors`, in its order.

    Raises:
        ArgumentError: There is no average of that name, or the tensors do not fit.
        SettingError: The optimizer keeps no averages.
        StateError: The model has an average for its weights already, or is not built.

    Example:

    >>> import keras
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, average_tensors, show_raw, write_weights
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(averaging=EMA(0.9)), loss="mse")
    >>> halves = [average * 0.5 for _, average in average_tensors(model)]
    >>> write_weights(model, "ema", halves)
    >>> show_raw(model)
    True
    """
    _show(model, name, list(tensors))


def show_raw(model: keras.Model) -> bool:
    """Put the raw weights back that `show_average` has put aside.

    Args:
        model: The model.

    Returns:
        Whether an average was shown. If the training has gone on since, from the averages, the
        weights stay, the copy is dropped with a warning, and the answer is False.

    Example: see `show_average`.
    """
    if (sync := getattr(model, "jax_state_sync", None)) is not None:
        sync()  # else what an interrupted loop of JAX has left would come back over the weights
    if any(optimizer.has_loaded_state for optimizer in keepers(model)):
        _build(model)
    were_shown = [optimizer.show_raw() for optimizer in keepers(model)]  # all of them
    put_back(model, any(were_shown))
    return any(were_shown)


def average_tensors(model: keras.Model, name: str | None = None) -> list[tuple[Any, Any]]:
    """Return every averaged variable of the model with its average, the weight if none has begun.

    The tensors are the optimizer's own, in full precision; copy them before they are kept.

    Args:
        model: A compiled model whose optimizer keeps averages.
        name: Name of the average; the first by default.

    Raises:
        ArgumentError: There is no average of that name.
        SettingError: The optimizer keeps no averages.
        StateError: The model is not built.

    Example:

    >>> import keras
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA, average_tensors
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(averaging=EMA(0.9)), loss="mse")
    >>> [variable.path.split("/")[-1] for variable, _ in average_tensors(model)]
    ['kernel', 'bias']
    """
    return [
        pair
        for optimizer in _with_average(model, name)
        for pair in optimizer.average_tensors(_name(model, name))
    ]


def _show(model: keras.Model, name: str | None, tensors: list[Any] | None) -> None:
    optimizers, name = _with_average(model, name), _name(model, name)
    if held := shown(model):
        raise StateError(
            f"The model has the average {held!r} for its weights already. Leave the block of "
            "`averaged_weights`, or call `show_raw(model)`, before another one is shown."
        )
    for optimizer in optimizers:
        values = None
        if tensors is not None:
            number = len(optimizer.average_tensors(name))
            values, tensors = tensors[:number], tensors[number:]
        optimizer.show_average(name, values)


def _build(model: keras.Model) -> None:
    """Build the optimizer, if the model has its variables: what was loaded before comes to life."""
    if model.built and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _name(model: keras.Model, name: str | None) -> str:
    return average_names(model)[0] if name is None else name


def _with_average(model: keras.Model, name: str | None) -> list[Any]:
    """Return the optimizers that keep the average of a name, or raise because there are none."""
    names = average_names(model)
    if not names:
        optimizer = getattr(model, "optimizer", None)
        raise SettingError(
            "The model's optimizer must keep averages of the weights. Received: "
            f"{type(optimizer).__name__}. Compile the model with "
            "nadam_suite.Nadam(averaging=nadam_suite.averaging.EMA()) or use_ema=True."
        )
    if name is not None and name not in names:
        raise ArgumentError(
            f"Argument `name` must be one of the averages {list(names)}. Received: name={name!r}. "
            "Correct it, or leave it out for the first."
        )
    _build(model)
    wanted = _name(model, name)
    return [optimizer for optimizer in keepers(model) if wanted in optimizer.average_names]
