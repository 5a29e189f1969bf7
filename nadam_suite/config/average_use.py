"""Which callbacks a training has for its averages, in which order, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nadam_suite.config import faults
from nadam_suite.config.average_callbacks import (
    AverageCallbackConfig,
    EMAFinalizationConfig,
    EvaluateAverageConfig,
)
from nadam_suite.config.averaging_config import AveragingConfig
from nadam_suite.config.base import Config
from nadam_suite.config.callback_base import MODE, CallbackConfig, tells_direction
from nadam_suite.config.callback_config import CALLBACKS
from nadam_suite.config.named_averages import averages_of, running_names
from nadam_suite.errors import ConfigError

__all__ = ["average_faults", "averages_are_used", "with_average_callbacks"]

# Callbacks for averages, and where they stand among the others, in whose order these come.
_PLACES = {
    "evaluate_average": -1,
    "average_checkpoint": 1,
    "average_snapshots": 1,
    "ema_finalization": 2,
}
_ONCE = ("evaluate_average", "average_snapshots", "ema_finalization")


def averages_are_used(values: Mapping[str, Any]) -> bool:
    """Return whether a training is evaluated with averages and ends with them by itself.

    Weights that averages overwrite in between are all but these: they are left as in Keras.

    Args:
        values: Keys and values of a `TrainConfig`.
    """
    optimizer = _table(values.get("optimizer"))
    overwrites = optimizer.get("ema_overwrite_frequency") is not None
    shorthand = optimizer.get("use_ema") is True and not overwrites
    return values.get("use_averages", True) is True and (
        shorthand or bool(optimizer.get("averaging"))
    )


def with_average_callbacks(
    callbacks: Sequence[CallbackConfig], *, add: bool
) -> tuple[CallbackConfig, ...]:
    """Return the callbacks in the order in which averages are right for all of them.

    Args:
        callbacks: Those that the config names.
        add: Whether the averages are to be evaluated and finalized where no callback says how. What
            is added agrees with what is named: in the average, and with early stopping that
            restores the best weights in the metric of the best averages.
    """
    found = list(callbacks)
    kinds = {callback.kind for callback in found}
    if add:
        named = [c for c in found if isinstance(c, AverageCallbackConfig)]
        keys = ("name", "batch_norm", "steps")
        shared = {key: getattr(named[0], key) for key in keys} if named else {}
        if "evaluate_average" not in kinds:
            found.append(EvaluateAverageConfig(kind="evaluate_average", **shared))
        if "ema_finalization" not in kinds:
            best = _best_of_early_stopping(callbacks)
            found.append(EMAFinalizationConfig(kind="ema_finalization", **shared, **best))
    return tuple(sorted(found, key=lambda c: _PLACES.get(c.kind, 0)))


def _best_of_early_stopping(callbacks: Sequence[Any]) -> dict[str, Any]:
    """Return options by which the final averages are those that early stopping takes for best."""
    for callback in callbacks:
        if _restores(callback):
            options = {"monitor": callback.monitor, "mode": callback.mode}
            return {"restore_best": True, **options}
    return {}


def average_faults(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the faults of a training's callbacks for averages.

    Args:
        values: Keys and values of a `TrainConfig`, which may be anything.
        prefix: Dotted key of the table, ending in a dot.
    """
    callbacks = _callbacks(values.get("callbacks"))
    own = [(i, table) for i, table in callbacks if table["kind"] in _PLACES]
    optimizer = _table(values.get("optimizer"))
    names, kinds = _averages(optimizer)
    if names is None:
        return []  # its faults are found elsewhere
    found: list[str] = []
    for index, table in own:
        key, kind = f"{prefix}callbacks.{index}", table["kind"]
        if not names:
            requirement = "left out, because the optimizer keeps no averages"
            remedy = f'Remove it, or set `{prefix}optimizer.averaging`, for instance to "ema".'
            found.append(faults.fault(f"{key}.kind", requirement, kind, remedy))
            continue
        if (name := table.get("name")) is not None and name not in names:
            near = faults.nearest(str(name), names)
            remedy = f"Did you mean {near!r}?" if near else "Leave it out for the first."
            requirement = f"one of the averages {', '.join(map(repr, names))}"
            found.append(faults.fault(f"{key}.name", requirement, name, remedy))
        if kind == "average_snapshots" and "power_ema" not in kinds:
            requirement = 'left out without an average of kind "power_ema", which it keeps'
            remedy = f"Remove it, or set `{prefix}optimizer.averaging.kind` to it."
            found.append(faults.fault(f"{key}.kind", requirement, kind, remedy))
        if kind in _ONCE and any(i < index and t["kind"] == kind for i, t in own):
            requirement = "another one, because there is one of it already"
            found.append(faults.fault(f"{key}.kind", requirement, kind, "Remove it."))
    if names and not found:
        add = averages_are_used(values)
        found += _disagreements(callbacks, names[0], add=add, prefix=prefix)
    return found


