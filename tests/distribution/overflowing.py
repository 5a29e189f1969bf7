"""Train under a loss scale where one replica of several overflows; run in a process of its own.

Prints one line of JSON: for every inner optimizer and replica that overflows, what the weights of
all replicas are, and what the loss scale did.
"""

from __future__ import annotations

import contextlib
import json
import sys

import keras
import numpy as np

from nadam_suite import Nadam
from nadam_suite.backends import get_backend
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.precision.scaled import remembered

INNER = {
    "nadam": lambda: Nadam(0.05, global_clipnorm=1.0, weight_decay=0.1),
    "accumulating": lambda: Nadam(0.05, gradient_accumulation_steps=2, use_ema=True),
    "adam": lambda: keras.optimizers.Adam(0.05),
}
ROWS = 8
BAD = 2  # the batch with the overflow


def batches(replicas, overflow):
    """Five batches; in one of them the part of a replica has an infinite row, if any."""
    generator = np.random.default_rng(5)
    x = generator.uniform(0.5, 1.5, (5, ROWS, 3)).astype("float32")
    y = np.full((5, ROWS, 1), 9.0, "float32")
    if overflow is not None:
        x[BAD, overflow * (ROWS // replicas), 1] = np.inf
    return x, y


def train(inner, strategy, x, y):
    """Fit a line on the batches; return what it comes to."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        layer = keras.layers.Dense(1, kernel_initializer="ones", name="line")
        model = keras.Sequential([keras.Input((3,)), layer])
        scale = DynamicLossScaleOptimizer(INNER[inner](), initial_scale=1024.0)
        model.compile(scale, "mse")
        for rows, targets in zip(x, y, strict=True):
            model.fit(rows, targets, batch_size=ROWS, shuffle=False, verbose=0)
    copies = [layer.kernel]
    if strategy and keras.backend.backend() == "tensorflow":
        copies = strategy.experimental_local_results(layer.kernel.value)
    return {
        "weights": [np.asarray(keras.ops.convert_to_numpy(c)).ravel().tolist() for c in copies],
        "scale": remembered(scale)[0],
        "skips": remembered(scale)[2][2],
        "updates": int(keras.ops.convert_to_numpy(scale.iterations)),
        "shares": np.asarray(keras.ops.convert_to_numpy(scale.scale_variables.shares)).tolist(),
    }


def main(count: int) -> None:
    """Train on one device without the bad batch, and on several with it."""
    backend = get_backend()
    backend.split_cpu(count)
    found = {}
    strategy = backend.plain_strategy("replicas", count)
    for inner in INNER:
        x, y = batches(count, None)
        keep = [step for step in range(len(x)) if step != BAD]
        found[f"{inner}-alone"] = train(inner, None, x[keep], y[keep])
        for replica in range(count):
            keras.utils.clear_session(free_memory=False)
            found[f"{inner}-{replica}"] = train(inner, strategy, *batches(count, replica))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
