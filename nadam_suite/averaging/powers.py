"""`PowerEMA`: averages whose length grows with the training, several at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from nadam_suite.averaging.base import Average, Rule, updates
from nadam_suite.averaging.power import exponent
from nadam_suite.errors import ArgumentError

__all__ = ["PowerEMA", "PowerRule"]


@keras.saving.register_keras_serializable(package="nadam_suite")
class PowerEMA(Average):
    """Power function averages, each by its relative width; one or several at a time.

    After T updates the weights after update t count in proportion to (t / T) ** gamma. The width
    sigma_rel is the standard deviation of that profile as a share of T: 0.05 looks back over about
    the last tenth of the training, however long it is. Two averages and snapshots of them are
    enough to choose any other width after the training, with
    `nadam_suite.averaging.posthoc.reconstruct`.

    Args:
        sigma_rel: Width, or several, each in (0, 0.2886). Defaults to (0.05, 0.1).
        update_every: Updates from one time that the weights are taken in to the next: an integer
            >= 1 or a duration. Defaults to 1.

    Raises:
        ArgumentError: A width lies out of its range or is given twice.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite.averaging import PowerEMA
    >>> rules = PowerEMA(sigma_rel=(0.1, 0.2)).rules()
    >>> list(rules), rules["0.2"].profile(4).round(3).tolist()
    (['0.1', '0.2'], [0.02, 0.121, 0.303, 0.556])

    Reference: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models",
    2024, section 3 and appendix C.
    """

    durations = ("update_every",)
    default_name = "power"

    def __init__(self, sigma_rel: Any = (0.05, 0.1), update_every: Any = 1) -> None:
        widths = sigma_rel if isinstance(sigma_rel, (tuple, list)) else (sigma_rel,)
        for width in widths:
            exponent(width)  # refuses what is no width
        self.sigma_rel = tuple(float(width) for width in widths)
        if not widths or len({f"{width:g}" for width in self.sigma_rel}) < len(self.sigma_rel):
            raise ArgumentError(
                "Argument `sigma_rel` must be different widths, at least one. Received: "
                f"sigma_rel={sigma_rel!r}. Pass for instance (0.05, 0.1)."
            )
        self.update_every = updates("update_every", update_every, 1)

    def rules(self) -> Mapping[str, Rule]:
        """Return a rule for each width."""
        self._refuse_durations()
        return {
            f"{width:g}": PowerRule(0, self.update_every, exponent(width))
            for width in self.sigma_rel
        }


@dataclasses.dataclass(frozen=True)
class PowerRule(Rule):
    """The rule of one width.

    Args:
        gamma: Exponent of the profile.
    """

    gamma: float = 0.0

    def share(self, k: Any, xp: Any) -> Any:
        """Return 1 - (1 - 1 / k) ** (gamma + 1), of which small values keep their digits."""
        before = xp.maximum(k, xp.full_like(k, 2.0))  # no logarithm of zero at k = 1
        rest = -xp.expm1((self.gamma + 1.0) * xp.log1p(-1.0 / before))
        return xp.where(k == 1, xp.ones_like(k), rest)
