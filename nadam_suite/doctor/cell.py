"""What a cell of the contract table is: one promise, the setting it is tried in, and the probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

__all__ = [
    "BACKENDS",
    "Averages",
    "Cell",
    "CellResult",
    "Observation",
    "Precision",
    "Search",
    "Subject",
]

BACKENDS = ("tensorflow", "jax", "torch")


@dataclasses.dataclass(frozen=True)
class Observation:
    """What a probe saw.

    Args:
        holds: Whether the promise was kept.
        detail: What was measured, in a few words.
    """

    holds: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class Averages:
    """How a subject averages the weights, and what it has for a use of the averages.

    Args:
        optimizer: Nadam with a moving average. Called with the rate, the momentum of the average
            and other arguments of the constructor.
        validating: Callbacks under which validation, `evaluate()` and `predict()` see the averages.
            Called with the data for statistics under them, or nothing.
        epoch_end: The same, for callbacks that look at the weights at the end of an epoch.
        keeping: Those, and what writes a file at each epoch's end. Called with a folder.
        keeping_best: Callbacks that validate the averages, and what keeps the best. Called with a
            folder, in which the best model is "best.keras".
        early_stopping: Callbacks that stop early and leave the averages of the best epoch. Called
            with "raw" or "average", which should be validated, and with the arguments of
            `keras.callbacks.EarlyStopping`.
        finishing: Callbacks with which `fit()` ends on the averages. Called with the data for
            statistics under them, or nothing.
        finish: Put the averages into a model, on request.
        evaluate: Return the loss under the averages. Called with a model, x, y and callbacks.
    """

    optimizer: Callable[..., Any]
    validating: Callable[..., list[Any]]
    epoch_end: Callable[[], list[Any]]
    keeping: Callable[..., list[Any]]
    keeping_best: Callable[..., list[Any]]
    early_stopping: Callable[..., list[Any]]
    finishing: Callable[..., list[Any]]
    finish: Callable[..., None]
    evaluate: Callable[..., float]


@dataclasses.dataclass(frozen=True)
class Precision:
    """What a subject has for numbers that leave the range of their type.

    Args:
        unending: Loss scaling of a training that is never ended, however many steps are skipped.
            Called with an optimizer and the arguments that both wrappers have.
        for_model: What to compile a model with, that its layers of half precision train. Called
            with an optimizer and the model.
        skipping: What to compile with, that bad batches of float32 or bfloat16 are skipped. Called
            with an optimizer.
        watchers: Callbacks that put what was skipped into the logs, and end what only skips.
    """

    unending: Callable[..., Any]
    for_model: Callable[..., Any]
    skipping: Callable[..., Any]
    watchers: Callable[[], list[Any]]


@dataclasses.dataclass(frozen=True)
class Search:
    """What a subject has for a search for hyperparameters.

    Args:
        random: The tuner that draws at random; called as `keras_tuner.RandomSearch`.
        hyperband: The tuner that promotes the best; called as `keras_tuner.Hyperband`.
        beta_1: Declares beta_1 in `keras_tuner.HyperParameters` and returns its value.
        distribution: Name of what is installed.
    """

    random: Callable[..., Any]
    hyperband: Callable[..., Any]
    beta_1: Callable[[Any], Any]
    distribution: str


@dataclasses.dataclass(frozen=True)
class Subject:
    """Whose promise is tried: stock Keras or this package.

    Args:
        name: "stock" or "ours".
        optimizer: The Nadam class; called with the arguments of its constructor.
        loss_scaling: The wrapper for loss scaling; called with an optimizer.
        resumable_fit: Trains a model, or goes on with a training that was cut, with the callback
            meant for it. Called with the model, a folder, x, y, and the other callbacks; see
            `nadam_suite.doctor.subjects`.
        warmup_cosine: Schedule with a linear warm-up from 0 to a peak and a cosine to 0. Called
            with peak, steps of the warm-up and steps in all.
        exponential: Schedule that is multiplied by a factor in so many steps. Called with its
            first value, the steps and the factor.
        polynomial: Schedule that falls on a straight line, its end left to the default. Called
            with its first value and its steps.
        plateau: Callback that lowers the rate on a plateau. Called with the metric, the factor and
            the patience.
        watchers: Callbacks that put the optimizer's hyperparameters into the logs.
        averages: Averages of the weights, and what there is for their use.
        precision: What belongs to half precision.
        search: Returns what belongs to searches; called when it is needed, for it imports
            keras-tuner.
    """

    name: str
    optimizer: Callable[..., Any]
    loss_scaling: Callable[..., Any]
    resumable_fit: Callable[..., None]
    warmup_cosine: Callable[..., Any]
    exponential: Callable[..., Any]
    polynomial: Callable[..., Any]
    plateau: Callable[..., Any]
    watchers: Callable[[], list[Any]]
    averages: Averages
    precision: Precision
    search: Callable[[], Search]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One promise in one setting, tried on stock Keras and on this package.

    Args:
        id: Row of the list of defects, and a word for this cell: `"K6/bfloat16"`.
        title: The promise, as a user would put it.
        setting: What the probe does.
        probe: Function of a `Subject` that returns an `Observation`. An exception that it lets
            through counts as a broken promise.
        backends: Backends that the cell is tried on.
        stock_holds_on: Those of them where the stock optimizer keeps the promise. On the others it
            is expected to break it, so that a Keras release that mends it is noticed.
        needs: Backends that must be installed besides the running one.
        since: First release of Keras that has what the probe builds; empty for all supported ones.
        slow: Whether the probe takes more than a few seconds.
    """

    id: str
    title: str
    setting: str
    probe: Callable[[Subject], Observation]
    backends: tuple[str, ...] = BACKENDS
    stock_holds_on: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    since: str = ""
    slow: bool = False

    @property
    def row(self) -> str:
        """Identifier of the defect that the cell belongs to."""
        return self.id.partition("/")[0]

    def stock_should_hold(self, backend: str) -> bool:
        """Return whether the stock optimizer is known to keep the promise on a backend."""
        return backend in self.stock_holds_on


@dataclasses.dataclass(frozen=True)
class CellResult:
    """What one cell showed on one backend.

    Args:
        cell: The cell.
        backend: The backend it ran on.
        stock: What stock Keras did, or None where it was not tried.
        ours: What this package did, or None where it was not tried.
        seconds: Time that both took.
    """

    cell: Cell
    backend: str
    stock: Observation | None
    ours: Observation | None
    seconds: float = 0.0

    @property
    def as_promised(self) -> bool:
        """Whether this package kept the promise, or was not tried."""
        return self.ours is None or self.ours.holds

    @property
    def stock_as_expected(self) -> bool:
        """Whether stock Keras did what the table says of it, or was not tried."""
        expected = self.cell.stock_should_hold(self.backend)
        return self.stock is None or self.stock.holds == expected
