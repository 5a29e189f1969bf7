"""The state of a training as one file: arrays by group, and a header that says what they are.

The file is a NumPy archive whose members carry checksums, so that damage is noticed on reading.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.callbacks.files import replace_file
from nadam_suite.errors import DataFileError, StateError

__all__ = ["Snapshot", "assign", "read", "read_header", "take"]

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a state file holds.

    Args:
        header: JSON data: counters, history, what callbacks remember.
        arrays: Arrays by group, such as "model", each in the order of its variables.
        paths: Paths of the variables, likewise; empty for arrays that are no variables.
    """

    header: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]
    paths: dict[str, list[str]]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        sizes = {group: len(arrays) for group, arrays in self.arrays.items()}
        head = {"format": _FORMAT, "sizes": sizes, "paths": self.paths, "header": self.header}
        members: dict[str, Any] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
        for group, arrays in self.arrays.items():
            members |= {f"{group}/{index}": array for index, array in enumerate(arrays)}
        replace_file(path, lambda file: np.savez(file, **members))


def read(path: Path) -> Snapshot:
    """Return what the file holds.

    Raises:
        DataFileError: The file cannot be read, is damaged, or is of a newer format.
    """
    with _opened(path) as (head, members):
        arrays = {
            group: [members[f"{group}/{index}"] for index in range(size)]
            for group, size in head["sizes"].items()
        }
        return Snapshot(head["header"], arrays, head["paths"])


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of the file without reading its arrays; see `read`."""
    with _opened(path) as (head, _):
        return head["header"]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Open a state file, and read its head."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            head = json.loads(members["head"].tobytes())
            _check_format(path, head["format"])
            yield head, members
    except DataFileError:
        raise
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        message = (
            f"The state file {str(path)!r} cannot be read: {type(error).__name__}: {error}. "
            "Delete it to start the training from its beginning."
        )
        raise DataFileError(message) from error


def _check_format(path: Path, number: int) -> None:
    if number > _FORMAT:
        raise DataFileError(
            f"The state file {str(path)!r} must be of format {_FORMAT} or older. Received: "
            f"format={number}. Install the nadam_suite that wrote it."
        )


def take(variables: Sequence[Any]) -> tuple[list[np.ndarray], list[str]]:
    """Return the values of Keras variables, and their paths.

    Under a TensorFlow strategy all processes must call this: metrics are summed up by reading.
    """
    # By way of a tensor: a variable of several replicas is no array, nor makes one.
    tensors = (keras.ops.convert_to_tensor(variable) for variable in variables)
    arrays = [np.array(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]
    # NumPy files know no bfloat16; float32 holds each of its values.
    arrays = [a if a.dtype.kind in "biufc" else a.astype("float32") for a in arrays]
    return arrays, [variable.path for variable in variables]


def assign(group: str, variables: Sequence[Any], snapshot: Snapshot) -> None:
    """Give variables the values of a group, after checking that all of them fit.

    Raises:
        StateError: Number, shape or type differ; then nothing was assigned.
    """
    arrays, paths = snapshot.arrays[group], snapshot.paths[group]
    if len(arrays) != len(variables):
        raise StateError(
            f"The saved state of the {group} must have as many variables as the {group} itself. "
            f"Received: {len(arrays)} saved, {len(variables)} present. Build and compile the model "
            "as it was when the state was saved."
        )
    for variable, array, path in zip(variables, arrays, paths, strict=True):
        kinds = (np.dtype(array.dtype).kind, _kind(variable.dtype))
        if tuple(variable.shape) != array.shape or kinds[0] != kinds[1]:
            raise StateError(
                f"The saved state of the {group} must fit variable {variable.path!r} of shape "
                f"{tuple(variable.shape)} and type {variable.dtype}. Received: {path!r} of shape "
                f"{array.shape} and type {array.dtype}. Build and compile the model as it was when "
                "the state was saved."
            )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _kind(dtype: str) -> str:
    """Return the NumPy letter of the kind of a Keras type."""
    names: Mapping[str, str] = {"float": "f", "bfloat": "f", "int": "i", "uint": "u", "bool": "b"}
    return names.get(dtype.split("_", maxsplit=1)[0].rstrip("0123456789"), "f")
