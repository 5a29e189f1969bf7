"""The half of the command that runs on one backend: it measures, and writes a line for each row."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tests.benchmarks import (
    accumulation,
    averages,
    growth,
    memory,
    precision,
    steps,
    training,
)
from tests.benchmarks.rows import SHAPES, Plan, Row
from tests.benchmarks.targets import judge
from tests.benchmarks.timing import on_gpu

SUBJECTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "steps": steps.rows,
    "accumulation": accumulation.rows,
    "averages": averages.rows,
    "precision": precision.rows,
    "training": training.rows,
    "growth": growth.rows,
    "memory": memory.rows,
}


def measured(subjects: Sequence[str], plan: Plan) -> Iterator[Row]:
    """Yield the rows of some subjects, with what they should reach."""
    for subject in subjects:
        for row in SUBJECTS[subject](plan):
            row.targets = judge(keras.backend.backend(), row)
            yield row


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    backend = keras.backend.backend()
    framework = __import__(backend)
    return {
        "backend": backend,
        "version": framework.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "device": _device(backend, framework),
    }


def _device(backend: str, framework: Any) -> str:
    if not on_gpu():
        return platform.processor() or platform.machine()
    if backend == "torch":
        return framework.cuda.get_device_name()
    if backend == "jax":
        return framework.devices()[0].device_kind
    first = framework.config.list_physical_devices("GPU")[0]
    return framework.config.experimental.get_device_details(first).get("device_name", "GPU")


def main(arguments: str) -> None:
    """Measure what the command asks for, as JSON; write JSON lines."""
    asked = json.loads(arguments)
    shapes = {name: SHAPES[name] for name in asked["shapes"]}

    def write(kind: str, what: Any) -> None:
        print(json.dumps({kind: what}), file=out, flush=True)

    # What else writes to the standard output is no line of ours.
    out, sys.stdout = sys.stdout, sys.stderr
    write("machine", machine())
    plan = Plan(
        shapes=shapes,
        rounds=asked["rounds"],
        patience=asked["patience"],
        say=lambda text: write("say", text),
    )
    for subject in asked["subjects"]:
        for row in measured([subject], plan):
            write("row", dataclasses.asdict(row))
        write("done", subject)
