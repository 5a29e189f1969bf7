"""What stands at `averaging` of an optimizer: nothing, one average, or several by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from nadam_suite.averaging import Average
from nadam_suite.config import faults
from nadam_suite.config.averaging_config import AVERAGES, AveragingConfig
from nadam_suite.config.base import Config
from nadam_suite.config.schedule_lengths import Lengths
from nadam_suite.errors import ConfigError

__all__ = [
    "Averaging",
    "averages_of",
    "averaging_faults",
    "averaging_settings",
    "build_averaging",
    "is_relative",
    "resolved_averaging",
    "running_names",
    "typed_averaging",
]

_SEVERAL = "<averages>"
_NAME = re.compile(r"[^/:\s]+")
_REMEDY = "Keep `optimizer.get_config()` instead."


def _tag(value: Any) -> str:
    several = isinstance(value, Mapping) and _are_several(value)
    return _SEVERAL if several else AveragingConfig.TAG


def _table(value: Any) -> Any:
    if not isinstance(value, (Mapping, AveragingConfig)):
        kinds = ", ".join(map(repr, AVERAGES))
        requirement = f"a kind ({kinds}), the table of an average, or a table of such tables"
        raise faults.refuse(requirement, 'Write for instance {kind = "ema", half_life = "1ep"}.')
    return value


Averaging = Annotated[
    Annotated[AveragingConfig, BeforeValidator(_table), Tag(AveragingConfig.TAG)]
    | Annotated[dict[str, AveragingConfig], Tag(_SEVERAL)],
    Discriminator(_tag),
]


def averages_of(averaging: Any) -> dict[str | None, AveragingConfig]:
    """Return the averages by name; one that stands alone has the name None."""
    if averaging is None:
        return {}
    return dict(averaging) if isinstance(averaging, Mapping) else {None: averaging}


def running_names(averaging: Any) -> tuple[str, ...]:
    """Return the names of all running averages, in their order.

    Example:
    >>> from nadam_suite.config import AveragingConfig
    >>> from nadam_suite.config.named_averages import running_names
    >>> running_names({"fast": AveragingConfig(), "p": AveragingConfig(kind="power_ema")})
    ('fast', 'p_0.05', 'p_0.1')
    """
    return tuple(n for name, each in averages_of(averaging).items() for n in each.names(name))


def typed_averaging(value: Any) -> Any:
    """Return what was typed with tables in the place of kinds alone and of objects."""
    if isinstance(value, str) and value in AVERAGES:
        return {"kind": value}
    if isinstance(value, Average):
        return averaging_settings(value)
    if isinstance(value, Mapping) and _are_several(value):
        return {name: typed_averaging(each) for name, each in value.items()}
    return value


def averaging_settings(averaging: Any, key: str = "averaging") -> Any:
    """Return the tables of averages that are objects.

    Args:
        averaging: An average, a dict of averages by name, or None.
        key: Dotted key, for messages.

    Raises:
        ConfigError: A class is none of those that a config knows.
    """
    if isinstance(averaging, Mapping):
        return {n: averaging_settings(each, f"{key}.{n}") for n, each in averaging.items()}
    if averaging is None:
        return None
    kind = next((name for name, known in AVERAGES.items() if type(averaging) is known), None)
    if kind is None:
        known = ", ".join(each.__name__ for each in AVERAGES.values())
        raise ConfigError(faults.fault(key, f"one of {known}", averaging, _REMEDY))
    return {"kind": kind, **averaging.get_config()}


def averaging_faults(value: Any, key: str) -> list[str]:
    """Return the faults of averages that concern several keys, or their names.

    Args:
        value: What stands at `averaging`; it may be anything.
        key: Its dotted key.
    """
    if not isinstance(value, (Mapping, Config)):
        return []
    several = isinstance(value, Mapping) and _are_several(value)
    table: dict[Any, Any] = dict(value) if several else {None: value}
    found: list[str] = []
    for name, each in table.items():
        if several and not (isinstance(name, str) and _NAME.fullmatch(name)):
            requirement = "a table of averages whose names have no spaces, slashes and colons"
            found.append(faults.fault(key, requirement, name, "Rename it."))
        if isinstance(each, (Mapping, Config)):
            prefix = f"{key}.{name}." if several else f"{key}."
            found += AveragingConfig.cross_faults(dict(each), prefix)
    names = [n for name, each in table.items() for n in _names(name, each)]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        requirement = f"averages of different names, and two are called {name!r}"
        received = list(table) if several else names
        found.append(faults.fault(key, requirement, received, "Rename one, or change a width."))
    return found


def resolved_averaging(averaging: Any, lengths: Lengths, key: str) -> Any:
    """Return the averages with their durations in real updates; faults go into `lengths.found`."""
    if isinstance(averaging, Mapping):
        return {n: each.resolved(lengths, f"{key}.{n}") for n, each in averaging.items()}
    return None if averaging is None else averaging.resolved(lengths, key)


def build_averaging(averaging: Any) -> Any:
    """Return what `Nadam(averaging=...)` takes."""
    if isinstance(averaging, Mapping):
        return {name: each.build() for name, each in averaging.items()}
    return None if averaging is None else averaging.build()


def is_relative(averaging: Any) -> bool:
    """Return whether a duration depends on the length of the training."""
    return not all(each.build().is_resolved for each in averages_of(averaging).values())


def _are_several(table: Mapping[str, Any]) -> bool:
    """Return whether a table holds averages by name, and not the keys of one."""
    tables = any(isinstance(v, (Mapping, AveragingConfig, Average)) for v in table.values())
    kinds = bool(table) and all(isinstance(v, str) and v in AVERAGES for v in table.values())
    return "kind" not in table and (tables or kinds)


def _names(name: Any, each: Any) -> tuple[str, ...]:
    """Return the names of the running averages of a table, none if it has faults."""
    try:
        table = each if isinstance(each, AveragingConfig) else AveragingConfig.from_dict(each)
        return table.names(name)
    except ConfigError:
        return ()
