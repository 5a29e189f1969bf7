"""The loops of all backends do what fit() does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.schedules import TrainingPlan
from recipes import custom_loop


def test_the_loop_equals_fit():
    """Weights, loss and accuracy after two epochs agree to float32 rounding."""
    looped, fitted, difference = custom_loop.both(0, width=4, epochs=2)
    assert difference < 2e-5
    np.testing.assert_allclose(looped, fitted, rtol=1e-4, atol=1e-5)


def test_the_loop_trains():
    """The averages that it leaves are better than a guess, and half of its steps are updates."""
    splits = custom_loop.digits.data()
    plan = TrainingPlan.from_data(splits.examples, custom_loop.BATCH, 2, custom_loop.ACCUMULATED)
    task = custom_loop.started(0, 4, plan)
    untrained = task.model.evaluate(*splits.test, verbose=0)
    stream = custom_loop.itertools.islice(
        custom_loop.batches(splits, custom_loop.BATCH, 0), plan.total_steps
    )
    loop = custom_loop.LOOPS[keras.backend.backend()]
    last = loop(task.model, task.model.optimizer, task.loss, stream)
    assert np.isfinite(last)
    raw = task.model.evaluate(*splits.test, verbose=0)
    averaged = custom_loop.tested(task, splits)
    assert averaged[0] < untrained[0] - 0.1
    assert averaged[0] != pytest.approx(raw[0], rel=1e-6)
    assert int(task.model.optimizer.iterations) == plan.total_updates == plan.total_steps // 2


def test_it_prints_both(capsys):
    """A row a seed, then mean, lowest and highest; loop and fit() side by side."""
    custom_loop.main(["--seeds", "1", "--epochs", "1", "--width", "4"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "seed"
    assert [line.split()[0] for line in lines[:-1]] == ["0", "mean", "low", "high"]
    for line in lines[:-1]:
        loss, fit_loss, accuracy, fit_accuracy = map(float, line.split()[1:5])
        assert loss == pytest.approx(fit_loss, rel=1e-4)
        assert accuracy == pytest.approx(fit_accuracy, abs=3e-3)
        assert 0.0 < accuracy <= 1.0
