"""What keras-tuner lets users do by themselves: fits, trials, hooks, data, and runs."""

from __future__ import annotations

import keras
import keras_tuner
import pytest

from nadam_suite.errors import ArgumentError, NonFiniteError
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.trials import TrialResult
from nadam_suite.tuner.tuners import (
    QuasiRandomSearch,
    RandomSearch,
    ResumableHyperband,
)
from tests.tuner.searching import (
    BATCH,
    EPOCHS,
    EXAMPLES,
    Seen,
    build,
    data,
    make,
    scores,
    search,
    state_of,
)

pytestmark = pytest.mark.once

# The rest of what keras-tuner can


def test_a_hypermodel_may_fit_by_itself_and_return_a_number(tmp_path):
    """With hyperparameters that only its `fit` declares."""

    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            size = hp.Choice("batch", [4, 8])
            history = model.fit(*args, **{**kwargs, "batch_size": size})
            return history.history["mae"][-1] if history.epoch else 0.0

    tuner = search(make(QuasiRandomSearch, tmp_path, Own(), objective=None))
    assert tuner.oracle.trials["1"].status == "COMPLETED"
    assert tuner.oracle.trials["1"].score > 0
    assert (tmp_path / "s" / "trial_1" / "checkpoint.weights.h5").exists()


