"""The loss scale of a training as settings, and the settings that go together with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from nadam_suite.config import faults
from nadam_suite.config.base import Config, Number, Positive

__all__ = ["LossScaleConfig", "loss_scale_faults"]

_LARGEST = 3.4e38  # of float32, about
_BOUNDS = ("min_scale", "initial_scale", "max_scale")
_COUNT = 2**31  # counters are int32
_UNSCALED = ("float32", "mixed_bfloat16", "bfloat16")


def _word_none(value: Any) -> Any:
    return None if value == "none" else value


Scale = Annotated[Positive, Field(lt=_LARGEST)]
Count = Annotated[int, Field(ge=1, lt=_COUNT)]


class LossScaleConfig(Config):
    """Settings of a `nadam_suite.precision.DynamicLossScaleOptimizer`, each under its name there.

    Args:
        initial_scale: Scale of the first step, > 0. Defaults to 2**15.
        dynamic_growth_steps: Finite steps in a row after which the scale grows, an integer >= 1.
            Defaults to 2000.
        growth_factor: What the scale is multiplied by when it grows, >= 1. Defaults to 2.
        backoff_factor: What it is multiplied by after a skipped step, in (0, 1]. Defaults to 0.5.
        hysteresis: Number of skipped steps since the last growth from which on each one lowers the
            scale, an integer >= 1. Defaults to 1.
        min_scale: Floor of the scale, > 0. Defaults to 2**-14.
        max_scale: Ceiling of the scale. Defaults to 2**24.
        dynamic: Whether the scale changes. Defaults to true.
        max_consecutive_skips: Number of steps skipped in a row that ends the training, an integer
            >= 1, or None for none. Defaults to 50. TOML writes "none" for None.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import LossScaleConfig
    >>> LossScaleConfig(initial_scale=1024, hysteresis=2).options()["initial_scale"]
    1024.0
    """

    initial_scale: Scale = 2.0**15
    dynamic_growth_steps: Count = 2000
    growth_factor: Annotated[Number, Field(ge=1.0, lt=_LARGEST)] = 2.0
    backoff_factor: Annotated[Positive, Field(le=1.0)] = 0.5
    hysteresis: Count = 1
    min_scale: Scale = 2.0**-14
    max_scale: Scale = 2.0**24
    dynamic: bool = True
    max_consecutive_skips: Annotated[Count | None, BeforeValidator(_word_none)] = 50

    def options(self) -> dict[str, Any]:
        """Return the keywords of the optimizer."""
        return dict(self)

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        low, first, high = (values.get(k, cls.model_fields[k].default) for k in _BOUNDS)
        numbers = all(isinstance(n, (int, float)) for n in (low, first, high))
        if not numbers or values.get("dynamic", True) is not True or low <= first <= high:
            return []
        requirement = f"a number from min_scale={low!r} to max_scale={high!r}"
        remedy = f"Widen the range, or set `{prefix}dynamic` to false for a scale that stays."
        return [faults.fault(f"{prefix}initial_scale", requirement, first, remedy)]


def loss_scale_faults(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the faults of a training's settings that have to do with its loss scale.

    Args:
        values: Keys and values of a `TrainConfig`, which may be anything.
        prefix: Dotted key of the table, ending in a dot.
    """
    precision, guarded = values.get("precision", "float32"), values.get("skip_nonfinite") is True
    scaled = precision == "mixed_float16"
    table, optimizer = (_table(values.get(key)) for key in ("loss_scale", "optimizer"))
    found = [] if table is None else LossScaleConfig.cross_faults(table, f"{prefix}loss_scale.")
    if table is not None and precision in _UNSCALED:
        found += _without_scale(table, precision, guarded=guarded, prefix=prefix)
    factor = (optimizer or {}).get("loss_scale_factor")
    if factor is not None and (scaled or guarded):
        key = f"{prefix}optimizer.loss_scale_factor"
        if scaled:
            requirement = 'left out with precision "mixed_float16", whose loss scale would drop it'
            remedy = (
                f"For a scale that never changes set `{prefix}loss_scale.initial_scale` to it and "
                f"`{prefix}loss_scale.dynamic` to false."
            )
        else:
            requirement = f"left out where `{prefix}skip_nonfinite` is true, which would drop it"
            remedy = "Remove one of the two."
        found.append(faults.fault(key, requirement, factor, remedy))
    return found


def _without_scale(
    table: Mapping[str, Any], precision: Any, *, guarded: bool, prefix: str
) -> list[str]:
    """Return the faults of a table for a loss that is not scaled."""
    why = f"left out with precision {precision!r}, which needs no loss scale"
    if not guarded:
        remedy = (
            'Remove it, or choose precision="mixed_float16"; to have steps skipped that are not '
            f"finite, set `{prefix}skip_nonfinite` to true."
        )
        return [faults.fault(f"{prefix}loss_scale", why, dict(table), remedy)]
    remedy = "Remove it; of these settings `max_consecutive_skips` alone has a use there."
    return [
        faults.fault(f"{prefix}loss_scale.{key}", why, table[key], remedy)
        for key, field in LossScaleConfig.model_fields.items()
        if key in table and key != "max_consecutive_skips" and table[key] != field.default
    ]


def _table(value: Any) -> dict[str, Any] | None:
    """Return what may be a table as a dict, None if it is none."""
    return dict(value) if isinstance(value, (Mapping, Config)) else None
