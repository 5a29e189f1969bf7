"""Changes to a config as one writes them on a command line: `a.b=1` sets, `~a.b` removes."""

from __future__ import annotations

import datetime as dt
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nadam_suite.config import faults
from nadam_suite.config.merge import merged
from nadam_suite.errors import ConfigError

__all__ = ["apply_overrides", "parse_value"]

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of `values` with the changes applied in their order.

    Args:
        values: Nested tables, such as what a file holds; left as they are.
        overrides: Texts. `a.b=1` sets the key `b` of the table `a`, which is made if need be; a
            number addresses an item of a list (`callbacks.0.patience=3`). `~a.b` removes a key,
            which gives it its default. Values are written as in TOML; what is no TOML is a string,
            and a bare `none` is None.

    Raises:
        ConfigError: An override has faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import apply_overrides
    >>> apply_overrides({"optimizer": {"beta_1": 0.8}}, ["epochs=3", "~optimizer.beta_1"])
    {'optimizer': {}, 'epochs': 3}
    """
    result = merged({}, values)
    found: list[str] = []
    words = [overrides] if isinstance(overrides, str) else list(overrides)
    while words:
        meant, count = _scattered(words)
        try:
            if meant:
                raise ConfigError(_not_one_word(words[:count], meant))
            _apply(result, words[0])
        except ConfigError as error:
            found += error.faults
        del words[:count]
    if found:
        raise ConfigError(found, "overrides" if len(found) > 1 else None)
    return result


def parse_value(text: str) -> Any:
    """Return the value that a text means: TOML if it is, or the text itself.

    Example:
    >>> from nadam_suite.config.overrides import parse_value
    >>> [parse_value(text) for text in ("3e-4", "true", "5%", "[1, 2]", "none", '"none"')]
    [0.0003, True, '5%', [1, 2], None, 'none']
    """
    text = text.strip()
    if text in ("none", "None", "null"):
        return None
    if text in ("True", "False"):  # as Python writes them
        return text == "True"
    if "\n" in text:  # two lines of TOML could set two keys
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return text if _has_date(value) else value


def _has_date(value: Any) -> bool:
    """Return whether a date or a time, which no config has, is anywhere in a value."""
    if isinstance(value, dict):
        return any(map(_has_date, value.values()))
    if isinstance(value, list):
        return any(map(_has_date, value))
    return isinstance(value, (dt.date, dt.time))


def _apply(table: dict[str, Any], override: Any) -> None:
    """Apply one override in place."""
    if not isinstance(override, str):
        raise ConfigError(
            f"An override must be a string. Received: {faults.show(override)}. "
            'Write "key=value" or "~key".'
        )
    text = override.strip()
    removes = text.startswith("~")
    key, equals, value = (text[1:], "", "") if removes else text.partition("=")
    key, value = key.strip(), value.strip()
    if not removes and not equals:
        name = key.rstrip(":")
        name = name if re.fullmatch(rf"(?!\d){_KEY.pattern}", name) else "key"
        raise ConfigError(
            f"An override must be written key=value or ~key. Received: {override!r}. "
            f"Write {name}=VALUE to set it, or ~{name} to remove it."
        )
    if not removes and value.startswith("=") and _KEY.fullmatch(key):
        raise ConfigError(
            f"An override must have one equals sign. Received: {override!r}. "
            f"Write {key}={value.lstrip('= ') or 'VALUE'}."
        )
    if "=" in key or not _KEY.fullmatch(key):
        form = "~key, without a value" if removes else "key=value"
        raise ConfigError(
            f"An override must be written {form}, with a key of words joined by dots. "
            f"Received: {override!r}. Write for instance "
            f"{'~weight_decay' if removes else 'optimizer.learning_rate=3e-4'}."
        )
    if not removes and not value:
        raise ConfigError(
            f"`{key}` has no value. Received: {override!r}. "
            f'Write {key}="" for an empty string, or ~{key} to remove it.'
        )
    _change(table, key, removes, None if removes else parse_value(value))


def _scattered(words: Sequence[Any]) -> tuple[str, int]:
    """Return the override that the first words mean, and their number, if it takes several.

    As in "epochs: 3", "epochs 3" and "epochs = 3", or in the one word "epochs:3".
    """
    texts = [word.strip() if isinstance(word, str) else "~" for word in words[:3]]
    first = re.fullmatch(rf"(?!\d)({_KEY.pattern})\s*([:=]?)\s*(.*)", texts[0])
    if first is None or (first[4] and first[3] != ":"):
        return "", 1
    key, sign, value, count = first[1], first[3], first[4], 1
    if not sign and texts[1:2] in (["="], [":"]):
        sign, count = texts[1], 2
    if not value and count < len(texts):
        value, count = texts[count], count + 1
        if not sign and value.startswith("="):
            sign, value = "=", value.lstrip("= ")
    other = value.startswith("~") or re.match(rf"{_KEY.pattern}\s*=", value)
    bare = not sign and re.fullmatch(r"(?!\d)[\w.-]*", value)
    return ("", 1) if not value or other or bare else (f"{key}={value}", count)


def _not_one_word(words: Sequence[str], meant: str) -> str:
    """Return the sentence about an override that is written as several words, or with a colon."""
    return (
        f"An override must be one word, written key=value. Received: "
        f"{' '.join(map(repr, words))}. Write {shlex.quote(meant)}."
    )


def _change(table: dict[str, Any], key: str, removes: bool, value: Any) -> None:
    """Set or remove a dotted key in place."""
    *parents, last = key.split(".")
    holder: Any = table
    for depth, part in enumerate(parents):
        path = ".".join(parents[: depth + 1])
        if isinstance(holder, list):
            holder = holder[_index(holder, part, path)]
        elif part in holder:
            holder = holder[part]
        elif removes:
            raise ConfigError(_no_such(path, key, holder))
        else:
            holder[part] = {}
            holder = holder[part]
        if not isinstance(holder, (dict, list)):
            raise ConfigError(
                f"`{path}` is a value and no table, so `{key}` cannot be "
                f"{'removed' if removes else 'set'}. Received: {path}={faults.show(holder)}. "
                f"Make it a table first: {path}={{{last} = ...}}."
            )
    if isinstance(holder, list):
        index = _index(holder, last, key)
        if removes:
            del holder[index]
        else:
            holder[index] = value
    elif not removes:
        holder[last] = value
    elif last in holder:
        del holder[last]
    else:
        raise ConfigError(_no_such(key, key, holder))


def _index(items: list[Any], part: str, path: str) -> int:
    """Return the position that a part of a key names."""
    if not part.isdigit() or int(part) >= len(items):
        allowed = f"from 0 to {len(items) - 1}" if items else "none, because the list is empty"
        requirement = f"the position of an item ({allowed})"
        raise ConfigError(faults.fault(path, requirement, part, "Use such a number."))
    return int(part)


def _no_such(path: str, key: str, holder: Mapping[str, Any]) -> str:
    """Return the sentence about a key that cannot be removed."""
    known = sorted(holder)
    near = faults.nearest(path.rpartition(".")[2], known)
    remedy = f"Did you mean `{near}`?" if near else f"Keys there: {', '.join(known) or 'none'}."
    return f"`{path}` is not set, so there is nothing to remove. Received: ~{key}. {remedy}"
