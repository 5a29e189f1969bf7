"""What loss scaling costs: the look at the gradients, and the division by the scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras

from nadam_suite import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer, skip_nonfinite
from tests.benchmarks.rows import Plan, Row, compared
from tests.benchmarks.timing import copying, medians, stepper, tensors, ways

stock = keras.optimizers
MAKERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "ours, bare": Nadam,
    "ours, skip_nonfinite": lambda: skip_nonfinite(Nadam()),
    "ours, loss scale": lambda: DynamicLossScaleOptimizer(Nadam()),
    "stock, bare": stock.Nadam,
    "stock, loss scale": lambda: stock.LossScaleOptimizer(stock.Nadam()),
}


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of each set of shapes; what is beyond the bare step is set beside a copy.

    One more read of the gradients is half a copy, which reads and writes.
    """
    for shape, shapes in plan.shapes.items():
        gradients, functions = tensors(shapes), {"copy": copying(shapes)}
        for how in ways():
            for name, make in MAKERS.items():
                plan.say(f"{shape}: compile {name}{how}")
                functions[f"{name}{how}"] = stepper(make(), shapes, bool(how), gradients)
        plan.say(f"{shape}: time steps with a loss scale and without")
        found = medians(functions, plan.rounds)
        floor = found.pop("copy")
        yield from compared("precision", shape, found)
        beyond = {
            f"{name}{how}, beyond the bare step": found[f"{name}{how}"]
            - found[f"{name.partition(',')[0]}, bare{how}"]
            for how in ways()
            for name in MAKERS
            if not name.endswith("bare")
        }
        floors = dict.fromkeys(("skip_nonfinite", "loss scale"), floor)
        yield from compared("precision", shape, beyond, floors)
