"""Trials that diverge or crash: their reasons are kept, and searches stop for the right ones."""

from __future__ import annotations

import math
import warnings

import keras_tuner
import pytest
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from nadam_suite.errors import SearchError
from nadam_suite.tuner.failures import has_diverged, reason_of
from tests.tuner.driving import make, space

pytestmark = pytest.mark.once

CRASH = 'Traceback (most recent call last):\n  File "a.py", line 1\nMemoryError: no room'


def end(oracle, status, message=None, *, client="a", loss=1.0):
    """Run the next trial of a client to an end of that kind."""
    trial = oracle.create_trial(client)
    if status == "COMPLETED":
        oracle.update_trial(trial.trial_id, {"val_loss": loss})
    trial.status, trial.message = status, message
    oracle.end_trial(trial)
    return oracle.trials[trial.trial_id]


def search(folder, **options):
    """A random search that does not try a trial again."""
    given = {"max_retries_per_trial": 0, "max_consecutive_failed_trials": 3, "max_trials": 20}
    return make("random", folder, **{**given, "points": (), **options})


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_is_a_divergence_with_its_reason(loss, tmp_path):
    """Stock calls it invalid without a word, and an infinite one completed."""
    trial = end(search(tmp_path), "COMPLETED", loss=loss)
    assert (trial.status, trial.message) == ("FAILED", f"Diverged: val_loss is {loss}")
    assert trial.score is None


