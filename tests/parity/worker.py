"""What one backend computes and saves; run once for each of them, in a process of its own.

`write` trains every scenario, and saves its trajectory and a `.keras` file. `read` loads the files
that the other backends wrote and trains them on for one batch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

from nadam_suite import Nadam, no_decay
from tests.optimizers.driver import BACKEND, record
from tests.parity.scenarios import FILES, OPTIONS, STEPS
from tests.reference.gradients import gradient_list, start_values


def batches():
    """Eight batches of eight examples."""
    x = np.sin(np.arange(64 * 3, dtype="float32").reshape(64, 3))
    y = x.sum(axis=1, keepdims=True)
    return [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]


def make_model(name: str) -> keras.Model:
    """A small network whose weights are the same on every backend."""
    layers = [keras.layers.Dense(4, "tanh", name="a"), keras.layers.Dense(1, name="b")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.set_weights(
        [np.cos(1.0 + np.arange(w.size)).reshape(w.shape) for w in model.get_weights()]
    )
    rules = {"parameter_rules": no_decay()} if name == "rules" else {}
    model.compile(Nadam(**FILES[name], **rules), "mse")
    return model


def write(folder: Path) -> None:
    """Save trajectories, and models after five batches with what a sixth makes of them."""
    paths = {}
    for name, options in OPTIONS.items():
        path = record(Nadam(**options), start_values(), gradient_list(STEPS))
        paths[name] = np.stack([np.concatenate([np.ravel(a) for a in row]) for row in path])
    np.savez(folder / f"{BACKEND}.npz", **paths)
    for name in FILES:
        model = make_model(name)
        for x, y in batches()[:5]:
            model.train_on_batch(x, y)
        model.save(folder / f"{BACKEND}-{name}.keras")
        model.train_on_batch(*batches()[5])
        np.savez(folder / f"{BACKEND}-{name}.npz", *model.get_weights())


def read(folder: Path) -> None:
    """Load every file of every backend and train one batch more."""
    files = sorted(folder.glob("*.keras"))
    if not files:
        raise FileNotFoundError(f"no .keras file in {folder}")
    for file in files:
        model = keras.saving.load_model(file)
        if type(model.optimizer) is not Nadam:
            raise TypeError(f"{file.name}: the optimizer came back as {type(model.optimizer)}")
        # Files of JAX ask for compilation, for which PyTorch takes most of a minute.
        model.jit_compile = False
        model.train_on_batch(*batches()[5])
        np.savez(folder / f"{file.stem}-on-{BACKEND}.npz", *model.get_weights())


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
