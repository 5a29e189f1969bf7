"""The folder of a run: created whole, never overwritten, and resumed only by the same run."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nadam_suite.callbacks.files import replace_file, replace_text
from nadam_suite.config import TrainConfig, diff, load_config, save_config
from nadam_suite.errors import NadamSuiteError, NadamSuiteWarning, RunFolderError

__all__ = ["RunFolder"]

_CONFIG, _ENVIRONMENT, _RESULT = "config.toml", "environment.json", "result.json"
# Where the run goes and what it is called change nothing of what is trained; on which devices, only
# the rounding.
_FREE = ("output", "name", "distribution")
# Another value of these makes a training that goes on, but not with the very same numbers.
_VERSIONS = ("platform", "packages", "python")


class RunFolder:
    """Where a run keeps its config, environment, state and results.

    Args:
        path: The folder.
        chief: Whether this process writes it. The others of the same training only read.

    Example:

    >>> import tempfile
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.folder import RunFolder
    >>> folder = RunFolder(tempfile.mkdtemp() + "/run")
    >>> folder.create(TrainConfig(model="digits", data="digits"), {"backend": "jax"})
    >>> sorted(path.name for path in folder.path.iterdir())
    ['config.toml', 'environment.json']
    """

    def __init__(self, path: str | os.PathLike[str], *, chief: bool = True) -> None:
        self.path = Path(path)
        self._chief = chief

    @property
    def state(self) -> Path:
        """Folder of the training's state."""
        return self.path / "state"

    def check(self, *, resume: bool) -> bool:
        """Return whether there is a run to go on with; refuse what would end badly.

        Args:
            resume: Whether an existing run is to go on. If there is none, it starts.

        Raises:
            RunFolderError: The folder exists and is not to be resumed or is no run, or it cannot
                be written to.
        """
        shown = str(self.path)
        if not self._chief:  # it may be created at any moment; what is wrong with it the chief says
            return resume and (self.path / _CONFIG).is_file()
        if self.path.exists() or self.path.is_symlink():
            if not resume:
                raise RunFolderError(
                    f"The run's folder must not exist yet. Received: output={shown!r}, which was "
                    "left as it is. Pass --resume to go on with the run in it, or --output with "
                    "another folder."
                )
            if not (self.path / _CONFIG).is_file():
                raise RunFolderError(
                    f"The folder of a run must hold its {_CONFIG}. Received: output={shown!r}, "
                    "which has none and was left as it is. Check the path."
                )
        nearest = self.path
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            what = "is no folder" if not nearest.is_dir() else "may not be written to"
            raise RunFolderError(
                f"The run's folder must be writable. Received: output={shown!r}, but "
                f"{str(nearest)!r} {what}. Choose another one with --output."
            )
        return self.path.exists()

    def create(self, config: TrainConfig, environment: Mapping[str, Any]) -> None:
        """Create the folder with the run's config and environment in it, at once.

        Raises:
            RunFolderError: It cannot be created, or another process was first.
        """
        if not self._chief:
            return
        # Filled under another name and renamed: a run's folder always has its config.
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            draft.mkdir(parents=True)
            save_config(config, draft / _CONFIG)
            _write_json(draft / _ENVIRONMENT, environment)
            draft.rename(self.path)
        except (OSError, NadamSuiteError) as error:
            raise RunFolderError(
                f"The run's folder must be writable. Received: output={str(self.path)!r}: {error}. "
                "Choose another one with --output."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def check_same(self, config: TrainConfig, environment: Mapping[str, Any]) -> None:
        """Refuse to go on with a run under another config, backend or other data.

        Raises:
            RunFolderError: They differ; the message says in what.
        """
        before = load_config(self.path / _CONFIG, kind=TrainConfig)
        changes = [c for c in diff(before, config) if c.key.partition(".")[0] not in _FREE]
        if changes:
            lines = "".join(f"\n  {change}" for change in changes)
            raise RunFolderError(
                f"A run must go on with its own config. Received: {len(changes)} differences from "
                f"{str(self.path / _CONFIG)!r}:{lines}\nTake them back, or start a new run with "
                "--output."
            )
        old = self.environment()
        if old.get("backend") != environment["backend"]:
            raise RunFolderError(
                f"A run must go on with its own backend, {old.get('backend')!r}. Received: "
                f"backend={environment['backend']!r}. Pass --backend {old.get('backend')}, or "
                "start a new run with --output."
            )
        if old.get("data_sha256") != environment.get("data_sha256"):
            raise RunFolderError(
                "A run must go on with the data that it began with. Received: training data with "
                f"another digest than in {str(self.path / _ENVIRONMENT)!r}. Bring the data back, "
                "or start a new run with --output."
            )
        changed = [name for name in _VERSIONS if old.get(name) != environment.get(name)]
        if changed:
            warnings.warn(
                f"This run began with another {', '.join(changed)} than now; it goes on, but maybe "
                f"not with the very same numbers. See {str(self.path / _ENVIRONMENT)!r}.",
                NadamSuiteWarning,
                stacklevel=3,
            )

    def environment(self) -> dict[str, Any]:
        """Return what the run was started with."""
        return self._read(_ENVIRONMENT) or {}

    def result(self) -> dict[str, Any] | None:
        """Return the results of a finished run, or None while it is not finished."""
        return self._read(_RESULT)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the results, which ends the run: this is the last file of it."""
        if self._chief:
            _write_json(self.path / _RESULT, result)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file of the run, whole or not at all."""
        if self._chief:
            replace_text(self.path / name, text)

    def save_model(self, model: Any, name: str = "model.keras") -> None:
        """Write the model, whole or not at all; all processes must call this.

        Saving builds Keras objects, which under a distribution all processes do together.
        """
        if not self._chief:
            with tempfile.TemporaryDirectory() as scratch:
                model.save(Path(scratch) / name)
            return
        draft = self.path / f".draft-{name}"  # Keras looks at the suffix
        model.save(draft)
        replace_file(self.path / name, lambda file: file.write(draft.read_bytes()))
        draft.unlink()

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"The file {str(path)!r} must be the JSON that the run wrote. Received: {error}. "
                "Delete the folder and start anew."
            ) from error


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    replace_text(path, json.dumps(table, indent=2, sort_keys=True) + "\n")
