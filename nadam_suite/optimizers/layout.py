"""Which variables an optimizer keeps for each model variable, and in which type."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import (
    HALF_PRECISION,
    Running,
    Slot,
    State,
    compute_dtype,
    dtype_of,
)
from nadam_suite.optimizers.hyperparameters import is_constant
from nadam_suite.optimizers.monitor import MONITORED
from nadam_suite.optimizers.parameter_rules import ParameterRule, explain

__all__ = ["Layout", "average_key", "moment_dtype", "needs_master", "state_dtype"]


def average_key(name: str, what: Any) -> str:
    """Return under which key a state keeps the count of an average, or a variable's value of it.

    The average of `use_ema=True` has the keys that it had when it was the only one.
    """
    return f"average_{what}" if name == "ema" else f"average:{name}_{what}"


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
        self._last: tuple[list[Any], list[int]] = [], []

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
        for name, rule in optimizer.average_rules.items():
            self._add_average(optimizer, name, rule)
        self.start_averages()

    def _add_average(self, optimizer: Any, name: str, rule: Any) -> None:
        """Create the variables of one running average, in float32 whatever the weights' type."""
        first = not self.state.averages
        count = optimizer.add_variable(shape=(), dtype="int", name=average_key(name, "count"))
        self.state.averages = (*self.state.averages, Running(name, rule, count))
        variables = [slot.variable for slot in self.slots]

        def create(kind: str) -> list[Any]:
            return optimizer.add_optimizer_variables(variables, kind)

        # Where stock callbacks look for it; the stock build has created it.
        stock = optimizer.use_ema and first
        averages = optimizer._model_variables_moving_average if stock else create(f"average_{name}")
        copies = [create(f"average_{name}_{number}") for number in range(rule.copies)]
        for index, slot in enumerate(self.slots):
            if averages[index] is not None:
                slot.averages = (*slot.averages, averages[index])
                slot.copies = (*slot.copies, tuple(each[index] for each in copies))

    def start_averages(self, positions: Iterable[int] | None = None) -> None:
        """Set averages to the weights, and their counts to zero.

        Args:
            positions: Of the averages; by default all of them, which have just been created then.
        """
        running, backend = self.state.averages, get_backend()
        for position in range(len(running)) if positions is None else positions:
            running[position].count.assign(0)
            for slot in self.slots:
                if not slot.averages:
                    continue
                weight, average = slot.weight(), slot.averages[position]
                # On TensorFlow a variable that the running trace has created is empty so far; its
                # average stays zero then, and is the weight until it begins, as any other.
                if tuple(weight.shape) != tuple(average.shape):
                    continue
                if positions is None:
                    backend.fill(average, weight)
                else:
                    average.assign(backend.unshared(weight))

    def average_position(self, name: str) -> int:
        """Return the position of a running average."""
        return [running.name for running in self.state.averages].index(name)

    def has_begun(self, position: int) -> bool:
        """Return whether weights have entered a running average."""
        return int(keras.ops.convert_to_numpy(self.state.averages[position].count)) > 0

    def average_pairs(self, position: int) -> list[tuple[Slot, Any]]:
        """Return every averaged slot with its average; one that has not begun is the weight."""
        slots, backend = [slot for slot in self.slots if slot.averages], get_backend()
        if self.has_begun(position):
            tensors = backend.values([slot.averages[position] for slot in slots])
        else:
            tensors = backend.weights(slots)
        return list(zip(slots, tensors, strict=True))

    def select(self, keys: Iterable[Any]) -> list[Slot]:
        """Return the slots of some variables."""
        return [self._by_key[key] for key in keys]

    def places(self, variables: Sequence[Any], keys: Iterable[Any]) -> list[int]:
        """Return the positions of the slots of some variables, and remember them."""
        self._last = list(variables), [slot.index for slot in self.select(keys)]
        return list(self._last[1])

    def repeated(self, variables: Sequence[Any]) -> list[int] | None:
        """Return what `places` has last returned, if these are the very same variables."""
        last, places = self._last
        same = len(last) == len(variables) and all(map(operator.is_, last, variables))
        return list(places) if same else None

    def _attach(self, kind: str, variables: Sequence[Any]) -> None:
        for slot, variable in zip(self.slots, variables, strict=True):
            setattr(slot, kind, variable)

    @property
    def scalar_dtype(self) -> str:
        """The type of a step's scalars: that of the widest variable."""
        wide = any(slot.compute_dtype == "float64" for slot in self.slots)
        return "float64" if wide or keras.config.floatx() == "float64" else "float32"
