"""Averages of every kind, each with its twin."""

from __future__ import annotations

from nadam_suite.averaging import EMA, SWA, PowerEMA, Window
from tests.reference import averages as twins

HALF = 2 ** (-1 / 7)

# name: (average, {ending of the name: function of the path of the weights})
KINDS = {
    "momentum": (EMA(0.9, warmup=None), {"": lambda p: twins.ema(p, 0.9)}),
    "momentum-0": (EMA(0.0, warmup=None), {"": lambda p: twins.ema(p, 0.0)}),
    "momentum-1": (EMA(1.0, warmup=None), {"": lambda p: twins.ema(p, 1.0)}),
    "default": (EMA(), {"": lambda p: twins.ema(p, 0.999, "inverse")}),
    "half-life": (EMA(half_life=7), {"": lambda p: twins.ema(p, HALF, "inverse")}),
    "power-warmup": (
        EMA(0.95, warmup="power"),
        {"": lambda p: twins.ema(p, 0.95, "power")},
    ),
    "late": (
        EMA(half_life=7, start=5, update_every=4),
        {"": lambda p: twins.ema(p, HALF, "inverse", 5, 4)},
    ),
    "every-3": (
        EMA(0.9, warmup=None, update_every=3),
        {"": lambda p: twins.ema(p, 0.9, None, 0, 3)},
    ),
    "power-every-3": (
        EMA(0.99, warmup="power", update_every=3),
        {"": lambda p: twins.ema(p, 0.99, "power", 0, 3)},
    ),
    "power": (
        PowerEMA((0.05, 0.2)),
        {
            "0.05": lambda p: twins.power(p, twins.exponent(0.05)),
            "0.2": lambda p: twins.power(p, twins.exponent(0.2)),
        },
    ),
    "power-every-4": (
        PowerEMA(0.1, update_every=4),
        {"0.1": lambda p: twins.power(p, twins.exponent(0.1), 4)},
    ),
    "swa": (SWA(3, every=2), {"": lambda p: twins.last(p, 3, 2)}),
    "swa-all": (SWA(0, every=1), {"": lambda p: twins.last(p, 0, 1)}),
    "window": (Window(3, every=2), {"": lambda p: twins.last(p, 0, 2, 3)}),
    "window-late": (Window(4, every=1, start=6), {"": lambda p: twins.last(p, 6, 1, 4)}),
    "window-1": (Window(1, every=1), {"": lambda p: twins.last(p, 0, 1, 1)}),
}
