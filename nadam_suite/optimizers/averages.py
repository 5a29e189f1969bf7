"""What a step does to the running averages, and how a model gets to have them for its weights."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.backends.slot import Slot, State
from nadam_suite.errors import ArgumentError, NadamSuiteWarning, StateError

__all__ = ["Averages", "Shown", "overwrite", "shares", "take_in"]


def take_in(
    state: State,
    position: int,
    still: Collection[int] = (),
    known: Mapping[int, Any] | None = None,
) -> None:
    """Let a running average take the weights in; elements that are not finite leave it as it is.

    Args:
        state: The variables of one replica.
        position: Which of the averages.
        still: Positions of slots whose average stays as it is, such as frozen layers'.
        known: Weights of slots by position that need not be read.
    """
    backend, running = get_backend(), state.averages[position]
    number = backend.counter(running.count) + 1
    first = number == 1
    averaged = [slot for slot in state.slots if slot.averages and slot.index not in still]
    for dtype in dict.fromkeys(slot.compute_dtype for slot in averaged):
        slots = [slot for slot in averaged if slot.compute_dtype == dtype]
        if running.rule.copies:
            for slot in slots:
                _take_into_copies(slot, position, number, first)
        else:
            variables = [slot.averages[position] for slot in slots]
            weights = _weights(slots, known or {})
            backend.average(variables, weights, _share(running.rule, number, dtype), first)
    running.count.assign_add(1)


def shares(state: State) -> tuple[Any, ...]:
    """Return the weights' share in each average, if all take this update in and keep no copies."""
    if not all(running.rule.always and not running.rule.copies for running in state.averages):
        return ()
    counter = get_backend().counter
    return tuple(_share(r.rule, counter(r.count) + 1, "float32") for r in state.averages)


def _weights(slots: Sequence[Slot], known: Mapping[int, Any]) -> list[Any]:
    """Return the weights in full precision, reading those that are not known."""
    rest = [slot for slot in slots if slot.index not in known]
    read = iter(get_backend().weights(rest))
    return [known[slot.index] if slot.index in known else next(read) for slot in slots]


def _share(rule: Any, number: Any, dtype: str) -> Any:
    """Return the share of the weights in their average, in the cheapest arithmetic there is."""
    k = get_backend().scalar(number, dtype)
    if isinstance(k, float):  # the backend computes its scalars on the host
        return float(rule.share(np.float64(k), np))
    return keras.ops.cast(rule.share(k, keras.ops), dtype)


def _take_into_copies(slot: Slot, position: int, number: Any, first: Any) -> None:
    """Put the weights where the oldest copy is; the average is the mean of those that are there."""
    backend, copies = get_backend(), slot.copies[position]
    average = keras.ops.convert_to_tensor(slot.averages[position])
    weight = slot.weight()
    weight = keras.ops.where(keras.ops.isfinite(weight), weight, average)
    size = len(copies)
    place, total = (number - 1) % size, None
    for index, copy in enumerate(copies):
        kept = keras.ops.convert_to_tensor(copy)
        kept = backend.select(place == index, weight, kept)
        copy.assign(kept)
        present = backend.select(number > index, kept, keras.ops.zeros_like(kept))
        total = present if total is None else total + present
    there = backend.scalar(backend.select(number > size, size, number), slot.compute_dtype)
    slot.averages[position].assign(backend.select(first, weight, total / there))


def overwrite(state: State, due: Any, still: Collection[int] = ()) -> None:
    """Overwrite the weights by the first average, if that is due; see `take_in`."""
    select = get_backend().select
    for slot in state.slots:
        if slot.averages and not slot.frozen and slot.index not in still:
            average = keras.ops.convert_to_tensor(slot.averages[0])
            slot.write(select(due, average, slot.weight()))


@dataclasses.dataclass
class Shown:
    """That a model has an average for its weights.

    Args:
        name: Which one.
        iteration: Number of calls of `apply` when it was put there.
        raw: Raw value of each averaged variable by its slot's index; of its master copy, where it
            has one.
    """

    name: str
    iteration: int
    raw: dict[int, Any]


