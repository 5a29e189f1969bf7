"""What comes of a trial: its best epoch, whatever it returned, and when it is lost."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadam_suite.errors import SearchError
from nadam_suite.tuner.trials import (
    TrialResult,
    averaged,
    best_epoch,
    diverged,
    objective_names,
    result_of,
)

pytestmark = pytest.mark.once

LOWEST = keras_tuner.Objective("val_loss", "min")
HIGHEST = keras_tuner.Objective("val_accuracy", "max")


def _multi():
    return keras_tuner.Oracle([LOWEST, HIGHEST]).objective


@given(
    st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan")), st.none()), min_size=1),
    st.sampled_from(["min", "max"]),
)
def test_best_epoch_is_that_of_numpy(values, direction):
    """The first of the lowest or highest; NaN and missing values never."""
    rows = [{"epoch": i} | ({} if v is None else {"m": v}) for i, v in enumerate(values)]
    objective = keras_tuner.Objective("m", direction)
    array = np.array([np.nan if v is None else v for v in values])
    if np.isnan(array).all():
        with pytest.raises(SearchError, match="which no epoch has"):
            best_epoch(rows, objective)
        return
    best = int((np.nanargmin if direction == "min" else np.nanargmax)(array))
    assert best_epoch(rows, objective) == TrialResult({"m": array[best]}, best)


def test_best_epoch_of_a_rung_is_counted_from_the_first_rung():
    """Rows know their epoch."""
    rows = [{"epoch": 4, "val_loss": 2.0}, {"epoch": 5, "val_loss": 1.0}]
    assert best_epoch(rows, LOWEST).best_step == 5


def test_several_objectives_make_one_value():
    """What is to fall less what is to rise."""
    rows = [
        {"epoch": 0, "val_loss": 1.0, "val_accuracy": 0.5},
        {"epoch": 1, "val_loss": 1.2, "val_accuracy": 0.9},
    ]
    found = best_epoch(rows, _multi())
    assert found.best_step == 1
    assert found.metrics["multi_objective"] == pytest.approx(0.3)
    assert objective_names(_multi()) == ("val_loss", "val_accuracy")


def _history():
    history = keras.callbacks.History()
    history.epoch = [0, 1]
    history.history = {"loss": [2.0, 1.5], "val_loss": [1.0, 3.0]}
    return history


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (2, TrialResult({"val_loss": 2.0})),
        (np.float32(0.5), TrialResult({"val_loss": 0.5})),
        ({"val_loss": 1, "mae": 2}, TrialResult({"val_loss": 1.0, "mae": 2.0})),
        (_history(), TrialResult({"loss": 2.0, "val_loss": 1.0}, 0)),
        ([1.0, {"val_loss": 2.0}], TrialResult({"val_loss": 1.5})),
        (TrialResult({"val_loss": 4.0}, 7), TrialResult({"val_loss": 4.0}, 7)),
    ],
)
def test_all_that_a_fit_may_return_is_understood(returned, expected):
    """As in stock keras-tuner."""
    assert result_of(returned, LOWEST) == expected


@pytest.mark.parametrize("returned", [None, "low", True, {"loss": 1.0}, []])
def test_other_results_are_refused_with_what_to_return(returned):
    """The message has what came."""
    with pytest.raises(SearchError, match=r"'val_loss'. Return what `model.fit\(\)` returns"):
        result_of(returned, LOWEST)


def test_executions_are_averaged_over_the_metrics_that_all_have():
    """And the step is the mean one, rounded down."""
    results = [TrialResult({"a": 1.0, "b": 1.0}, 1), TrialResult({"a": 3.0}, 4)]
    assert averaged(results) == TrialResult({"a": 2.0}, 2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"loss": 1.0, "val_loss": float("nan")}, "val_loss is nan at epoch 3 (loss 1)."),
        ({"loss": float("inf"), "val_loss": 1.0}, "loss is inf at epoch 3 (loss inf)."),
        ({"val_loss": float("nan")}, "val_loss is nan at epoch 3."),
        ({"loss": 1.0, "val_loss": 2.0}, None),
        ({"loss": 1.0, "val_mae": float("nan")}, None),
    ],
)
def test_a_training_is_lost_when_loss_or_objective_is_not_finite(row, reason):
    """Other metrics may be what they like."""
    assert diverged(row, LOWEST, 2) == (reason and f"Diverged: {reason}")


def test_a_result_is_read_as_it_was_written(tmp_path):
    """To the last digit."""
    result = TrialResult({"val_loss": 0.1 + 0.2}, 3)
    result.write(tmp_path / "result.json")
    assert TrialResult.read(tmp_path / "result.json") == result
