"""How a step's cost grows: with the number of variables, and with that of parameters."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import keras

from tests.benchmarks.rows import COPY_BYTES, FLOOR_BYTES, Plan, Row, compared
from tests.benchmarks.steps import SIDES
from tests.benchmarks.timing import copying, medians, on_gpu, stepper, tensors, ways

# Of each variable where their number grows: so small that dispatch is all of the cost.
SMALL = (16, 16)

# Columns and most rows of each variable where the number of parameters grows.
WIDTH = 1024

# Bytes a parameter that two optimizers take together with shared gradients and room for a step of
# the stock one, which makes copies.
NEEDED = 80


def rows(plan: Plan) -> Iterator[Row]:
    """Yield a row for each side and number; the name of the shapes is the number."""
    for number in plan.variables:
        plan.say(f"{number} variables")
        yield from _measured(f"{number} variables", [SMALL] * number, plan.rounds)
    room = _memory()
    for number in plan.parameters:
        name = f"1e{math.log10(number):.0f} parameters"
        plan.say(name)
        if number * NEEDED > room:
            yield Row("growth", name, "ours, plain", note=f"needs {number * NEEDED / 1e9:.0f} GB")
            continue
        yield from _measured(name, _shapes(number), plan.rounds)


def _measured(name: str, shapes: Sequence[tuple[int, ...]], rounds: int) -> Iterator[Row]:
    gradients, functions = tensors(shapes), {"copy": copying(shapes)}
    for how in ways():
        for side, kind in SIDES.items():
            functions[f"{side}, plain{how}"] = stepper(kind(), shapes, bool(how), gradients)
    found = medians(functions, rounds)
    floor = found.pop("copy") * FLOOR_BYTES["plain"] / COPY_BYTES
    yield from compared("growth", name, found, {"plain": floor})


def _shapes(number: int) -> list[tuple[int, int]]:
    """Return matrices with about so many parameters: few for small numbers, at least one."""
    height = max(1, min(4 * WIDTH, number // WIDTH))
    return [(height, WIDTH)] * max(1, number // (height * WIDTH))


def _memory() -> float:
    """Return the bytes that tensors may take; infinite where the framework does not tell."""
    backend = keras.backend.backend()
    if not on_gpu():
        return 0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if backend == "torch":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    if backend == "jax":
        import jax

        found = jax.devices()[0].memory_stats() or {}
        return float(found.get("bytes_limit", 0) - found.get("bytes_in_use", 0))
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return float(details.get("memory_limit", 40e9))
