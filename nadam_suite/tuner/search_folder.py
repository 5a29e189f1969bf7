"""Reads the folder of a search, this package's or one that stock keras-tuner has written."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from nadam_suite.errors import SearchFolderError
from nadam_suite.tuner.search_record import (
    FAILURE,
    OWN,
    STATE,
    TRIAL,
    Dimension,
    SearchRecord,
    TrialRecord,
)

__all__ = ["is_search", "read_search"]

_RUNG = "tuner/"  # values that Hyperband or a point sets, and nobody searches for
_ERROR = r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)(?:: .*)?$"
_UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError)


def read_search(folder: str | os.PathLike[str]) -> SearchRecord:
    """Return what a search has tried so far.

    Nothing is written. A search that runs, was killed, or comes from stock keras-tuner 1.4.8 is
    read alike, and no model or oracle is needed. A file that is damaged is left out, and a note
    says which.

    Args:
        folder: The search's folder, which holds `oracle.json` and `trial_*/trial.json`.

    Raises:
        SearchFolderError: There is no such folder, or it holds no search that can be read.

    Example:

    >>> import json, pathlib, tempfile
    >>> from nadam_suite.tuner.search_folder import read_search
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rate = {"name": "rate", "min_value": 1e-4, "max_value": 0.1, "sampling": "log"}
    >>> space = [{"class_name": "Float", "config": {**rate, "conditions": []}}]
    >>> loss = {"direction": "min", "observations": [{"value": [0.5], "step": 3}]}
    >>> trial = {"trial_id": "0", "status": "COMPLETED", "score": 0.5, "best_step": 3}
    >>> trial["hyperparameters"] = {"space": space, "values": {"rate": 0.01}}
    >>> trial["metrics"] = {"metrics": {"val_loss": loss}}
    >>> (folder / "trial_0").mkdir()
    >>> _ = (folder / "trial_0" / "trial.json").write_text(json.dumps(trial))
    >>> record = read_search(folder)
    >>> record.objective, record.best.values
    ('val_loss', {'rate': 0.01})
    """
    path = Path(folder)
    files = sorted(path.glob(f"trial_*/{TRIAL}"))
    _check(path, files)
    notes: list[str] = []
    oracle = _read(path / STATE, notes) or {}
    states = {file.parent: _read(file, notes) for file in files}
    found = {
        place: state
        for place, state in states.items()
        if state is not None and _whole(place / TRIAL, state, notes)
    }
    if not found and not oracle:
        raise SearchFolderError(
            f"The files of a search must be readable. Received: folder={str(path)!r}. "
            f"{' '.join(notes)} Restore them from a copy, or search again in another folder."
        )
    known, ours = oracle.get("start_order") or (), oracle.get(OWN) or {}
    if ours:  # a trial that the oracle does not know was never handed out
        found = {place: state for place, state in found.items() if state["trial_id"] in known}
    dimensions = _dimensions([oracle, *found.values()])
    objective, direction = _objective(ours, list(found.values()), notes)
    trials = [_trial(place, state, dimensions, objective, ours) for place, state in found.items()]
    order = {name: number for number, name in enumerate(known)}
    trials.sort(key=lambda trial: (order.get(trial.id, len(order)), trial.id))
    return SearchRecord(path, objective, direction, dimensions, tuple(trials), tuple(notes))


def is_search(path: Path) -> bool:
    """Return whether a folder is that of a search."""
    return (path / STATE).is_file() or any(path.glob(f"trial_*/{TRIAL}"))


def _check(path: Path, files: Sequence[Path]) -> None:
    """Refuse what is no search's folder, and say what it is instead."""
    shown = str(path)
    if files or (path / STATE).is_file():
        return
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise SearchFolderError(
            f"A search must have a folder. Received: folder={shown!r}, which {what}. Check the "
            "path."
        )
    inside = sorted(str(file.parent) for file in path.glob(f"*/{STATE}"))
    if inside:
        raise SearchFolderError(
            f"The folder of one search must be named. Received: folder={shown!r}, which holds the "
            f"folders of searches. Name one of them: {', '.join(map(repr, inside))}."
        )
    is_run = (path / "config.toml").is_file()
    raise SearchFolderError(
        f"The folder of a search must hold {STATE} or trial_*/{TRIAL}. Received: "
        f"folder={shown!r}, which {'is the folder of a run' if is_run else 'holds neither'}. Name "
        "the folder that `tune`, or a tuner's `directory` and `project_name`, have written."
    )


