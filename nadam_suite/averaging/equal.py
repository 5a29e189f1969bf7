"""`SWA` and `Window`: averages in which every weight counts alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from nadam_suite.averaging.base import Average, Rule, share_of_updates, updates
from nadam_suite.schedules.checks import count

__all__ = ["SWA", "EqualRule", "Window", "WindowRule"]


@keras.saving.register_keras_serializable(package="nadam_suite")
class SWA(Average):
    """Stochastic weight averaging: the mean of all weights taken since the start.

    Args:
        start: Updates before the average begins: an integer >= 0, a duration, or a float in (0, 1),
            which is that part of the training. Until then the average is the weights. Defaults to
            "75%".
        every: Updates from one time that the weights are taken in to the next: an integer >= 1 or
            a duration. Defaults to "1ep".

    Raises:
        ArgumentError: An argument lies out of its range.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite.averaging import SWA
    >>> SWA(start=2, every=1).rules()[""].profile(6).tolist()
    [0.0, 0.0, 0.25, 0.25, 0.25, 0.25]

    Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", 2018.
    """

    durations = ("start", "every")
    default_name = "swa"

    def __init__(self, start: Any = "75%", every: Any = "1ep") -> None:
        self.start = share_of_updates("start", start)
        self.every = updates("every", every, 1)

    def rules(self) -> Mapping[str, Rule]:
        """Return the one rule."""
        self._refuse_durations()
        return {"": EqualRule(self.start, self.every)}


@keras.saving.register_keras_serializable(package="nadam_suite")
class Window(Average):
    """Latest weight averaging (LAWA): the mean of the last k weights that were taken.

    The k weights are kept: a window takes k + 1 times the memory of the weights, in float32.

    Args:
        k: Number of weights, an integer >= 1.
        every: Updates from one time that the weights are taken in to the next: an integer >= 1 or
            a duration. Defaults to "1ep".
        start: Updates before the first that can count: an integer >= 0, a duration, or a float in
            (0, 1), which is that part of the training. Defaults to 0.

    Raises:
        ArgumentError: An argument lies out of its range.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite.averaging import Window
    >>> Window(2, every=2).rules()[""].profile(7).tolist()
    [0.0, 0.0, 0.0, 0.5, 0.0, 0.5, 0.0]

    Reference: Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with
    Latest Weight Averaging", 2022.
    """

    durations = ("every", "start")
    default_name = "window"

    def __init__(self, k: int, every: Any = "1ep", start: Any = 0) -> None:
        self.k = count("k", k, 1)
        self.every = updates("every", every, 1)
        self.start = share_of_updates("start", start)

    def rules(self) -> Mapping[str, Rule]:
        """Return the one rule."""
        self._refuse_durations()
        return {"": WindowRule(self.start, self.every, self.k)}


@dataclasses.dataclass(frozen=True)
class EqualRule(Rule):
    """The rule of `SWA`."""

    def share(self, k: Any, xp: Any) -> Any:
        """Return 1 / k."""
        return 1.0 / k


@dataclasses.dataclass(frozen=True)
class WindowRule(Rule):
    """The rule of `Window`, whose average is the mean of the copies.

    Args:
        size: Number of weights that are kept.
    """

    size: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "copies", self.size)

    def share(self, k: Any, xp: Any) -> Any:
        """Return one over the number of weights that are there."""
        return 1.0 / xp.minimum(k, xp.full_like(k, self.size))

    def profile(self, updates: int) -> Any:
        """Return equal shares for the last weights that were taken in; see `Rule.profile`."""
        shares = super().profile(updates) * 0.0
        times = self.times(updates)
        taken = range(self.start + self.update_every - 1, updates, self.update_every)
        for update in list(taken)[max(times - self.size, 0) : times]:
            shares[update] = 1.0 / min(times, self.size)
        return shares
