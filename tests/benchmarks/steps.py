"""What a step of the optimizer costs, next to the stock optimizer's with the same settings."""

from __future__ import annotations

import time

import keras

from nadam_suite import Nadam
from tests.benchmarks.timing import SHAPES, medians, stepper

SETTINGS = {
    "plain": {},
    "decay, EMA, global clip": {"weight_decay": 1e-3, "use_ema": True, "global_clipnorm": 1.0},
}


def rows(shape: str, rounds: int) -> list[tuple[str, ...]]:
    """Measure one set of shapes; return rows of (shape, what, milliseconds, stock by ours).

    The first call, which traces and compiles, has a row of its own, in the same unit.
    """
    shapes, functions, first = SHAPES[shape], {}, {}
    # `fit()` on TensorFlow asks for XLA, a plain `tf.function` does not.
    for how in ("", ", XLA") if keras.backend.backend() == "tensorflow" else ("",):
        for what, settings in SETTINGS.items():
            for side, kind in (("stock", keras.optimizers.Nadam), ("ours", Nadam)):
                name = f"{side}, {what}{how}"
                functions[name] = stepper(kind(**settings), shapes, jit_compile=bool(how))
                start = time.perf_counter()
                functions[name]()
                first[f"{name}, first step"] = (time.perf_counter() - start) * 1e3
    found = medians(functions, rounds)
    return [*_table(shape, found), *_table(shape, first)]


def _table(shape: str, found: dict[str, float]) -> list[tuple[str, ...]]:
    return [
        (shape, name, f"{ms:.2f}", f"{found[name.replace('ours', 'stock', 1)] / ms:.2f}")
        for name, ms in found.items()
    ]
