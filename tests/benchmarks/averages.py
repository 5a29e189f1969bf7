"""What averages cost: one in the step, and putting it into the model and taking it out."""

from __future__ import annotations

import keras

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, show_average, show_raw
from tests.benchmarks.timing import SHAPES, copying, medians, stepper, wait


class Flat(keras.layers.Layer):
    """A layer of bare weights, for the swap of a model with given shapes."""

    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes
        for i, shape in enumerate(shapes):
            self.add_weight(shape=shape, initializer="ones", name=f"w{i}")

    def call(self, inputs):
        return inputs


def swapping(shapes):
    """Functions that show the averages of a model of these shapes, and the raw weights again."""
    model = keras.Sequential([Flat(shapes)])
    model.compile(Nadam(averaging=EMA(0.999)))
    model.optimizer.build(model.trainable_variables)
    model.optimizer._layout.state.averages[0].count.assign(1)

    def show() -> None:
        show_average(model)
        wait(model.trainable_variables)

    def restore() -> None:
        show_raw(model)
        wait(model.trainable_variables)

    return show, restore


def rows(shape: str, rounds: int) -> list[tuple[str, ...]]:
    """Measure one set of shapes; return rows of (what, milliseconds, per copy of the weights)."""
    shapes = SHAPES[shape]
    show, restore = swapping(shapes)
    functions = {"copy of the weights": copying(shapes)}
    # `fit()` on TensorFlow asks for XLA, a plain `tf.function` does not.
    for how in ("", ", XLA") if keras.backend.backend() == "tensorflow" else ("",):
        options = {"jit_compile": bool(how)}
        functions |= {
            f"ours{how}": stepper(Nadam(), shapes, **options),
            f"ours{how}, one EMA": stepper(Nadam(averaging=EMA(0.999)), shapes, **options),
            f"stock{how}": stepper(keras.optimizers.Nadam(), shapes, **options),
            f"stock{how}, use_ema": stepper(
                keras.optimizers.Nadam(use_ema=True), shapes, **options
            ),
        }
    functions |= {"show the average": show, "show the raw weights": restore}
    found = medians(functions, rounds)
    floor = found["copy of the weights"]
    for name in [name for name in found if name.endswith(("EMA", "use_ema"))]:
        found[f"EMA alone, {name.rpartition(',')[0]}"] = (
            found[name] - found[name.rpartition(",")[0]]
        )
    return [(shape, name, f"{ms:.2f}", f"{ms / floor:.2f}") for name, ms in found.items()]
