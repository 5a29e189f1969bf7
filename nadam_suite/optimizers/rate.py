"""The learning rate of a Nadam: a settable number, a schedule or a callable; its highest value."""

from __future__ import annotations

from typing import Any

import keras

from nadam_suite.backends.slot import compute_dtype
from nadam_suite.errors import ArgumentError
from nadam_suite.optimizers import hyperparameters, settings
from nadam_suite.optimizers.hyperparameters import schedule_counter

__all__ = ["LearningRate", "highest_rate"]


class LearningRate:
    """The part of `nadam_suite.Nadam` that holds its learning rate.

    A number is held in a variable of full precision, so that callbacks can assign it. What a
    schedule or a callable says is multiplied by another variable, `learning_rate_scale`.
    """

    _learning_rate: Any
    _typed_rate: float | None
    _highest_rate: float | None
    weight_decay_mode: str
    max_learning_rate: float | None
    # What the optimizer has, with which this class is combined.
    built: bool
    add_variable: Any
    _layout: Any
    _untrack_variable: Any

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step: the settable variable, or what a schedule says."""
        if isinstance(self._learning_rate, keras.Variable):
            return self._learning_rate
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = self._learning_rate(schedule_counter(self))
        else:
            rate = self._learning_rate()
        scale = self.learning_rate_scale
        return rate if scale is None else rate * keras.ops.convert_to_tensor(scale)

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        rate = hyperparameters.normalize("learning_rate", learning_rate)
        settable = isinstance(self._learning_rate, keras.Variable)
        if self.built and (callable(rate) or not settable):
            settings.refuse_other_kind(self._learning_rate, learning_rate)
        if not self.built:
            self._note_highest(rate)
        if callable(rate):
            if settable:
                self._untrack_variable(self._learning_rate)
            self._learning_rate = rate
        elif settable:
            self._learning_rate.assign(rate)
            self._typed_rate = rate
        else:
            self._set_rate_variable(rate)

    @property
    def learning_rate_scale(self) -> Any:
        """The variable by which the rate of a schedule or callable is multiplied, 1.0 at first.

        None for a rate that is a number, which can be assigned itself, and before `build`.
        """
        return self._layout.state.learning_rate_scale if self.built else None

    def _set_rate_variable(self, rate: float) -> None:
        """Hold the rate in a variable of full precision, so that it can be assigned."""
        self._learning_rate = self.add_variable(
            shape=(),
            initializer=lambda _, dtype: keras.ops.convert_to_tensor(rate, dtype=dtype),
            dtype=compute_dtype(keras.config.floatx()),
            aggregation="only_first_replica",
            name="learning_rate",
        )
        self._typed_rate = rate

    def _note_highest(self, rate: Any) -> None:
        """Keep the highest rate, which a later assignment to a built optimizer does not change."""
        self._highest_rate = highest_rate(self.weight_decay_mode, rate, self.max_learning_rate)


def highest_rate(mode: str, rate: Any, given: float | None) -> float | None:
    """Return the learning rate that a mode of weight decay refers to; None for "lr".

    Args:
        mode: `weight_decay_mode`.
        rate: A number, a schedule or a callable.
        given: `max_learning_rate`, or None to find it out.

    Raises:
        ArgumentError: It is needed and cannot be found out, or is given and not needed.
    """
    if mode == "lr":
        if given is not None:
            raise ArgumentError(
                'Argument `max_learning_rate` must be left out with weight_decay_mode="lr", which '
                f"does not use it. Received: max_learning_rate={given!r}. Remove it, or choose "
                '"independent" or "corrected".'
            )
        return None
    if given is not None:
        return given
    highest = rate if isinstance(rate, float) else getattr(rate, "highest", None)
    if not isinstance(highest, float) or highest <= 0.0:
        raise ArgumentError(
            f'Argument `max_learning_rate` must be given with weight_decay_mode="{mode}" where the '
            f"learning rate does not tell its highest value. Received: learning_rate={rate!r}, "
            "max_learning_rate=None. Pass the highest learning rate of the training, > 0."
        )
    return highest