def _disagreements(
    callbacks: Sequence[tuple[int, dict[str, Any]]], first: str, *, add: bool, prefix: str
) -> list[str]:
    """Return the faults of callbacks that choose averages by a metric of other weights.

    Args:
        callbacks: Tables of callbacks with their positions.
        first: Name of the first average.
        add: See `with_average_callbacks`.
        prefix: Dotted key of the training's table, ending in a dot.
    """
    typed: list[tuple[int, Any]] = []
    for index, table in callbacks:
        try:
            typed.append((index, CALLBACKS[table["kind"]].from_dict(table)))
        except ConfigError:
            return []  # its faults are found elsewhere
    if add and all(callback.kind != "ema_finalization" for _, callback in typed):
        for index, callback in typed:
            if _restores(callback) and not tells_direction(callback.monitor, callback.mode):
                key = f"{prefix}callbacks.{index}.mode"
                return [faults.fault(key, MODE, callback.mode, "Choose the one that is meant.")]
    full: Any = with_average_callbacks([callback for _, callback in typed], add=add)
    evaluated = next((c for c in full if c.kind == "evaluate_average"), None)
    return [
        fault
        for index, callback in typed
        if _chooses_by_validation(callback)
        for fault in _differences(callback, evaluated, first, f"{prefix}callbacks.{index}")
    ]


def _differences(callback: Any, evaluated: Any, first: str, key: str) -> list[str]:
    """Return the faults of a callback that chooses by another average than is evaluated."""
    if evaluated is None:
        requirement = "another metric, because the validation is one of the raw weights"
        remedy = 'Add a callback of kind "evaluate_average".'
        return [faults.fault(f"{key}.monitor", requirement, callback.monitor, remedy)]
    found = []
    for option, default in (("name", first), ("batch_norm", None)):
        wanted, held = (getattr(each, option) or default for each in (callback, evaluated))
        if wanted != held:
            requirement = f"{held!r}, which is evaluated for {callback.monitor!r}"
            remedy = 'Set it as in the callback of kind "evaluate_average".'
            found.append(faults.fault(f"{key}.{option}", requirement, wanted, remedy))
    return found


def _restores(callback: Any) -> bool:
    return callback.kind == "early_stopping" and callback.restore_best_weights


def _chooses_by_validation(callback: Any) -> bool:
    """Return whether a callback keeps the averages that have the best metric of the validation."""
    options = callback.options()
    chooses = options.get("restore_best") or options.get("save_best_only")
    return bool(chooses) and _is_of_averages(callback.monitor)


def _is_of_averages(monitor: str) -> bool:
    return monitor.startswith("val_") and not monitor.startswith("val_raw_")


def _callbacks(value: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return the tables of callbacks of known kinds, each with its position."""
    tables = enumerate(value if isinstance(value, (list, tuple)) else ())
    found = [(index, _table(table)) for index, table in tables]
    return [(index, table) for index, table in found if _kind(table) in CALLBACKS]


def _kind(table: Mapping[str, Any]) -> str:
    kind = table.get("kind")
    return kind if isinstance(kind, str) else ""


def _averages(optimizer: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, set[str]]:
    """Return the names of an optimizer's averages, None if they have faults, and their kinds."""
    averaging = optimizer.get("averaging")
    if averaging is None:
        return (("ema",) if optimizer.get("use_ema") is True else ()), set()
    from nadam_suite.config.nadam_config import NadamConfig

    try:
        typed = NadamConfig(averaging=averaging).averaging
    except ConfigError:
        return None, set()
    each: list[AveragingConfig] = list(averages_of(typed).values())
    return running_names(typed), {average.kind for average in each}


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, (Mapping, Config)) else {}
