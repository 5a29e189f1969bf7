"""A search that is cut at any moment and begun again is the search that was not cut, to the bit."""

from __future__ import annotations

import json
import signal

import h5py
import keras
import keras_tuner
import numpy as np
import pytest

from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.tuner.tuners import QuasiRandomSearch
from tests.processes import run_python
from tests.tuner.searching import STEPS, Cut, Seen, build, data, history, scores, search, stored

pytestmark = pytest.mark.once

TRIALS, EXECUTIONS = 2, 2  # of 3 epochs of 3 batches each


# The highest loss, so that the best epoch is the first: one that goes on must not forget it.
OBJECTIVE = keras_tuner.Objective("val_loss", "max")


def _tuner(folder, kind=QuasiRandomSearch, **options):
    options = {"max_trials": TRIALS, "executions_per_trial": EXECUTIONS, "seed": 5, **options}
    return kind(build, OBJECTIVE, directory=folder, project_name="s", **options)


def _search(folder, **where):
    return search(_tuner(folder), callbacks=[EvaluateAverage(), Cut(**where)])


def _weights(folder):
    found = {}
    for path in sorted(folder.glob("s/trial_*/checkpoint.weights.h5")):
        with h5py.File(path) as file:

            def take(name, node, trial=path.parent.name):
                if isinstance(node, h5py.Dataset):
                    found[f"{trial}:{name}"] = np.array(node)

            file.visititems(take)
    return found


def _states(folder):
    return stored(folder / "s")


def _assert_same(first, second):
    """Both searches have the same states, best weights and histories."""
    for read in (_states, _weights):
        expected = read(second)
        assert len(expected) > 10
        found = read(first)
        assert found.keys() == expected.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    for trial in range(TRIALS):
        for execution in range(EXECUTIONS):
            place = (trial, execution)
            assert history(first / "s", *place) == history(second / "s", *place), place


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, scores(_search(folder))


def _slow(*cases):
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(
    "cut",
    [
        {"batch": 5},
        *_slow(
            {"epoch": 3},
            {"batch": 1},
            {"batch": 13},
            {"batch": 30},
            {"epoch": 1},
            {"epoch": 6},
            {"epoch": 8},
        ),
    ],
)
def test_cut_in_training_equals_uncut(tmp_path, whole, cut):
    """States, best weights, histories and scores are the same."""
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, **cut)
    assert scores(_search(tmp_path)) == whole[1]
    _assert_same(tmp_path, whole[0])


@pytest.mark.parametrize("method", ["create_trial", "update_trial", "end_trial"])
@pytest.mark.parametrize("after", _slow(False, True))
def test_cut_between_trials_equals_uncut(tmp_path, whole, method, after):
    """Before or after a trial is begun, measured or ended."""
    tuner = _tuner(tmp_path)
    original = getattr(tuner.oracle, method)

    def cut(*args, **kwargs):
        if after:
            original(*args, **kwargs)
        raise KeyboardInterrupt

    setattr(tuner.oracle, method, cut)
    with pytest.raises(KeyboardInterrupt):
        search(tuner, callbacks=[EvaluateAverage(), Cut()])
    assert scores(_search(tmp_path)) == whole[1]
    _assert_same(tmp_path, whole[0])


@pytest.mark.slow
def test_at_most_the_running_epoch_is_trained_again(tmp_path):
    """Two epochs of the cut trial are not."""
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, batch=8)  # the second batch of the third epoch
    again = Cut()
    search(_tuner(tmp_path), callbacks=[EvaluateAverage(), again])
    assert again.batches == TRIALS * EXECUTIONS * 9 - 6


def test_stock_trains_the_first_trial_anew(tmp_path):
    """It has lost the search, as it looks for a file that is written when a trial has ended."""
    seen = Seen()
    for _ in range(2):
        tuner = _tuner(tmp_path, keras_tuner.RandomSearch, max_trials=1, executions_per_trial=1)
        if not seen.iterations:
            with pytest.raises(KeyboardInterrupt):
                search(tuner, callbacks=[seen, Cut(epoch=3)])
    assert tuner.oracle.trials == {}
    search(tuner, callbacks=[seen])
    assert seen.iterations == [0, 0]


