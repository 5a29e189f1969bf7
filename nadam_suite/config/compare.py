"""Comparing configs: what differs between two, and a fingerprint that equal ones share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nadam_suite.config.base import Config
from nadam_suite.config.merge import merged

__all__ = ["ABSENT", "Change", "diff", "fingerprint"]


class _Absent:
    """Stands for the value of a key that a config does not have."""

    def __repr__(self) -> str:
        return "<absent>"


ABSENT = _Absent()


@dataclasses.dataclass(frozen=True)
class Change:
    """One key in which two configs differ.

    Args:
        key: Dotted key.
        before: Its value in the first config, or `ABSENT`.
        after: Its value in the second, or `ABSENT`.

    Example:
    >>> from nadam_suite.config import Change
    >>> str(Change("beta_2", before=0.999, after=0.99))
    'beta_2: 0.999 -> 0.99'
    """

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """Return the change as one line."""
        return f"{self.key}: {self.before!r} -> {self.after!r}"


def diff(before: Config | Mapping[str, Any], after: Config | Mapping[str, Any]) -> list[Change]:
    """Return what differs between two configs, key by key, sorted by key.

    Args:
        before: A config, or its table.
        after: Another.

    Example:
    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.config import diff
    >>> [str(change) for change in diff(NadamConfig(), NadamConfig(beta_2=0.99))]
    ['beta_2: 0.999 -> 0.99']
    """
    old, new = _flat(_plain(before)), _flat(_plain(after))
    pairs = ((key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in sorted({*old, *new}))
    return [Change(*pair) for pair in pairs if _differs(pair[1], pair[2])]


def fingerprint(config: Config) -> str:
    """Return a hexadecimal digest that equal configs share, in every process and for ever.

    Args:
        config: The config; the order of its keys does not count, nor whether a default was written.

    Example:
    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.config import fingerprint
    >>> fingerprint(NadamConfig(beta_1=0.9)) == fingerprint(NadamConfig())
    True
    """
    table = config.to_dict()
    config.make_lasting(table)
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    return config.to_dict() if isinstance(config, Config) else merged({}, config)


def _differs(before: Any, after: Any) -> bool:
    return isinstance(before, bool) != isinstance(after, bool) or before != after


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted keys and values; empty tables and lists are values of their own."""
    if isinstance(value, Mapping) and value:
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value} if prefix else {}
    result: dict[str, Any] = {}
    for key, inner in items:
        result |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return result
