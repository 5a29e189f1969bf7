"""`best.toml`: the config of a search's best trial as a file that `nadam-suite train` takes."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from nadam_suite.callbacks.files import replace_text
from nadam_suite.config import TrainConfig, load_config, read_table
from nadam_suite.config.files import to_toml
from nadam_suite.errors import DataFileError
from nadam_suite.tuner.search_record import CONFIGURED, POINT, SearchRecord, TrialRecord

__all__ = ["BestConfig", "write_best"]

_BEST, _SEARCH = "best.toml", "search.toml"
_RUN_CONFIG = Path("run", "config.toml")


@dataclasses.dataclass(frozen=True)
class BestConfig:
    """The config of the best trial as a file that `nadam-suite train` takes.

    Args:
        path: The file.
        trial: The trial's id.
        done: Whether the search "wrote" it, "replaced" the file of another trial, "kept" the same
            file, or "left" one that is no longer, or never was, as the search writes it.
        search: The search's folder.
    """

    path: Path
    trial: str
    done: Literal["wrote", "replaced", "kept", "left"]
    search: Path

    def __str__(self) -> str:
        """Return what was done, and how to train it, or how to replace it."""
        if self.done != "left":
            return (
                f"{self.done.capitalize()} {self.path}, the config of the best trial {self.trial}. "
                f"Train it again with:\n  nadam-suite train {shlex.quote(str(self.path))}"
            )
        words = ["nadam-suite", "report", str(self.search), "--force"]
        if self.path.parent != self.search:
            words += ["--output", str(self.path.parent)]
        return (
            f"{self.path} was edited, and stays as it is: it is not the config of the best trial "
            f"{self.trial}. To replace it:\n  {shlex.join(words)}"
        )


def write_best(
    record: SearchRecord, folder: str | os.PathLike[str] | None = None, *, force: bool = False
) -> BestConfig | None:
    """Write the config of the best trial's run into `best.toml`.

    Lengths are those that the search has, such as "5%", so that a training of more epochs stretches
    the schedule. Where the search's folder does not tell them, they are in steps.

    Args:
        record: The search.
        folder: Where to; the search's folder by default.
        force: Replace any file of that name. By default one that is there is replaced only if it
            is the unchanged config of a trial.

    Returns:
        What was done, or None if no trial ended well, or if trials are no runs.

    Raises:
        DataFileError: It cannot be written, or a file of that name cannot be read.
        ConfigError: The config of the search or of a trial has faults.
    """
    best = record.best
    if best is None or not (best.folder / _RUN_CONFIG).is_file():
        return None
    path = Path(record.folder if folder is None else folder) / _BEST
    hypermodel = _hypermodel(record)
    text = _texts(hypermodel, best)[0]
    try:
        done = _done(path, text, record, hypermodel, force=force)
        if done in ("wrote", "replaced"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text)
    except OSError as error:
        raise DataFileError(
            f"File {str(path)!r} must be one that can be read and written. Received: "
            f"{error.strerror}. Check its permissions, or name another folder."
        ) from None
    return BestConfig(path, best.id, done, record.folder)


def _done(
    path: Path, text: str, record: SearchRecord, hypermodel: Any, *, force: bool
) -> Literal["wrote", "replaced", "kept", "left"]:
    """Return what is to be done with the file."""
    if not path.exists():
        return "wrote"
    there = path.read_bytes().decode("utf-8", errors="replace")
    if there == text:
        return "kept"
    return "replaced" if force or there in _written(record, hypermodel) else "left"


def _written(record: SearchRecord, hypermodel: Any) -> Iterator[str]:
    """Yield what the search writes for each trial, in both forms."""
    for trial in record.trials:
        if (trial.folder / _RUN_CONFIG).is_file():
            yield from _texts(hypermodel, trial)


def _texts(hypermodel: Any, trial: TrialRecord) -> tuple[str, str]:
    """Return the file of a trial, and the same with all lengths in steps."""
    source = trial.folder / _RUN_CONFIG
    table = read_table(source)
    # Where the trial's run lies, and how it was found, is not part of what it trains.
    config = TrainConfig.from_dict(
        {key: value for key, value in table.items() if key not in {"output", "tuner"}},
        source=str(source),
    )
    config = config.replace(name=f"{config.name}-best")  # its run is not that of the first config
    in_steps = to_toml(config)
    if hypermodel is None:
        return in_steps, in_steps
    relative = _with_lengths(config.to_dict(), _asked(hypermodel, trial).to_dict())
    return to_toml(TrainConfig.from_dict(relative)), in_steps


def _hypermodel(record: SearchRecord) -> Any:
    """Return the hypermodel of a search over runs, or None if the folder does not tell."""
    path = record.folder / _SEARCH
    if not path.is_file():
        return None
    from nadam_suite.tuner.runs import RunHyperModel

    return RunHyperModel(load_config(path, kind=TrainConfig))


def _asked(hypermodel: Any, trial: TrialRecord) -> TrainConfig:
    """Return the config that a trial was given."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values = dict(trial.values)
    if trial.origin == CONFIGURED:
        hp.values[POINT] = CONFIGURED
    config: TrainConfig = hypermodel.trial_config(hp)
    return config


def _with_lengths(run: Any, asked: Any) -> Any:
    """Return a run's table with its lengths as they were asked for.

    A run has numbers where a duration, or None for the whole training, was asked for.
    """
    if isinstance(run, Mapping) and isinstance(asked, Mapping):
        if run.get("kind") != asked.get("kind"):
            return run
        return {key: _with_lengths(run[key], asked.get(key, run[key])) for key in run}
    if isinstance(run, list) and isinstance(asked, list) and len(run) == len(asked):
        return [_with_lengths(*pair) for pair in zip(run, asked, strict=True)]
    number = isinstance(run, (int, float)) and not isinstance(run, bool)
    return asked if number and (asked is None or isinstance(asked, str)) else run
