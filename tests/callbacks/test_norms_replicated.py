"""`NormLogger` on two devices measures what it measures on one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distribution.cluster import on_two_devices_and_one
from tests.processes import installed

pytestmark = [pytest.mark.multi_device, pytest.mark.once, pytest.mark.slow]

_PROGRAM = """
import json, sys
import keras
import numpy as np
from nadam_suite import Nadam, training_scope
from nadam_suite.callbacks import NormLogger

strategy, devices = sys.argv[1], int(sys.argv[2])
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
with training_scope(strategy, devices=devices, batch_size=8, verbose=False):
    keras.utils.set_random_seed(1)
    hidden = keras.layers.Dense(3, name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1, name="out")])
    optimizer = Nadam(0.1, global_clipnorm=1.0, gradient_accumulation_steps=3)
    model.compile(optimizer, loss="mse")
    logger = NormLogger()
    history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[logger])
    rows = [
        [name, row.weight, row.update, row.gradient]
        for norms in logger.norms
        for name, row in norms.layers.items()
    ]
    steps = [norms.step for norms in logger.norms]
    print("RESULT", json.dumps({"rows": rows, "steps": steps, "logs": history.history}))
"""


@pytest.mark.parametrize(
    ("backend", "strategy"), [("tensorflow", "mirrored"), ("jax", "data_parallel")]
)
def test_on_two_devices_as_on_one(backend, strategy, tmp_path):
    """Layer by layer and in the logs, also in windows that two epochs share."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    two, one = on_two_devices_and_one(_PROGRAM, strategy, backend, tmp_path)
    assert two["steps"] == one["steps"] == [3, 6, 12]
    assert [row[0] for row in two["rows"]] == ["hidden", "out"] * 3
    for ours, theirs in zip(two["rows"], one["rows"], strict=True):
        np.testing.assert_allclose(ours[1:], theirs[1:], rtol=1e-4)
    assert min(row[2] for row in two["rows"]) > 0.0
    for name in ("gradient_norm", "update_norm", "update_ratio"):
        np.testing.assert_allclose(two["logs"][name], one["logs"][name], rtol=1e-4)
