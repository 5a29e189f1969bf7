"""What loss scaling costs: the look at the gradients, and the division by the scale."""

from __future__ import annotations

import keras

from nadam_suite import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer, skip_nonfinite
from tests.benchmarks.timing import SHAPES, copying, medians, stepper


def rows(shape: str, rounds: int) -> list[tuple[str, ...]]:
    """Measure one set of shapes; return rows of (what, milliseconds, per copy of the weights).

    One more read of the gradients is half a copy, which reads and writes.
    """
    shapes = SHAPES[shape]
    stock = keras.optimizers
    functions = {"copy of the weights": copying(shapes)}
    tensorflow = keras.backend.backend() == "tensorflow"
    for how in ("", ", XLA") if tensorflow else ("",):
        options = {"jit_compile": bool(how)}
        functions |= {
            f"ours{how}": stepper(Nadam(), shapes, **options),
            f"ours, skip_nonfinite{how}": stepper(skip_nonfinite(Nadam()), shapes, **options),
            f"ours, loss scale{how}": stepper(
                DynamicLossScaleOptimizer(Nadam()), shapes, **options
            ),
            f"stock{how}": stepper(stock.Nadam(), shapes, **options),
            f"stock, loss scale{how}": stepper(
                stock.LossScaleOptimizer(stock.Nadam()), shapes, **options
            ),
        }
    found = medians(functions, rounds)
    for how in ("", ", XLA") if tensorflow else ("",):
        for name, bare in (("ours, skip_nonfinite", "ours"), ("ours, loss scale", "ours"),
                           ("stock, loss scale", "stock")):  # fmt: skip
            found[f"beyond the bare step: {name}{how}"] = found[name + how] - found[bare + how]
    floor = found["copy of the weights"]
    return [(shape, name, f"{ms:.2f}", f"{ms / floor:.2f}") for name, ms in found.items()]
