"""One run from one config: what it leaves behind, and what it gives back."""

from __future__ import annotations

import csv
import json

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.config import TrainConfig, load_config
from nadam_suite.errors import ArgumentTypeError, ConfigError, RunFolderError
from nadam_suite.experiment import Task, find_part, recipe_path, run_training
from nadam_suite.experiment.plot import plot_curves
from tests.cli.running import SMALL


def _config(*changes):
    return load_config(recipe_path("digits"), [*SMALL, *changes])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two epochs."""
    keras.utils.clear_session()
    folder = tmp_path_factory.mktemp("run") / "run"
    return run_training(_config("epochs=2"), output=folder)


def test_model_file_has_the_reported_metrics(run):
    """The saved model is the evaluated one, and its optimizer is ours."""
    model = keras.saving.load_model(run.folder / "model.keras")
    splits = find_part("data", "digits", {})()
    values = model.evaluate(*splits.test, verbose=0, return_dict=True, batch_size=256)
    assert values == pytest.approx(run.metrics["test"], rel=1e-5)
    assert isinstance(model.optimizer, Nadam)
    assert int(model.optimizer.iterations) == 4


def test_final_weights_are_the_averages(run):
    """With `use_ema` the model that is saved and tested is the average."""
    model = keras.saving.load_model(run.folder / "model.keras")
    averages = [v for v in model.optimizer.variables if v.path.endswith("average")]
    assert len(averages) == len(model.trainable_variables)
    for weight, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(average)
        )


def test_history_is_the_same_everywhere(run):
    """CSV, result and return value hold the same numbers, learning rate included."""
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == run.history
    result = json.loads((run.folder / "result.json").read_text())
    assert result["history"] == run.history
    assert result["metrics"] == run.metrics
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"} <= rows[0].keys()


def test_saved_config_trains_the_same(run, tmp_path):
    """The folder's config is complete: trained again, whatever was drawn before, it is the same."""
    keras.utils.set_random_seed(99)
    again = run_training(load_config(run.folder / "config.toml"), output=tmp_path / "again")
    assert again.history == run.history
    assert again.metrics == run.metrics


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a step that creates variables is traced twice"
)
def test_the_step_is_traced_once(tmp_path, monkeypatch):
    """Optimizer and metrics have their variables before it."""
    traces, step = [], keras.Model.train_step

    def traced(model, data):
        traces.append(model)
        return step(model, data)

    monkeypatch.setattr(keras.Model, "train_step", traced)
    run_training(_config("epochs=2"), output=tmp_path / "run")
    assert len(traces) == 1


def test_environment_says_what_was_used(run):
    """Backend, versions, seed and digests are written down."""
    environment = json.loads((run.folder / "environment.json").read_text())
    backend = keras.backend.backend()
    assert environment["backend"] == backend
    assert environment["packages"]["keras"] == keras.__version__
    assert environment["packages"][backend]
    assert environment["seed"] == 0
    assert len(environment["data_sha256"]) == 64


def test_tensorboard_reads_the_logs(run):
    """TensorBoard's own reader finds a curve per metric, with the history's values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for split, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(run.folder / "tensorboard" / split)).Reload()
        curve = events.Scalars("epoch_accuracy")
        assert [point.step for point in curve] == [0, 1]
        expected = [row[f"{prefix}accuracy"] for row in run.history]
        np.testing.assert_allclose([point.value for point in curve], expected, rtol=1e-7)


def test_picture_is_drawn(run):
    """The curves are a PNG of a sensible size."""
    data = (run.folder / "curves.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width = int.from_bytes(data[16:20], "big")
    assert width > 500


def test_existing_folder_is_refused(run):
    """A run never writes into a folder that is there."""
    with pytest.raises(RunFolderError, match=r"must not exist yet.*--resume"):
        run_training(_config(), output=run.folder)


def test_precision_is_given_back(tmp_path):
    """The run's policy is in force for its model and for nothing after it, also after an error."""
    result = run_training(_config("precision=mixed_bfloat16"), output=tmp_path / "run")
    model = keras.saving.load_model(result.folder / "model.keras")
    assert model.layers[0].compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ConfigError):
        run_training(_config("precision=bfloat16", "model=platform:node"), output=tmp_path / "b")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("precision", ["mixed_float16", "bfloat16"])
