"""A loss scale in plain Python, one branch for each thing that may happen."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass
class LossScaleTwin:
    """What `ScaleRule` says, kept as Python numbers; the scale is rounded to float32 too.

    Args:
        initial_scale: Scale of the first step.
        growth_steps: Finite steps in a row after which the scale grows.
        growth_factor: By how much.
        backoff_factor: By how much it falls.
        hysteresis: Skips since the last growth from which on it falls.
        min_scale: Floor.
        max_scale: Ceiling.
        dynamic: Whether it changes.
    """

    initial_scale: float = 2.0**15
    growth_steps: int = 2000
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    hysteresis: int = 1
    min_scale: float = 2.0**-14
    max_scale: float = 2.0**24
    dynamic: bool = True

    def __post_init__(self) -> None:
        self.scale = np.float32(self.initial_scale)
        self.finite_in_a_row = 0
        self.hysteresis_left = self.hysteresis
        self.consecutive_skips = self.skips = self.growths = 0

    def step(self, finite: bool) -> None:
        """Live through one step."""
        if finite:
            self.consecutive_skips = 0
            self.finite_in_a_row += 1
            if self.finite_in_a_row >= self.growth_steps:
                self.finite_in_a_row = 0
                self._grow()
            return
        self.finite_in_a_row = 0
        self.consecutive_skips += 1
        self.skips += 1
        if self.dynamic:
            self.hysteresis_left = max(self.hysteresis_left - 1, 0)
            if self.hysteresis_left == 0:
                fallen = self.scale * np.float32(self.backoff_factor)
                self.scale = max(fallen, np.float32(self.min_scale))

    def _grow(self) -> None:
        if not self.dynamic:
            return
        self.hysteresis_left = self.hysteresis
        with np.errstate(over="ignore"):
            grown = self.scale * np.float32(self.growth_factor)
        grown = min(grown, np.float32(self.max_scale))
        self.growths += grown > self.scale
        self.scale = grown

    def state(self) -> tuple[float, int, list[int]]:
        """Scale, step counter and the counters, as the optimizer's variables hold them."""
        counters = [self.hysteresis_left, self.consecutive_skips, self.skips, int(self.growths)]
        return float(self.scale), self.finite_in_a_row, counters
