"""A running average of the weights as settings, with durations relative to the training."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from nadam_suite.averaging import EMA, SWA, Average, PowerEMA, Window
from nadam_suite.averaging.power import exponent
from nadam_suite.config import faults
from nadam_suite.config.base import Config, Share
from nadam_suite.config.schedule_config import Duration, Length
from nadam_suite.config.schedule_lengths import Lengths
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.plan import format_duration, parse_duration

__all__ = ["AVERAGES", "DURATIONS", "AveragingConfig"]

# The kinds of averages and their classes, whose arguments are the keys.
AVERAGES: Mapping[str, type[Average]] = MappingProxyType(
    {"ema": EMA, "power_ema": PowerEMA, "swa": SWA, "window": Window}
)
_KEYS = frozenset(key for kind in AVERAGES.values() for key in inspect.signature(kind).parameters)
DURATIONS = ("half_life", "start", "update_every", "every")
_REQUIRED = inspect.Parameter.empty


def _relative(value: Any) -> Any:
    """Return a fraction of the training as the percentage that it is."""
    if isinstance(value, float) and 0.0 < value < 1.0:
        return format_duration(f"{value * 100:.10g}%")
    return value


def _half_life(value: Any) -> Any:
    """Leave a number of updates as it is, which need not be whole."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = float(value)
        if not (number > 0.0 and math.isfinite(number)):
            raise faults.refuse("a number of updates > 0, or a duration", "Lengthen it.")
        return int(number) if number.is_integer() else number
    try:
        if parse_duration(value).number > 0:
            return format_duration(value)
    except (ArgumentError, ArgumentTypeError):
        requirement = 'a number of updates > 0, or "5%", "2ep" (epochs) or "20000ex" (examples)'
        raise faults.refuse(requirement, 'Write for instance "2ep".') from None
    raise faults.refuse("longer than nothing", "Lengthen it.")


def _widths(value: Any) -> tuple[float, ...]:
    widths = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    try:
        for width in widths:
            exponent(width)
    except (ArgumentError, ArgumentTypeError):
        requirement = "a width in (0, 0.2886), or a list of such widths"
        raise faults.refuse(requirement, "Write for instance [0.05, 0.1].") from None
    if not widths or len(set(widths)) < len(widths):
        raise faults.refuse("different widths, at least one", "Write for instance [0.05, 0.1].")
    return tuple(float(width) for width in widths)


_Start = Annotated[Duration, BeforeValidator(_relative)]
_HalfLife = Annotated[int | float | str, BeforeValidator(_half_life)]
_Widths = Annotated[tuple[float, ...], BeforeValidator(_widths)]