def test_stock_stops_after_three_divergences_and_does_not_say_why(tmp_path):
    """Ours goes on: finding them out is what a search is for."""
    stock = keras_tuner.oracles.RandomSearchOracle("val_loss", 20, hyperparameters=space())
    stock.verbose = 0
    BaseTuner(stock, directory=str(tmp_path), project_name="stock")
    ours = search(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        for _ in range(2):
            end(stock, "COMPLETED", loss=math.nan)
        with pytest.raises(RuntimeError, match=r"exceeded the limit of 3\.\n$"):
            end(stock, "COMPLETED", loss=math.nan)
    for _ in range(5):
        end(ours, "COMPLETED", loss=math.nan)
    assert end(ours, "COMPLETED").status == "COMPLETED"


def test_a_metric_that_is_finite_in_some_epochs_counts(tmp_path):
    """The best of them is the score."""
    oracle = search(tmp_path)
    trial = oracle.create_trial("a")
    for epoch, loss in enumerate([2.0, 1.0, math.nan, math.inf]):
        oracle.update_trial(trial.trial_id, {"val_loss": loss}, step=epoch)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert (trial.status, trial.score, trial.best_step) == ("COMPLETED", 1.0, 1)


def test_a_trial_without_its_objective_fails_with_what_it_reported(tmp_path):
    """Stock raises a KeyError and leaves its lock closed."""
    oracle = search(tmp_path)
    trial = oracle.create_trial("a")
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert trial.status == "FAILED"
    assert "no objective `val_loss`. Received: nothing" in trial.message


def test_failures_in_a_row_stop_the_search_with_all_reasons(tmp_path):
    """All is on disk before it stops, so it goes on with the next trial."""
    oracle = search(tmp_path)
    end(oracle, "COMPLETED")
    end(oracle, "INVALID", CRASH)
    end(oracle, "FAILED", "Diverged: loss is nan")
    end(oracle, "INVALID", "OSError: no room on the disk")
    with pytest.raises(SearchError) as caught:
        end(oracle, "INVALID")
    text = str(caught.value)
    assert "max_consecutive_failed_trials=3" in text
    assert "\n  trial 01: MemoryError: no room\n  trial 03: OSError: no room on the disk" in text
    assert "\n  trial 04: no reason was given\n" in text
    assert "02" not in text
    for client in "ab":  # the other ones are told as well
        with pytest.raises(SearchError, match="one trial after another"):
            oracle.create_trial(client)
    again = search(tmp_path)
    assert again.end_order == ["00", "01", "02", "03", "04"]
    assert end(again, "FAILED", "Diverged: loss is nan").trial_id == "05"
    end(again, "COMPLETED")
    end(again, "INVALID", CRASH)


def test_one_more_crash_after_such_a_stop_stops_again(tmp_path):
    """Only a trial that ends well begins a new count."""
    oracle = search(tmp_path, max_consecutive_failed_trials=2)
    end(oracle, "INVALID", CRASH)
    with pytest.raises(SearchError):
        end(oracle, "INVALID", CRASH)
    with pytest.raises(SearchError):
        end(search(tmp_path, max_consecutive_failed_trials=2), "INVALID", CRASH)


def test_a_search_without_any_good_trial_ends_with_an_error(tmp_path):
    """The last client is told, not one whose colleague still trains."""
    oracle = search(tmp_path, max_trials=3)
    end(oracle, "FAILED", "Diverged: val_loss is nan at epoch 3")
    end(oracle, "FAILED", "Diverged: loss is inf at epoch 1")
    last = oracle.create_trial("b")
    assert oracle.create_trial("a").status == "STOPPED"
    last.status, last.message = "FAILED", "Diverged: loss is nan at epoch 2"
    oracle.end_trial(last)
    with pytest.raises(SearchError) as caught:
        oracle.create_trial("b")
    assert "3 trials" in str(caught.value)
    assert "\n  trial 1: Diverged: loss is inf at epoch 1\n" in str(caught.value)
    with pytest.raises(SearchError):
        search(tmp_path, max_trials=3).create_trial("a")


def test_many_reasons_are_cut_short(tmp_path):
    """A search of hundreds of failed trials still has a message that can be read."""
    oracle = search(tmp_path, max_trials=13)
    for _ in range(13):
        end(oracle, "FAILED", "Diverged: loss is nan")
    with pytest.raises(SearchError, match="and 3 more") as caught:
        oracle.create_trial("a")
    assert str(caught.value).count("Diverged") == 10


def test_a_workers_reason_is_read_from_its_folder(tmp_path):
    """The protocol has no message; what it finds there also counts for what the failure is."""
    oracle = search(tmp_path, max_consecutive_failed_trials=1)
    trial = oracle.create_trial("a")
    (tmp_path / "search" / "trial_00" / "failure.txt").write_text("Diverged: loss is inf\n")
    worker = Trial.from_proto(trial.to_proto())
    worker.status, worker.message = "FAILED", "lost on the way"
    worker = Trial.from_proto(worker.to_proto())
    oracle.end_trial(worker)
    assert oracle.trials["00"].message == "Diverged: loss is inf"
    assert search(tmp_path).trials["00"].message == "Diverged: loss is inf"


def test_a_trial_that_is_tried_again_forgets_why_it_failed(tmp_path):
    """An old reason would be taken for that of a later attempt."""
    oracle = search(tmp_path, max_retries_per_trial=1)
    oracle.create_trial("a")
    path = tmp_path / "search" / "trial_00" / "failure.txt"
    path.write_text("OSError: full")
    assert end(oracle, "INVALID").status == "INVALID"
    again = oracle.create_trial("a")
    assert (again.trial_id, again.message, path.exists()) == ("00", None, False)
    assert end(oracle, "COMPLETED").message is None


@pytest.mark.parametrize(
    ("message", "diverged", "reason"),
    [
        ("Diverged: loss is nan", True, "Diverged: loss is nan"),
        ("Traceback\n  x\nkeras_tuner.src.FailedTrialError: Diverged: y", True, None),
        ("ValueError: Diverged widely", False, "ValueError: Diverged widely"),
        ("Undiverged: x", False, "Undiverged: x"),
        ("OSError: full\n\nTraceback\n  where", False, "OSError: full"),
        ("", False, "no reason was given"),
        (None, False, "no reason was given"),
    ],
)
def test_messages_are_read_in_any_of_their_forms(message, diverged, reason):
    """A worker's first line, or the last one of a traceback."""
    assert has_diverged(message) is diverged
    assert reason_of(message) == (reason or message.splitlines()[-1])
