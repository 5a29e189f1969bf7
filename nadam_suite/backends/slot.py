"""What a step reads and writes: model variables, what is kept for each of them, and counters."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

__all__ = [
    "HALF_PRECISION",
    "Running",
    "Slot",
    "State",
    "Written",
    "dtype_of",
    "native",
    "path_of",
]

HALF_PRECISION = ("bfloat16", "float16")


def native(variable: Any) -> Any:
    """Return the framework's variable of a Keras variable; another one is that itself."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def dtype_of(variable: Any) -> str:
    """Return the stored type of a variable, whatever autocast scope is active."""
    return str(keras.backend.standardize_dtype(native(variable).dtype))


def path_of(variable: Any) -> str:
    """Return the path of a Keras variable, or the name of a native one."""
    return str(getattr(variable, "path", None) or variable.name)


@dataclasses.dataclass
class Slot:
    """State of one model variable; fields that the settings do not need are None.

    Args:
        index: Position among the variables that the optimizer was built with.
        variable: The model variable.
        learning_rate: Multiplier of the learning rate, from the parameter rules.
        decay: Factor of the step's decay, from the multipliers of the rules.
        constraint: Constraint of the variable, or None.
        overwrite: Whether the gradient replaces the variable, as float8 scales ask for.
        momentum: First moment m.
        velocity: Second moment v.
        master: Full-precision copy of a half-precision variable.
        accumulator: Sum of the gradients of the running window.
        averages: Running averages of the variable, one for each of the state's `averages`; empty
            for a variable that is not averaged.
        copies: For each of them the weights that it keeps besides.
        plan: What a backend has worked out for updates that begin with this slot; it may be
            dropped at any time.
    """

    index: int
    variable: Any
    learning_rate: float = 1.0
    decay: float = 1.0
    constraint: Callable[[Any], Any] | None = None
    overwrite: bool = False
    momentum: Any = None
    velocity: Any = None
    master: Any = None
    accumulator: Any = None
    averages: tuple[Any, ...] = ()
    copies: tuple[tuple[Any, ...], ...] = ()
    plan: Any = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def frozen(self) -> bool:
        """Whether a multiplier of zero keeps the variable as it is."""
        return self.learning_rate == 0.0

    @functools.cached_property
    def compute_dtype(self) -> str:
        """The type of the arithmetic: float64 for float64 variables, else float32."""
        return compute_dtype(dtype_of(self.variable))

    def weight(self) -> Any:
        """Return the variable in full precision.

        A master copy counts where it still rounds to the variable; an element that something else
        has written since (a loaded file, a swap, a reset) is taken from the variable.
        """
        master = None if self.master is None else keras.ops.convert_to_tensor(self.master)
        return self.full_precision(keras.ops.convert_to_tensor(self.variable), master)

    def full_precision(self, value: Any, master: Any) -> Any:
        """Return what `weight` does for these values of the variable and its master copy."""
        if master is None:
            return keras.ops.cast(value, self.compute_dtype)
        untouched = keras.ops.equal(keras.ops.cast(master, dtype_of(self.variable)), value)
        return keras.ops.where(untouched, master, keras.ops.cast(value, self.compute_dtype))

    def write(self, weight: Any) -> None:
        """Write a full-precision weight into the variable and its master copy."""
        if weight is getattr(self.variable, "value", None):
            return  # updated in place
        if self.master is not None:
            self.master.assign(weight)
        self.variable.assign(keras.ops.cast(weight, dtype_of(self.variable)))


@dataclasses.dataclass(frozen=True)
class Written:
    """A new weight that is in its variable already.

    Args:
        weight: The same as a tensor in full precision, or None where it has to be read.
        averaged: Whether its averages have taken it in by the scalars' `average_shares`.
    """

    weight: Any = None
    averaged: bool = False


@dataclasses.dataclass(frozen=True)
class Running:
    """A running average of all variables, whose values are in the slots.

    Args:
        name: Its name.
        rule: A `nadam_suite.averaging.Rule`.
        count: How many weights it has taken in.
    """

    name: str
    rule: Any
    count: Any


@dataclasses.dataclass
class State:
    """All slots of an optimizer, and its counters; those that the settings do not need are None.

    Args:
        slots: One for every model variable, in build order.
        iterations: Number of calls of `apply`.
        u_product: Running product of u_t.
        beta_2_product: Running product of beta_2, where it varies.
        averages: The running averages.
        learning_rate_scale: What the rate of a schedule or callable is multiplied by.
        monitor: What the last update used, see `nadam_suite.optimizers.monitor`.
        guard: What decides whether a step is taken, see `nadam_suite.optimizers.guard`.
    """

    slots: list[Slot]
    iterations: Any
    u_product: Any = None
    beta_2_product: Any = None
    averages: tuple[Running, ...] = ()
    learning_rate_scale: Any = None
    monitor: Any = None
    guard: Any = None

    def variables(self) -> Iterator[Any]:
        """Yield everything that a step may assign."""
        for slot in self.slots:
            yield from (v for name in KEPT if (v := getattr(slot, name)) is not None)
        yield from (v for name in COUNTERS if (v := getattr(self, name)) is not None)
        for position in range(len(self.averages)):
            yield from self.of_average(position, with_weights=False)

    def of_average(self, position: int, *, with_weights: bool = True) -> Iterator[Any]:
        """Yield what taking the weights into one of the averages may read or assign."""
        yield self.averages[position].count
        for slot in self.slots:
            if slot.averages:
                yield slot.averages[position]
                yield from slot.copies[position]
                if with_weights:
                    yield from (v for v in (slot.variable, slot.master) if v is not None)

    def mapped(self, function: Callable[[Any], Any]) -> State:
        """Return the same state over other copies of its variables."""

        def changed(holder: Any, names: tuple[str, ...]) -> dict[str, Any]:
            held = {name: getattr(holder, name) for name in names}
            return {name: function(v) for name, v in held.items() if v is not None}

        def kept(slot: Slot) -> dict[str, Any]:
            return {
                "averages": tuple(map(function, slot.averages)),
                "copies": tuple(tuple(map(function, each)) for each in slot.copies),
                **changed(slot, KEPT),
            }

        slots = [dataclasses.replace(slot, **kept(slot)) for slot in self.slots]
        averages = tuple(
            dataclasses.replace(running, count=function(running.count)) for running in self.averages
        )
        guard = None if self.guard is None else self.guard.mapped(function)
        counters = changed(self, COUNTERS)
        return dataclasses.replace(self, slots=slots, averages=averages, guard=guard, **counters)


KEPT = ("variable", "momentum", "velocity", "master", "accumulator")
COUNTERS = ("iterations", "u_product", "beta_2_product", "learning_rate_scale", "monitor")


def compute_dtype(dtype: str) -> str:
    """Return the type that a variable of type `dtype` is updated in."""
    return "float64" if dtype == "float64" else "float32"
