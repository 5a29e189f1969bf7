"""The files of `AverageCheckpoint`: whole or not there, small, and loaded without this package."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA
from nadam_suite.backends import get_backend
from nadam_suite.callbacks import AverageCheckpoint, EvaluateAverage
from tests.callbacks.averaged import (
    VALIDATION,
    WRAPPINGS,
    Interrupt,
    Recorder,
    X,
    array,
    assert_same,
    averages,
    differ,
    evaluate,
    fit,
    load,
    model_with,
    values,
    weights,
    weights_of,
)
from tests.processes import BACKENDS, installed, run_python


def test_a_failure_while_saving_leaves_the_old_files(tmp_path, monkeypatch):
    """Nothing half-written: the files before stay whole, and no other is left."""
    model = model_with()
    path = tmp_path / "a.keras"
    checkpoint = AverageCheckpoint(path)
    fit(model, checkpoint, epochs=1)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    whole = model.save

    def half(target):
        whole(target)
        Path(target).write_bytes(Path(target).read_bytes()[:99])
        raise OSError("no space left")

    monkeypatch.setattr(type(model), "save", lambda self, target: half(target))
    raw = weights(model)
    with pytest.raises(OSError, match="no space"):
        checkpoint._save_average(tmp_path / "a.ema.keras")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert_same(weights(model), raw)
    assert "get_compile_config" not in vars(model)
    assert type(model.optimizer).__name__ == "Nadam"


@pytest.mark.slow
def test_files_are_brought_to_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    """The call of fsync comes before the rename, for both files."""
    order = []
    sync, replace = os.fsync, Path.replace

    def renamed(self, target):
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), sync(number)))
    monkeypatch.setattr(Path, "replace", renamed)
    fit(model_with(), AverageCheckpoint(tmp_path / "a.keras"), epochs=1)
    assert order == ["fsync", "rename", "fsync"] * 2


def test_only_the_chief_writes(tmp_path, monkeypatch):
    """Another process reads all variables, as it must, and leaves no file."""
    monkeypatch.setattr(type(get_backend()), "process", lambda self: (1, 2))
    model = model_with()
    fit(model, AverageCheckpoint(tmp_path / "a.keras"), epochs=1)
    assert not list(tmp_path.iterdir())
    assert differ(weights(model), averages(model))


def test_the_file_of_the_averages_is_small(tmp_path):
    """It has the weights and not three more arrays a weight; the raw one has them."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(500)])
    model.compile(WRAPPINGS["accumulation"](), loss="mse")
    model.fit(
        np.ones((4, 100)),
        np.ones((4, 500)),
        verbose=0,
        callbacks=[AverageCheckpoint(tmp_path / "a.keras")],
    )
    sizes = [(tmp_path / name).stat().st_size for name in ("a.keras", "a.ema.keras")]
    parameters = 4 * model.count_params()
    assert sizes[0] > 5 * parameters
    assert parameters < sizes[1] < 1.3 * parameters


@keras.saving.register_keras_serializable(package="tests")
class Doubling(keras.Model):
    """A subclassed model with a layer, a loss and a metric of its own."""

    def __init__(self, units=1, **options):
        super().__init__(**options)
        self.units = units
        self.dense = keras.layers.Dense(units)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return 2 * self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="tests")
def cubic(y, predicted):
    return keras.ops.mean(keras.ops.abs(y - predicted) ** 3, axis=-1)


@pytest.mark.slow
def test_custom_models_and_losses(tmp_path):
    """What `model.save` can write is written, and comes back compiled."""
    model = Doubling()
    model.build((None, 3))
    model.compile(WRAPPINGS["accumulation"](), loss=cubic, metrics=[cubic])
    history = fit(model, EvaluateAverage(), AverageCheckpoint(tmp_path / "a.keras"))
    loaded = load(tmp_path / "a.ema.keras")
    assert isinstance(loaded, Doubling)
    logs = evaluate(tmp_path / "a.ema.keras")
    np.testing.assert_allclose(logs["loss"], history["val_loss"][-1], rtol=1e-6)
    np.testing.assert_allclose(logs["cubic"], history["val_cubic"][-1], rtol=1e-6)


