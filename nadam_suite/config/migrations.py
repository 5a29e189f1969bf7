"""Brings configs of older schema versions into the current form; old files load for ever.

Every migration is a pure function from a table of version n to one of version n + 1, kept under
its kind of table and n; what cannot be migrated goes into a list of faults. A table without
`schema_version` is taken for a current one.

Version 1 was spelt like the Nadam of Keras 2: `lr`, `schedule_decay` (the exponent of the momentum
schedule, now `momentum_decay`) and `decay` (a decay of the learning rate, now a schedule).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nadam_suite.config import faults
from nadam_suite.errors import ConfigError

__all__ = ["CURRENT", "MIGRATIONS", "migrate"]

CURRENT = 2

Table = dict[str, Any]

_KEY = "schema_version"


def _optimizer_1(table: Table, found: list[str], prefix: str) -> Table:
    """Replace the spellings of Keras 2."""
    result = dict(table)
    for old, new in (("lr", "learning_rate"), ("schedule_decay", "momentum_decay")):
        if old not in result:
            continue
        value = result.pop(old)
        if new in result:
            found.append(
                f"`{prefix}{old}` of schema version 1 is called `{new}` now, and both are given. "
                f"Received: {prefix}{old}={faults.show(value)}. Remove one of them."
            )
        result[new] = value
    decay = result.pop("decay", None)
    if decay not in (None, 0):
        found.append(
            f"`{prefix}decay` of schema version 1 has no equal, because it lowered the learning "
            f"rate for ever. Received: {prefix}decay={faults.show(decay)}. Remove it, and give "
            'learning_rate a schedule, such as {kind = "linear", peak = 1e-3}.'
        )
    return result


def _train_1(table: Table, found: list[str], prefix: str) -> Table:
    """Migrate the optimizer's table, which had no version of its own."""
    optimizer = table.get("optimizer")
    if not isinstance(optimizer, Mapping) or _KEY in optimizer:
        return dict(table)
    migrated = _optimizer_1(dict(optimizer), found, f"{prefix}optimizer.")
    return {**table, "optimizer": migrated}


MIGRATIONS: Mapping[str, Mapping[int, Callable[[Table, list[str], str], Table]]] = {
    "optimizer": {1: _optimizer_1},
    "train": {1: _train_1},
}


def migrate(
    table: Mapping[str, Any], kind: str, found: list[str] | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Return a table in the form of the current schema; the argument is left as it is.

    Args:
        table: What a file holds.
        kind: "optimizer" or "train".
        found: Faults; if given, what cannot be migrated is added to it, and not raised.
        prefix: Dotted key of the table, ending in a dot, for messages.

    Raises:
        ConfigError: The version is newer than this package or none at all, which is always raised
            alone, because the other keys cannot be judged then; or something has no equal.

    Example:
    >>> from nadam_suite.config.migrations import migrate
    >>> migrate({"lr": 0.01, "schema_version": 1}, "optimizer")
    {'learning_rate': 0.01, 'schema_version': 2}
    """
    result = dict(table)
    version = result.get(_KEY, CURRENT)
    _check_version(version, f"{prefix}{_KEY}")
    own: list[str] = []
    for number in range(version, CURRENT):
        result.pop(_KEY, None)
        result = MIGRATIONS[kind][number](result, own, prefix)
        result[_KEY] = number + 1
    if own and found is None:
        raise ConfigError(own)
    if found is not None:
        found += own
    return result


def _check_version(version: Any, key: str) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        requirement = f"an integer from 1 to {CURRENT}"
        raise ConfigError(faults.fault(key, requirement, version, "Leave it out for the newest."))
    if version > CURRENT:
        requirement = f"at most {CURRENT}, the newest that this version of nadam_suite knows"
        remedy = "Upgrade: pip install --upgrade nadam-suite."
        raise ConfigError(faults.fault(key, requirement, version, remedy))
