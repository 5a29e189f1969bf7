"""`EvaluateAverage`: the metrics of the averages, and of the raw weights beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from nadam_suite.averaging import averaged_weights, show_average, show_raw, shown
from nadam_suite.averaging.beside import put_aside
from nadam_suite.backends import get_backend
from nadam_suite.callbacks.batch_norm import copies, statistics_of
from nadam_suite.callbacks.showing import Statistics, begin_raw, build
from nadam_suite.callbacks.validation import release_validation, watch_validation
from nadam_suite.errors import ArgumentError
from nadam_suite.optimizers.arguments import check_flag

__all__ = ["EvaluateAverage"]


class EvaluateAverage(keras.callbacks.Callback):
    """Evaluates the averages of the weights instead of the raw weights, or both.

    In `fit()` the validation at the end of an epoch gives val_* of the averages, and val_raw_* of
    the raw weights: two passes over the validation data, which must be readable twice. Early
    stopping, `AverageCheckpoint` and all others that monitor val_* then go by the averages. The
    training itself sees raw weights only, which are bit for bit what they were.

    `model.evaluate(callbacks=[...])` and `model.predict(callbacks=[...])` use the averages as well
    and put the raw weights back at the end, also if the model fails on a batch. Where the data, or
    another callback, might raise, use the block `nadam_suite.averaging.averaged_weights` instead;
    what an exception there leaves in the model is put right by the next `fit()` with a callback of
    this family.

    Before the first update the averages are the weights.

    Args:
        name: Name of the average; None, the default, takes the first one.
        also_raw: Whether to validate the raw weights too. Defaults to True.
        batch_norm: "keep", the default, evaluates with the moving statistics of the raw weights,
            "recalibrate" with those that the averages have over `data`.
        data: Training data to recalibrate with, see `recalibrate_batch_norm`; it is read at every
            validation. Needed if the model has batch normalization.
        steps: Number of batches to read of them, or None, the default, for all.

    Raises:
        ArgumentError: At the start of `fit()`: no such average, or no data to recalibrate with.
        SettingError: At the start of `fit()`: the optimizer keeps no averages.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import EMA
    >>> from nadam_suite.callbacks import EvaluateAverage
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.1, averaging=EMA(0.9)), loss="mse")
    >>> x = np.ones((8, 2), "float32")
    >>> history = model.fit(x, x[:, :1], epochs=2, verbose=0, validation_data=(x, x[:, :1]),
    ...                     callbacks=[EvaluateAverage()])
    >>> sorted(history.history)
    ['loss', 'val_loss', 'val_raw_loss']
    """

    def __init__(
        self,
        name: str | None = None,
        also_raw: bool = True,
        batch_norm: str = "keep",
        data: Any = None,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.also_raw = check_flag("also_raw", also_raw)
        self.statistics = Statistics(batch_norm, data, steps)
        self.average = name
        self.evaluated_statistics: list[Any] | None = None
        self._validating = False
        self._showing: str | None = None
        self._function: Callable[..., Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin from the raw weights, and take the validation over."""
        self.average = begin_raw(self.model, self.name)
        self.statistics.check(self.model)
        self.evaluated_statistics = None
        watch_validation(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the statistics of the last epoch's averages."""
        self.evaluated_statistics = None

    def on_train_end(self, logs: Any = None) -> None:
        """Give the validation back."""
        release_validation(self.model)

    def check_others(self, callbacks: Sequence[Any]) -> None:
        """Refuse a second one, whose metrics would have the same names.

        Raises:
            ArgumentError: There are two in the list.
        """
        if sum(isinstance(callback, EvaluateAverage) for callback in callbacks) > 1:
            raise ArgumentError(
                "Only one `EvaluateAverage` can be used in a `fit()`: both would log val_loss. "
                "Received: several. Evaluate the other averages after the training."
            )

    def validate(
        self, evaluate: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Run the validation of `fit()`; its logs also get the metrics of the raw weights."""
        model, raw = self.model, {}
        self._validating = True
        try:
            if self.also_raw:  # in silence, and first: the metrics shall hold the averages' values
                random = get_backend().random_state()  # PyTorch's loader of the data draws from it
                raw = evaluate(*args, **{**kwargs, "callbacks": None, "verbose": 0})
                if random is not None:
                    get_backend().set_random_state(random)
            with averaged_weights(model, self.average):
                self.statistics.follow(model)
                if self.statistics.mode == "recalibrate":
                    variables = statistics_of(model)
                    self.evaluated_statistics = [get_backend().copy(v) for v in variables]
                averaged = evaluate(*args, **kwargs)
        finally:
            self._validating = False
        return {**averaged, **{f"raw_{name}": value for name, value in raw.items()}}

    def on_test_begin(self, logs: Any = None) -> None:
        """Show the averages to a direct `evaluate()`."""
        self._show("test_function")

    def on_test_end(self, logs: Any = None) -> None:
        """Put the raw weights back."""
        self._put_back()

    def on_predict_begin(self, logs: Any = None) -> None:
        """Show the averages to a direct `predict()`."""
        self._show("predict_function")

    def on_predict_end(self, logs: Any = None) -> None:
        """Put the raw weights back."""
        self._put_back()

    def _show(self, function: str) -> None:
        """Show the averages, and guard the function that runs the model on a batch."""
        model = self.model
        self._put_back()  # what an exception outside of that function has left
        held = shown(model)
        if self._validating or (held is not None and self.name in {None, held}):
            return
        build(model)
        show_average(model, self.name)
        self._showing, self._function = function, getattr(model, function)
        try:
            # All other state too: JAX loses it where a loop is cut at its first batch.
            put_aside(model, copies(model.non_trainable_variables))
            self.statistics.check(model)
            self.statistics.follow(model)
        except BaseException:
            self._put_back()
            raise
        setattr(model, function, self._guarded(self._function))

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that puts the raw weights back if it fails."""

        def guarded(*args: Any) -> Any:
            try:
                return function(*args)
            except StopIteration:  # the end of the data
                raise
            except BaseException:
                self._put_back()
                raise

        return guarded

    def _put_back(self) -> None:
        if self._showing is None:
            return
        setattr(self.model, self._showing, self._function)
        self._showing, self._function = None, None
        show_raw(self.model)
