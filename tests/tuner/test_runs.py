"""Trials that are runs: what they train, how they go on, and where they end."""

from __future__ import annotations

import dataclasses
import json

import keras
import keras_tuner
import numpy as np
import pytest

from nadam_suite.config import NadamConfig, TrainConfig, load_config
from nadam_suite.errors import ConfigError, NonFiniteError, RunFolderError
from nadam_suite.experiment import Splits, Task, run_training
from nadam_suite.tuner import runs
from nadam_suite.tuner.runs import RunHyperModel, merged_optimizer
from nadam_suite.tuner.trials import TrialContext
from tests.experiment.comparing import assert_same

pytestmark = pytest.mark.once

OBJECTIVE = keras_tuner.Objective("val_loss", "min")
SMALL = {
    "model": "digits",
    "data": "digits",
    "batch_size": 32,
    "model_options": {"width": 4},
    "data_options": {"train_examples": 64},
}


def _config(**values):
    return TrainConfig(**{**SMALL, "epochs": 3, **values})


def _context(folder, config, **values):
    hp = keras_tuner.HyperParameters()
    RunHyperModel(config).declare(hp)
    folder.mkdir(parents=True, exist_ok=True)
    return TrialContext("0", hp, folder, OBJECTIVE, **{"seed": 5, **values})


def _history(folder):
    return json.loads((folder / "run" / "result.json").read_text())["history"]


class Cut(keras.callbacks.Callback):
    """An interruption in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 1):
            raise KeyboardInterrupt


class Trained(keras.callbacks.Callback):
    """The epochs that have been begun, of all trials."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)


def not_finite(examples=64):
    """Data with a hole."""
    x = np.full((examples, 8, 8, 1), np.nan, "float32")
    y = np.zeros(examples, "int32")
    return Splits(train=(x, y), validation=(x[:8], y[:8]))


def linear():
    """A model that lets a hole through; a relu of TensorFlow makes zero of it."""
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Task(keras.Sequential(layers), loss)