_KILLED = """
import json, os, signal, sys
from pathlib import Path
import keras
from tests.forking import in_a_copy
from tests.tuner import test_resuming as module

class Kill(module.Cut):
    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.batch:
            os.kill(os.getpid(), signal.SIGKILL)

module.Cut = Kill
ends = []
for folder, batch in json.loads(sys.argv[1]):
    ends.append(in_a_copy(lambda: module._search(Path(folder), batch=batch)))
print(json.dumps(ends))
"""


@pytest.mark.slow
def test_killed_equals_unkilled(tmp_path):
    """SIGKILL leaves no time to tidy up."""
    whole, *killed = (tmp_path / name for name in ("whole", "first", "second"))
    searches = [(str(whole), None)]
    for folder, batch in zip(killed, (8, 23), strict=True):
        searches += [(str(folder), batch), (str(folder), None)]
    for folder in (whole, *killed):
        folder.mkdir()
    done = run_python(_KILLED, json.dumps(searches))
    kill = -signal.SIGKILL
    assert json.loads(done.stdout.splitlines()[-1]) == [0, kill, 0, kill, 0], done.stderr[-3000:]
    for folder in killed:
        _assert_same(folder, whole)
        trials = [
            {
                p.parent.name: json.loads(p.read_text())["score"]
                for p in sorted(f.glob("s/*/trial.json"))
            }
            for f in (folder, whole)
        ]
        assert trials[0] == trials[1]
        assert len(trials[0]) == TRIALS


class CutAtTheEnd(Cut):
    """Raises when a training has ended, before anyone has heard of it; and counts batches."""

    def on_train_end(self, logs=None):
        if self.epoch is None:
            raise KeyboardInterrupt


def test_a_trial_that_has_stopped_early_is_not_trained_further(tmp_path):
    """Its state remembers the stop."""

    def run(**where):
        stop = keras.callbacks.EarlyStopping("val_mae", mode="max", patience=0)
        seen = CutAtTheEnd(**where)
        tuner = _tuner(tmp_path, max_trials=1, executions_per_trial=1)
        try:
            search(tuner, epochs=9, callbacks=[stop, seen])
        finally:
            epochs.append(seen.batches // STEPS)
        return tuner

    epochs = []
    with pytest.raises(KeyboardInterrupt):
        run()
    assert epochs[0] < 9
    tuner = run(epoch=99)
    assert epochs[1] == 0
    assert len(history(tmp_path / "s", 0)) == 1 + epochs[0]
    assert tuner.oracle.trials["0"].status == "COMPLETED"


def test_a_model_without_input_shape_is_gone_on_with(tmp_path):
    """It is built as it was when it was cut."""

    def build_late(hp):
        model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])
        rate = hp.Float("rate", 1e-3, 1.0, sampling="log", default=0.05)
        model.compile(keras.optimizers.Nadam(rate), loss="mse")
        return model

    def run(folder, **where):
        tuner = QuasiRandomSearch(build_late, "val_loss", 1, directory=folder, seed=0)
        return search(tuner, callbacks=[Cut(**where)])

    expected = scores(run(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", epoch=3)
    tuner = run(tmp_path / "cut")
    assert scores(tuner) == expected
    model = tuner.get_best_models()[0]
    assert model.evaluate(*data(), verbose=0) == pytest.approx(tuner.oracle.trials["0"].score, 1e-6)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) > 0


@pytest.mark.parametrize("content", ["", "{", None])
def test_the_file_of_the_tuner_does_not_matter(tmp_path, content):
    """Stock writes it in place, so that it may be half there."""
    first = _tuner(tmp_path)
    trial = first.oracle.create_trial("t")
    path = tmp_path / "s" / "tuner0.json"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    again = _tuner(tmp_path)
    assert again.oracle.create_trial("t").hyperparameters.values == trial.hyperparameters.values
    assert len(again.oracle.trials) == 1


def test_nothing_is_printed_where_it_is_not_wanted(tmp_path, capsys):
    """Neither by a new search nor by one that goes on."""
    for _ in range(2):
        search(_tuner(tmp_path, max_trials=1, executions_per_trial=1), epochs=1)
    assert capsys.readouterr().out == ""
