"""A step on the rows of a table that a batch has seen, for gradients that come as such rows.

The gradient of an embedding says which rows it has: a batch of a thousand tokens says nothing about
the other rows of a table of a million. Here a row is seen if the gradient, summed over all
replicas, has an entry for it, be it a zero. Only rows that are seen are read, computed with and
written; for the others neither the moments decay, nor do the weights move or decay. That is another
algorithm than a step on the whole table, the one of LazyAdam in TensorFlow Addons and of
`torch.optim.SparseAdam`.

Each seen row is taken once, with the sum of all its entries. So norms, limits and checks see what
they would see in a dense gradient.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

from nadam_suite.backends.slot import Slot, dtype_of
from nadam_suite.errors import NadamSuiteWarning

__all__ = ["RowSlot", "Seen", "divided", "update", "warn_of_dense"]


@dataclasses.dataclass(frozen=True)
class Seen:
    """The rows that a gradient has.

    A compiled program cannot have as many rows as are seen, a number that it learns when it runs.
    There the entries are as many as the gradient's, and the last of them stand for no row.

    Args:
        indices: Position of each row in the table, an integer tensor. An entry without a row has
            the position of the first row, or one behind the table.
        values: Sums of the gradient, one for each row; zeros for an entry without one.
        present: Which entries have a row, or None if all have, or if writing leaves out the others.
    """

    indices: Any
    values: Any
    present: Any = None


class RowSlot(Slot):
    """The rows of a slot that a batch has seen; it reads and writes these alone.

    Args:
        whole: The slot.
        seen: The rows.
        backend: An adapter.
    """

    def __init__(self, whole: Slot, seen: Seen, backend: Any) -> None:
        super().__init__(**{f.name: getattr(whole, f.name) for f in dataclasses.fields(Slot)})
        self.whole, self.seen, self.backend = whole, seen, backend

    def read(self, variable: Any) -> Any:
        """Return the rows of a variable in the type of the arithmetic."""
        rows = self.backend.take_rows(variable, self.seen)
        return keras.ops.cast(rows, self.compute_dtype)

    def put(self, variable: Any, rows: Any) -> None:
        """Assign the rows of a variable, in its type."""
        self.backend.put_rows(variable, self.seen, rows)

    def weight(self) -> Any:
        """Return the rows of the weight in full precision."""
        value = self.backend.take_rows(self.variable, self.seen)
        master = None if self.master is None else self.backend.take_rows(self.master, self.seen)
        return self.full_precision(value, master)

    def write(self, weight: Any) -> None:
        """Write rows in full precision; a constraint then holds for the whole variable."""
        if self.master is not None:
            self.put(self.master, weight)
        self.put(self.variable, keras.ops.cast(weight, dtype_of(self.variable)))
        if self.constraint is not None:
            self.whole.write(self.constraint(self.whole.weight()))


def divided(
    backend: Any, slots: Sequence[Slot], gradients: Sequence[Any]
) -> tuple[list[Slot], list[Any]]:
    """Return slots and gradients, with seen rows and their sums in place of sparse gradients.

    Args:
        backend: An adapter.
        slots: Those that have a gradient.
        gradients: Dense or sparse, summed over the replicas.
    """
    ready: list[tuple[Slot, Any]] = []
    for slot, gradient in zip(slots, gradients, strict=True):
        seen = None if slot.overwrite else backend.seen(gradient, slot.compute_dtype)
        if seen is None:
            ready.append((slot, gradient))
        else:
            ready.append((RowSlot(slot, seen, backend), seen.values))
    return [slot for slot, _ in ready], [gradient for _, gradient in ready]


def update(
    backend: Any,
    slots: Sequence[Slot],
    gradients: Sequence[Any],
    scalars: Any,
    rule: Callable[..., tuple[Any, Any, Any]],
) -> list[Any]:
    """Do what `Backend.update` does, for slots some of which may be rows; these are written.

    Args:
        backend: An adapter.
        slots: As there.
        gradients: As there.
        scalars: As there.
        rule: As there.
    """
    whole = [place for place, slot in enumerate(slots) if not isinstance(slot, RowSlot)]
    chosen = [slots[place] for place in whole]
    weights: list[Any] = [None] * len(slots)
    new = backend.update(chosen, [gradients[place] for place in whole], scalars, rule)
    for place, weight in zip(whole, new, strict=True):
        weights[place] = weight
    for slot, gradient in zip(slots, gradients, strict=True):
        if isinstance(slot, RowSlot):
            _update_rows(slot, gradient, scalars, rule)
    return weights


def _update_rows(slot: RowSlot, gradient: Any, scalars: Any, rule: Callable[..., Any]) -> None:
    if scalars.gradient_scale is not None:
        gradient = gradient * keras.ops.cast(scalars.gradient_scale, slot.compute_dtype)
    moments = slot.read(slot.momentum), slot.read(slot.velocity)
    own = scalars.cast(slot.compute_dtype)
    weight, *moments = rule(slot.weight(), gradient, *moments, own, slot)
    momentum, velocity = slot.backend.narrowed_rows(slot, slot.seen, *moments, scalars)
    slot.put(slot.momentum, momentum)
    slot.put(slot.velocity, velocity)
    slot.write(weight)


def warn_of_dense(backend: Any, gradients: Sequence[Any]) -> None:
    """Say so if none of the gradients of a step comes as rows."""
    if any(map(backend.is_sparse, gradients)):
        return
    warnings.warn(
        "`lazy_embeddings=True` changes nothing here: no gradient of this step is sparse. "
        "Embeddings of Keras have sparse gradients on TensorFlow alone; on PyTorch use "
        "`torch.nn.functional.embedding(..., sparse=True)` in a layer, on JAX pass gradients of "
        "type `jax.experimental.sparse.BCOO`. An embedding that is used in another way too, such "
        "as in the output layer, has a dense gradient.",
        NadamSuiteWarning,
        stacklevel=2,
    )
