"""States of a training that are kept, each in a folder that is a run as it was at that epoch."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks.files import replace_file, replace_text, sync_folder
from nadam_suite.callbacks.snapshot import read_header
from nadam_suite.config import fingerprint
from nadam_suite.errors import RunFolderError
from nadam_suite.experiment.folder import CONFIG, ENVIRONMENT, RunFolder
from nadam_suite.experiment.own_callbacks import average_files

__all__ = [
    "Checkpoints",
    "copy_files",
    "copy_into",
    "epoch_of",
    "kept_epochs",
    "remove_folder",
    "take_averages_back",
]

_STATE = "state"
_ABOUT = "checkpoint.json"
# Written once and then replaced, never changed: a copy may be another name of the same file.
_SHARED = (".npz", ".keras")


class Checkpoints(keras.callbacks.Callback):
    """Keeps the state of some epochs, beside the latest one that is overwritten.

    A checkpoint lies in `checkpoints/<epoch>` of the run's folder and has the run's config and
    environment with it, and the averages that the run has saved so far. It appears when it is
    whole. What a process that was killed has left out is made up for by the next.

    Args:
        folder: The run's folder; of several processes only the chief may have this callback. The
            callback that saves the state must come before this one.
        epochs: Numbers of finished epochs after which the state is kept.
        start: Epoch at which this training starts.
        steps_per_epoch: Batches in an epoch, which the checkpoint tells.
    """

    def __init__(
        self, folder: RunFolder, epochs: Iterable[int], start: int, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self._folder = folder
        self._epochs = frozenset(epochs)
        self._start = start
        self._steps = steps_per_epoch

    def on_train_begin(self, logs: Any = None) -> None:
        """Keep the state that the training goes on from, if that was not done before."""
        self._keep(self._start)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state that was just saved."""
        self._keep(epoch + 1)

    def _keep(self, epoch: int) -> None:
        if epoch not in self._epochs or epoch == 0:
            return
        folder, path = self._folder, self._folder.checkpoints / str(epoch)
        kept = RunFolder(path)
        if (path / CONFIG).is_file() and kept.config() == folder.config():
            return
        about = {
            "config_fingerprint": fingerprint(folder.config()),
            "epoch": epoch,
            "run": folder.path.absolute().name,
            "step": epoch * self._steps,
        }
        path.parent.mkdir(exist_ok=True)
        names = (CONFIG, ENVIRONMENT, _STATE, *average_files(folder.config(), folder.path))
        copy_files(folder.path, path, names, {_ABOUT: about})


def take_averages_back(folder: RunFolder, epoch: int) -> None:
    """Replace the averages that a run has saved by those that it had at an epoch, if it kept them.

    Snapshots stay: `AverageSnapshots` removes later ones when it has one of its own.

    Args:
        folder: The run's folder.
        epoch: Epoch of a checkpoint.
    """
    kept = folder.checkpoints / str(epoch)
    if not (kept / CONFIG).is_file():
        return
    config = folder.config()
    before = average_files(config, kept)
    for name in set(average_files(config, folder.path)) - set(before):
        (folder.path / name).unlink()
    copy_into(kept, folder.path, before)


def copy_into(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files into a folder, each whole or not at all; older ones of their names are replaced.

    Args:
        source: Folder that has them.
        target: The other one; it is created, and folders in it.
        names: Their names, relative to both.
    """
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with (source / name).open("rb") as file:
            replace_file(target / name, functools.partial(shutil.copyfileobj, file))


def kept_epochs(folder: RunFolder) -> list[int]:
    """Return the epochs of the checkpoints that a run has, the latest first."""
    if not folder.checkpoints.is_dir():
        return []
    names = (path.name for path in folder.checkpoints.iterdir() if (path / CONFIG).is_file())
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def epoch_of(folder: RunFolder) -> int:
    """Return the epoch at which the state in a run's folder goes on, 0 if there is none.

    Raises:
        DataFileError: The file is damaged.
    """
    state = TrainingState(folder.state)
    return int(read_header(state.path)["epoch"]) if state.exists() else 0


def copy_files(
    source: Path,
    destination: Path,
    names: Iterable[str],
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Copy files and folders into a new folder, which appears when all of it is on the disk.

    Args:
        source: Folder that has them; names that it does not have are left out.
        destination: The new folder. An older one of that name is removed first.
        names: What to copy.
        tables: JSON files to write beside them, by name.

    Raises:
        RunFolderError: It cannot be written.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.experiment.checkpoints import copy_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("text")
    >>> copy_files(folder, folder / "copy", ["a.txt", "b.txt"], {"about.json": {"epoch": 3}})
    >>> sorted(path.name for path in (folder / "copy").iterdir())
    ['a.txt', 'about.json']
    """
    draft = destination.with_name(f".{destination.name}.tmp")
    try:
        remove_folder(draft)
        draft.mkdir()
        for name in names:
            _copy(source / name, draft / name)
        for name, table in (tables or {}).items():
            replace_text(draft / name, json.dumps(table, indent=2, sort_keys=True) + "\n")
        sync_folder(draft)
        remove_folder(destination)
        draft.rename(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise RunFolderError(
            f"A run's folder must be writable. Received: {str(destination)!r}: {error}. Check the "
            "space and the permissions there, and go on with --resume."
        ) from error


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there: it disappears as a whole, and then what was in it."""
    hidden = path.with_name(f".{path.name.strip('.')}.old")
    shutil.rmtree(hidden, ignore_errors=True)
    if path.exists():
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all that is in it; half-written files are left out."""
    if source.is_dir():
        target.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            if not path.name.startswith("."):
                _copy(path, target / path.name)
        sync_folder(target)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in _SHARED:
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                pass
            else:
                return
        with source.open("rb") as file:
            replace_file(target, lambda copy: shutil.copyfileobj(file, copy))
