"""Averages of other lengths, put together after a run and compared on its validation data."""

from __future__ import annotations

import json
import shutil

import keras
import pytest

from nadam_suite.config import load_config, save_config
from nadam_suite.errors import ArgumentError, ConfigError, RunFolderError
from nadam_suite.experiment import find_part
from nadam_suite.experiment.average_plot import plot_sweep
from nadam_suite.experiment.average_sweep import Sweep, SweepRow, sweep_averages
from tests.experiment.small_runs import OWN, contents, no_pictures, train

pytestmark = pytest.mark.once

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

OPTIONS = {
    "model": f"{OWN}:normalized",
    "optimizer": {"use_ema": False, "averaging": {"p": "power_ema"}},
    "callbacks": [{"kind": "average_snapshots", "count": 16}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of eight epochs, 24 updates, that ends with the average of width 0.05."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(folder, 8, None, **OPTIONS)


def test_the_average_that_the_run_kept_is_the_one_that_is_put_together(run):
    """Its metrics are those of the final model, batch normalization recalibrated alike."""
    before = contents(run.folder)
    seen = []
    sweep = sweep_averages(run.folder, (0.05, 0.1, 0.28), watch=seen.append)
    assert run.average == "p_0.05"
    assert sweep.rows[0].metrics == pytest.approx(run.metrics["validation"], rel=1e-4)
    assert sweep.raw["loss"] == pytest.approx(run.history[-1]["val_raw_loss"], rel=1e-4)
    assert [row.error < 1e-6 for row in sweep.rows] == [True, True, False]
    assert not sweep.rows[2].exact
    assert (sweep.step, sweep.snapshots, sweep.test) == (24, 16, None)
    losses = [row.metrics["loss"] for row in sweep.rows]
    assert sweep.best == losses.index(min(losses))
    assert seen == list(sweep.rows)
    assert contents(run.folder) == before


def test_the_best_can_be_used_without_its_optimizer(run, tmp_path):
    """The file evaluates to the metrics in the table."""
    path = tmp_path / "best.keras"
    sweep = sweep_averages(run.folder, (0.06, 0.2), monitor="mae", mode="min", write=path)
    model = keras.saving.load_model(path)
    data = find_part("data", f"{OWN}:points", {})().validation
    found = model.evaluate(*data, verbose=0, return_dict=True)
    assert found == pytest.approx(sweep.rows[sweep.best].metrics, rel=1e-5)
    assert model.optimizer.name == "compile_before_training"
    assert sweep.monitor == "mae"


def test_an_earlier_time_has_fewer_snapshots(run):
    """The averages after half of the updates are others."""
    half = sweep_averages(run.folder, (0.1,), step=12)
    assert (half.step, half.snapshots) == (12, 8)
    whole = sweep_averages(run.folder, (0.1,))
    assert half.rows[0].metrics["loss"] > 1.01 * whole.rows[0].metrics["loss"]


def test_the_test_data_are_looked_at_once_for_the_best(run, tmp_path):
    """Where there are some."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    config = load_config(folder / "config.toml")
    other = config.replace(data=f"{OWN}:points_with_test")
    save_config(other, folder / "config.toml", overwrite=True)
    sweep = sweep_averages(folder, (0.05, 0.1))
    assert sweep.test.keys() == sweep.raw.keys()


def test_a_sweep_is_json_and_a_picture(run, tmp_path):
    """Numbers that are none become null; the picture is drawn without them."""
    nan = float("nan")
    rows = (
        SweepRow(0.05, 0.0, {"loss": nan, "mae": 1.0}),
        SweepRow(0.28, 0.2, {"loss": 0.5, "mae": 1.0}),
    )
    raw = {"loss": 0.6, "mae": nan}
    for best in (1, None):
        sweep = Sweep(run.folder, 24, 16, "loss", rows, best, raw, None)
        table = json.loads(json.dumps(sweep.to_dict(), allow_nan=False))
        assert [row["best"] for row in table["rows"]] == [False, best == 1]
        assert table["rows"][0]["metrics"] == {"loss": None, "mae": 1.0}
        assert table["raw"] == {"loss": 0.6, "mae": None}
        plot_sweep(sweep, tmp_path / "sweep.png")
        assert (tmp_path / "sweep.png").read_bytes()[1:4] == b"PNG"


def test_what_is_no_run_with_snapshots_is_refused(run, tmp_path):
    """The message says what is missing, and how to get it."""
    with pytest.raises(RunFolderError, match=r"`RUN`.*no config\.toml"):
        sweep_averages(tmp_path, (0.1,))
    plain = {"optimizer": {"use_ema": False, "averaging": "ema"}}
    train(tmp_path / "plain", 1, None, **plain)
    with pytest.raises(RunFolderError, match=r"`RUN`.*averaging=power_ema.*average_snapshots"):
        sweep_averages(tmp_path / "plain", (0.1,))
    empty = shutil.copytree(run.folder, tmp_path / "empty")
    shutil.rmtree(empty / "snapshots")
    with pytest.raises(RunFolderError, match=r"`RUN`.*Wait for its first epoch"):
        sweep_averages(empty, (0.1,))


def test_what_cannot_be_compared_is_refused(run, tmp_path):
    """A metric that is not there, and data without a validation."""
    with pytest.raises(ArgumentError, match=r"`monitor` must be one of 'loss', 'mae'.*'acc'"):
        sweep_averages(run.folder, (0.1,), monitor="acc")
    folder = shutil.copytree(run.folder, tmp_path / "run")
    config = load_config(folder / "config.toml").replace(data_options={"validate": False})
    save_config(config, folder / "config.toml", overwrite=True)
    with pytest.raises(ConfigError, match="validation data"):
        sweep_averages(folder, (0.1,))
