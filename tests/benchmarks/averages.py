"""What averages cost: one in the step, and putting it into the model and taking it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import keras

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, show_average, show_raw
from tests.benchmarks.rows import Plan, Row, compared
from tests.benchmarks.timing import copying, medians, stepper, tensors, wait, ways

MAKERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "ours, without average": Nadam,
    "ours, with EMA": lambda: Nadam(averaging=EMA(0.999)),
    "stock, without average": keras.optimizers.Nadam,
    "stock, with EMA": lambda: keras.optimizers.Nadam(use_ema=True),
}


class Flat(keras.layers.Layer):
    """A layer of bare weights, for the swap of a model with given shapes."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = shapes
        for i, shape in enumerate(shapes):
            self.add_weight(shape=shape, initializer="ones", name=f"w{i}")

    def call(self, inputs):
        return inputs


def swapping(shapes: Sequence[tuple[int, ...]]):
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


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of each set of shapes; the floor is a copy of the weights."""
    for shape, shapes in plan.shapes.items():
        show, restore = swapping(shapes)
        gradients, functions = tensors(shapes), {"copy": copying(shapes)}
        for how in ways():
            for name, make in MAKERS.items():
                plan.say(f"{shape}: compile {name}{how}")
                functions[f"{name}{how}"] = stepper(make(), shapes, bool(how), gradients)
        functions |= {"show, the average": show, "show, the raw weights": restore}
        plan.say(f"{shape}: time steps with an average and without")
        found = medians(functions, plan.rounds)
        floor = found.pop("copy")
        for how in ways():
            for side in ("ours", "stock"):
                step, bare = found[f"{side}, with EMA{how}"], found[f"{side}, without average{how}"]
                found[f"{side}, EMA alone{how}"] = step - bare
        floors = dict.fromkeys(("EMA alone", "the average", "the raw weights"), floor)
        yield Row("averages", shape, "floor, a copy of the weights", floor)
        yield from compared("averages", shape, found, floors)
