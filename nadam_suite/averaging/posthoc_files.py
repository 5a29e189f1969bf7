"""Snapshots of power function averages: one file for each time, with all the averages.

A file is a NumPy archive (`numpy.load` opens it) of float arrays, named "<average>/<variable>" by
their numbers, and of a head in JSON that says what they are. It is written and read an array at a
time, so that no copy of the model is made on the host.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nadam_suite.errors import DataFileError

__all__ = ["Snapshot", "list_snapshots", "read_arrays", "unique_paths", "write_snapshot"]

_FORMAT = 1
_NAME = re.compile(r"average_([0-9]{9,})\.npz")
_DAMAGE = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What the averages were at one time, without their values.

    Args:
        gammas: Exponent of each average.
        times: Number of updates that each has seen, > 0.
        paths: Path of each averaged variable; no two are the same.
        shapes: Their shapes.
        file: Where the values are, or None before they are written.
    """

    gammas: tuple[float, ...]
    times: tuple[int, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    file: Path | None = None

    @property
    def time(self) -> int:
        """The number of updates after which the snapshot was taken."""
        return max(self.times)

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"average_{self.time:09d}.npz"

    def fits(self, other: Snapshot) -> bool:
        """Return whether both can be of the same training.

        Numbers at the end of names do not count: Keras gives another one to each new layer.
        """
        plain = [[re.sub(r"_\d+(?=/|$)", "", p) for p in s.paths] for s in (self, other)]
        return (self.gammas, self.shapes, plain[0]) == (other.gammas, other.shapes, plain[1])


def unique_paths(variables: Iterable[Any]) -> tuple[str, ...]:
    """Return the paths of variables, those that come again with a number behind them."""
    seen: collections.Counter[str] = collections.Counter()
    paths = []
    for variable in variables:
        seen[variable.path] += 1
        number = seen[variable.path]
        paths.append(variable.path if number == 1 else f"{variable.path} ({number})")
    return tuple(paths)


def write_snapshot(file: BinaryIO, snapshot: Snapshot, arrays: Iterable[np.ndarray]) -> None:
    """Write a snapshot into an open file.

    Args:
        file: A binary file.
        snapshot: What the values are of.
        arrays: All variables of the first average, then those of the next, and so on; asked for one
            at a time.
    """
    head = dataclasses.asdict(snapshot) | {"format": _FORMAT}
    del head["file"]
    names = _members(snapshot)
    with zipfile.ZipFile(file, "w") as archive:
        _write_member(archive, "head", np.frombuffer(json.dumps(head).encode(), np.uint8))
        for name, array in zip(names, arrays, strict=True):
            _write_member(archive, name, array)


def list_snapshots(folder: str | os.PathLike[str]) -> list[Snapshot]:
    """Return the snapshots of a folder in the order of their times, [] where it has none.

    Raises:
        DataFileError: A file is damaged, or the files are not of one training.
    """
    folder = Path(folder)
    files = [path for path in folder.glob("average_*.npz") if _NAME.fullmatch(path.name)]
    snapshots = sorted(map(_read_head, files), key=lambda snapshot: snapshot.time)
    for snapshot in snapshots[1:]:
        if not snapshot.fits(snapshots[0]):
            raise DataFileError(
                f"The snapshots in the folder {str(folder)!r} must be of one training. Received: "
                f"{snapshots[0].name} and {snapshot.name} of other variables or other averages. "
                "Move those of one training to another folder."
            )
    return snapshots


def read_arrays(snapshot: Snapshot, average: int) -> Iterator[np.ndarray]:
    """Yield the values of the variables in one average, each checked against damage.

    Args:
        snapshot: One that `list_snapshots` returned.
        average: Its number among the averages.

    Raises:
        DataFileError: The file cannot be read or is damaged.
    """
    path = Path(snapshot.file or snapshot.name)
    with _opened(path) as archive:
        for index, shape in enumerate(snapshot.shapes):
            array = _read_member(archive, f"{average}/{index}")
            if array.shape != shape or array.dtype.kind != "f":
                raise ValueError(f"the array of {snapshot.paths[index]!r} is {array.shape}")
            yield array


def _members(snapshot: Snapshot) -> Iterator[str]:
    for average in range(len(snapshot.gammas)):
        yield from (f"{average}/{index}" for index in range(len(snapshot.paths)))


def _write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # All bytes first: their checksum is compared before any of them is believed.
    content = io.BytesIO(archive.read(f"{name}.npy"))
    return np.lib.format.read_array(content, allow_pickle=False)


def _read_head(path: Path) -> Snapshot:
    with _opened(path) as archive:
        head = json.loads(_read_member(archive, "head").tobytes())
        if head["format"] > _FORMAT:
            raise DataFileError(
                f"The snapshot {str(path)!r} must be of format {_FORMAT} or older. Received: "
                f"format={head['format']}. Install the nadam_suite that wrote it."
            )
        snapshot = Snapshot(
            gammas=_numbers(head["gammas"], float),
            times=_numbers(head["times"], int),
            paths=tuple(head["paths"]),
            shapes=tuple(tuple(shape) for shape in head["shapes"]),
            file=path,
        )
        _check(snapshot)
        return snapshot


def _numbers(values: Sequence[Any], kind: type) -> tuple[Any, ...]:
    return tuple(kind(value) for value in values)


def _check(snapshot: Snapshot) -> None:
    """Raise a ValueError where a head contradicts itself or its file's name."""
    matched = len(snapshot.gammas) == len(snapshot.times) > 0
    positive = all(t > 0 for t in snapshot.times)
    finite = all(math.isfinite(g) and g >= 0.0 for g in snapshot.gammas)
    named = len(set(snapshot.paths)) == len(snapshot.paths) == len(snapshot.shapes)
    path = snapshot.file
    if not (matched and positive and finite and named and path and path.name == snapshot.name):
        raise ValueError(f"its head is {snapshot}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a snapshot's file; whatever goes wrong inside is damage of this file."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataFileError:
        raise
    except _DAMAGE as error:
        raise DataFileError(
            f"The snapshot {str(path)!r} cannot be read: {type(error).__name__}: {error}. Delete "
            "it; an average can be put together from the others, less exactly."
        ) from error