@pytest.mark.slow
def test_mixed_precision_loads_as_it_was_saved(tmp_path):
    """With loss scaling around the optimizer neither saving nor loading warns."""
    keras.config.set_dtype_policy("mixed_float16")
    model = model_with(WRAPPINGS["dynamic"]())
    history = fit(model, EvaluateAverage(), AverageCheckpoint(tmp_path / "a.keras"), epochs=1)
    logs = evaluate(tmp_path / "a.ema.keras")
    np.testing.assert_allclose(logs["loss"], history["val_loss"][0], rtol=1e-3)


@pytest.mark.slow
def test_the_file_of_the_averages_does_not_train_by_accident(tmp_path):
    """Its optimizer stands still until it is compiled, and has a name that says so."""
    fit(model_with(), AverageCheckpoint(tmp_path / "a.keras"), epochs=1)
    loaded = load(tmp_path / "a.ema.keras")
    before = values(loaded)
    fit(loaded, epochs=1)
    assert_same(values(loaded), before)
    with zipfile.ZipFile(tmp_path / "a.ema.keras") as archive:
        config = json.loads(archive.read("config.json"))["compile_config"]["optimizer"]
    assert config["class_name"] == "SGD"
    assert config["config"]["name"] == "compile_before_training"


@keras.saving.register_keras_serializable(package="tests")
class OwnCompile(keras.Sequential):
    """A model with a compile of its own, whose config names no optimizer."""

    def compile(self, rate=0.1):
        super().compile(Nadam(rate, averaging=EMA(0.7)), loss="mse")

    def get_compile_config(self):
        return {"rate": 0.1}

    def compile_from_config(self, config):
        self.compile(**config)


@pytest.mark.slow
def test_a_model_with_a_compile_of_its_own(tmp_path):
    """It is saved by its own rules, with the optimizer that it makes of them, and goes on."""
    model = OwnCompile([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile()
    fit(model, AverageCheckpoint(tmp_path / "a.keras"), epochs=1)
    loaded = load(tmp_path / "a.ema.keras")
    assert_same([array(v) for v in loaded.trainable_variables], averages(model))
    fit(loaded, EvaluateAverage(), epochs=2, initial_epoch=1)
    fit(model, epochs=2, initial_epoch=1)
    assert_same(weights(loaded), weights(model))


PROGRAM = """
import sys
import keras, numpy as np
print("BACKEND", keras.backend.backend())
data = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = keras.saving.load_model(path)
    logs = model.evaluate(data["x"], data["y"], verbose=0, return_dict=True)
    print("RESULT", logs["loss"], logs["mae"])
print("PACKAGE", any(name.startswith("nadam_suite") for name in sys.modules))
"""


@pytest.mark.slow
def test_the_averages_evaluate_to_the_logged_metric_on_another_backend(tmp_path):
    """In a new process, on another backend, without this package: the same to 1e-6."""
    np.savez(tmp_path / "data.npz", x=VALIDATION[0], y=VALIDATION[1])
    files, expected = [], []
    for batch_norm in ("keep", "recalibrate"):
        options = {"batch_norm": batch_norm, "data": X}
        history = fit(
            model_with(normalize=True),
            EvaluateAverage(**options),
            AverageCheckpoint(tmp_path / f"{batch_norm}.keras", save_best_only=True, **options),
        )
        best = int(np.argmin(history["val_loss"]))
        files.append(str(tmp_path / f"{batch_norm}.ema.keras"))
        expected.append([history[f"val_{metric}"][best] for metric in ("loss", "mae")])
    assert expected[0] != expected[1]
    others = [b for b in BACKENDS if b != keras.backend.backend() and installed(b)]
    assert others
    for backend in others:
        output = run_python(PROGRAM, str(tmp_path / "data.npz"), *files, backend=backend).stdout
        assert f"BACKEND {backend}" in output
        found = [text.split()[:2] for text in output.split("RESULT ")[1:]]
        np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-6)
        assert "PACKAGE False" in output


@pytest.mark.slow
def test_an_interrupt_leaves_files_that_are_whole(tmp_path):
    """Ctrl-C in the second epoch: the files of the first are there, and the weights are raw."""
    model, recorder = model_with(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            recorder,
            AverageCheckpoint(tmp_path / "{epoch}.keras"),
            Interrupt("batch_end"),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.ema.keras", "1.keras"]
    assert_same(weights_of(tmp_path / "1.keras"), recorder.weights[0])
