"""The guard before a step: gradients that are not all finite change nothing but the scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.precision.scale_rule import ScaleNumbers, ScaleRule

__all__ = ["FiniteGuard", "ScaleVariables", "share_not_finite"]


@dataclasses.dataclass(frozen=True)
class ScaleVariables:
    """The variables of loss scaling, those of all replicas or of one.

    Args:
        dynamic_scale: float32, the scale of the next step.
        step_counter: int32, see `ScaleNumbers`.
        counters: int32, see `ScaleNumbers`.
        shares: float32, one for each model variable: which share of its gradient's elements was
            not finite in the last step that was skipped.
        last_scales: float32, the scales of the last skipped steps, the newest last; 0 for none.
    """

    dynamic_scale: Any
    step_counter: Any
    counters: Any
    shares: Any
    last_scales: Any

    def __iter__(self) -> Iterator[Any]:
        """Yield all of them."""
        return iter(vars(self).values())

    def mapped(self, function: Callable[[Any], Any]) -> ScaleVariables:
        """Return other copies of them."""
        return ScaleVariables(**{name: function(v) for name, v in vars(self).items()})

    def numbers(self) -> ScaleNumbers:
        """Return their values for the rule."""
        held = (self.dynamic_scale, self.step_counter, self.counters)
        return ScaleNumbers(*map(keras.ops.convert_to_tensor, held))

    def keep(self, numbers: ScaleNumbers) -> None:
        """Write what the rule has made of them."""
        self.dynamic_scale.assign(numbers.scale)
        self.step_counter.assign(numbers.step_counter)
        self.counters.assign(numbers.counters)


@dataclasses.dataclass(frozen=True)
class FiniteGuard:
    """Lets a step through whose gradients are finite, after dividing them by the scale.

    See `nadam_suite.optimizers.guard.Guard` for what the methods do.

    Args:
        rule: When the scale grows and falls.
        variables: What is remembered between steps.
        note_skip: Called where a step is skipped: when that happens, or when it is traced.
    """

    rule: ScaleRule
    variables: ScaleVariables
    note_skip: Callable[[], None]

    def mapped(self, function: Callable[[Any], Any]) -> FiniteGuard:
        """Return the same guard over other copies of its variables."""
        return dataclasses.replace(self, variables=self.variables.mapped(function))

    def run(
        self,
        gradients: Sequence[Any],
        places: Sequence[int],
        scaled: Sequence[bool],
        update: Callable[[list[Any]], None],
        touched: Sequence[Any],
    ) -> None:
        """Ask once whether all gradients are finite, and take one of two branches."""
        backend = get_backend()

        def take() -> None:
            update(self.unscaled(gradients, scaled))
            self.passed()

        backend.conditional(
            backend.finite(gradients),
            take,
            lambda: self.skipped(gradients, places),
            [*touched, *self.variables],
        )

    def unscaled(self, gradients: Sequence[Any], scaled: Sequence[bool]) -> list[Any]:
        """Return the gradients of the loss without its scale."""
        if not self.rule.scales:
            return list(gradients)
        scale = keras.ops.convert_to_tensor(self.variables.dynamic_scale)
        divided = iter(
            get_backend().divided([g for g, s in zip(gradients, scaled, strict=True) if s], scale)
        )
        return [next(divided) if s else g for g, s in zip(gradients, scaled, strict=True)]

    def passed(self) -> None:
        """Remember that a step was taken."""
        self.variables.keep(self.rule.after_finite(self.variables.numbers()))

    def skipped(self, gradients: Sequence[Any], places: Sequence[int]) -> None:
        """Remember that a step was skipped, with which scale and because of which variables."""
        self.note_skip()
        held = self.variables
        numbers = held.numbers()
        by_place = dict(zip(places, map(get_backend().densify, gradients), strict=True))
        shares = [
            share_not_finite(by_place[place]) if place in by_place else keras.ops.zeros(())
            for place in range(held.shares.shape[0])
        ]
        # Those of this replica alone, where the gradients have not been summed.
        held.shares.assign(get_backend().mean_everywhere(keras.ops.stack(shares)))
        earlier = keras.ops.convert_to_tensor(held.last_scales)[1:]
        scale = keras.ops.reshape(numbers.scale, (1,))
        held.last_scales.assign(keras.ops.concatenate([earlier, scale]))
        held.keep(self.rule.after_skip(numbers))


def share_not_finite(gradient: Any) -> Any:
    """Return the share of a gradient's elements that are NaN or infinite, in float32."""
    wrong = keras.ops.logical_not(keras.ops.isfinite(gradient))
    return keras.ops.mean(keras.ops.cast(wrong, "float32"))
