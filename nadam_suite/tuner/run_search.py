"""The folder of a search over runs, and the tuner that its config asks for."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from nadam_suite.callbacks.files import replace_text, sync_folder
from nadam_suite.config import Change, TrainConfig, TunerConfig, diff, load_config, save_config
from nadam_suite.errors import NadamSuiteError, SearchFolderError
from nadam_suite.experiment.folder import FREE
from nadam_suite.experiment.place import unwritable
from nadam_suite.tuner.check import check_objective
from nadam_suite.tuner.runs import RunHyperModel
from nadam_suite.tuner.tuners import (
    BayesianOptimization,
    GridSearch,
    QuasiRandomSearch,
    RandomSearch,
    ResumableHyperband,
)

__all__ = [
    "SEARCH",
    "as_begun",
    "check_folder",
    "check_same",
    "check_settings",
    "make_tuner",
    "open_folder",
    "search",
]

SEARCH = "search.toml"
_ENVIRONMENT = "environment.json"
# These may be others when a search goes on: they change no trial.
_FREE = (*(key for key in FREE if key != "tuner"), "tuner.trials", "tuner.iterations")


def check_folder(path: Path, *, resume: bool) -> None:
    """Refuse a folder that exists and is not to be gone on with, or cannot be written to.

    Args:
        path: The search's folder.
        resume: Whether a search in it is to go on. If there is none, it begins.

    Raises:
        SearchFolderError: It is refused; nothing was changed.
    """
    there = path.exists()
    if there and not resume:
        raise SearchFolderError(
            f"The search's folder must not exist yet. Received: output={str(path)!r}, which was "
            "left as it is. Pass --resume to go on with the search in it, or --output with another "
            "folder."
        )
    if there and not (path / SEARCH).is_file():
        raise SearchFolderError(
            f"The folder of a search must hold its {SEARCH}. Received: output={str(path)!r}, which "
            "has none and was left as it is. Check the path."
        )
    if (what := unwritable(path)) is not None:
        raise SearchFolderError(
            f"The search's folder must be writable. Received: output={str(path)!r}, but {what}. "
            "Choose another one with --output."
        )


def open_folder(config: TrainConfig, path: Path, *, resume: bool) -> bool:
    """Create the folder with the search's config in it, or go on with the search that is there.

    Args:
        config: The config.
        path: The search's folder.
        resume: Whether a search in it is to go on.

    Returns:
        Whether there was one.

    Raises:
        SearchFolderError: The folder is refused, cannot be written, or belongs to a search that
            had another config or backend; the message lists what differs.

    Example:

    >>> import pathlib, tempfile
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.tuner.run_search import open_folder
    >>> path = pathlib.Path(tempfile.mkdtemp(), "search")
    >>> config = TrainConfig(model="digits", data="digits")
    >>> open_folder(config, path, resume=False), open_folder(config, path, resume=True)
    (False, True)
    """
    check_folder(path, resume=resume)
    config = _complete(as_begun(config, path))
    if path.exists():
        check_same(config, path)
        save_config(config, path / SEARCH, overwrite=True)  # maybe more trials
        return True
    # Filled under another name and renamed: a search's folder always has its config.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.mkdir(parents=True)
        save_config(config, draft / SEARCH)
        known = {"backend": keras.backend.backend(), "keras": keras.__version__}
        replace_text(draft / _ENVIRONMENT, json.dumps(known, indent=2, sort_keys=True) + "\n")
        draft.rename(path)
        sync_folder(path.parent)
    except (OSError, NadamSuiteError) as error:
        raise SearchFolderError(
            f"The search's folder must be writable. Received: output={str(path)!r}: {error}. "
            "Choose another one with --output."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return False


def as_begun(config: TrainConfig, path: Path) -> TrainConfig:
    """Return the config with the points that the search in a folder began with.

    Folders may hold searches of before the config itself was tried first; these try it never.

    Args:
        config: The config.
        path: The search's folder, which need not exist yet.

    Raises:
        ConfigError: The config in the folder has faults.
    """
    if not (path / SEARCH).is_file():
        return config
    own: TrainConfig = load_config(path / SEARCH, kind=TrainConfig)
    points = (own.tuner or TunerConfig()).points
    if (points, (config.tuner or TunerConfig()).points) != ("published", "configured"):
        return config
    return config.replace(tuner={**_complete(config).to_dict()["tuner"], "points": points})


def check_same(config: TrainConfig, path: Path) -> None:
    """Refuse to go on with a search that had another config, or another backend.

    Args:
        config: The config; its number of trials may be another one.
        path: The search's folder.

    Raises:
        SearchFolderError: They differ; the message lists in what.
    """
    own: TrainConfig = load_config(path / SEARCH, kind=TrainConfig)
    config = _complete(as_begun(config, path))
    changes = [change for change in diff(own, config) if not _is_free(change)]
    if changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise SearchFolderError(
            f"A search must go on with its own config. Received: {len(changes)} differences from "
            f"{str(path / SEARCH)!r}:{lines}\nTake them back, or start a new search with --output."
        )
    try:
        backend = json.loads((path / _ENVIRONMENT).read_text("utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SearchFolderError(
            f"The file {str(path / _ENVIRONMENT)!r} must be the JSON that the search wrote. "
            f"Received: {error}. Restore it, or start a new search with --output."
        ) from error
    if backend != keras.backend.backend():
        raise SearchFolderError(
            f"A search must go on with its own backend, {backend!r}. Received: "
            f"backend={keras.backend.backend()!r}. Pass --backend {backend}, or start a new search "
            "with --output."
        )


def _complete(config: TrainConfig) -> TrainConfig:
    """Return the config with its `tuner` table, which may be left out."""
    return config.replace(tuner=(config.tuner or TunerConfig()).to_dict())


def _is_free(change: Change) -> bool:
    return change.key in _FREE or change.key.partition(".")[0] in _FREE


def make_tuner(config: TrainConfig, path: Path, hypermodel: RunHyperModel) -> keras_tuner.Tuner:
    """Return the tuner that a config asks for, in the search's folder.

    Args:
        config: The config.
        path: The search's folder; a search in it goes on.
        hypermodel: What the trials train.

    Raises:
        SearchFolderError: The search in the folder is another one.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it tells that it goes on
        return _made(config, path, hypermodel)


