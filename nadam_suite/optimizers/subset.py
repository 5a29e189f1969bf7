"""The pure step of a model in which layers have been frozen since the optimizer was built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

__all__ = ["Subset", "still_slots"]


def still_slots(optimizer: Any) -> frozenset[int]:
    """Return the positions of the variables that are not trained now, such as frozen layers'."""
    return frozenset(
        slot.index
        for slot in optimizer._layout.slots
        if not getattr(slot.variable, "trainable", True)
    )


class Subset:
    """The part of Nadam that lets `stateless_apply` leave frozen variables out.

    JAX hands over the variables that are trained now. Stock Keras wants all with which the
    optimizer was built, so that there freezing a layer takes a new optimizer.
    """

    _layout: Any
    variables: Sequence[Any]
    apply: Callable[..., None]

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Return the new values of the trained variables and of the optimizer's.

        Args:
            optimizer_variables: Values of `optimizer.variables`.
            grads: Gradients of the variables that are trained.
            trainable: Values of those, in the order of the build.
        """
        slots = self._layout.slots if getattr(self, "built", False) else []
        still = still_slots(self) if slots else frozenset()
        if not still or len(trainable) != len(slots) - len(still):
            return super().stateless_apply(optimizer_variables, grads, trainable)  # type: ignore[misc]
        live = [slot.variable for slot in slots if slot.index not in still]
        # Nothing of a frozen variable is used, but a step may read it.
        unused = [slots[index].variable for index in still]
        mapping = [
            *zip(live, trainable, strict=True),
            *((variable, keras.ops.zeros(variable.shape, variable.dtype)) for variable in unused),
            *zip(self.variables, optimizer_variables, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.apply(grads, live)
        new = [scope.get_current_value(variable) for variable in live]
        return new, [scope.get_current_value(variable) for variable in self.variables]
