"""The callbacks for averages on two devices do what they do on one."""

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
from nadam_suite.averaging import EMA, show_raw, shown
from nadam_suite.callbacks import AverageCheckpoint, EMAFinalization, EvaluateAverage

strategy, devices = sys.argv[1], int(sys.argv[2])
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
options = {"batch_norm": "recalibrate", "data": x}

def state(model):
    tensors = (keras.ops.convert_to_tensor(variable) for variable in model.variables)
    return [np.array(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]

def same(first, second):
    return all((a == b).all() for a, b in zip(first, second, strict=True))

scope = training_scope(strategy, devices=devices, batch_size=8, verbose=False)
with scope:
    keras.utils.set_random_seed(1)
    layer = keras.layers.BatchNormalization(momentum=0.5, synchronized=strategy == "mirrored")
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
    model.compile(Nadam(0.1, averaging=EMA(0.7, warmup=None)), loss="mse")
    callbacks = [
        EvaluateAverage(**options),
        AverageCheckpoint("a.keras", save_best_only=True, **options),
        EMAFinalization(restore_best=True, **options),
    ]
    common = {"batch_size": 8, "verbose": 0}
    data = {"x": x, "y": y, "shuffle": False, "validation_data": (x[:16], y[:16])}
    logs = model.fit(**data, epochs=3, callbacks=callbacks, **common).history
    result = {"logs": logs, "final": model.evaluate(x[:16], y[:16], **common)}
    result["statistics"] = [a.tolist() for v, a in zip(model.variables, state(model))
                            if "moving" in v.path]
    result["shown"] = shown(model)
    show_raw(model)
    raw = state(model)
    for _ in range(2):
        model.evaluate(x[:16], y[:16], callbacks=[EvaluateAverage(**options)], **common)
        model.predict(x[:16], callbacks=[EvaluateAverage()], **common)
    result["unchanged"] = same(raw, state(model))
    again = keras.saving.load_model("a.keras")
    again.fit(**data, epochs=4, initial_epoch=3, callbacks=[EvaluateAverage()], **common)
    model.fit(**data, epochs=4, initial_epoch=3, callbacks=[EvaluateAverage()], **common)
    # Equal where the last epoch was the best one.
    result["resumed"] = same(state(again), state(model))
result["file"] = keras.saving.load_model("a.ema.keras").evaluate(x[:16], y[:16], verbose=0)
print("RESULT", json.dumps(result))
"""


@pytest.mark.parametrize(
    ("backend", "strategy"), [("tensorflow", "mirrored"), ("jax", "data_parallel")]
)
def test_on_two_devices_as_on_one(backend, strategy, tmp_path):
    """Metrics, statistics, files, what is restored and what is resumed from: as on one device."""
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    two, one = on_two_devices_and_one(_PROGRAM, strategy, backend, tmp_path)
    for metric in ("loss", "val_loss", "val_raw_loss"):
        np.testing.assert_allclose(two["logs"][metric], one["logs"][metric], rtol=1e-4)
    assert np.argmin(two["logs"]["val_loss"]) == 2
    np.testing.assert_allclose(two["statistics"], one["statistics"], rtol=1e-6)
    for result in (two, one):
        assert result["shown"] == "ema"
        assert result["unchanged"]
        assert result["resumed"]
        for key in ("final", "file"):
            np.testing.assert_allclose(result[key], result["logs"]["val_loss"][-1], rtol=1e-6)
