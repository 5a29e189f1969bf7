"""Folders of snapshots that are missing, damaged or mixed are refused, with a remedy."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nadam_suite.averaging.posthoc import predicted_error, reconstruct
from nadam_suite.averaging.posthoc_files import (
    Snapshot,
    list_snapshots,
    read_arrays,
    unique_paths,
    write_snapshot,
)
from nadam_suite.errors import DataFileError
from tests.averaging.snapshots import SHAPES, TIMES
from tests.averaging.snapshots import write as written

pytestmark = pytest.mark.once

FEW = TIMES[15::16]


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path, FEW)


def last_file(folder):
    return folder / f"average_{TIMES[-1]:09d}.npz"


def test_snapshot_is_a_numpy_archive(folder):
    """NumPy opens it; the head says what it is of, the arrays are under their numbers."""
    with np.load(last_file(folder)) as members:
        assert len(members.files) == 1 + 2 * len(SHAPES)
        head = json.loads(members["head"].tobytes())
        assert members["1/0"].shape == SHAPES["dense/kernel"]
    assert head["times"] == [320, 320]
    assert head["paths"] == list(SHAPES)
    assert head["format"] == 1


def test_what_is_written_is_read(folder):
    """The list is in the order of time, and has all that was written."""
    snapshots = list_snapshots(folder)
    assert [snapshot.time for snapshot in snapshots] == [160, 320]
    assert snapshots[1].shapes == tuple(SHAPES.values())
    with np.load(last_file(folder)) as members:
        for index, array in enumerate(read_arrays(snapshots[1], 1)):
            np.testing.assert_array_equal(array, members[f"1/{index}"])


def test_same_snapshot_is_the_same_file(tmp_path):
    """A file holds no time of day, so that equal trainings have equal files."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, FEW)
    assert last_file(tmp_path / "first").read_bytes() == last_file(tmp_path / "second").read_bytes()


def test_other_files_in_the_folder_do_not_matter(folder):
    """What a killed process left half-written, and files of others, are no snapshots."""
    for name in (".average_000000400.npz.tmp", "average_best.npz", "average_400.npz", "notes.txt"):
        (folder / name).write_bytes(b"no snapshot")
    assert [snapshot.time for snapshot in list_snapshots(folder)] == [160, 320]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_folder_without_snapshots_is_refused(tmp_path, exists):
    """The message names the folder, and how to get snapshots."""
    folder = tmp_path if exists else tmp_path / "missing"
    reason = "it has none" if exists else "there is no such folder"
    with pytest.raises(DataFileError, match=f"{folder.name}.*{reason}.*AverageSnapshots"):
        reconstruct(folder, 0.1)


def test_truncated_file_is_refused(folder):
    """Half a file is noticed before anything is computed."""
    content = last_file(folder).read_bytes()
    last_file(folder).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataFileError, match=r"average_000000320\.npz.*cannot be read.*Delete it"):
        predicted_error(folder, 0.1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_never_taken_for_values(tmp_path_factory, data):
    """Any byte that changes is noticed, or makes no difference to the result."""
    folder = written(tmp_path_factory.mktemp("damage"), FEW)
    content = bytearray(last_file(folder).read_bytes())
    before = reconstruct(folder, 0.1001)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    last_file(folder).write_bytes(bytes(content))
    with contextlib.suppress(DataFileError):
        after = reconstruct(folder, 0.1001)
        for path, array in before.items():
            np.testing.assert_array_equal(after[path], array)


@pytest.mark.parametrize(
    "other",
    [
        {"shapes": {"dense/kernel": (2, 3), "dense/bias": (2,), "scale": ()}},
        {"shapes": {"dense/kernel": (3, 2), "bias": (2,), "scale": ()}},
        {"tracked": (0.05, 0.2)},
        {"tracked": (0.05,)},
    ],
    ids=["shape", "path", "width", "number"],
)
def test_mixed_folder_is_refused(folder, other):
    """Snapshots of two trainings in one folder are never averaged with each other."""
    written(folder, [80], **other)
    with pytest.raises(DataFileError, match=rf"{folder.name}.*one training.*0080.*0160.*Move"):
        reconstruct(folder, 0.1)


def test_numbers_of_layers_do_not_matter(folder):
    """A resumed training in the same process has layers of other numbers; it is the same one."""
    shapes = {f"{path.replace('dense', 'dense_12')}": shape for path, shape in SHAPES.items()}
    written(folder, [80], shapes=shapes)
    assert len(list_snapshots(folder)) == 3


def _rewritten(path, **changes):
    """Write a file anew with another head."""
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    head = json.loads(arrays["head"].tobytes()) | changes
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **arrays)


def test_newer_format_is_refused(folder):
    """A file of a later version is named, and what to install."""
    _rewritten(last_file(folder), format=2)
    with pytest.raises(DataFileError, match=r"000320.*format 1 or older.*format=2.*Install"):
        list_snapshots(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"times": [320]},
        {"times": [320, 0]},
        {"times": [160, 160]},
        {"gammas": [], "times": []},
        {"gammas": [-1.0, 3.0]},
        {"gammas": [float("nan"), 3.0]},
        {"gammas": "ab"},
        {"paths": ["a", "a", "b"]},
        {"paths": ["a", "b"]},
        {"shapes": None},
    ],
    ids=str,
)
def test_head_that_contradicts_itself_is_refused(folder, changes):
    """Lengths, times, exponents and the name of the file must agree."""
    _rewritten(last_file(folder), **changes)
    with pytest.raises(DataFileError, match=r"average_000000320\.npz.*cannot be read.*Delete it"):
        list_snapshots(folder)


@pytest.mark.parametrize("array", [np.zeros((2, 3), "float32"), np.zeros((3, 2), "int32")])
def test_array_that_is_not_what_the_head_says_is_refused(folder, array):
    """A wrong shape or type is not averaged."""
    with np.load(last_file(folder)) as members:
        arrays = {name: members[name] for name in members.files}
    np.savez(last_file(folder), **(arrays | {"0/0": array}))
    with pytest.raises(DataFileError, match="'dense/kernel' is"):
        reconstruct(folder, 0.05)


def test_number_of_arrays_is_checked_when_writing():
    """A snapshot with an array too few is not completed."""
    snapshot = Snapshot((3.0,), (1,), ("a", "b"), ((), ()))
    with pytest.raises(ValueError, match="shorter"):
        write_snapshot(io.BytesIO(), snapshot, [np.zeros(())])


def test_paths_that_come_twice_are_told_apart():
    """Keras lets two layers of a subclassed model have one name; their values are both kept."""

    class Variable:
        def __init__(self, path):
            self.path = path

    paths = unique_paths(map(Variable, ["a/b", "c", "a/b", "a/b"]))
    assert paths == ("a/b", "c", "a/b (2)", "a/b (3)")


def test_copied_folder_is_as_good(folder, tmp_path_factory):
    """Nothing in a file says where it was written."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "there")
    assert predicted_error(copy, 0.09) == predicted_error(folder, 0.09)
