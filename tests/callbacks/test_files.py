"""Files are replaced whole or not at all."""

from __future__ import annotations

import pytest

from nadam_suite.callbacks.files import replace_file, replace_text

pytestmark = pytest.mark.once


def test_failed_write_keeps_the_old_file(tmp_path):
    """A writer that fails half-way leaves the previous content, and nothing beside it."""
    path = tmp_path / "state"
    replace_text(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, half)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_leftover_of_a_killed_process_is_overwritten(tmp_path):
    """What a killed process left beside the file does not stay."""
    (tmp_path / ".state.tmp").write_text("left over, and longer than the new text")
    replace_text(tmp_path / "state", "new")
    assert (tmp_path / "state").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