def unvalidated():
    """Data without a split for validation."""
    x = np.zeros((8, 8, 8, 1), "float32")
    return Splits(train=(x, np.zeros(8, "int32")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted trial: its folder, its config, and what it returned."""
    folder, config = tmp_path_factory.mktemp("whole"), _config(optimizer={"averaging": "ema"})
    return folder, config, RunHyperModel(config).run_trial(_context(folder, config))


class TestConfig:
    """What a trial trains."""

    def test_space_decides_and_the_rest_stays(self):
        """Learning rate, betas, epsilon, decay and schedule are the space's."""
        config = _config(
            optimizer={"beta_2": 0.9, "weight_decay_mode": "independent", "slot_dtype": "bfloat16"},
            schedule={"kind": "linear"},
            output="runs/other",
            tuner={"tune": ["learning_rate", "weight_decay"]},
        )
        hp = keras_tuner.HyperParameters()
        hp.values = {"learning_rate": 3e-3, "weight_decay": 0.5}
        found = RunHyperModel(config).trial_config(hp)
        optimizer = found.optimizer
        assert optimizer.learning_rate.peak == 3e-3
        assert optimizer.learning_rate.kind == "cosine"
        assert (optimizer.weight_decay, optimizer.weight_decay_mode) == (0.5, "lr")
        assert optimizer.beta_2 != 0.9
        assert optimizer.momentum_decay is None
        assert optimizer.slot_dtype == "bfloat16"
        assert (found.schedule, found.tuner, found.output) == (None, None, None)
        same = ("model", "data", "epochs", "batch_size", "model_options", "data_options", "seed")
        assert [getattr(found, key) for key in same] == [getattr(config, key) for key in same]

    @pytest.mark.parametrize("tuned", [False, True])
    def test_clipping_averaging_and_accumulation_are_kept_unless_tuned(self, tuned):
        """A group that the space tunes is its own as a whole, so that its keys do not clash."""
        own = {"clipnorm": 2.0, "averaging": "swa", "gradient_accumulation_steps": 4}
        names = ["learning_rate"] + ["clipping", "averaging", "accumulation"] * tuned
        config = _config(optimizer=own, tuner={"tune": names})
        hp = keras_tuner.HyperParameters()
        hp.values = {"clipping": True, "global_clipnorm": 1.5, "averaging": "ema"}
        optimizer = RunHyperModel(config).trial_config(hp).optimizer
        kept = (optimizer.clipnorm, optimizer.averaging.kind, optimizer.gradient_accumulation_steps)
        assert kept == ((None, "ema", None) if tuned else (2.0, "swa", 4))
        assert optimizer.global_clipnorm == (1.5 if tuned else None)

    def test_the_short_form_of_an_average_becomes_one_that_is_evaluated(self):
        """Unless the training only overwrites its weights by it, or is not to use averages."""
        use_ema = {"use_ema": True, "ema_momentum": 0.5}
        hp = keras_tuner.HyperParameters()
        found = RunHyperModel(_config(optimizer=use_ema)).trial_config(hp).optimizer
        assert (found.use_ema, found.averaging.kind, found.averaging.momentum) == (
            False,
            "ema",
            0.5,
        )
        assert found.averaging.warmup is None
        for config in (
            _config(optimizer={**use_ema, "ema_overwrite_frequency": 2}),
            _config(optimizer=use_ema, use_averages=False),
        ):
            found = RunHyperModel(config).trial_config(hp).optimizer
            assert (found.use_ema, found.averaging) == (True, None)

    def test_a_fixed_setting_of_the_space_replaces_its_group(self):
        """A preset that clips by the global norm leaves no other clip beside it."""
        base = NadamConfig(clipvalue=1.0)
        found = merged_optimizer(base, NadamConfig(global_clipnorm=3.0), {"learning_rate"})
        assert (found["clipvalue"], found["global_clipnorm"]) == (None, 3.0)

    def test_declaring_builds_nothing(self):
        """Neither model nor data are needed to know the space."""
        config = _config(model="missing:model", data="missing:data")
        hp = keras_tuner.HyperParameters()
        RunHyperModel(config).declare(hp)
        assert {p.name for p in hp.space} == {"learning_rate", "one_minus_beta_1", "weight_decay"}

    def test_what_cannot_go_with_a_schedule_is_refused(self):
        """The learning rate has a schedule in every trial."""
        config = _config(callbacks=[{"kind": "reduce_lr_on_plateau"}])
        with pytest.raises(ConfigError, match="plateau_scale"):
            RunHyperModel(config).declare(keras_tuner.HyperParameters())

    def test_points_are_those_of_the_preset(self):
        """The config itself and published points first, none if there are to be none."""
        hp = keras_tuner.HyperParameters()
        RunHyperModel(_config()).declare(hp)
        names = [point.name for point in RunHyperModel(_config()).points(hp)]
        assert names[:3] == ["as configured", "centre of preset algoperf", "algoperf-1"]
        assert RunHyperModel(_config(tuner={"points": "none"})).points(hp) == []
        fine = RunHyperModel(_config(tuner={"preset": "finetune"}))
        assert any(point.name.startswith("bert") for point in fine.points(hp))


class TestRun:
    """A trial's folder."""

    def test_score_is_that_of_the_best_epoch(self, whole):
        """All metrics of the epoch come with it."""
        folder, config, result = whole
        history = _history(folder)
        best = min(history, key=lambda row: row["val_loss"])
        assert len(history) == config.epochs
        assert dict(result.metrics) == {k: v for k, v in best.items() if k != "epoch"}
        assert result.best_step == best["epoch"]

    def test_its_config_trains_it_again(self, whole, tmp_path):
        """The file in the folder is all that is needed, seed included, to the bit."""
        folder, _, _ = whole
        config = load_config(folder / "run" / "config.toml", kind=TrainConfig)
        assert config.seed == 5
        run_training(config, output=tmp_path / "run")
        assert_same(tmp_path / "run", folder / "run")

    def test_names_of_its_metrics_are_known_before(self, whole):
        """They are those of the history, without what callbacks add of their own."""
        folder, config, _ = whole
        names = RunHyperModel(config).objective_names()
        assert set(names) <= set(_history(folder)[0])
        assert {"loss", "val_loss", "val_accuracy", "val_raw_loss"} <= set(names)
        data = f"{__name__}:unvalidated"
        unseen = RunHyperModel(_config(data=data, data_options={})).objective_names()
        assert set(unseen) == {"loss", "accuracy"}

    def test_tensorboard_is_told_of_it_once(self, whole):
        """The table of hyperparameters lies with the curves, in the trial's own folder."""
        folder = whole[0] / "run" / "tensorboard"
        assert len(list(folder.glob("*.hparams"))) == 1
        assert (folder / "validation").is_dir()

    def test_a_cut_trial_goes_on_exactly(self, whole, tmp_path):
        """Cut in its second epoch, it ends with the weights of one that was not."""
        folder, config, result = whole
        context = _context(tmp_path, config)
        with pytest.raises(KeyboardInterrupt):
            RunHyperModel(config, callbacks=lambda: [Cut(1)]).run_trial(context)
        assert not (tmp_path / "run" / "result.json").exists()
        assert RunHyperModel(config).run_trial(context) == result
        assert_same(tmp_path / "run", folder / "run")

    def test_a_finished_trial_is_not_trained_again(self, whole, monkeypatch):
        """A search killed before it heard of the end hears of it now."""
        folder, config, result = whole
        monkeypatch.setattr(keras.Model, "fit", _never)
        assert RunHyperModel(config).run_trial(_context(folder, config)) == result

    def test_rungs_are_one_training(self, whole, tmp_path):
        """Each rung goes on with a copy; the last one ends as if there had been none."""
        folder, config, result = whole
        trained, past = [], None
        model = RunHyperModel(config, callbacks=lambda: [Trained(trained)])
        for rung, epochs in enumerate((1, 2, 3)):
            own = tmp_path / f"trial_{rung}"
            reached = model.run_trial(_context(own, config, epochs=epochs, past_folder=past))
            rows = _history(folder)[:epochs]
            best = min(rows, key=lambda row: row["val_loss"])
            assert reached.metrics["val_loss"] == best["val_loss"]
            assert (own / "run" / "result.json").exists() == (epochs == 3)
            past = own
        assert trained == [0, 1, 2]
        assert reached == result
        assert_same(past / "run", folder / "run")

    def test_a_cut_rung_goes_on_where_it_was(self, whole, tmp_path):
        """It does not begin anew with the copy of the trial before it."""
        _, config, result = whole
        first = _context(tmp_path / "first", config, epochs=1)
        later = _context(tmp_path / "later", config, epochs=3, past_folder=first.folder)
        RunHyperModel(config).run_trial(first)
        with pytest.raises(KeyboardInterrupt):
            RunHyperModel(config, callbacks=lambda: [Cut(2)]).run_trial(later)
        trained = []
        model = RunHyperModel(config, callbacks=lambda: [Trained(trained)])
        assert model.run_trial(later) == result
        assert trained == [2]

    def test_a_trial_is_scored_by_what_the_final_model_has(self, tmp_path):
        """Where `use_ema` would log the raw weights, and leave the average."""
        config = _config(optimizer={"use_ema": True, "ema_momentum": 0.9}, epochs=2)
        RunHyperModel(config).run_trial(_context(tmp_path / "trial", config))
        last = _history(tmp_path / "trial")[-1]
        result = json.loads((tmp_path / "trial" / "run" / "result.json").read_text())
        assert result["metrics"]["validation"]["loss"] == pytest.approx(last["val_loss"], rel=1e-6)
        assert last["val_loss"] != pytest.approx(last["val_raw_loss"], rel=1e-5)

    def test_a_reached_rung_is_not_trained_on(self, whole, tmp_path, monkeypatch):
        """Killed after the last epoch of its rung, a trial has nothing left to do."""
        _, config, _ = whole
        context = _context(tmp_path, config, epochs=1)
        first = RunHyperModel(config).run_trial(context)
        state = (tmp_path / "run" / "state" / "training_state.npz").read_bytes()
        monkeypatch.setattr(runs, "run_training", _never)
        assert RunHyperModel(config).run_trial(context) == first
        assert (tmp_path / "run" / "state" / "training_state.npz").read_bytes() == state

    def test_the_seed_is_the_contexts(self, whole, tmp_path):
        """Another execution of a trial is another training."""
        _, config, _ = whole
        context = dataclasses.replace(_context(tmp_path, config), seed=6, epochs=1)
        other = RunHyperModel(config).run_trial(context)
        assert other.metrics["loss"] != pytest.approx(_history(whole[0])[0]["loss"], rel=1e-6)


class TestFailure:
    """Trials that do not end well."""

    def test_divergence_ends_the_trial_with_its_reason(self, tmp_path, monkeypatch):
        """At the first such epoch; once more, without training on."""
        parts = {"model": f"{__name__}:linear", "data": f"{__name__}:not_finite"}
        config = _config(**parts, model_options={}, data_options={})
        context = _context(tmp_path, config)
        expected = r"^Diverged: val_loss is nan at epoch 1 \(loss nan\)"
        with pytest.raises(keras_tuner.errors.FailedTrialError, match=expected):
            RunHyperModel(config).run_trial(context)
        monkeypatch.setattr(runs, "run_training", _never)
        with pytest.raises(keras_tuner.errors.FailedTrialError, match=expected):
            RunHyperModel(config).run_trial(context)

    def test_a_loss_scale_that_gives_up_is_a_divergence(self, tmp_path, monkeypatch):
        """Its error has the reason already."""
        monkeypatch.setattr(runs, "run_training", _raises(NonFiniteError("all steps skipped")))
        context = _context(tmp_path, _config())
        with pytest.raises(keras_tuner.errors.FailedTrialError, match=r"^Diverged: all steps"):
            RunHyperModel(_config()).run_trial(context)

    def test_what_is_wrong_for_all_trials_ends_the_search(self, tmp_path, monkeypatch):
        """No other trial would fare better."""
        cause = RunFolderError("no space")
        monkeypatch.setattr(runs, "run_training", _raises(cause))
        with pytest.raises(keras_tuner.errors.FatalError, match="no space") as caught:
            RunHyperModel(_config()).run_trial(_context(tmp_path, _config()))
        assert caught.value.__cause__ is cause


def _never(*arguments, **options):
    raise AssertionError("something was trained")


def _raises(error):
    def raising(*arguments, **options):
        raise error

    return raising
