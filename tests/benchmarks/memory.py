"""How much memory a step needs at its peak, measured in a process for each optimizer.

    KERAS_BACKEND=torch python -m tests.benchmarks.memory ours plain few

prints the bytes beyond the weights and gradients: at the first step, and at later ones.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from tests.benchmarks.rows import SETTINGS, SHAPES, Plan, Row, compared
from tests.benchmarks.steps import SIDES
from tests.benchmarks.timing import on_gpu, stepper, tensors, ways
from tests.processes import ROOT, run_python

MIB = 2.0**20
# This checkout comes first: what is measured is what lies beside these files.
_CHILD = (
    f"sys.path.insert(0, {str(ROOT)!r})\n"
    "from tests.benchmarks.memory import main\nmain(sys.argv[1:])"
)
_LATER_STEPS = 4


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of each set of shapes: MiB of slots and whatever a step needs besides."""
    for shape, shapes in plan.shapes.items():
        first: dict[str, float] = {}
        later: dict[str, float] = {}
        for settings in SETTINGS:
            for how in ways():
                for side in SIDES:
                    name = f"{side}, {settings}{how}"
                    plan.say(f"{shape}: memory of {name}")
                    measure = _in_a_process if plan.fresh else peaks
                    found = measure(side, settings, shapes, bool(how))
                    first[f"{name}, first step"], later[name] = (b / MIB for b in found)
        slots = {"plain": 8, "all options": 12}
        numbers = sum(math.prod(s) for s in shapes)
        floors = {settings: numbers * each / MIB for settings, each in slots.items()}
        yield from compared("memory", shape, later, floors, "MiB")
        yield from compared("memory", shape, first, floors, "MiB")


def peaks(
    side: str, settings: str, shapes: Sequence[tuple[int, ...]], jit_compile: bool
) -> tuple[float, float]:
    """Return the highest use of memory beyond weights and gradients: first step, later steps.

    Only a process of its own gives what one optimizer needs: freed memory is used again.
    """
    gradients = tensors(shapes)
    weights = 4 * sum(math.prod(shape) for shape in shapes)
    before = _restarted() + weights
    run = stepper(SIDES[side](**SETTINGS[settings]), shapes, jit_compile, gradients)
    run()
    first = _peak() - before
    run()
    _restarted()
    for _ in range(_LATER_STEPS):
        run()
    return first, _peak() - before


def _in_a_process(
    side: str, settings: str, shapes: Sequence[tuple[int, ...]], jit_compile: bool
) -> tuple[float, float]:
    arguments = json.dumps([side, settings, [list(shape) for shape in shapes], jit_compile])
    threads = os.cpu_count() or 1
    done = run_python(
        _CHILD, arguments, backend=keras.backend.backend(), timeout=1200, threads=threads
    )
    first, later = json.loads(done.stdout.strip().splitlines()[-1])
    return first, later


def main(arguments: list[str]) -> None:
    """Print both peaks in bytes, as JSON, for what `_in_a_process` asks; or for three words."""
    if len(arguments) == 3:
        side, settings, shape = arguments
        shapes, jit_compile = SHAPES[shape], False
    else:
        side, settings, shapes, jit_compile = json.loads(arguments[0])
    shapes = [tuple(shape) for shape in shapes]
    print(json.dumps(peaks(side, settings, shapes, jit_compile)))


def _restarted() -> float:
    """Begin a new peak, where the system allows that; return the bytes in use."""
    if on_gpu():
        return _on_gpu(restart=True)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    except OSError:  # not Linux: the peak since the process began
        return _peak()


def _peak() -> float:
    """Return the most bytes in use since the last restart."""
    if on_gpu():
        return _on_gpu(restart=False)
    try:
        return _status("VmHWM")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return float(line.split()[1]) * 1024
    raise OSError(name)


def _on_gpu(restart: bool) -> float:
    """Return the framework's own count: what is in use, or the most that was."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        if restart:
            torch.cuda.reset_peak_memory_stats()
            return float(torch.cuda.memory_allocated())
        return float(torch.cuda.max_memory_allocated())
    if backend == "jax":  # which cannot begin anew: later steps have the peak of all
        import jax

        found = jax.devices()[0].memory_stats() or {}
        return float(found.get("bytes_in_use" if restart else "peak_bytes_in_use", 0))
    import tensorflow as tf

    if restart:
        tf.config.experimental.reset_memory_stats("GPU:0")
    found = tf.config.experimental.get_memory_info("GPU:0")
    return float(found["current" if restart else "peak"])


if __name__ == "__main__":
    main(sys.argv[1:])
