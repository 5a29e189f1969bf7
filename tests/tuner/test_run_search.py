"""The folder of a search over runs, the tuner of a config, and searches that are cut."""

from __future__ import annotations

import keras
import pytest

from nadam_suite.config import TrainConfig, load_config
from nadam_suite.errors import ArgumentError, SearchFolderError
from nadam_suite.experiment import run_training
from nadam_suite.tuner.run_search import (
    SEARCH,
    check_settings,
    make_tuner,
    open_folder,
    search,
)
from nadam_suite.tuner.runs import RunHyperModel
from nadam_suite.tuner.search_folder import read_search
from nadam_suite.tuner.tuners import (
    BayesianOptimization,
    GridSearch,
    QuasiRandomSearch,
    RandomSearch,
    ResumableHyperband,
)
from tests.experiment.comparing import assert_same

pytestmark = pytest.mark.once


def _config(epochs=2, **tuner):
    return TrainConfig(
        model="digits",
        data="digits",
        epochs=epochs,
        batch_size=32,
        seed=3,
        model_options={"width": 4},
        data_options={"train_examples": 64},
        tuner={"points": "none", **tuner},
    )


def _searched(config, folder, callbacks=tuple):
    open_folder(config, folder, resume=True)
    search(make_tuner(config, folder, RunHyperModel(config, callbacks=callbacks)))
    return read_search(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search of two trials that nothing interrupts."""
    return _searched(_config(trials=2), tmp_path_factory.mktemp("whole") / "search")


class Cut(keras.callbacks.Callback):
    """An interruption before the batch of a number, counted over all trials."""

    left = 0

    def on_train_batch_begin(self, batch, logs=None):
        Cut.left -= 1
        if Cut.left == 0:
            raise KeyboardInterrupt


class TestTuner:
    """From the table to a tuner of keras-tuner."""

    @pytest.mark.parametrize(
        ("tuner", "expected"),
        [
            ({}, QuasiRandomSearch),
            ({"kind": "random"}, RandomSearch),
            ({"kind": "bayesian"}, BayesianOptimization),
            ({"kind": "grid"}, GridSearch),
            ({"kind": "hyperband"}, ResumableHyperband),
        ],
    )
    def test_kind_and_defaults(self, tmp_path, tuner, expected):
        """The search has the training's seed, and thirty trials where it does not end by itself."""
        config = _config(epochs=9, **tuner)
        tuner = make_tuner(config, tmp_path / "search", RunHyperModel(config))
        assert type(tuner) is expected
        oracle = tuner.oracle
        assert (oracle.seed, oracle.objective.name, oracle.objective.direction) == (
            3,
            "val_loss",
            "min",
        )
        sampled = expected in (QuasiRandomSearch, RandomSearch, BayesianOptimization)
        assert oracle.max_trials == (30 if sampled else None)
        assert tuner.project_dir == str(tmp_path / "search")

    def test_settings_reach_the_oracle(self, tmp_path):
        """Every key of the table does something."""
        config = _config(
            epochs=16,
            kind="hyperband",
            factor=4,
            iterations=2,
            seed=0,
            objective="val_accuracy",
            sampler="sobol",
            tune=["epsilon"],
        )
        oracle = make_tuner(config, tmp_path / "search", RunHyperModel(config)).oracle
        assert (oracle.seed, oracle.max_epochs, oracle.factor) == (0, 16, 4)
        assert oracle.hyperband_iterations == 2
        assert (oracle.objective.name, oracle.objective.direction) == ("val_accuracy", "max")
        assert [entry.name for entry in oracle.get_space().space] == ["epsilon"]

    def test_published_points_come_first(self, tmp_path):
        """They are asked of the hypermodel; the config itself is left out on request."""
        config = _config(points="published", trials=3)
        tuner = make_tuner(config, tmp_path / "search", RunHyperModel(config))
        first = tuner.oracle.create_trial("tuner0")
        assert first.hyperparameters.values["learning_rate"] == 0.00190834618600756

    def test_an_objective_that_no_run_has_is_refused(self):
        """The nearest one is named."""
        config = _config(objective="val_acc")
        with pytest.raises(ArgumentError, match=r"'val_acc'.*'val_accuracy'"):
            check_settings(config, RunHyperModel(config))


class TestFolder:
    """The config of a search in its folder."""

    def test_it_has_its_config_from_the_start(self, tmp_path):
        """Nothing half-made is left beside it."""
        config = _config(trials=4)
        assert not open_folder(config, tmp_path / "search", resume=False)
        assert load_config(tmp_path / "search" / SEARCH, kind=TrainConfig) == config
        assert [path.name for path in tmp_path.iterdir()] == ["search"]

    def test_more_trials_are_noted(self, tmp_path):
        """Their number may change, and a table that was left out is the default one."""
        plain = TrainConfig(model="digits", data="digits")
        open_folder(plain, tmp_path / "search", resume=False)
        more = plain.replace(tuner={"trials": 40}, output="elsewhere")
        assert open_folder(more, tmp_path / "search", resume=True)
        assert load_config(tmp_path / "search" / SEARCH).tuner.trials == 40

    @pytest.mark.parametrize("broken", ["{", "[]", None])
    def test_a_damaged_file_is_named(self, tmp_path, broken):
        """A folder that lost its other file is not gone on with."""
        open_folder(_config(), tmp_path / "search", resume=False)
        path = tmp_path / "search" / "environment.json"
        path.unlink() if broken is None else path.write_text(broken)
        with pytest.raises(SearchFolderError, match=r"environment\.json.*Restore"):
            open_folder(_config(), tmp_path / "search", resume=True)

    def test_a_file_in_the_way_is_told(self, tmp_path):
        """A folder that cannot be made is named with the reason."""
        (tmp_path / "file").write_text("")
        with pytest.raises(SearchFolderError, match=r"must be writable.*file.*--output"):
            open_folder(_config(), tmp_path / "file" / "search", resume=False)


class TestSearch:
    """Whole searches of small runs; `test_runs.py` has single trials."""

    @pytest.mark.parametrize("batch", [2, pytest.param(7, marks=pytest.mark.slow)])
    def test_a_cut_search_has_the_same_trials(self, whole, tmp_path, batch):
        """In its first trial or its second, it goes on with the batch's epoch, to the bit."""
        config = _config(trials=2)
        Cut.left = batch
        with pytest.raises(KeyboardInterrupt):
            _searched(config, tmp_path / "cut", lambda: [Cut()])
        again = _searched(config, tmp_path / "cut")
        assert [(t.id, t.values, t.score, t.best_step) for t in again.trials] == [
            (t.id, t.values, t.score, t.best_step) for t in whole.trials
        ]
        for one, two in zip(again.trials, whole.trials, strict=True):
            assert_same(one.folder / "run", two.folder / "run")

    @pytest.mark.slow
    def test_rungs_of_hyperband_are_one_training(self, tmp_path):
        """The trial of the last rung is the run that its config makes."""
        record = _searched(_config(kind="hyperband", factor=2), tmp_path / "search")
        (later,) = [trial for trial in record.trials if trial.past]
        assert (later.epochs, later.rung) == (2, 1)
        config = load_config(later.folder / "run" / "config.toml", kind=TrainConfig)
        run_training(config, output=tmp_path / "run")
        assert_same(later.folder / "run", tmp_path / "run")
        first = next(trial for trial in record.trials if trial.id == later.past)
        assert not (first.folder / "run" / "result.json").exists()

    def test_what_no_trial_can_train_ends_the_search(self, tmp_path):
        """The error is the run's own, at the first trial."""
        config = TrainConfig(model="digits", data=f"{__name__}:nothing")
        with pytest.raises(ValueError, match=r"`data` must name a function"):
            _searched(config, tmp_path / "search")
        assert len(list((tmp_path / "search").glob("trial_*"))) == 1

    def test_several_trials_that_fail_end_it_with_the_reason(self, tmp_path, monkeypatch):
        """The search says why, and where."""
        config = _config(trials=5)

        def full(*arguments, **options):
            raise OSError("no space left")

        monkeypatch.setattr("nadam_suite.tuner.runs.run_training", full)
        with pytest.raises(RuntimeError, match="no space left"):
            _searched(config, tmp_path / "search")
        assert [trial.reason for trial in read_search(tmp_path / "search").trials]


def nothing():
    """A data function that returns no data."""