class Averages:
    """The part of Nadam that hands out its averages."""

    _layout: Any
    built: bool
    average_rules: Mapping[str, Any]
    _shown: Shown | None = None
    finalizes = True  # whether the stock end of `fit()` may overwrite the weights
    # Arrays by name that are not the optimizer's and are saved with it, such as a model's seeds.
    companions: Mapping[str, np.ndarray] = {}

    @property
    def average_names(self) -> tuple[str, ...]:
        """Names of the running averages."""
        return tuple(self.average_rules)

    @property
    def shown_average(self) -> str | None:
        """Name of the average that the model has for its weights now, or None."""
        return None if self._shown is None else self._shown.name

    def average_tensors(self, name: str) -> list[tuple[Any, Any]]:
        """Return each averaged variable with its average, the weight where none has begun.

        Raises:
            StateError: The optimizer is not built.
        """
        position = self._average_position(name)
        pairs = self._layout.average_pairs(position)
        return [(slot.variable, tensor) for slot, tensor in pairs]

    def show_average(self, name: str, values: Sequence[Any] | None = None) -> None:
        """Put the averages, or other values for them, into the model, and the raw weights aside.

        Args:
            name: Name of the average.
            values: Tensors in the order of `average_tensors`, or None for the averages as they are.

        Raises:
            ArgumentError: The values do not fit the variables.
            StateError: The optimizer is not built, or an average is shown already.
        """
        position = self._average_position(name)
        pairs = self._layout.average_pairs(position)
        if self._shown is not None:
            raise StateError(
                f"The average {self._shown.name!r} is shown already. Call `show_raw()` first."
            )
        if values is not None:
            shapes = [tuple(slot.variable.shape) for slot, _ in pairs]
            if [tuple(np.shape(value)) for value in values] != shapes:
                raise ArgumentError(
                    f"Argument `values` must be tensors of shapes {shapes}. Received: "
                    f"{[tuple(np.shape(value)) for value in values]}. Keep those of "
                    "`average_tensors`, in its order."
                )
            pairs = [(slot, value) for (slot, _), value in zip(pairs, values, strict=True)]
        backend, raw = get_backend(), {}
        slots = [slot for slot, _ in pairs]

        def put() -> None:
            for slot, weight in zip(slots, backend.kept_weights(slots), strict=True):
                raw[slot.index] = weight
            backend.put([slot.variable for slot in slots], [value for _, value in pairs])

        self._eagerly(put)
        self._shown = Shown(name, self._calls(), raw)

    def show_raw(self) -> bool:
        """Put the raw weights back; return whether an average was shown.

        Where steps have been taken since, from the averages, the weights stay as they are.
        """
        shown, self._shown = self._shown, None
        if shown is None:
            return False
        if shown.iteration != self._calls():
            warnings.warn(
                f"The model has been trained on from its average {shown.name!r}; the raw weights "
                "from before that are dropped. Call `nadam_suite.averaging.show_raw(model)` before "
                "a training that shall go on from them.",
                NadamSuiteWarning,
                stacklevel=3,
            )
            return False

        def put() -> None:
            back = [(self._layout.slots[index], value) for index, value in shown.raw.items()]
            wide = [(slot.master, value) for slot, value in back if slot.master is not None]
            wide += [(slot.variable, value) for slot, value in back]
            get_backend().put_back([variable for variable, _ in wide], [v for _, v in wide])

        self._eagerly(put)
        return True

    def restore_shown(self, name: str | None, raw: Mapping[int, Any]) -> None:
        """Take over from a saved state that the model has an average for its weights."""
        self._shown = None
        if name in self.average_names:
            values = {index: keras.ops.convert_to_tensor(value) for index, value in raw.items()}
            self._shown = Shown(name, self._calls(), values)

    def _eagerly(self, function: Callable[[], None]) -> None:
        backend = get_backend()
        with backend.no_grad():
            backend.eagerly(function, [slot.variable for slot in self._layout.slots])

    def _calls(self) -> int:
        return int(keras.ops.convert_to_numpy(self._layout.state.iterations))

    def _average_position(self, name: str) -> int:
        if not self.built:
            raise StateError(
                "The averages do not exist before the optimizer is built. Train the model, load "
                "its state, or call `optimizer.build(model.trainable_variables)` first."
            )
        return self._layout.average_position(name)
