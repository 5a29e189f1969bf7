"""What the callbacks for averages have in common: how they begin, and how statistics follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import keras

from nadam_suite.averaging import average_names, average_tensors, show_raw
from nadam_suite.averaging.beside import put_aside
from nadam_suite.averaging.shown import keepers
from nadam_suite.callbacks.batch_norm import (
    copies,
    normalization_layers,
    recalibrate_batch_norm,
    statistics_of,
)
from nadam_suite.callbacks.snapshot import take
from nadam_suite.errors import ArgumentError
from nadam_suite.optimizers.arguments import check_choice, check_integer

__all__ = ["Statistics", "begin_raw", "build", "saved_seeds"]


def begin_raw(model: keras.Model, name: str | None) -> str:
    """Let a training begin from the raw weights, and return the name of the average.

    Raises:
        ArgumentError: There is no average of that name.
        SettingError: The optimizer keeps no averages.
    """
    show_raw(model)
    _take_up_seeds(model)
    names = average_names(model)
    if not names or (name is not None and name not in names):
        average_tensors(model, name)  # which says what is wrong
    return names[0] if name is None else name


def build(model: keras.Model) -> None:
    """Create the averages, where a model is evaluated or finalized before its first step."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


@contextlib.contextmanager
def saved_seeds(model: keras.Model) -> Iterator[None]:
    """Let `model.save()` write the state of the model's random generators too, which Keras omits.

    It goes with the state of the optimizer. `begin_raw` gives it back to a model that is loaded.
    """
    optimizer = keepers(model)[0]
    optimizer.companions = {
        f"seed_{index}": array for index, array in enumerate(take(_seeds(model))[0])
    }
    try:
        yield
    finally:
        optimizer.companions = {}


def _take_up_seeds(model: keras.Model) -> None:
    """Give the random generators the state that was loaded with the optimizer's, once."""
    for optimizer in keepers(model):
        loaded, optimizer.companions = optimizer.companions, {}
        seeds = _seeds(model)
        if len(loaded) == len(seeds):  # else the model has been changed since
            for index, seed in enumerate(seeds):
                seed.assign(loaded[f"seed_{index}"])


def _seeds(model: keras.Model) -> list[Any]:
    return [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]


class Statistics:
    """How the moving statistics of batch normalization follow when averages are shown.

    Args:
        batch_norm: "keep" leaves those of the raw weights, "recalibrate" computes new ones.
        data: What they are computed from, see `recalibrate_batch_norm`.
        steps: Number of batches to read of it, or None for all.
    """

    def __init__(self, batch_norm: str, data: Any, steps: int | None) -> None:
        check_choice("batch_norm", batch_norm, ("keep", "recalibrate"))
        self.mode = batch_norm
        self.data = data
        self.steps = check_integer("steps", steps, 1)

    def mode_of(self, model: keras.Model) -> str:
        """Return what is done to a model; one without batch normalization keeps all it has."""
        return self.mode if normalization_layers(model) else "keep"

    def check(self, model: keras.Model) -> None:
        """Refuse to recalibrate without data, before the first step."""
        if self.mode_of(model) == "recalibrate" and self.data is None:
            raise ArgumentError(
                "Argument `data` must be given to recalibrate batch normalization. Received: "
                f"batch_norm='recalibrate', data=None, and model {model.name!r} has such layers. "
                'Pass the training data, or batch_norm="keep".'
            )

    def follow(self, model: keras.Model) -> None:
        """Give the model, which shows averages, their statistics; `show_raw` undoes it."""
        if self.mode == "recalibrate":
            recalibrate_batch_norm(model, self.data, self.steps)

    def put(self, model: keras.Model, values: Any) -> None:
        """Give the model, which shows averages, statistics that were kept before."""
        variables = statistics_of(model)
        put_aside(model, copies(variables))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the data: tuners copy the callbacks for each trial."""
        return type(self)(self.mode, self.data, self.steps)
