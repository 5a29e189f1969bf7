"""How a Nadam writes its state and reads it again, also before its variables are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nadam_suite.optimizers.restore import check_weights, restore_state
from nadam_suite.optimizers.state import read_store, saved_state

__all__ = ["Persistence"]


class Persistence:
    """The part of Nadam that is saved and loaded: by name, whole or not at all."""

    built: bool
    _pending_state: dict[str, np.ndarray] | None

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all variables of the optimizer, in the order of `optimizer.variables`.

        Raises:
            StateError: The optimizer is not built, or the arrays are not those of its variables.
        """
        check_weights(self, weights)
        super().set_weights(weights)  # type: ignore[misc]

    def save_own_variables(self, store: Any) -> None:
        """Write the state by name into a mapping or an open file."""
        state = saved_state(self) if self.built else (self._pending_state or {})
        for key, array in state.items():
            store[key] = array

    @property
    def has_loaded_state(self) -> bool:
        """Whether a state was loaded that waits for the optimizer to be built."""
        return self._pending_state is not None

    def load_own_variables(self, store: Any) -> None:
        """Restore a state that this class or stock Keras wrote; kept until `build` if need be.

        Raises:
            StateError: The state belongs to other variables.
        """
        state = read_store(store)
        if not state:
            return
        if self.built:
            restore_state(self, state)
        else:
            self._pending_state = state