def test_a_number_that_only_the_training_knew_is_kept(tmp_path, monkeypatch):
    """A search that is cut before the number was told does not ask for it again."""

    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            history = model.fit(*args, **kwargs)
            return history.history["mae"][-1] if history.epoch else 0.0

    cut = make(QuasiRandomSearch, tmp_path, Own(), trials=1, objective=None)
    monkeypatch.setattr(cut.oracle, "update_trial", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        search(cut)
    tuner = search(make(QuasiRandomSearch, tmp_path, Own(), trials=1, objective=None))
    assert tuner.oracle.trials["0"].score > 0


def _interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_trial_that_succeeds_at_last_has_no_failure(tmp_path):
    """Neither in its folder nor in its state."""
    crashes = [OSError("once")]

    class Crashing(keras_tuner.HyperModel):
        def declare(self, hp):
            hp.Float("rate", 1e-3, 1.0, sampling="log", default=0.05)

        def build(self, hp):
            if crashes:
                raise crashes.pop()
            return build(hp)

    options = {"trials": 1, "max_retries_per_trial": 1}
    tuner = search(make(QuasiRandomSearch, tmp_path, Crashing(), **options))
    assert (tuner.oracle.trials["0"].status, crashes) == ("COMPLETED", [])
    assert not (tmp_path / "s" / "trial_0" / "failure.txt").exists()


def test_a_subclass_may_run_trials_by_itself(tmp_path):
    """Without a hypermodel, as keras-tuner's guide shows."""

    class Parabola(RandomSearch):
        def run_trial(self, trial):
            return trial.hyperparameters.Float("x", -1.0, 1.0) ** 2

    hp = keras_tuner.HyperParameters()
    hp.Float("x", -1.0, 1.0, default=0.5)
    tuner = Parabola(hyperparameters=hp, max_trials=3, seed=0, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search()
    assert tuner.oracle.trials["0"].score == 0.25
    with pytest.raises(ArgumentError, match="`hypermodel` must be"):
        RandomSearch(objective="val_loss", directory=tmp_path)


def test_hooks_of_a_subclass_are_called(tmp_path):
    """With the trial, and the logs of the epoch."""
    calls = []

    class Hooked(RandomSearch):
        def on_epoch_end(self, trial, model, epoch, logs=None):
            calls.append((trial.trial_id, epoch, "val_loss" in logs))

    search(make(Hooked, tmp_path, trials=1))
    assert calls == [("0", epoch, True) for epoch in range(EPOCHS)]


def test_callbacks_that_cannot_be_copied_are_refused(tmp_path):
    """With the reason, before anything is trained."""

    class Locked(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            raise TypeError("a lock")

    with pytest.raises(ArgumentError, match=r"deepcopy.*a lock"):
        search(make(QuasiRandomSearch, tmp_path), callbacks=[Locked()])


def test_every_trial_trains_with_the_seed_of_the_search(tmp_path):
    """Zero is a seed, and two searches with it are the same."""
    first = scores(search(make(QuasiRandomSearch, tmp_path / "a")))
    assert scores(search(make(QuasiRandomSearch, tmp_path / "b"))) == first
    assert scores(search(make(QuasiRandomSearch, tmp_path / "c", seed=1))) != first
    assert state_of(tmp_path / "a" / "s")["seed"] == 0


def test_executions_of_a_trial_differ_in_their_seeds(tmp_path):
    """Else there would be no sense in several."""
    seen = Seen()
    search(make(QuasiRandomSearch, tmp_path, trials=1, executions_per_trial=2), callbacks=[seen])
    files = [
        (tmp_path / "s" / "trial_0" / f"execution_{i}" / "history.csv").read_text() for i in (0, 1)
    ]
    assert files[0] != files[1]


def test_data_of_other_kinds_are_passed_on(tmp_path):
    """Here a dataset that has its own order."""
    x, y = data()

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return EXAMPLES // BATCH

        def __getitem__(self, index):
            chosen = slice(index * BATCH, (index + 1) * BATCH)
            return x[chosen], y[chosen]

    tuner = make(QuasiRandomSearch, tmp_path, trials=1)
    tuner.search(Batches(), validation_data=(x, y), epochs=2, verbose=0)
    assert tuner.oracle.trials["0"].status == "COMPLETED"


# Hypermodels that train by themselves


class Running(keras_tuner.HyperModel):
    """It notes what it is told, as a search of runs does."""

    def __init__(self):
        super().__init__()
        self.told = []

    def declare(self, hp):
        hp.Float("rate", 1e-3, 1.0, sampling="log", default=0.05)

    def points(self, hyperparameters):
        return [Enqueued("mine", {"rate": 0.5})]

    def objective_names(self):
        return ("loss", "val_loss")

    def run_trial(self, context):
        self.told.append(context)
        if context.hyperparameters["rate"] > 0.9:
            raise NonFiniteError("fifty steps")
        return TrialResult({"val_loss": context.hyperparameters["rate"]}, 4)


def test_a_hypermodel_may_run_its_trials(tmp_path):
    """It is told folder, seed and execution."""
    running = Running()
    tuner = make(QuasiRandomSearch, tmp_path, running, trials=3, executions_per_trial=2)
    tuner.search(verbose=0)
    first, second, *_ = running.told
    assert first.folder == tmp_path / "s" / "trial_0"
    assert second.folder == tmp_path / "s" / "trial_0" / "execution_1"
    assert [context.seed for context in (first, second)] == [0, 1]
    assert first.epochs is first.past_folder is None
    trial = tuner.oracle.trials["0"]
    assert (trial.score, trial.best_step) == (0.5, 4)
    with pytest.raises(ArgumentError, match="trains by itself"):
        tuner.get_best_models()


def test_a_rung_is_told_where_the_trial_before_lies(tmp_path):
    """And how many epochs there are to be in all."""
    running = Running()
    tuner = ResumableHyperband(running, "val_loss", 3, seed=0, directory=tmp_path)
    tuner.search(verbose=0)
    context = running.told[3]
    past = tuner.oracle.trials["0003"].hyperparameters["tuner/trial_id"]
    assert context.past_folder == tmp_path / "untitled_project" / f"trial_{past}"
    assert context.epochs == 3


def test_steps_that_are_never_finite_are_a_divergence(tmp_path):
    """As the loss scale finds them."""
    tuner = make(QuasiRandomSearch, tmp_path, Running(), points=[{"rate": 0.95}, {"rate": 0.2}])
    tuner.search(verbose=0)
    assert tuner.oracle.trials["0"].message == "Diverged: fifty steps"


def test_data_and_a_wrong_objective_are_refused_before_a_run(tmp_path):
    """It knows the metrics of its runs without one."""
    running = Running()
    tuner = make(QuasiRandomSearch, tmp_path / "a", running)
    with pytest.raises(ArgumentError, match=r"search.*must get no data.*'x'"):
        tuner.search(x=1, verbose=0)
    wrong = keras_tuner.Objective("val_los", "min")
    tuner = make(QuasiRandomSearch, tmp_path / "b", running, objective=wrong)
    with pytest.raises(ArgumentError, match=r"val_los\b"):
        tuner.search(verbose=0)
    assert running.told == []
