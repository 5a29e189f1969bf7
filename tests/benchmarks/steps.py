"""What a step of the optimizer costs, next to the stock optimizer, its rivals and the floor."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from nadam_suite import Nadam
from tests.benchmarks.rivals import least, rivals
from tests.benchmarks.rows import COPY_BYTES, FLOOR_BYTES, SETTINGS, Plan, Row, compared
from tests.benchmarks.timing import (
    Run,
    copying,
    medians,
    milliseconds,
    stepper,
    tensors,
    ways,
)

SIDES = {"stock": keras.optimizers.Nadam, "ours": Nadam}


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of each set of shapes; first calls, which trace and compile, come last."""
    for shape, shapes in plan.shapes.items():
        functions: dict[str, Run] = {}
        first: dict[str, float] = {}
        missing: dict[str, str] = {}
        gradients = tensors(shapes)
        for settings, options in SETTINGS.items():
            for how in ways():
                for side, kind in SIDES.items():
                    name = f"{side}, {settings}{how}"
                    plan.say(f"{shape}: compile {name}")
                    run = stepper(kind(**options), shapes, bool(how), gradients)
                    first[f"{name}, first step"] = milliseconds(run)
                    functions[name] = run
            plan.say(f"{shape}: compile rivals, {settings}")
            others, reasons = rivals(shapes, settings, plan.patience)
            functions |= {f"{name}, {settings}": run for name, run in others.items()}
            missing |= {f"{name}, {settings}": reason for name, reason in reasons.items()}
        for how in ways():
            functions[f"x - g alone, plain{how}"] = least(shapes, bool(how))
        plan.say(f"{shape}: time {len(functions)} steps in turn")
        found = medians(functions | {"copy": copying(shapes)}, plan.rounds)
        yield from _table(shape, found, first, missing)


def _table(
    shape: str, found: dict[str, float], first: dict[str, float], missing: dict[str, str]
) -> Iterator[Row]:
    copy = found.pop("copy")
    floors = {settings: copy * bytes_ / COPY_BYTES for settings, bytes_ in FLOOR_BYTES.items()}
    for settings, floor in floors.items():
        yield Row("steps", shape, f"floor, {settings}", floor)
    yield from compared("steps", shape, found, floors)
    yield from compared("steps", shape, first)
    for name, reason in missing.items():
        yield Row("steps", shape, name, note=reason)
