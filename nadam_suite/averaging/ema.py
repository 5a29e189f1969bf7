"""`EMA`: the exponential moving average, by momentum or half-life, with a warm-up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras

from nadam_suite.averaging.base import Average, Rule, updates
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import amount

__all__ = ["DEFAULT_MOMENTUM", "EMA", "ExponentialRule"]

DEFAULT_MOMENTUM = 0.999
_WARMUPS = ("inverse", "power", None)


@keras.saving.register_keras_serializable(package="nadam_suite")
class EMA(Average):
    """Exponential moving average of the weights, in units of real updates.

    Each update keeps the share m of the old average: `average = m * average + (1 - m) * weights`.
    After h = half_life updates half of it has gone: m = 2 ** (-1 / h). What an average weighs how
    much is the same for every `update_every`: n updates at once keep the product of their shares.

    Early weights are far from the later ones. A warm-up keeps less of them, at update j (counted
    from `start`) at most

    * "inverse": (1 + j) / (10 + j), as TensorFlow's moving averages and diffusers do,
    * "power": 1 - (1 + j) ** (-2/3), as timm and ema-pytorch do for trainings of 1e5 steps.

    Args:
        momentum: m, in [0, 1], of one real update. Defaults to 0.999 where no half-life is given.
        half_life: Number of updates > 0, or a duration such as "2ep", "5%" or "20000ex"; instead of
            `momentum`.
        warmup: "inverse" (the default), "power" or None.
        start: Updates before the average begins: an integer >= 0 or a duration. Until then the
            average is the weights. Defaults to 0.
        update_every: Updates from one time that the weights are taken in to the next: an integer
            >= 1 or a duration. Defaults to 1.

    Raises:
        ArgumentError: An argument lies out of its range, or both momentum and half-life are given.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite.averaging import EMA
    >>> rule = EMA(half_life=2, warmup=None).rules()[""]
    >>> rule.profile(5).round(3).tolist()
    [0.25, 0.104, 0.146, 0.207, 0.293]
    """

    durations = ("half_life", "start", "update_every")
    default_name = "ema"

    def __init__(
        self,
        momentum: float | None = None,
        half_life: Any = None,
        warmup: str | None = "inverse",
        start: Any = 0,
        update_every: Any = 1,
    ) -> None:
        if momentum is not None and half_life is not None:
            raise ArgumentError(
                "Only one of `momentum` and `half_life` can be given. Received: "
                f"momentum={momentum!r}, half_life={half_life!r}. Leave one of them out."
            )
        if momentum is not None:
            momentum = amount("momentum", momentum, most=1.0)
        if half_life is not None:
            half_life = updates("half_life", half_life, 1, whole=False)
        if warmup not in _WARMUPS:
            kind = ArgumentError if isinstance(warmup, str) else ArgumentTypeError
            raise kind(
                "Argument `warmup` must be 'inverse', 'power' or None. Received: "
                f"warmup={warmup!r}. Pass None to begin with the full momentum."
            )
        self.momentum = momentum
        self.half_life = half_life
        self.warmup = warmup
        self.start = updates("start", start)
        self.update_every = updates("update_every", update_every, 1)

    def rules(self) -> Mapping[str, Rule]:
        """Return the one rule."""
        self._refuse_durations()
        if self.half_life is not None:
            lost = -math.expm1(-math.log(2.0) / self.half_life)
        else:
            lost = 1.0 - (DEFAULT_MOMENTUM if self.momentum is None else self.momentum)
        return {"": ExponentialRule(self.start, self.update_every, lost, self.warmup)}


@dataclasses.dataclass(frozen=True)
class ExponentialRule(Rule):
    """The rule of `EMA`.

    Args:
        lost: Share of the old average that an update after the warm-up takes away.
        warmup: See `EMA`.
    """

    lost: float = 1.0
    warmup: str | None = None

    def share(self, k: Any, xp: Any) -> Any:
        """Return one minus the product of what the updates since the last time have kept."""
        if self.warmup is None or self.lost == 1.0:  # of which there is no logarithm
            taken = _lost_in(self.update_every, self.lost)
            return xp.where(k == 1, xp.ones_like(k), xp.full_like(k, taken))
        before = xp.arange(self.update_every, dtype=k.dtype)
        j = xp.expand_dims(k * self.update_every, -1) - before
        warm = 9.0 / (10.0 + j) if self.warmup == "inverse" else xp.power(1.0 + j, -2.0 / 3.0)
        lost = xp.maximum(warm, xp.full_like(j, self.lost))
        return xp.where(k == 1, xp.ones_like(k), -xp.expm1(xp.sum(xp.log1p(-lost), axis=-1)))


def _lost_in(updates: int, lost: float) -> float:
    """Return the share of an average that so many updates take away."""
    if updates == 1 or lost == 1.0:
        return lost
    return -math.expm1(updates * math.log1p(-lost))
