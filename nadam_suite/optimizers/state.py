"""An optimizer's state by name, and the reading of positional states that stock Keras wrote.

Stock Keras stores optimizer variables under their positions, so that one setting more or less
shifts everything behind it. Here each array has a name, and a state is matched name by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from nadam_suite.errors import StateError
from nadam_suite.optimizers.layout import average_key

__all__ = [
    "COMPANION",
    "SHOWN_KEY",
    "WINDOW_KEY",
    "ScaledState",
    "StockLayout",
    "average_state",
    "named_state",
    "read_store",
    "saved_state",
    "scaled_state",
    "u_product_after",
]

WINDOW_KEY = "gradient_accumulation_steps"
SHOWN_KEY = "shown_average"
COMPANION = "companion:"
_PER_VARIABLE = ("momentum", "velocity", "accumulator", "master")


def named_state(optimizer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the variable of everything that a built optimizer must keep."""
    state = optimizer._layout.state
    yield "iteration", state.iterations
    if isinstance(optimizer._learning_rate, keras.Variable):
        yield "learning_rate", optimizer._learning_rate
    for name in ("u_product", "beta_2_product", "learning_rate_scale"):
        if (variable := getattr(state, name)) is not None:
            yield name, variable
    for slot in optimizer._layout.slots:
        for kind in _PER_VARIABLE:
            if (variable := getattr(slot, kind)) is not None:
                yield f"{kind}_{slot.index}", variable
    for position in range(len(state.averages)):
        yield from average_state(optimizer, position)


def average_state(optimizer: Any, position: int) -> Iterator[tuple[str, Any]]:
    """Yield the name and the variable of everything that belongs to a running average."""
    running = optimizer._layout.state.averages[position]
    yield average_key(running.name, "count"), running.count
    for slot in optimizer._layout.slots:
        if slot.averages:
            yield average_key(running.name, slot.index), slot.averages[position]
            for number, copy in enumerate(slot.copies[position]):
                yield average_key(running.name, f"copy_{number}_{slot.index}"), copy


def saved_state(optimizer: Any) -> dict[str, np.ndarray]:
    """Return the state of a built optimizer as arrays by name."""
    state = {
        name: np.asarray(keras.ops.convert_to_numpy(variable))
        for name, variable in named_state(optimizer)
    }
    state[WINDOW_KEY] = np.asarray(optimizer.gradient_accumulation_steps or 1)
    if (shown := optimizer._shown) is not None:
        state[SHOWN_KEY] = np.frombuffer(shown.name.encode(), np.uint8)
        for index, value in shown.raw.items():
            state[f"raw_{index}"] = np.asarray(keras.ops.convert_to_numpy(value))
    return state | {COMPANION + name: array for name, array in optimizer.companions.items()}


def read_store(store: Any) -> dict[str, np.ndarray]:
    """Return a saved store as a dictionary of arrays, independent of the open file."""
    return {str(key): np.asarray(store[key]) for key in store.keys()}  # noqa: SIM118 - not a dict


class ScaledState(NamedTuple):
    """What stock Keras writes for an optimizer that its loss scale is around.

    Args:
        step_counter: Finite steps since the last change of the scale.
        dynamic_scale: The scale.
        inner: The arrays of the optimizer inside, by position.
    """

    step_counter: np.ndarray
    dynamic_scale: np.ndarray
    inner: dict[str, np.ndarray]


def scaled_state(state: Mapping[str, np.ndarray]) -> ScaledState | None:
    """Return the parts of a state that the stock loss scale wrote, or None if it did not.

    Its own counter, rate, step counter and scale come first, and then the inner counter: of the
    states of optimizers this is the only one with an integer in the third place.
    """
    keys = [str(position) for position in range(len(state))]
    if len(keys) < 5 or set(keys) != set(state):
        return None
    arrays = [state[key] for key in keys]
    if "".join(array.dtype.kind for array in arrays[:5] if array.shape == ()) != "ififi":
        return None
    inner = {str(position): array for position, array in enumerate(arrays[4:])}
    return ScaledState(arrays[2], arrays[3], inner)


