"""Start values and gradients for the numerics tests: deterministic, of many sizes and signs."""

from __future__ import annotations

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16"
import numpy as np

SHAPES = ((3, 4), (5,), (), (1, 2, 2))


def start_values(shapes=SHAPES) -> list[np.ndarray]:
    """One float64 array a shape, between -1 and 1, none of them zero, exact in float32."""
    values = []
    for i, shape in enumerate(shapes):
        count = int(np.prod(shape, dtype=int))
        a = np.sin(1.0 + 7.0 * i + 1.7 * np.arange(count)).reshape(shape)
        values.append(a.astype("float32").astype("float64"))
    return values


def gradient_list(steps: int, shapes=SHAPES, seed: int = 0, dtype: str = "float32"):
    """`steps` lists of gradients, one array a shape: noise of sizes 1e-4 to 10 around a slow drift.

    They are rounded to `dtype`, so that the tested optimizer and its twin read the same numbers,
    and given in float64. Every seventh gradient of the second variable is zero.
    """
    generator = np.random.default_rng(seed)
    scales = [10.0 ** generator.uniform(-4, 1, size=shape) for shape in shapes]
    result = []
    for t in range(steps):
        row = []
        for i, shape in enumerate(shapes):
            noise = generator.normal(size=shape) + np.cos(0.05 * t + i)
            g = np.asarray(noise * scales[i]).astype(dtype).astype("float64")
            row.append(g * 0 if i == 1 and t % 7 == 6 else g)
        result.append(row)
    return result
