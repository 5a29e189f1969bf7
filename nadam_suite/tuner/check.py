"""Checks before a search begins or goes on: of its space, and of what it is to optimize."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import keras_tuner

from nadam_suite.config.faults import nearest, show
from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.identity import OWN, STATE, read_json, refuse, undamaged
from nadam_suite.tuner.proposals import can_be, completed, is_active

__all__ = ["check_objective", "check_space", "declared_space"]

_DEFAULT_OBJECTIVE = "default_objective"  # stock's name for the one number that a model returns


@runtime_checkable
class Declares(Protocol):
    """A hypermodel that can declare its space without building a model."""

    def declare(self, hp: keras_tuner.HyperParameters) -> object:
        """Declare all hyperparameters."""
        ...


def check_space(
    folder: str | os.PathLike[str], hyperparameters: keras_tuner.HyperParameters
) -> None:
    """Check that the search in a folder has the space that is declared now.

    Stock keras-tuner goes on with the old ranges and says nothing. What a model declared only
    while it was trained is not missed, as long as it was not there before the first trial.

    Args:
        folder: The search's folder, with `oracle.json`.
        hyperparameters: The space as a new search would begin with.

    Raises:
        SearchFolderError: Ranges have changed, or names have come or gone; all are listed.

    Example:

    >>> import json, pathlib, tempfile
    >>> import keras_tuner
    >>> from nadam_suite.tuner.check import check_space
    >>> def space(highest):
    ...     hp = keras_tuner.HyperParameters()
    ...     _ = hp.Float("learning_rate", 1e-4, highest, sampling="log")
    ...     return hp
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> state = {"hyperparameters": space(1e-2).get_config()}
    >>> _ = (folder / "oracle.json").write_text(json.dumps(state))
    >>> check_space(folder, space(1e-2))
    >>> try:
    ...     check_space(folder, space(1e-1))
    ... except OSError as error:
    ...     print(str(error).splitlines()[1])
      learning_rate: max_value 0.01 -> 0.1
    """
    path = Path(folder) / STATE
    state = read_json(path)
    with undamaged(path):
        stored = _entries(state["hyperparameters"]["space"])
        declared = state.get(OWN, {}).get("declared")
        first = set(list(stored)[:declared])
    now = _entries(json.loads(json.dumps(hyperparameters.get_config()["space"])))
    differences = []
    for key in dict.fromkeys([*stored, *now]):
        if key not in now:
            if key in first:
                differences.append(f"{_named(key)}: no longer declared")
        elif key not in stored:
            differences.append(f"{_named(key)}: new")
        else:
            differences += [f"{_named(key)}: {x}" for x in _changes(stored[key], now[key])]
    refuse("The search's space has changed.", str(folder), differences)


Key = tuple[str, str]


def _entries(space: list[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Return a space as tables by name and conditions."""
    found = {}
    for entry in space:
        table = {"type": entry["class_name"], **entry["config"]}
        conditions = [condition["config"] for condition in table.pop("conditions")]
        found[table.pop("name"), json.dumps(conditions)] = table
    return found


def _named(key: Key) -> str:
    name, conditions = key
    where = [f"{c['name']} in {c['values']}" for c in json.loads(conditions)]
    return f"{name} (where {' and '.join(where)})" if where else name


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [
        f"{name} {show(old.get(name))} -> {show(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def declared_space(
    hypermodel: Any, hyperparameters: keras_tuner.HyperParameters | None = None
) -> keras_tuner.HyperParameters:
    """Return all that a hypermodel declares, in every conditional scope that can be active.

    It is asked once with the defaults, and once more for each scope that was never active.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function of `hp`. Where it has a method
            `declare(hp)`, that is called instead of building models.
        hyperparameters: What is declared already, and has precedence.

    Example:

    >>> from nadam_suite.tuner.check import declared_space
    >>> def build(hp):
    ...     if hp.Boolean("decay", default=False):
    ...         with hp.conditional_scope("decay", [True]):
    ...             hp.Float("weight_decay", 0.01, 1.0)
    ...     with hp.conditional_scope("decay", [True]):
    ...         hp.Float("rate", 0.01, 1.0)
    >>> [entry.name for entry in declared_space(build).space]
    ['decay', 'rate', 'weight_decay']
    """
    declare = _declaring(hypermodel)
    known = keras_tuner.HyperParameters() if hyperparameters is None else hyperparameters.copy()
    seen: list[Any] = []
    waiting: list[Any] = [[]]  # conditions of scopes; none are those of the defaults
    while waiting:
        scope = waiting.pop(0)
        hp = known.copy()
        hp.values = _values_within(known, scope)
        seen.append(scope)
        declare(hp)
        known.merge(hp, overwrite=False)
        seen += [conditions for conditions in hp.active_scopes if conditions not in seen]
        for conditions in hp.inactive_scopes:
            if conditions not in waiting and _can_be_active(known, conditions):
                waiting.append(conditions)
        waiting = [conditions for conditions in waiting if conditions not in seen]
    known.values = completed(known.space)
    return known


def _declaring(hypermodel: Any) -> Callable[[keras_tuner.HyperParameters], object]:
    if isinstance(hypermodel, Declares):
        return hypermodel.declare
    if not isinstance(hypermodel, keras_tuner.HyperModel):
        return hypermodel

    def declare(hp: keras_tuner.HyperParameters) -> None:
        hypermodel.declare_hyperparameters(hp)
        hypermodel.build(hp)

    return declare


def _values_within(known: keras_tuner.HyperParameters, scope: list[Any]) -> dict[str, Any]:
    """Return the defaults, but for what makes the scope's conditions true."""
    forced = {condition.name: _possible(known, condition)[0] for condition in scope}
    values: dict[str, Any] = {}
    for entry in known.space:
        if is_active(entry, values):
            values[entry.name] = forced.get(entry.name, entry.default)
    return values


def _can_be_active(known: keras_tuner.HyperParameters, scope: list[Any]) -> bool:
    return all(_possible(known, condition) for condition in scope)


def _possible(known: keras_tuner.HyperParameters, condition: Any) -> list[Any]:
    """Return those values of a condition that its hyperparameter can have."""
    entries = [entry for entry in known.space if entry.name == condition.name]
    return [value for value in condition.values if any(can_be(entry, value) for entry in entries)]


def check_objective(objective: Any, names: Iterable[str]) -> None:
    """Check that training reports what is to be optimized.

    Args:
        objective: A name, a `keras_tuner.Objective`, or a list of them.
        names: Names of all that training reports, such as "val_loss".

    Raises:
        ArgumentError: A name is not among them; the nearest one is named.

    Example:

    >>> from nadam_suite.tuner.check import check_objective
    >>> check_objective("val_loss", ["loss", "val_loss"])
    """
    known = sorted(names)
    ones = objective if isinstance(objective, list) else getattr(objective, "objectives", None)
    for one in ones or [objective]:
        name = one if isinstance(one, str) else one.name
        if name not in known and name != _DEFAULT_OBJECTIVE:
            near = nearest(name, known)
            remedy = f"Did you mean {near!r}? " if near else ""
            raise ArgumentError(
                f"Argument `objective` must be what training reports. Received: {name!r}. {remedy}"
                f"It reports: {', '.join(known)}."
            )
