"""What the folder of a run tells: how far it came, its curves, its config, its times."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nadam_suite.callbacks.layer_norms import Norms
from nadam_suite.callbacks.monitored import better, checked_monitor
from nadam_suite.config import TrainConfig, load_config
from nadam_suite.errors import ArgumentError, DataFileError, RunFolderError
from nadam_suite.experiment.folder import CONFIG, HISTORY, RunFolder
from nadam_suite.experiment.norm_record import NORMS, read_norms
from nadam_suite.experiment.sessions import is_alive, read_sessions

__all__ = ["RunRecord", "is_run", "read_run", "run_folder"]

_TRIAL = "trial.json"  # beside the run of a search's trial
# What callbacks log beside the metrics.
_LOGGED = frozenset(
    {
        "beta_1",
        "gradient_norm",
        "learning_rate",
        "loss_scale",
        "loss_scale_growths",
        "momentum",
        "skipped_steps",
        "update_norm",
        "update_ratio",
        "weight_decay",
    }
)
_WORDS = {
    "interrupted": "interrupted: `--resume` goes on with it",
    "paused": "paused: a rung of its search is reached",
    "killed": "cut off: its process was killed; `--resume` goes on with it",
    "elsewhere": "running on another machine, or cut off there",
    "unknown": "not finished",
}


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run, read from its folder.

    Args:
        path: The folder.
        label: What it is called among the others of a report.
        config: Its config, every duration in steps.
        status: "finished", "running", "interrupted", "failed", "paused", "killed", "elsewhere"
            (its process is on another machine), or "unknown" of an unfinished run without notes.
        history: A row of each epoch; numbers by name, "epoch" counted from 0.
        norms: Norms layer by layer, one for each look.
        sessions: Notes of the processes that trained it, the first one first.
        environment: What it was started with.
        result: What it ended with, or None.
        origin: Where it was branched from, or None.
        extensions: Epochs that it was planned for before each of its extensions.
        trial: Id of the trial of a search that it is, or None.
        config_text: The config as its file has it.
    """

    path: Path
    label: str
    config: TrainConfig
    status: str
    history: tuple[Mapping[str, float], ...]
    norms: tuple[Norms, ...]
    sessions: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    origin: Mapping[str, Any] | None = None
    extensions: tuple[int, ...] = ()
    trial: str | None = None
    config_text: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all that was logged, without the epoch."""
        return tuple(dict.fromkeys(n for row in self.history for n in row if n != "epoch"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was logged of the model: loss and metrics."""
        return tuple(name for name in self.names if name not in _LOGGED)

    @property
    def seconds(self) -> float | None:
        """Time of all processes together, or None where it is not known."""
        if self.sessions:
            return float(sum(each["seconds"] for each in self.sessions))
        return None if self.result is None else float(self.result.get("seconds") or 0.0)

    @property
    def epoch_seconds(self) -> dict[int, float]:
        """Time of each epoch of which it is known, counted from 0; the last time if repeated."""
        pairs = (pair for each in self.sessions for pair in each["epochs"])
        return {int(epoch): float(seconds) for epoch, seconds in pairs}

    def state(self) -> str:
        """Return how far the run came, in words."""
        done, planned = len(self.history), self.config.epochs
        words = _WORDS.get(self.status, self.status)
        if self.status == "finished" and (self.result or {}).get("stopped_early"):
            words = "finished, ended early by a callback"
        if self.status == "failed":
            words = f"failed: {self.sessions[-1].get('error') or 'for no known reason'}"
        return f"{words}; {done} of {planned} epochs"

    def remarks(self) -> list[str]:
        """Return what else happened to the run, a sentence each."""
        found = []
        if self.trial is not None:
            search = self.path.absolute().parents[1]
            found.append(f"Trial {self.trial} of the search {search}.")
        if self.origin is not None:
            found.append(
                f"Branched from {self.origin.get('checkpoint')} at epoch "
                f"{self.origin.get('epoch')}."
            )
        if self.extensions:
            planned = " to ".join(map(str, [*self.extensions, self.config.epochs]))
            found.append(f"Extended: planned for {planned} epochs.")
        if len(self.sessions) > 1:
            found.append(f"Resumed: {len(self.sessions)} processes have trained it.")
        return found

    def final(self) -> dict[str, float]:
        """Return the metrics of the final model by split and name, or of the last epoch."""
        if self.result is not None:
            return {
                f"{split} {name}": float(value)
                for split, values in (self.result.get("metrics") or {}).items()
                for name, value in values.items()
            }
        last = self.history[-1] if self.history else {}
        return {f"last {name}": last[name] for name in self.metrics if name in last}

    def best(self) -> dict[str, tuple[float, int]]:
        """Return the best value of each metric that was validated, and its epoch, from 1.

        Of a metric whose name does not tell whether it should rise there is none.
        """
        found: dict[str, tuple[float, int]] = {}
        for name in self.metrics:
            if not name.startswith("val_"):
                continue
            try:
                rises = checked_monitor(name, "auto")
            except ArgumentError:
                continue
            best: tuple[float, int] | None = None
            for row in self.history:
                if name in row and better(row[name], best and best[0], rises):
                    best = row[name], int(row["epoch"]) + 1
            if best is not None:
                found[name] = best
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "label": self.label,
            "folder": str(self.path),
            "status": self.status,
            "state": self.state(),
            "remarks": self.remarks(),
            "trial": self.trial,
            "epochs": {"trained": len(self.history), "planned": self.config.epochs},
            "seconds": self.seconds,
            "epoch_seconds": {str(epoch): value for epoch, value in self.epoch_seconds.items()},
            "final": self.final(),
            "best": {n: {"value": v, "epoch": epoch} for n, (v, epoch) in self.best().items()},
            "history": [dict(row) for row in self.history],
            "norms": [
                {
                    "epoch": norms.epoch,
                    "step": norms.step,
                    "layers": {
                        layer: {**dataclasses.asdict(row), "ratio": row.ratio}
                        for layer, row in norms.layers.items()
                    },
                }
                for norms in self.norms
            ],
            "config": self.config.to_dict(),
            "environment": dict(self.environment),
            "sessions": [dict(each) for each in self.sessions],
            "origin": None if self.origin is None else dict(self.origin),
            "extensions": list(self.extensions),
        }


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run, or of a search's trial that is one."""
    return run_folder(path) is not None


