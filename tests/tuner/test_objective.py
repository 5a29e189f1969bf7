"""What a search is for: its name is checked first, and what is not finite has a reason (T8)."""

from __future__ import annotations

import keras
import keras_tuner
import pytest

from nadam_suite.errors import ArgumentError, SearchError
from nadam_suite.tuner.tuners import (
    QuasiRandomSearch,
)
from tests.tuner.searching import (
    BATCH,
    EPOCHS,
    EXAMPLES,
    Once,
    build,
    make,
    quietly,
    search,
)

pytestmark = pytest.mark.once


class Counting(Once):
    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def _counted(build_model):
    """A build function whose models count the batches they train on, without a callback."""
    steps = []

    def build_counting(hp):
        model = build_model(hp)
        original = model.fit

        def fit(*args, **kwargs):
            steps.append(kwargs.get("epochs"))
            return original(*args, **kwargs)

        model.fit = fit
        return model

    return build_counting, steps


def test_a_misspelt_objective_is_found_before_the_first_step(tmp_path):
    """Stock trains three trials to their end first."""
    wrong = keras_tuner.Objective("val_mea", "min")
    counting, fits = _counted(build)
    with quietly(), pytest.raises(RuntimeError, match="consecutive failures"):
        search(make(keras_tuner.RandomSearch, tmp_path / "stock", counting, 4, wrong), epochs=1)
    assert len(fits) == 3
    fits.clear()
    with pytest.raises(ArgumentError, match=r"val_mea.*val_mae"):
        search(make(QuasiRandomSearch, tmp_path / "ours", counting, 4, wrong))
    assert fits == []


def test_a_callback_may_add_the_objective_and_is_waited_for_one_epoch(tmp_path):
    """Then a wrong name costs one epoch."""

    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["mine"] = 1.0 / (epoch + 1)

    mine = keras_tuner.Objective("mine", "min")
    tuner = search(make(QuasiRandomSearch, tmp_path, objective=mine), callbacks=[Adds()])
    assert tuner.oracle.trials["0"].score == 1.0 / EPOCHS
    seen = Counting()
    wrong = keras_tuner.Objective("mien", "min")
    with pytest.raises(ArgumentError, match=r"mien.*mine"):
        search(
            make(QuasiRandomSearch, tmp_path / "wrong", objective=wrong),
            callbacks=[Adds(), seen],
        )
    assert seen.batches == EXAMPLES // BATCH


def test_validation_data_are_asked_for(tmp_path):
    """A metric of the validation is none without it."""
    with pytest.raises(ArgumentError, match="val_loss"):
        search(make(QuasiRandomSearch, tmp_path), validation_data=None)


def _diverging(hp):
    """A model that is lost at its first epoch for high rates."""
    model = build(hp)
    if hp.get("rate") > 0.01:
        model.layers[-1].bias.assign([float("nan")])
    return model


def test_a_trial_that_diverges_ends_there_with_its_reason(tmp_path):
    """And it does not count as one of the failures that end a search."""
    tuner = search(make(QuasiRandomSearch, tmp_path, _diverging, trials=4))
    statuses = {t.trial_id: t.status for t in tuner.oracle.trials.values()}
    assert set(statuses.values()) == {"COMPLETED", "FAILED"}
    failed = [trial for trial in tuner.oracle.trials.values() if trial.status == "FAILED"]
    for trial in failed:
        reason = "Diverged: val_loss is nan at epoch 1 (loss nan)."
        assert trial.message == reason
        assert (tmp_path / "s" / f"trial_{trial.trial_id}" / "failure.txt").read_text() == reason


def test_stock_ends_a_search_without_a_reason_and_ours_names_it(tmp_path):
    """Where every trial is lost."""
    points = [{"rate": rate} for rate in (0.1, 0.2, 0.3)]
    stock = make(keras_tuner.GridSearch, tmp_path / "stock", _lost, trials=4)
    with quietly(), pytest.raises(RuntimeError) as caught:
        search(stock, epochs=1)
    assert str(caught.value).strip() == "Number of consecutive failures exceeded the limit of 3."
    with pytest.raises(SearchError, match="Diverged: val_loss is nan at epoch 1"):
        search(make(QuasiRandomSearch, tmp_path / "ours", _lost, trials=3, points=points))


def _lost(hp):
    model = build(hp)
    model.layers[-1].bias.assign([float("nan")])
    return model


def test_a_crash_keeps_the_exception_and_where_it_came_from(tmp_path):
    """The search goes on with the next trial."""

    class Crashing(keras_tuner.HyperModel):
        def declare(self, hp):
            hp.Float("rate", 1e-3, 1.0, sampling="log", default=0.05)

        def build(self, hp):
            if hp.get("rate") == 0.05:
                raise OSError("no more room")
            return build(hp)

    tuner = search(make(QuasiRandomSearch, tmp_path, Crashing(), trials=2))
    first, second = tuner.oracle.trials.values()
    assert second.status == "COMPLETED"
    assert first.status == "FAILED"
    assert first.message.startswith("OSError: no more room\n\nTraceback")
    assert (tmp_path / "s" / "trial_0" / "failure.txt").read_text() == first.message
