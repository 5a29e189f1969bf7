"""A folder of `AverageSnapshots` has whole snapshots of one training, whatever happens to it."""

from __future__ import annotations

import keras
import pytest

from nadam_suite.averaging import PowerEMA
from nadam_suite.averaging.posthoc_files import list_snapshots, read_arrays
from nadam_suite.backends import get_backend
from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks import average_snapshots as module
from nadam_suite.callbacks.average_snapshots import AverageSnapshots
from nadam_suite.errors import (
    ArgumentError,
    DataFileError,
    RunFolderError,
)
from tests.callbacks.snapshotting import fit, model_with, times

pytestmark = pytest.mark.once

FILES_OF_TEN = ("average_000000004.npz", "average_000000008.npz")


def test_resumed_training_has_the_same_snapshots(tmp_path):
    """Cut between two snapshots and resumed, a training leaves the files of one that was not."""

    def train(name, epochs):
        model, state = model_with(gradient_accumulation_steps=3), TrainingState(tmp_path / name)
        start = state.restore(model)
        snapshots = AverageSnapshots(tmp_path / name / "averages", count=4, total=10)
        fit(model, *state.around(snapshots), epochs=epochs, initial_epoch=start)

    train("whole", 3)
    train("cut", 2)
    assert times(tmp_path / "cut" / "averages") == [3, 5, 6]
    train("cut", 3)
    for name in ("000000003", "000000005", "000000008", "000000010"):
        files = [tmp_path / run / f"averages/average_{name}.npz" for run in ("cut", "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_snapshot_of_an_epochs_end_comes_before_its_state(tmp_path):
    """A training killed right after an epoch's end, and resumed, has that end's snapshot."""
    seen = []

    class Last(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(times(tmp_path))

    fit(model_with(), AverageSnapshots(tmp_path, every=10), Last(), epochs=2)
    assert seen == [[10], [10, 20]]


def test_length_of_a_training_resumed_within_an_epoch(tmp_path):
    """One that goes on within its first epoch is as long as its epochs."""
    model = model_with()
    fit(model, epochs=1, steps=14)
    fit(model, AverageSnapshots(tmp_path, count=3), epochs=3, initial_epoch=1)
    assert times(tmp_path)[:2] == [20, 30]


def test_length_of_a_resumed_training_is_that_of_the_whole(tmp_path):
    """With `initial_epoch` the epochs before count; a second `fit()` adds its own to them."""
    model = model_with()
    fit(model, epochs=1)
    fit(model, AverageSnapshots(tmp_path, count=3), epochs=3, initial_epoch=1)
    assert times(tmp_path) == [20, 30]
    fit(model, AverageSnapshots(tmp_path, count=5), epochs=2)
    assert times(tmp_path) == [20, 30, 40, 50]


def test_training_anew_overwrites(tmp_path):
    """All snapshots of the training before go when the first new one is whole, and not earlier."""
    fit(model_with(), AverageSnapshots(tmp_path, every=4))
    assert times(tmp_path) == [4, 8, 12, 16, 20, 24, 28, 30]
    model = model_with()

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(len(times(tmp_path)))

    seen = []
    fit(model, AverageSnapshots(tmp_path, every=5), Look(), epochs=1)
    assert seen[:5] == [8] * 5
    assert seen[5] == 1
    assert times(tmp_path) == [5, 10]


def test_training_anew_at_the_same_times(tmp_path):
    """A new snapshot of the name of an old one takes its place, and stays."""
    fit(model_with(), AverageSnapshots(tmp_path, every=5), epochs=1)
    before = (tmp_path / "average_000000005.npz").read_bytes()
    fit(model_with(learning_rate=0.5), AverageSnapshots(tmp_path, every=5), epochs=1)
    assert times(tmp_path) == [5, 10]
    assert (tmp_path / "average_000000005.npz").read_bytes() != before


def test_resumed_from_an_earlier_state(tmp_path):
    """Snapshots of updates behind the state are kept; those of the other course of events go."""
    fit(model_with(), AverageSnapshots(tmp_path, every=4))
    kept = {name: (tmp_path / name).read_bytes() for name in FILES_OF_TEN}
    model = model_with()
    fit(model, epochs=1)
    fit(model, AverageSnapshots(tmp_path, every=9), epochs=2, initial_epoch=1)
    assert times(tmp_path) == [4, 8, 18, 20]
    assert {name: (tmp_path / name).read_bytes() for name in FILES_OF_TEN} == kept


@pytest.mark.parametrize(
    "other",
    [{"units": 2}, {"averaging": PowerEMA((0.05, 0.2))}, {"averaging": PowerEMA(0.05)}],
    ids=["model", "width", "number"],
)
def test_folder_of_another_model_is_refused(tmp_path, other):
    """Before the first step, and nothing in it is touched."""
    fit(model_with(), AverageSnapshots(tmp_path, count=2), epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = model_with(**other)
    with pytest.raises(ArgumentError, match=r"`folder` must be empty.*Received: folder=.*Choose"):
        fit(model, AverageSnapshots(tmp_path, count=2))
    assert int(model.optimizer.iterations) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_model_that_is_built_by_its_data(tmp_path):
    """A model without an input shape is checked as soon as it has variables."""
    fit(model_with(built=False), AverageSnapshots(tmp_path / "a", count=2), epochs=1)
    assert times(tmp_path / "a") == [5, 10]
    with pytest.raises(ArgumentError, match="`folder` must be empty"):
        fit(model_with(built=False, units=2), AverageSnapshots(tmp_path / "a", count=2), epochs=1)
    assert times(tmp_path / "a") == [5, 10]


def test_damaged_snapshot_is_refused_before_the_training(tmp_path):
    """A folder that could not be read afterwards is not trained into."""
    (tmp_path / "average_000000004.npz").write_bytes(b"PK half")
    model = model_with()
    with pytest.raises(DataFileError, match=r"average_000000004\.npz.*cannot be read.*Delete it"):
        fit(model, AverageSnapshots(tmp_path))
    assert int(model.optimizer.iterations) == 0


def test_full_disk_leaves_whole_files(tmp_path, monkeypatch):
    """A snapshot that cannot be completed is not there; those before it are."""
    write, written = module.write_snapshot, []

    def full(file, snapshot, arrays):
        if written:
            file.write(b"PK half")
            raise OSError(28, "No space left on device")
        written.append(snapshot)
        write(file, snapshot, arrays)

    monkeypatch.setattr(module, "write_snapshot", full)
    with pytest.raises(RunFolderError, match=r"average_000000010.*No space.*Free space"):
        fit(model_with(), AverageSnapshots(tmp_path, every=5))
    assert [path.name for path in tmp_path.iterdir()] == ["average_000000005.npz"]
    assert len(list(read_arrays(list_snapshots(tmp_path)[0], 1))) == 2


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    """A file in the place of the folder is told at the first snapshot at the latest."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        fit(model_with(), AverageSnapshots(tmp_path / "file" / "folder", count=2), epochs=1)


def test_only_the_chief_writes(tmp_path, monkeypatch):
    """The other processes of a training take part, but leave no files."""
    monkeypatch.setattr(get_backend(), "process", lambda: (1, 2))
    fit(model_with(), AverageSnapshots(tmp_path / "averages"), epochs=1)
    assert not (tmp_path / "averages").exists()