class AveragingConfig(Config):
    """A running average of the weights, in units of real updates.

    A duration is a number of updates, or "5%" of the training, "2ep" (epochs) or "20000ex"
    (examples). Each kind takes the keys that are named with it; what they mean, and their
    defaults, are those of the class in `nadam_suite.averaging`.

    * "ema" (`EMA`): `momentum` or `half_life`, `warmup`, `start`, `update_every`.
    * "power_ema" (`PowerEMA`): `sigma_rel`, `update_every`.
    * "swa" (`SWA`): `start`, `every`.
    * "window" (`Window`): `k`, `every`, `start`.

    Args:
        kind: "ema" (the default), "power_ema", "swa" or "window".
        momentum: Share of the old average that an update keeps, in [0, 1]. Defaults to 0.999 where
            no half-life is given.
        half_life: After which time half of it is gone: a number > 0 or a duration.
        warmup: "inverse" (the default), "power", or None for none, which TOML writes as "none".
        sigma_rel: Width, or a list of them, each in (0, 0.2886) of the training. Defaults to
            [0.05, 0.1].
        k: Number of weights in the window, an integer >= 1; required.
        start: Updates before the average begins. Defaults to 0, of "swa" to "75%".
        update_every: Updates from one time that the weights are taken in to the next. Defaults to
            1.
        every: Likewise, by default "1ep".

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.config import AveragingConfig
    >>> config = NadamConfig(averaging={"fast": {"half_life": 20}, "tail": {"kind": "swa"}})
    >>> config.averaging["tail"] == AveragingConfig(kind="swa", start="75%")
    True
    """

    TAG: ClassVar[str] = "<average>"

    kind: Literal["ema", "power_ema", "swa", "window"] = "ema"
    momentum: Share | None = None
    half_life: _HalfLife | None = None
    warmup: Literal["inverse", "power"] | None = None
    sigma_rel: _Widths | None = None
    k: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    start: _Start | None = None
    update_every: Length | None = None
    every: Length | None = None

    def defaults(self) -> dict[str, Any]:
        """Return the keys of this kind with their defaults, None where there is none."""
        own = _defaults(self.kind).items()
        return {key: None if default is _REQUIRED else default for key, default in own}

    def names(self, name: str | None = None) -> tuple[str, ...]:
        """Return the names of the running averages that this one stands for.

        Args:
            name: Its own name, or None for that of its kind.

        Example:
        >>> from nadam_suite.config import AveragingConfig
        >>> AveragingConfig(kind="power_ema").names(), AveragingConfig().names("fast")
        (('power_0.05', 'power_0.1'), ('fast',))
        """
        name = name or AVERAGES[self.kind].default_name
        if self.sigma_rel is None:
            return (name,)
        return tuple(f"{name}_{width:g}" for width in self.sigma_rel)

    def build(self) -> Average:
        """Return the average; durations that are relative stay so.

        Example:
        >>> from nadam_suite.config import AveragingConfig
        >>> AveragingConfig(kind="window", k=3, every=10).build()
        Window(k=3, every=10, start=0)
        """
        return AVERAGES[self.kind](**{key: getattr(self, key) for key in _defaults(self.kind)})

    def resolved(self, lengths: Lengths, key: str) -> AveragingConfig:
        """Return the average with its durations in real updates; faults go into `lengths.found`.

        Args:
            lengths: What the durations are resolved against.
            key: Dotted key of this table, for messages.
        """
        before = len(lengths.found)
        changes = {
            name: lengths.updates(value, f"{key}.{name}")
            for name in DURATIONS
            if isinstance(value := getattr(self, name), str)
        }
        if len(lengths.found) > before:
            return self
        result = self.replace(**changes)
        if lengths.plan is not None:
            result._check_begins(lengths, key, self)
        return result

    def _check_begins(self, lengths: Lengths, key: str, typed: AveragingConfig) -> None:
        """Find an average that no weights of the whole training would enter."""
        rule = next(iter(self.build().rules().values()))
        updates = lengths.plan.total_updates if lengths.plan is not None else 0
        if rule.times(updates):
            return
        name = "start" if rule.start else "every" if self.every else "update_every"
        requirement = f"sooner than the training ends, which has {updates} updates"
        remedy = (
            "The average would take the weights in for the first time after update "
            f"{rule.start + rule.update_every}. Begin it earlier, or train longer."
        )
        value = getattr(typed, name)
        lengths.found.append(faults.fault(f"{key}.{name}", requirement, value, remedy))

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        kind = values.get("kind", "ema")
        if not isinstance(kind, str) or kind not in AVERAGES:
            return []
        typed = {key: value for key, value in values.items() if value is not None}
        own = _defaults(kind)
        found = [
            _unused(kind, key, value, prefix)
            for key, value in typed.items()
            if key in _KEYS and key not in own
        ]
        if kind == "window" and "k" not in typed:
            found.append(
                f"`{prefix}k` is missing. Received: {prefix}kind={kind!r} without it. Add the "
                "number of weights in the window, for instance k = 5."
            )
        if kind == "ema" and {"momentum", "half_life"} <= typed.keys():
            given = ", ".join(
                f"{prefix}{key}={faults.show(typed[key])}" for key in ("momentum", "half_life")
            )
            found.append(
                f"Only one of `{prefix}momentum` and `{prefix}half_life` may be set. Received: "
                f"{given}. Remove one of them."
            )
        return found

    def __repr_args__(self) -> Any:
        """Show the keys that have a value."""
        return [(key, value) for key, value in super().__repr_args__() if value is not None]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Add this kind's defaults, and leave out known keys that it does not use."""
        kind = values.get("kind", "ema") if isinstance(values, Mapping) else None
        if not isinstance(kind, str) or kind not in AVERAGES:
            return values
        own = _defaults(kind)
        result = {key: value for key, value in values.items() if key in own or key not in _KEYS}
        for key, default in own.items():
            if result.get(key) == "none":  # the word for files that have no null
                result[key] = None
            # No warm-up is a choice; None of the others is what their default is.
            missing = key not in result if key == "warmup" else result.get(key) is None
            if missing and default is not _REQUIRED:
                result[key] = default
        return result

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the keys that this kind does not use."""
        keys = {"kind", *_defaults(self.kind)}
        return {key: value for key, value in handler(self).items() if key in keys}


def _defaults(kind: str) -> dict[str, Any]:
    """Return the keys of a kind and their defaults."""
    parameters = inspect.signature(AVERAGES[kind]).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def _unused(kind: str, key: str, value: Any, prefix: str) -> str:
    others = " or ".join(f'"{name}"' for name in AVERAGES if key in _defaults(name))
    requirement = f'left out where kind is "{kind}", which does not use it'
    remedy = f"Remove it, or choose kind = {others}."
    return faults.fault(f"{prefix}{key}", requirement, value, remedy)