def _read(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """Return what a JSON file holds, or None, with a note unless there is no such file."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(_left_out(path, f"cannot be read ({error.strerror})"))
        return None
    except ValueError:
        notes.append(_left_out(path, "is damaged, or is being written"))
        return None
    if not isinstance(state, dict):
        notes.append(_left_out(path, "holds something else"))
        return None
    return state


def _whole(path: Path, state: Mapping[str, Any], notes: list[str]) -> bool:
    """Return whether a trial's file has what keras-tuner writes, and note it if not."""
    try:
        dict(state["hyperparameters"]["values"])
        complete = bool(state["trial_id"]) and isinstance(state["status"], str)
        for metric in _metrics(state).values():
            _best(metric)
    except _UNREADABLE:
        complete = False
    if not complete:
        notes.append(_left_out(path, "is no trial of keras-tuner"))
    return complete


def _left_out(path: Path, why: str) -> str:
    return f"{path.relative_to(path.parents[1])} was left out: it {why}."


def _dimensions(states: Iterable[Mapping[str, Any]]) -> tuple[Dimension, ...]:
    """Return every hyperparameter that any file declares, once for each of its conditions."""
    found: dict[tuple[str, Any], Dimension] = {}
    for state in states:
        try:
            for entry in state["hyperparameters"]["space"]:
                dimension = _dimension(entry["class_name"], entry["config"])
                found.setdefault((dimension.name, dimension.conditions), dimension)
        except _UNREADABLE:
            continue  # a file without a space; those of the trials have it too
    names = collections.Counter(dimension.name for dimension in found.values())
    return tuple(
        dataclasses.replace(dimension, label=_label(dimension))
        if names[dimension.name] > 1
        else dimension
        for dimension in found.values()
        if not dimension.name.startswith(_RUNG)
    )


def _dimension(kind: str, config: Mapping[str, Any]) -> Dimension:
    """Return one hyperparameter from its entry in a file."""
    conditions = tuple(
        (parent["config"]["name"], tuple(parent["config"]["values"]))
        for parent in config.get("conditions", ())
    )
    common = {"name": config["name"], "label": config["name"], "conditions": conditions}
    if kind == "Boolean":
        return Dimension(kind="boolean", values=(False, True), **common)
    if kind == "Fixed":
        return Dimension(kind="fixed", values=(config["value"],), **common)
    if kind == "Choice":
        values = tuple(config["values"])
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        ordered = bool(config.get("ordered")) and numbers
        if ordered:
            values = tuple(sorted(values))
        return Dimension(kind="choice", values=values, ordered=ordered, **common)
    return Dimension(
        kind="int" if kind == "Int" else "float",
        low=float(config["min_value"]),
        high=float(config["max_value"]),
        step=config.get("step"),
        sampling=config.get("sampling") or "linear",
        **common,
    )


def _label(dimension: Dimension) -> str:
    """Return the name with its conditions."""
    parts = [f"{name}={'|'.join(map(str, values))}" for name, values in dimension.conditions]
    return f"{dimension.name} [{', '.join(parts)}]" if parts else dimension.name


def _objective(
    ours: Mapping[str, Any], states: Sequence[Mapping[str, Any]], notes: list[str]
) -> tuple[str, Literal["min", "max"]]:
    """Return the objective's name and direction; stock files do not say it, but scores do."""
    said = (ours.get("identity") or {}).get("objective")
    if said:
        name, direction = said[0] if len(said) == 1 else ("multi_objective", "min")
        return name, "max" if direction == "max" else "min"
    common: dict[str, str] | None = None
    for state in states:
        score = state.get("score")
        if state.get("status") != "COMPLETED" or not isinstance(score, (int, float)):
            continue
        fitting = {
            name: metric["direction"]
            for name, metric in _metrics(state).items()
            if math.isclose(_best(metric), score, rel_tol=1e-9, abs_tol=0.0)
        }
        both = fitting if common is None else {n: d for n, d in common.items() if n in fitting}
        common = both or common
    if not common:
        if any(state.get("status") == "COMPLETED" for state in states):
            notes.append("No metric of the trials fits their scores; less is taken as better.")
        return "score", "min"
    # A single trial may have equal metrics: what is minimized or maximized is of the validation.
    name = min(common, key=lambda name: (not name.startswith(("val_", "multi_")), name))
    if len(common) > 1:
        notes.append(f"The objective is taken to be {name}; {', '.join(common)} fit the scores.")
    return name, "max" if common[name] == "max" else "min"


def _metrics(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of a trial that have a value."""
    metrics = (state.get("metrics") or {}).get("metrics") or {}
    return {name: metric for name, metric in metrics.items() if metric.get("observations")}


def _best(metric: Mapping[str, Any]) -> float:
    """Return the best of a metric's values, each the mean over its executions."""
    means = [sum(seen["value"]) / len(seen["value"]) for seen in metric["observations"]]
    finite = [mean for mean in means if not math.isnan(mean)]
    if not finite:
        return math.nan
    return max(finite) if metric["direction"] == "max" else min(finite)


def _trial(
    place: Path,
    state: Mapping[str, Any],
    dimensions: Sequence[Dimension],
    objective: str,
    ours: Mapping[str, Any],
) -> TrialRecord:
    """Return one trial from its file."""
    values = state["hyperparameters"]["values"]
    rung = {
        key.removeprefix(_RUNG): value for key, value in values.items() if key.startswith(_RUNG)
    }
    name = str(state["trial_id"])
    origin, changed = _origin(ours, name)
    details = _details(place, state)
    trial = TrialRecord(
        id=name,
        folder=place,
        values=_active(values, dimensions),
        status=state["status"],
        score=state.get("score"),
        best_step=state.get("best_step"),
        origin=rung.get("point") or origin,
        changed=changed,
        epochs=rung.get("epochs"),
        rung=rung.get("round"),
        bracket=rung.get("bracket"),
        past=rung.get("trial_id"),
        metrics={key: _best(metric) for key, metric in _metrics(state).items()},
    )
    if not trial.failed:
        return trial
    score = trial.metrics.get(objective, trial.score)
    if details is None and score is not None and not math.isfinite(score):
        details = f"Diverged: {objective} is {score}"
    return dataclasses.replace(trial, reason=_reason(details), details=details)


def _active(values: Mapping[str, Any], dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """Return the values that count; a file may still hold those of a choice that was not taken."""
    active: dict[str, Any] = {}
    known = {dimension.name for dimension in dimensions}
    for dimension in dimensions:
        if dimension.name in values and dimension.active(active):
            active[dimension.name] = values[dimension.name]
    others = (name for name in values if name not in known and not name.startswith(_RUNG))
    return active | {name: values[name] for name in others}


def _origin(ours: Mapping[str, Any], name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the point that a trial is, if one, and which of its values were changed."""
    found = (ours.get("origins") or {}).get(name)
    if found is None:
        return None, ()
    return str(found["name"]), tuple(found.get("changed") or ())


def _details(place: Path, state: Mapping[str, Any]) -> str | None:
    """Return all that was written about a failure."""
    try:
        text = (place / FAILURE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return text.strip() or (state.get("message") or "").strip() or None


def _reason(details: str | None) -> str:
    """Return the sentence of a failure that says most: of a traceback, the error itself."""
    if details is None:
        return "No reason was kept."
    if not details.startswith("Traceback"):
        return details.splitlines()[0]
    errors = re.findall(_ERROR, details, re.MULTILINE)
    if not errors:
        return details.splitlines()[-1]
    kind, _, text = errors[-1].partition(": ")
    kind = kind.rpartition(".")[2]
    return text if text and kind == "FailedTrialError" else f"{kind}: {text}" if text else kind
