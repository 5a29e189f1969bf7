"""From what a user gives as `averaging` to a rule for each name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nadam_suite.averaging.base import Average, Rule
from nadam_suite.errors import ArgumentError, ArgumentTypeError

__all__ = ["checked_averaging", "named_averages", "named_rules"]


def checked_averaging(averaging: Any) -> Any:
    """Return the argument `averaging`, or raise because it is not what it must be.

    Raises:
        ArgumentError: A name is empty or used twice, or a duration is not resolved.
        ArgumentTypeError: It is no average, and no dict of averages.
    """
    if averaging is None:
        return None
    wrong = not isinstance(averaging, Average)
    if isinstance(averaging, Mapping):
        wrong = not averaging or not all(isinstance(v, Average) for v in averaging.values())
    if wrong:
        raise ArgumentTypeError(
            "Argument `averaging` must be an average, a dict of averages by name, or None. "
            f"Received: averaging={averaging!r}. Pass for instance "
            "nadam_suite.averaging.EMA(momentum=0.999)."
        )
    named_rules(averaging)
    return dict(averaging) if isinstance(averaging, Mapping) else averaging


def named_averages(averaging: Any) -> dict[str, Average]:
    """Return the averages by name; one that was given alone has the name of its kind."""
    if averaging is None:
        return {}
    if isinstance(averaging, Mapping):
        return dict(averaging)
    return {averaging.default_name: averaging}


def named_rules(averaging: Any) -> dict[str, Rule]:
    """Return the rule of every running average by its name.

    Args:
        averaging: An average, a dict of averages by name, or None.

    Raises:
        ArgumentError: Two running averages have the same name, a name is unusable, or a duration
            is not resolved.

    Example:

    >>> from nadam_suite.averaging import EMA, PowerEMA, named_rules
    >>> list(named_rules({"ema": EMA(), "p": PowerEMA((0.05, 0.1))}))
    ['ema', 'p_0.05', 'p_0.1']
    """
    rules: dict[str, Rule] = {}
    for name, average in named_averages(averaging).items():
        if not isinstance(name, str) or not name or set(name) & set("/: \t\n"):
            raise ArgumentError(
                "Argument `averaging` must have names that are text without spaces, slashes and "
                f"colons. Received: averaging={averaging!r}. Choose another name."
            )
        for ending, rule in average.rules().items():
            full = f"{name}_{ending}" if ending else name
            if full in rules:
                raise ArgumentError(
                    "Argument `averaging` must have a different name for every running average. "
                    f"Received: averaging={averaging!r}, in which two are called {full!r}. Rename "
                    "one."
                )
            rules[full] = rule
    return rules
