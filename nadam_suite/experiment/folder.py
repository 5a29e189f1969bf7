"""The folder of a run: created whole, never overwritten, and resumed only by the same run."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nadam_suite.callbacks.files import replace_file, replace_text, sync_folder
from nadam_suite.config import (
    Change,
    LossScaleConfig,
    TrainConfig,
    diff,
    fingerprint,
    load_config,
    save_config,
)
from nadam_suite.config.faults import counted
from nadam_suite.errors import NadamSuiteError, NadamSuiteWarning, RunFolderError
from nadam_suite.experiment.place import unwritable

__all__ = ["CONFIG", "ENVIRONMENT", "FREE", "HISTORY", "ORIGIN", "RESULT", "RunFolder"]

CONFIG, ENVIRONMENT, HISTORY = "config.toml", "environment.json", "history.csv"
ORIGIN, RESULT = "origin.json", "result.json"
_CHECKPOINTS, _BEFORE = "checkpoints", "before-extension-"
# Where the run goes, what it is called, what it keeps and logs, and how a search would go change
# nothing of what is trained; on which devices, only the rounding. Nor does what ends a training
# that only skips; see `_limit`.
FREE = ("output", "name", "distribution", "checkpoint_every", "logging", "tuner")
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

    @property
    def checkpoints(self) -> Path:
        """Folder of the states that are kept; each of them is a run as it was then."""
        return self.path / _CHECKPOINTS

    @property
    def chief(self) -> bool:
        """Whether this process writes."""
        return self._chief

    def config(self) -> TrainConfig:
        """Return the config of the run, every duration in steps."""
        return load_config(self.path / CONFIG, kind=TrainConfig)

    def before(self, number: int) -> Path:
        """Return the folder of what the run was before one of its extensions, counted from 1."""
        return self.path / f"{_BEFORE}{number}"

    def is_before(self, path: Path) -> bool:
        """Return whether a path is such a folder."""
        return path.name.startswith(_BEFORE)

    def shorter(self) -> list[TrainConfig]:
        """Return the configs that the run had before each of its extensions, the first one first.

        An extension changes the config last. What one that was cut short left behind has the
        config that still is the run's, and does not count.
        """
        found: list[TrainConfig] = []
        now = self.config().epochs
        while (path := self.before(len(found) + 1) / CONFIG).is_file():
            config: TrainConfig = load_config(path, kind=TrainConfig)
            if config.epochs >= now:
                break
            found.append(config)
        return found

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
            return resume and (self.path / CONFIG).is_file()
        if self.path.exists() or self.path.is_symlink():
            if not resume:
                raise RunFolderError(
                    f"The run's folder must not exist yet. Received: output={shown!r}, which was "
                    "left as it is. Pass --resume to go on with the run in it, or --output with "
                    "another folder."
                )
            if not (self.path / CONFIG).is_file():
                raise RunFolderError(
                    f"The folder of a run must hold its {CONFIG}. Received: output={shown!r}, "
                    "which has none and was left as it is. Check the path."
                )
        if (what := unwritable(self.path)) is not None:
            raise RunFolderError(
                f"The run's folder must be writable. Received: output={shown!r}, but {what}. "
                "Choose another one with --output."
            )
        return self.path.exists()

    def create(
        self,
        config: TrainConfig,
        environment: Mapping[str, Any],
        fill: Callable[[RunFolder], object] | None = None,
    ) -> None:
        """Create the folder with the run's config and environment in it, at once.

        Args:
            config: The config.
            environment: The environment.
            fill: Called with the folder under its other name, to write what else the run begins
                with.

        Raises:
            RunFolderError: It cannot be created, or another process was first.
        """
        if not self._chief:
            return
        # Filled under another name and renamed: a run's folder always has its config.
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            draft.mkdir(parents=True)
            save_config(config, draft / CONFIG)
            _write_json(draft / ENVIRONMENT, environment)
            if fill is not None:
                fill(RunFolder(draft))
            draft.rename(self.path)
        except (OSError, NadamSuiteError) as error:
            raise RunFolderError(
                f"The run's folder must be writable. Received: output={str(self.path)!r}: {error}. "
                "Choose another one with --output."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def check_same(
        self, config: TrainConfig, environment: Mapping[str, Any], remedy: str | None = None
    ) -> TrainConfig:
        """Return the config to go on with; refuse another config, backend or other data.

        Args:
            config: What the run is to go on with: its own config, or of an extended run one that
                it had before.
            environment: The environment as it is now.
            remedy: What can be done about a difference; by default what goes for a resumed run.

        Returns:
            The run's own config, with those keys of the given one that change nothing.

        Raises:
            RunFolderError: They differ; the message says in what.
        """
        own = self.config()
        changes = min((_changes(known, config) for known in [own, *self._siblings()]), key=len)
        if changes:
            lines = "".join(f"\n  {change}" for change in changes)
            longer = any(change.key == "epochs" for change in changes)
            others = " make the run longer with --extend," if longer else ""
            remedy = remedy or f"Take them back,{others} or start a new run with --output."
            raise RunFolderError(
                "A run must go on with its own config. Received: "
                f"{counted(len(changes), 'difference')} from {str(self.path / CONFIG)!r}:"
                f"{lines}\n{remedy}"
            )
        self._check_environment(environment)
        given = config.to_dict()
        own = own.replace(**{key: given[key] for key in FREE})
        return own if _limit(own) == _limit(config) else _limited(own, _limit(config))

    def _siblings(self) -> list[TrainConfig]:
        """Return the other configs of this run; of a checkpoint, those of its run."""
        found = self.shorter()
        above = 1 if self.path.parent.name == _CHECKPOINTS else 0
        if above or self.is_before(self.path):
            run = RunFolder(self.path.absolute().parents[above])
            if (run.path / CONFIG).is_file():
                found += [run.config(), *run._siblings()]
        return found

    def _check_environment(self, environment: Mapping[str, Any]) -> None:
        """Refuse another backend and other data; warn of other versions."""
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
                f"another digest than in {str(self.path / ENVIRONMENT)!r}. Bring the data back, "
                "or start a new run with --output."
            )
        changed = [name for name in _VERSIONS if old.get(name) != environment.get(name)]
        if changed:
            warnings.warn(
                f"This run began with another {', '.join(changed)} than now; it goes on, but maybe "
                f"not with the very same numbers. See {str(self.path / ENVIRONMENT)!r}.",
                NadamSuiteWarning,
                stacklevel=4,
            )

    def lengthen(self, config: TrainConfig) -> None:
        """Replace the config by that of a longer run; what else is there must fit both."""
        save_config(config, self.path / CONFIG, overwrite=True)
        sync_folder(self.path)

    def note_config(self) -> None:
        """Write the fingerprint of the config to the environment, if another one stands there."""
        known, found = self.environment(), fingerprint(self.config())
        if self._chief and known.get("config_fingerprint") != found:
            _write_json(self.path / ENVIRONMENT, {**known, "config_fingerprint": found})

    def origin(self) -> dict[str, Any] | None:
        """Return where the run was branched from, or None if it began by itself."""
        return self._read(ORIGIN)

    def environment(self) -> dict[str, Any]:
        """Return what the run was started with."""
        return self._read(ENVIRONMENT) or {}

    def result(self) -> dict[str, Any] | None:
        """Return the results of a finished run, or None while it is not finished."""
        return self._read(RESULT)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the results, which ends the run: this is the last file of it."""
        if self._chief:
            _write_json(self.path / RESULT, result)

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


def _changes(before: TrainConfig, after: TrainConfig) -> list[Change]:
    """Return what differs between two configs and changes what is trained."""
    if _skips(before) and _skips(after):
        before, after = _limited(before, None), _limited(after, None)
    return [c for c in diff(before, after) if c.key.partition(".")[0] not in FREE]


def _skips(config: TrainConfig) -> bool:
    """Return whether steps that are not finite are skipped."""
    return config.skip_nonfinite or config.precision == "mixed_float16"


def _limit(config: TrainConfig) -> int | None:
    """Return after how many skipped steps in a row a training ends."""
    return (config.loss_scale or LossScaleConfig()).max_consecutive_skips


def _limited(config: TrainConfig, limit: int | None) -> TrainConfig:
    """Return a config of a training that ends after so many skipped steps in a row."""
    return config.replace(loss_scale={"max_consecutive_skips": limit})


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    replace_text(path, json.dumps(table, indent=2, sort_keys=True) + "\n")
