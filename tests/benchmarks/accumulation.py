"""What gradient accumulation costs: a batch that only adds its gradients, and one that updates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from tests.benchmarks.rows import Plan, Row, compared
from tests.benchmarks.steps import SIDES
from tests.benchmarks.timing import milliseconds, stepper, tensors, ways

WINDOW = 4


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of windows of four batches, for each set of shapes."""
    for shape, shapes in plan.shapes.items():
        gradients, functions = tensors(shapes), {}
        for how in ways():
            for side, kind in SIDES.items():
                optimizer = kind(gradient_accumulation_steps=WINDOW)
                functions[side, how] = stepper(optimizer, shapes, bool(how), gradients)
        plan.say(f"{shape}: time windows of {WINDOW} batches")
        times: dict[str, list[float]] = {}
        for number in range(max(1, plan.rounds // 2) + 1):
            for (side, how), run in functions.items():
                spent = [milliseconds(run) for _ in range(WINDOW)]
                if number:  # the first window compiles
                    times.setdefault(f"{side}, micro-batch{how}", []).extend(spent[:-1])
                    times.setdefault(f"{side}, update{how}", []).append(spent[-1])
                    times.setdefault(f"{side}, whole window{how}", []).append(sum(spent))
        found = {name: statistics.median(values) for name, values in times.items()}
        yield from compared("accumulation", shape, found)