def test_every_precision_trains(tmp_path, precision):
    """The loss is finite in every precision that a config may name."""
    result = run_training(_config(f"precision={precision}"), output=tmp_path / "run")
    assert np.isfinite(result.history[-1]["loss"])


def test_early_stopping_from_the_config(tmp_path):
    """Callbacks that the config names are used, and the result says that they stopped the run."""
    stop = '{kind="early_stopping", monitor="loss", patience=1, min_delta=1e9}'
    config = _config("epochs=6", f"callbacks=[{stop}]")
    result = run_training(config, output=tmp_path / "run")
    assert result.epochs == 2
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["stopped_early"] is True


@pytest.mark.slow
@pytest.mark.once
def test_seeds_make_different_runs(tmp_path):
    """Another seed gives another history."""
    first, second = (
        run_training(_config(f"seed={seed}"), output=tmp_path / str(seed)) for seed in (1, 2)
    )
    assert first.history != second.history


def test_output_of_the_config(tmp_path, monkeypatch):
    """The folder is the argument's, else the config's, else runs/<name>."""
    monkeypatch.chdir(tmp_path)
    assert run_training(_config("output=mine")).folder.name == "mine"
    assert (tmp_path / "mine" / "result.json").is_file()


def test_data_without_validation_and_test(tmp_path):
    """Only a training split is needed."""
    own = "tests.experiment.parts_of_a_user"
    config = TrainConfig(
        model=f"{own}:line", data=f"{own}:points", data_options={"validate": False}
    )
    result = run_training(config, output=tmp_path / "run")
    assert result.metrics == {}
    assert (tmp_path / "run" / "curves.png").is_file()


def test_function_that_raises_is_named(tmp_path):
    """An exception in a user's function becomes an error with its reference."""
    config = TrainConfig(
        model="tests.experiment.parts_of_a_user:line",
        data="tests.experiment.parts_of_a_user:broken",
    )
    with pytest.raises(ConfigError, match=r"parts_of_a_user:broken.*KeyError: 'gone'"):
        run_training(config, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", [keras.layers.Dense(1), keras.Sequential, None])
def test_what_is_no_model_is_refused(model):
    """A layer, or the class itself, cannot be trained."""
    with pytest.raises(ArgumentTypeError, match=r"`model` must be a keras.Model\. Received"):
        Task(model, "mse")


@pytest.mark.parametrize("metrics", ["mae", ("mae",), ["mae"]])
def test_one_metric_may_stand_alone(metrics):
    """A name is not taken for its letters."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    assert list(Task(model, "mse", metrics).metrics) == ["mae"]


def test_plot_of_gaps(tmp_path):
    """Metrics that some epochs lack, or that are not finite, do not hinder the picture."""
    rows = [{"epoch": 0, "loss": float("nan")}, {"epoch": 1, "loss": 1.0, "val_loss": 2.0}]
    plot_curves(rows, tmp_path / "curves.png", "gaps")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_plot_of_averages(tmp_path, monkeypatch):
    """Their curve and that of the raw weights are in one panel, and told apart."""
    labels = []

    def watch(figure, path):
        labels.extend([line.get_label() for line in axis.lines] for axis in figure.axes)

    monkeypatch.setattr("nadam_suite.experiment.plot.save_figure", watch)
    row = {"epoch": 0, "loss": 1.0, "val_loss": 2.0}
    plot_curves([row], tmp_path / "curves.png", "raw")
    plot_curves([{**row, "val_raw_loss": 3.0}], tmp_path / "curves.png", "both")
    assert labels == [
        ["training", "validation"],
        ["training", "validation, averages", "validation, raw weights"],
    ]
