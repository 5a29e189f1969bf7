"""Published settings as configs; the values are in `nadam_suite.optimizers.presets`."""

from __future__ import annotations

import dataclasses
from typing import Any

from nadam_suite.config import faults
from nadam_suite.optimizers.presets import PRESETS

__all__ = ["PresetRow", "list_presets", "preset_values"]


@dataclasses.dataclass(frozen=True)
class PresetRow:
    """What a list of presets shows.

    Args:
        name: What `NadamConfig.preset` and `nadam(preset=...)` take.
        description: What it is for.
        source: Where the values come from.

    Example:
    >>> from nadam_suite import list_presets
    >>> list_presets()[0].description
    'keras.optimizers.Nadam as it is by default.'
    """

    name: str
    description: str
    source: str


def list_presets() -> tuple[PresetRow, ...]:
    """Return one row per preset.

    Example:
    >>> from nadam_suite import list_presets
    >>> [row.name for row in list_presets()][:3]
    ['keras', 'torch', 'optax']
    """
    return tuple(PresetRow(p.name, p.description, p.source) for p in PRESETS.values())


def preset_values(name: Any, found: list[str], key: str = "preset") -> dict[str, Any]:
    """Return a preset as the keys of a `NadamConfig`.

    Args:
        name: Name of the preset.
        found: Faults; one more if there is no such preset, and nothing is returned.
        key: Dotted key where the name stands, for the message.
    """
    if not isinstance(name, str) or name not in PRESETS:
        near = faults.nearest(name, list(PRESETS)) if isinstance(name, str) else None
        remedy = f"Did you mean {near!r}?" if near else "list_presets() describes them."
        found.append(faults.fault(key, f"one of {', '.join(map(repr, PRESETS))}", name, remedy))
        return {}
    preset = PRESETS[name]
    values: dict[str, Any] = dict(preset.arguments)
    if preset.schedule is not None:
        values["learning_rate"] = {**preset.schedule, "peak": values["learning_rate"]}
    if preset.no_decay:
        values["parameter_rules"] = [{"max_ndim": 1, "weight_decay": 0.0}]
    return values