def run_folder(path: Path) -> Path | None:
    """Return the folder of a run: the path itself, or the one within a trial's; None if neither."""
    for folder in (path, path / "run"):
        if (folder / CONFIG).is_file() and (folder == path or (path / _TRIAL).is_file()):
            return folder
    return None


def read_run(path: str | os.PathLike[str], label: str | None = None) -> RunRecord:
    """Return what the folder of a run tells; nothing is written.

    A run that still trains, was interrupted or killed, has failed, was extended or resumed, and one
    from before there were notes of its processes, is read alike.

    Args:
        path: The run's folder, or that of a search's trial.
        label: What it is called; by default its folder's name.

    Raises:
        RunFolderError: It is no run's folder, or a file of it is damaged.
        DataFileError: A file of it is damaged.
        ConfigError: Its config has faults.

    Example:

    >>> import tempfile
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.folder import RunFolder
    >>> from nadam_suite.experiment.report import read_run
    >>> folder = RunFolder(tempfile.mkdtemp() + "/run")
    >>> folder.create(TrainConfig(model="digits", data="digits"), {"backend": "jax"})
    >>> read_run(folder.path).state()
    'not finished; 0 of 1 epochs'
    """
    place = run_folder(Path(path))
    if place is None:
        raise RunFolderError(
            f"The folder of a run must hold its {CONFIG}. Received: {str(path)!r}, which has none. "
            "Name the folder that `train` has written."
        )
    folder = RunFolder(place, chief=False)
    sessions, result = read_sessions(place), folder.result()
    norms = read_norms(place / NORMS) if (place / NORMS).is_file() else []
    trial = place.absolute().parent / _TRIAL
    return RunRecord(
        path=place,
        label=label or place.absolute().name,
        config=load_config(place / CONFIG, kind=TrainConfig),
        status=_status(sessions, result),
        history=tuple(_history(place / HISTORY)),
        norms=tuple(norms),
        sessions=tuple(sessions),
        environment=folder.environment(),
        result=result,
        origin=folder.origin(),
        extensions=tuple(config.epochs for config in folder.shorter()),
        trial=_trial_id(trial) if trial.is_file() else None,
        config_text=(place / CONFIG).read_text("utf-8"),
    )


def _status(sessions: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> str:
    """Return how a run stands: a result is written last of all."""
    if result is not None:
        return "finished"
    if not sessions:
        return "unknown"
    last = str(sessions[-1]["status"])
    if last == "running":
        alive = is_alive(sessions[-1])
        return "elsewhere" if alive is None else "running" if alive else "killed"
    return "interrupted" if last == "finished" else last  # finished, and extended since


def _history(path: Path) -> list[dict[str, float]]:
    """Return the rows of the epochs; a run that has not ended its first epoch may have none."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items() if value not in ("", None)}
                for row in csv.DictReader(file)
            ]
        for row in rows:
            if not math.isfinite(row["epoch"]):
                raise ValueError(f"epoch={row['epoch']}")
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataFileError(
            f"The file {str(path)!r} must be the history that the run wrote. Received: "
            f"{type(error).__name__}: {error}. Resume the run, which writes it anew."
        ) from error
    return rows


def _trial_id(path: Path) -> str:
    try:
        return str(json.loads(path.read_text("utf-8"))["trial_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return path.parent.name.removeprefix("trial_")
