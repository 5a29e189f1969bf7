"""Merging of tables: the one rule by which changes, presets and overrides meet a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["merged"]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `base` with the changes applied; tables are merged key by key.

    Example:
    >>> from nadam_suite.config.merge import merged
    >>> merged({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 9}, "b": {"z": 0}})
    {'a': {'x': 9, 'y': 2}, 'b': {'z': 0}}
    """
    result = {key: _copied(value) for key, value in base.items()}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = _copied(value)
    return result


def _copied(value: Any) -> Any:
    """Copy tables and lists; anything else is shared."""
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
