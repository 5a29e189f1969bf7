"""What two runs must have in common to be the same training, bit for bit."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np


def numbers(folder):
    """Return everything that must be the same: weights, optimizer state, history, figures."""
    with zipfile.ZipFile(folder / "model.keras") as archive:
        data = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(data)) as file:
        names: list[str] = []
        file.visit(names.append)
        arrays = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
    assert arrays
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"]
    return arrays, (folder / "history.csv").read_text(), result


def assert_same(folder, expected):
    """Check that two runs ended with the same numbers."""
    arrays, history, result = numbers(folder)
    expected_arrays, expected_history, expected_result = numbers(expected)
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected_arrays[name], err_msg=name)
    assert history == expected_history
    assert result == expected_result
