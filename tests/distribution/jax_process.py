"""One of several JAX processes that train together; KERAS_DISTRIBUTION_* say which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from tests.distribution import problem
from tests.distribution.problem import SCENARIOS, Batches, Scenario, everything


def _own_rows(batch: Any) -> Any:
    own, count = jax.process_index(), jax.process_count()
    return jax.tree.map(lambda array: np.split(array, count)[own], batch)


def main(folder: str, names: str) -> None:
    """Fit scenarios on the devices of all processes; every process saves what it ends with."""
    keras.distribution.initialize()  # before any device is touched
    if jax.process_count() < 2 or jax.device_count() == jax.local_device_count():
        raise RuntimeError(f"this process is alone: {jax.devices()}")
    first = jax.process_index() == 0
    # The processes disagree about a callable: that of the first one decides.
    split = {"learning_rate": lambda: 0.015 if first else 9.9, "beta_2": lambda: 0.99}
    scenarios = SCENARIOS | {"callable": Scenario(split)}
    for name in names.split(","):
        keras.utils.clear_session(free_memory=False)
        early = problem.make_optimizer(scenarios[name].options)
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )
        model, batches = problem.compiled(scenarios[name])
        if name == "together":
            model.compile(early, "mse")  # older than the distribution
        own = [_own_rows(batch) for batch in batches]
        model.fit(Batches(own), shuffle=False, verbose=0)
        np.savez(Path(folder) / f"{name}-of-{jax.process_index()}.npz", **everything(model))
