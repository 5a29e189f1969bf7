"""What may stand before a step: it decides whether the step is taken at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["Guard"]


class Guard(Protocol):
    """Decides on the gradients of a step, after all replicas' have been summed.

    `nadam_suite.precision` has the one that there is: it unscales the gradients of a scaled loss,
    and lets no step through whose gradients are not finite.
    """

    def mapped(self, function: Callable[[Any], Any]) -> Guard:
        """Return the same guard over other copies of its variables."""

    def run(
        self,
        gradients: Sequence[Any],
        places: Sequence[int],
        scaled: Sequence[bool],
        update: Callable[[list[Any]], None],
        touched: Sequence[Any],
    ) -> None:
        """Take the step, or leave everything as it is.

        Args:
            gradients: Dense gradients in the type of the arithmetic.
            places: Positions of their variables among all.
            scaled: For each of them whether the scale of the loss is in it; a value that replaces
                its variable has no scale.
            update: Takes the step with gradients of the unscaled loss.
            touched: The variables that `update` may assign.
        """