def _made(config: TrainConfig, path: Path, hypermodel: RunHyperModel) -> keras_tuner.Tuner:
    settings = config.tuner or TunerConfig()
    common: dict[str, Any] = {
        "objective": keras_tuner.Objective(settings.objective, settings.direction),
        "seed": config.seed if settings.seed is None else settings.seed,
        "directory": str(path.parent),
        "project_name": path.name,
    }
    if settings.points == "none":
        common["points"] = ()
    if settings.kind == "hyperband":
        common["sampler"] = settings.sampler or "halton"
        return ResumableHyperband(
            hypermodel,
            max_epochs=config.epochs,
            factor=settings.factor or 3,
            hyperband_iterations=settings.iterations or 1,
            **common,
        )
    common["max_trials"] = settings.max_trials()
    if settings.kind == "quasi_random":
        return QuasiRandomSearch(hypermodel, sampler=settings.sampler or "halton", **common)
    kinds = {"random": RandomSearch, "bayesian": BayesianOptimization, "grid": GridSearch}
    return kinds[settings.kind](hypermodel, **common)


def check_settings(config: TrainConfig, hypermodel: RunHyperModel) -> None:
    """Refuse a space or an objective that no run of the config has, before anything is written.

    Raises:
        ArgumentError: There is no such metric; the message has the nearest one.
        ConfigError: The space does not go together with the rest of the config.
    """
    settings = config.tuner or TunerConfig()
    with _own_errors():
        check_objective(settings.objective, hypermodel.objective_names())


def search(tuner: keras_tuner.Tuner) -> None:
    """Run a tuner's search to its end, silently.

    Raises:
        NadamSuiteError: A trial's run was refused, or the search cannot go on.
    """
    with _own_errors():
        tuner.search(verbose=0)


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise the error of this package that a fatal one of keras-tuner was made of."""
    try:
        yield
    except keras_tuner.errors.FatalError as error:
        if isinstance(error.__cause__, NadamSuiteError):
            raise error.__cause__ from None
        raise
