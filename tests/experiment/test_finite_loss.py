"""A run whose loss is no number ends with an error, and its last good state stays."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.config import save_config
from nadam_suite.errors import NonFiniteError
from nadam_suite.experiment import Splits
from tests.cli.running import run
from tests.experiment.comparing import assert_same
from tests.experiment.small_runs import OWN, config, train

pytestmark = [pytest.mark.slow, pytest.mark.once]
# No layer that takes NaN for zero, as `relu` does under XLA.
SPOILT = {"data": f"{OWN}:spoilt_points", "model": f"{OWN}:line"}


def hidden():
    """Data one of whose batches is infinite."""
    x = np.ones((24, 1), "float32")
    x[3] = np.inf
    return Splits(train=(x, np.zeros((24, 1), "float32")))


def test_the_state_before_stays_and_the_run_goes_on_from_it(tmp_path, monkeypatch):
    """Once its cause is gone, the run ends as one that never met it, averages included."""
    train(tmp_path / "whole", 4, **SPOILT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", 4, stop=2, **SPOILT)
    monkeypatch.setenv("SPOILT", "1")
    with pytest.raises(NonFiniteError, match=r"loss of epoch 3 is nan.*state of epoch 2 is kept"):
        train(tmp_path / "run", 4, resume=True, **SPOILT)
    assert not (tmp_path / "run" / "result.json").exists()
    assert not (tmp_path / "run" / "model.keras").exists()
    monkeypatch.delenv("SPOILT")
    assert train(tmp_path / "run", 4, resume=True, **SPOILT).resumed_from == 2
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_the_command_fails_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    """Status 1 and one error, also where a callback has ended the training in time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOILT", "1")
    for name, callbacks in (("plain", []), ("ended", [{"kind": "terminate_on_nan"}])):
        save_config(config(2, callbacks=callbacks, name=name, **SPOILT), f"{name}.toml")
        found = run(capsys, "train", f"{name}.toml")
        assert found.status == 1
        assert "Error: The loss of epoch 1 is nan" in found.errors
        assert "No epoch is kept" in found.errors
        assert "skip_nonfinite=true" in found.errors
        assert "Traceback" not in found.errors


def test_weights_are_looked_at_too(tmp_path, monkeypatch):
    """Where the loss hides them; a search's own judge sees the loss alone."""
    monkeypatch.setattr(f"{OWN}.points", hidden)
    with pytest.raises(NonFiniteError, match=r"no numbers any more after epoch 1: .*kernel.*\. No"):
        train(tmp_path / "run", 2, model=f"{OWN}:hiding")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_callback_that_judges_the_loss_is_not_forestalled(tmp_path, monkeypatch):
    """As in a search, whose trials end with a reason of their own."""

    class Judge(keras.callbacks.Callback):
        watches_loss = True
        seen = None

        def on_epoch_end(self, epoch, logs=None):
            self.seen = logs["loss"]
            raise KeyboardInterrupt

    monkeypatch.setenv("SPOILT", "1")
    monkeypatch.setattr("tests.experiment.small_runs.Stop", lambda epoch: judge)
    judge = Judge()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", 2, stop=0, **SPOILT)
    assert judge.seen != judge.seen
