"""Which variables an optimizer keeps for each model variable, and in which type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import HALF_PRECISION, Slot, State, compute_dtype, dtype_of
from nadam_suite.optimizers.hyperparameters import is_constant
from nadam_suite.optimizers.monitor import MONITORED
from nadam_suite.optimizers.parameter_rules import ParameterRule, explain

__all__ = ["Layout", "moment_dtype", "needs_master", "state_dtype"]


def moment_dtype(dtype: str, slot_dtype: str | None) -> str:
    """Return the type of momentum and velocity for a variable of type `dtype`."""
    return slot_dtype or compute_dtype(dtype)


def state_dtype(variable: Any, kind: str | None, slot_dtype: str | None) -> str:
    """Return the type of an optimizer variable by its purpose: only moments may be narrow."""
    own = dtype_of(variable)
    is_moment = kind in ("momentum", "velocity")
    return moment_dtype(own, slot_dtype) if is_moment else compute_dtype(own)


def needs_master(dtype: str, slot_dtype: str | None) -> bool:
    """Return whether a variable gets a full-precision copy.

    An update is often smaller than half a unit in the last place of a half-precision weight, and
    would be rounded away at every step. Half-precision slots are the choice of memory over that.
    """
    return dtype in HALF_PRECISION and moment_dtype(dtype, slot_dtype) not in HALF_PRECISION


class Layout:
    """The slots of a built optimizer, in build order and by variable.

    A plain object on purpose: containers that are attributes of an optimizer are tracked by Keras
    and TensorFlow, and model variables must not be taken for optimizer variables.

    Args:
        variables: The model variables.
        keys: A hashable stable key for every variable.
        rules: Parameter rules, resolved here once.
        weight_decay_mode: Unless it is "independent", a variable whose rate is multiplied decays
            so much the more or less.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        keys: Sequence[Any],
        rules: Sequence[ParameterRule],
        weight_decay_mode: str = "lr",
    ) -> None:
        rows = explain(rules, variables)
        apart = weight_decay_mode == "independent"
        self.slots = [
            Slot(
                index,
                variable,
                row.learning_rate,
                row.weight_decay * (1.0 if apart else row.learning_rate),
                constraint=getattr(variable, "constraint", None),
                overwrite=bool(getattr(variable, "overwrite_with_gradient", False)),
            )
            for index, (variable, row) in enumerate(zip(variables, rows, strict=True))
        ]
        self._by_key = dict(zip(keys, self.slots, strict=True))
        self.state = State(self.slots, iterations=None)

    def fill(self, optimizer: Any) -> None:
        """Attach the variables that the optimizer has created, and create what is missing."""
        self._attach("momentum", optimizer._momentums)
        self._attach("velocity", optimizer._velocities)
        if optimizer.gradient_accumulation_steps:
            self._attach("accumulator", optimizer._accumulated_gradients)
        for slot in self.slots:
            if not slot.overwrite and needs_master(dtype_of(slot.variable), optimizer.slot_dtype):
                slot.master = optimizer.add_variable_from_reference(slot.variable, name="master")
        state, one = self.state, {"shape": (), "dtype": self.scalar_dtype, "initializer": "ones"}
        state.iterations = optimizer._iterations
        state.u_product = optimizer.add_variable(name="u_product", **one)
        if not is_constant(optimizer.beta_2):
            state.beta_2_product = optimizer.add_variable(name="beta_2_product", **one)
        if callable(optimizer._learning_rate):
            state.learning_rate_scale = optimizer.add_variable(name="learning_rate_scale", **one)
        state.monitor = optimizer.add_variable(
            shape=(len(MONITORED),), dtype="float32", initializer="zeros", name="monitor"
        )
        if optimizer.use_ema:
            state.average_count = optimizer.add_variable(
                shape=(), dtype="int", name="average_count"
            )
            self._attach("average", optimizer._model_variables_moving_average)
            self.start_averages()

    def start_averages(self) -> None:
        """Set every average to its variable's value."""
        for slot in self.slots:
            if slot.average is not None:
                slot.average.assign(get_backend().copy(slot.weight()))

    def averages_exist(self) -> bool:
        """Return whether an update has entered the averages."""
        return int(keras.ops.convert_to_numpy(self.state.average_count)) > 0

    def select(self, keys: Iterable[Any]) -> list[Slot]:
        """Return the slots of some variables."""
        return [self._by_key[key] for key in keys]

    def _attach(self, kind: str, variables: Sequence[Any]) -> None:
        for slot, variable in zip(self.slots, variables, strict=True):
            setattr(slot, kind, variable)

    @property
    def scalar_dtype(self) -> str:
        """The type of a step's scalars: that of the widest variable."""
        wide = any(slot.compute_dtype == "float64" for slot in self.slots)
        return "float64" if wide or keras.config.floatx() == "float64" else "float32"
