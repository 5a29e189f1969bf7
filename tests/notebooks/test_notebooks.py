"""The notebooks run on every backend without a word of warning, and show what is committed."""

from __future__ import annotations

import keras
import pytest

from tests.notebooks.running import NOTEBOOKS, execute, kinds, pictures, read, told

pytestmark = pytest.mark.slow  # each trains several small models in a process of its own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_this_backend(path, tmp_path):
    """No cell fails or warns, the outputs are as committed in kind, and no file is left."""
    done = execute(path, keras.backend.backend(), tmp_path)
    assert told(done, "stderr") == ""
    assert f"on {keras.backend.backend()}" in told(done, "stdout"), "it says what it runs on"
    assert len(pictures(done)) >= 3
    assert kinds(done) == kinds(read(path))
    assert not list((tmp_path / "work").rglob("*"))
