"""A loss scale's state by name, beside the inner optimizer's; and the states that Keras wrote."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.errors import NadamSuiteWarning, StateError
from nadam_suite.optimizers.state import read_store, scaled_state
from nadam_suite.precision.guard import ScaleVariables

__all__ = ["Persistence"]

_NAMES = tuple(field.name for field in dataclasses.fields(ScaleVariables))


class Persistence:
    """The part of a loss scale that writes and reads its state.

    A model file has a folder for the inner optimizer's state, inside of that for the wrapper's.
    """

    name: str
    built: bool
    inner_optimizer: Any
    variables: Any
    model_variables: Any
    scale_variables: Any
    rule: Any
    _pending_state: Mapping[str, np.ndarray] | None

    def save_own_variables(self, store: Any) -> None:
        """Write the state of the scale by name into a mapping or an open file."""
        state = self._pending_state or {}
        if self.built:
            held = self.scale_variables
            state = {
                name: np.asarray(keras.ops.convert_to_numpy(getattr(held, name))) for name in _NAMES
            }
        for name, array in state.items():
            store[name] = array

    def load_own_variables(self, store: Any) -> None:
        """Restore a state of this class or of the stock loss scale; kept until `build` if need be.

        A state that was written without a loss scale goes to the inner optimizer.

        Raises:
            StateError: The state belongs to other variables.
        """
        state = read_store(store)
        if not state:
            return
        if (stock := scaled_state(state)) is not None:
            state = {"step_counter": stock.step_counter, "dynamic_scale": stock.dynamic_scale}
        if "dynamic_scale" not in state:
            self.inner_optimizer.load_own_variables(store)
            return
        self._pending_state = {name: state[name] for name in _NAMES if name in state}
        if self.built:
            self.restore_pending()

    def restore_pending(self) -> None:
        """Write a state that was loaded before into the variables, which are there now."""
        if self._pending_state is None:
            return
        state, self._pending_state = self._pending_state, None
        held = self.scale_variables
        for name, array in state.items():
            if (wanted := tuple(getattr(held, name).shape)) != array.shape:
                raise StateError(
                    f"The saved state of the loss scale {self.name!r} does not fit: {name!r} has "
                    f"shape {array.shape} in the file, {wanted} here. Load it into an optimizer "
                    "built on the same trainable variables."
                )
        scale = self.rule.within_range(float(state["dynamic_scale"]))
        if scale != float(state["dynamic_scale"]):
            warnings.warn(
                f"The saved state of the loss scale {self.name!r} has the scale "
                f"{float(state['dynamic_scale']):g}, which its arguments do not allow; it goes on "
                f"with {scale:g}.",
                NadamSuiteWarning,
                stacklevel=4,
            )
        values = {**state, "dynamic_scale": np.float32(scale)}

        def assign() -> None:
            for name, array in values.items():
                getattr(held, name).assign(array)

        get_backend().eagerly(assign, self.model_variables)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all variables, in the order of `variables`: those of the scale, then the inner ones.

        Raises:
            StateError: The optimizer is not built, or the arrays are not those of its variables.
        """
        weights = list(weights)
        if not self.built or len(weights) != len(self.variables):
            wanted = f"{len(self.variables)} arrays" if self.built else "the optimizer to be built"
            raise StateError(
                f"`set_weights()` needs {wanted}. Received: {len(weights)} arrays. Pass those of "
                "an optimizer with the same arguments, built on the same variables."
            )
        own = self.variables[: len(self.variables) - len(self.inner_optimizer.variables)]
        self.inner_optimizer.set_weights(weights[len(own) :])
        for variable, weight in zip(own, weights, strict=False):
            variable.assign(weight)