def u_product_after(updates: int, beta_1: float, momentum_decay: float | None) -> float:
    """Return the running product of u after a number of updates with a constant beta_1."""
    if momentum_decay is None or beta_1 == 0.0:
        return beta_1**updates
    product = 1.0
    for t in range(1, updates + 1):
        product *= beta_1 * (1.0 - 0.5 * math.pow(0.96, t * momentum_decay))
        if product < 1e-60:  # zero in float32 long since
            return 0.0
    return product


class StockLayout:
    """The order in which stock Keras numbers the variables of a Nadam.

    iteration, learning_rate if it is a number, all averages, all accumulators, then momentum and
    velocity of one variable after the other, and the product of u unless a wrapper lost it.

    Args:
        shapes: Shape of every model variable, in build order.
        overwritten: For every model variable, whether its gradient replaces it.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], overwritten: Sequence[bool]) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        self.trained = [i for i, skip in enumerate(overwritten) if not skip]

    def decode(
        self, state: Mapping[str, np.ndarray], *, wants_average: bool, window: int
    ) -> dict[str, np.ndarray]:
        """Return a positional state by name.

        Args:
            state: Arrays under "0", "1", ....
            wants_average: Whether the optimizer that loads keeps averages.
            window: `gradient_accumulation_steps` of the optimizer that loads, 1 without.

        Raises:
            StateError: No layout of stock Keras fits these arrays.
        """
        arrays = [state[str(position)] for position in range(len(state))]
        fitting = [
            names
            for names in self._candidates()
            if len(names) == len(arrays)
            and all(shape == array.shape for (_, shape), array in zip(names, arrays, strict=True))
        ]
        if not fitting:
            raise StateError(
                f"The saved optimizer state has {len(arrays)} arrays that do not fit "
                f"{len(self.shapes)} model variables of shapes {self.shapes}. Load it into an "
                "optimizer built on the variables that it was trained with."
            )
        chosen = self._choose(fitting, arrays, wants_average, window)
        return {name: array for (name, _), array in zip(chosen, arrays, strict=True)}

    def _candidates(self) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
        everything = range(len(self.shapes))
        moments = [
            (f"{kind}_{i}", self.shapes[i])
            for i in self.trained
            for kind in ("momentum", "velocity")
        ]
        for rate in ([("learning_rate", ())], []):
            for averages in ([], [(f"average_{i}", self.shapes[i]) for i in self.trained]):
                for sums in ([], [(f"accumulator_{i}", self.shapes[i]) for i in everything]):
                    for product in ([("u_product", ())], []):
                        yield [("iteration", ()), *rate, *averages, *sums, *moments, *product]

    @staticmethod
    def _choose(
        fitting: list[list[tuple[str, tuple[int, ...]]]],
        arrays: list[np.ndarray],
        wants_average: bool,
        window: int,
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Pick the layout that the arrays mean, where their shapes alone leave a choice.

        Averages and accumulators have the same shapes. Accumulators are all zero where a window
        has just ended, and averages of trained weights are not.
        """

        def score(names: list[tuple[str, tuple[int, ...]]]) -> tuple[bool, ...]:
            kinds = {name.split("_")[0] for name, _ in names}
            by_name = {name: array for (name, _), array in zip(names, arrays, strict=True)}
            sums = [a for name, a in by_name.items() if name.startswith("accumulator")]
            zeros = all(not array.any() for array in sums)
            at_rest = int(by_name["iteration"]) % window == 0
            return (
                not sums or (window > 1 and zeros == at_rest) or (window == 1 and zeros),
                ("average" in kinds) == wants_average,
                ("accumulator" in kinds) == (window > 1),
            )

        return max(fitting, key=score)
