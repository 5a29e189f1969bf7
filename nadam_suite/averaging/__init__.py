"""Running averages of the weights: what is averaged, and how to look at a model with them."""

from __future__ import annotations

from nadam_suite.averaging.base import Average, Rule
from nadam_suite.averaging.ema import EMA
from nadam_suite.averaging.equal import SWA, Window
from nadam_suite.averaging.named import named_rules
from nadam_suite.averaging.powers import PowerEMA
from nadam_suite.averaging.shown import (
    average_names,
    average_tensors,
    averaged_weights,
    show_average,
    show_raw,
    shown,
    write_weights,
)

__all__ = [
    "EMA",
    "SWA",
    "Average",
    "PowerEMA",
    "Rule",
    "Window",
    "average_names",
    "average_tensors",
    "averaged_weights",
    "named_rules",
    "show_average",
    "show_raw",
    "shown",
    "write_weights",
]
