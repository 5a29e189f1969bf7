"""The optimizer as settings: every argument of Nadam under its own name, and nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from nadam_suite.config import faults, migrations
from nadam_suite.config.base import (
    NUMBER_TAG,
    TABLE_TAG,
    Config,
    Fraction,
    Number,
    Positive,
    Share,
)
from nadam_suite.config.merge import merged
from nadam_suite.config.named_averages import (
    Averaging,
    averaging_faults,
    is_relative,
    resolved_averaging,
    typed_averaging,
)
from nadam_suite.config.presets import preset_values
from nadam_suite.config.schedule_checks import only_for_beta_1, too_high, without_peak
from nadam_suite.config.schedule_config import ScheduleConfig
from nadam_suite.config.schedule_lengths import Lengths
from nadam_suite.errors import ConfigError
from nadam_suite.schedules.plan import TrainingPlan

if TYPE_CHECKING:
    from nadam_suite.optimizers.nadam import Nadam

__all__ = ["WORD_NONE_KEYS", "NadamConfig", "ParameterRuleConfig"]

# None is a choice here and not the default; TOML, which has no null, has the word "none" for it.
WORD_NONE_KEYS = frozenset({"max_consecutive_skips", "momentum_decay", "warmup"})

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_SCHEDULED = ("learning_rate", "weight_decay", "beta_1")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        requirement = f"a valid regular expression ({error})"
        raise faults.refuse(requirement, "Escape special characters with a backslash.") from None
    return text


def _name(text: str) -> str:
    if "/" in text:  # which Keras takes for the end of a scope
        raise faults.refuse('a string without "/"', 'Write for instance "-" instead.')
    return text


def _rules(value: Any) -> Any:
    """Return rules in any nesting of lists, objects or tables, as one tuple of tables."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (dataclasses.asdict(value),)
    if isinstance(value, (Mapping, Config)):
        return (value,)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        nested = [_rules(item) for item in value]
        return tuple(r for item in nested for r in (item if isinstance(item, tuple) else (item,)))
    return value


def _tag(value: Any) -> str:
    return TABLE_TAG if isinstance(value, (Mapping, ScheduleConfig)) else NUMBER_TAG


_Scheduled = Annotated[
    Annotated[Number, Tag(NUMBER_TAG)] | Annotated[ScheduleConfig, Tag(TABLE_TAG)],
    Discriminator(_tag),
]
_ScheduledFraction = Annotated[
    Annotated[Fraction, Tag(NUMBER_TAG)] | Annotated[ScheduleConfig, Tag(TABLE_TAG)],
    Discriminator(_tag),
]


class ParameterRuleConfig(Config):
    """Multipliers for the variables whose path and rank match; see `nadam_suite.ParameterRule`.

    Args:
        match: Regular expression searched in a variable's path; the default matches all.
        max_ndim: Match only variables of at most this rank, or None, the default, for any.
        learning_rate: Multiplier of the learning rate, >= 0; 0 freezes. Defaults to 1.
        weight_decay: Multiplier of the weight decay, >= 0; 0 excludes. Defaults to 1.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import ParameterRuleConfig
    >>> ParameterRuleConfig(max_ndim=1, weight_decay=0).weight_decay
    0.0
    """

    match: Annotated[str, AfterValidator(_pattern)] = ""
    max_ndim: Annotated[int, Field(ge=0)] | None = None
    learning_rate: Number = 1.0
    weight_decay: Number = 1.0


class NadamConfig(Config):
    """Settings of a `nadam_suite.Nadam`, ready to be written into a file.

    Every key is the argument of `Nadam` of that name, with its default and its meaning.

    Args:
        learning_rate: A number >= 0, or a `ScheduleConfig` with a peak.
        beta_1: Decay rate of the first moment, in [0, 1), or a `ScheduleConfig` of such values.
        beta_2: Decay rate of the second moment, in [0, 1).
        epsilon: > 0.
        weight_decay: A number >= 0, a `ScheduleConfig` with a peak, or None for none.
        clipnorm: > 0 or None; only one of the three clips may be set.
        clipvalue: > 0 or None.
        global_clipnorm: > 0 or None.
        use_ema: Whether to average the weights.
        ema_momentum: In [0, 1].
        ema_overwrite_frequency: An integer >= 1 or None.
        loss_scale_factor: > 0 or None.
        gradient_accumulation_steps: An integer >= 2 or None.
        name: Name of the optimizer. Defaults to "nadam", so that equal configs make optimizers of
            equal names.
        momentum_decay: >= 0, or None for constant momentum. TOML, which has no null, writes "none"
            for None, here and in every other key that may be None.
        parameter_rules: `ParameterRuleConfig`s, tables, or `ParameterRule`s.
        schedule_step: "batch" or "update".
        slot_dtype: "float32", "bfloat16", "float16" or None.
        weight_decay_mode: "lr", "independent" or "corrected".
        max_learning_rate: > 0, or None, the default, for the highest value of the learning rate.
            Not with mode "lr".
        averaging: An `AveragingConfig`, its kind alone such as "ema", a table of several by name,
            or None. Not together with `use_ema`.
        lazy_embeddings: Whether to leave rows alone that a batch has not seen; no accumulation.
        schema_version: Version of these keys; left out, it is the current one.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite import NadamConfig
    >>> config = NadamConfig(learning_rate=3e-4, weight_decay=0.01)
    >>> optimizer = config.build()
    >>> NadamConfig.from_optimizer(optimizer) == config
    True
    """

    PRESET_KEY: ClassVar[str] = "preset"
    LATER: ClassVar[frozenset[str]] = frozenset(
        {"weight_decay_mode", "max_learning_rate", "averaging", "lazy_embeddings"}
    )

    learning_rate: _Scheduled = 0.001
    beta_1: _ScheduledFraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: Positive = 1e-7
    weight_decay: _Scheduled | None = None
    clipnorm: Positive | None = None
    clipvalue: Positive | None = None
    global_clipnorm: Positive | None = None
    use_ema: bool = False
    ema_momentum: Share = 0.99
    ema_overwrite_frequency: Annotated[int, Field(ge=1)] | None = None
    loss_scale_factor: Positive | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=2)] | None = None
    name: Annotated[str, Field(min_length=1), AfterValidator(_name)] = "nadam"
    momentum_decay: Number | None = 1.0
    parameter_rules: Annotated[tuple[ParameterRuleConfig, ...], BeforeValidator(_rules)] = ()
    schedule_step: Literal["batch", "update"] = "batch"
    slot_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    weight_decay_mode: Literal["lr", "independent", "corrected"] = "lr"
    max_learning_rate: Positive | None = None
    averaging: Averaging | None = None
    lazy_embeddings: bool = False
    schema_version: Literal[2] = 2

    def build(self, plan: TrainingPlan | None = None) -> Nadam:
        """Return the optimizer.

        Args:
            plan: Length of the training, which durations such as "5%" need.

        Raises:
            ConfigError: A duration is relative and there is no plan.
        """
        from nadam_suite.config.build import build_optimizer

        return build_optimizer(self, plan)

    @classmethod
    def from_optimizer(cls, optimizer: Any) -> Self:
        """Return the settings of an optimizer; building them gives its equal.

        Args:
            optimizer: A `nadam_suite.Nadam`, or a stock `keras.optimizers.Nadam`.

        Raises:
            ConfigError: It is another optimizer, or holds what a config cannot, such as a callable.
        """
        from nadam_suite.config.build import settings_of

        return cls(**settings_of(optimizer))

    @classmethod
    def preset(cls, preset: str, /, **changes: Any) -> Self:
        """Return published settings; see `list_presets`.

        Args:
            preset: Name of the preset.
            **changes: Keys to change. A mapping changes keys within a table, so that
                `learning_rate={"peak": 1e-3}` keeps the warm-up, which a number would replace.

        Raises:
            ConfigError: There is no such preset, or the result has faults.

        Example:
        >>> from nadam_suite import NadamConfig
        >>> NadamConfig.preset("torch", learning_rate=1e-3).momentum_decay
        0.004
        """
        return cls(**{**changes, cls.PRESET_KEY: preset})

    def resolve(self, plan: TrainingPlan | None = None) -> Self:
        """Return the settings with every duration in steps, as `build` uses them.

        Raises:
            ConfigError: A duration is relative and there is no plan, or phases do not fit.
        """
        lengths = self.lengths(plan)
        resolved = self.resolved(lengths)
        if lengths.found:
            raise ConfigError(lengths.found)
        return resolved

    def lengths(self, plan: TrainingPlan | None) -> Lengths:
        """Return what the durations of schedules and averages are resolved against.

        Raises:
            ConfigError: They count updates, and the plan knows of another window.
        """
        of = "updates" if self.schedule_step == "update" else "batches"
        window = self.gradient_accumulation_steps
        counts = "schedules" if of == "updates" else None
        counts = "averages" if counts is None and is_relative(self.averaging) else counts
        if counts and plan is not None and plan.accumulation != (window or 1):
            requirement = f"the plan's accumulation={plan.accumulation}, as {counts} count updates"
            key = "gradient_accumulation_steps"
            raise ConfigError(faults.fault(key, requirement, window, "Make the two agree."))
        return Lengths(plan, of)

    def resolved(self, lengths: Lengths, prefix: str = "") -> Self:
        """Return the settings with every duration in steps; faults are added to the lengths'.

        Args:
            lengths: What the durations are resolved against.
            prefix: Dotted key of this table, ending in a dot, for messages.
        """
        tables = {key: getattr(self, key) for key in _SCHEDULED}
        changes: dict[str, Any] = {
            key: lengths.resolved(table, f"{prefix}{key}")
            for key, table in tables.items()
            if isinstance(table, ScheduleConfig)
        }
        if self.averaging is not None:
            key = f"{prefix}averaging"
            changes["averaging"] = resolved_averaging(self.averaging, lengths, key)
        return self if lengths.found or not changes else self.replace(**changes)

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        given = {key: values[key] for key in _CLIPS if values.get(key) is not None}
        found = []
        if len(given) > 1:
            keys = " and ".join(f"`{prefix}{key}`" for key in given)
            received = ", ".join(f"{prefix}{key}={faults.show(v)}" for key, v in given.items())
            found.append(
                f"Only one of {keys} may be set. Received: {received}. Remove all but one."
            )
        for key in _SCHEDULED:
            if isinstance(value := values.get(key), (Mapping, ScheduleConfig)):
                found += _schedule_faults(dict(value), key, prefix)
        found += averaging_faults(values.get("averaging"), f"{prefix}averaging")
        if values.get("averaging") is not None and values.get("use_ema"):
            requirement = f"false where `{prefix}averaging` is given"
            momentum = values.get("ema_momentum", cls.model_fields["ema_momentum"].default)
            remedy = (
                "Remove one of them; the average of `use_ema` is "
                f'{{kind = "ema", momentum = {momentum}, warmup = "none"}}.'
            )
            found.append(faults.fault(f"{prefix}use_ema", requirement, values["use_ema"], remedy))
        window = values.get("gradient_accumulation_steps")
        if window is not None and values.get("lazy_embeddings"):
            requirement = f"false where `{prefix}gradient_accumulation_steps` is given"
            key, remedy = f"{prefix}lazy_embeddings", "Remove one of them, or take larger batches."
            found.append(faults.fault(key, requirement, True, remedy))
        highest = values.get("max_learning_rate")
        if highest is not None and values.get("weight_decay_mode", "lr") == "lr":
            requirement = 'left out where `weight_decay_mode` is "lr", which does not use it'
            remedy = 'Remove it, or choose "independent" or "corrected".'
            key = f"{prefix}max_learning_rate"
            found.append(faults.fault(key, requirement, highest, remedy))
        return found

    @classmethod
    def _prepared(
        cls, values: dict[str, Any], found: list[str], prefix: str = ""
    ) -> dict[str, Any]:
        values = migrations.migrate(values, "optimizer", found, prefix)
        for key in _OPTIONAL & values.keys():
            if values[key] == "none":
                values[key] = None
        if cls.PRESET_KEY in values:
            name = values.pop(cls.PRESET_KEY)
            values = merged(preset_values(name, found, f"{prefix}{cls.PRESET_KEY}"), values)
        if "averaging" in values:
            values["averaging"] = typed_averaging(values["averaging"])
        return values


def _schedule_faults(table: dict[str, Any], key: str, prefix: str) -> list[str]:
    """Return the faults of one schedule of an optimizer."""
    found = ScheduleConfig.cross_faults(table, f"{prefix}{key}.")
    for at, part in without_peak(table, f"{prefix}{key}."):
        found.append(
            f"`{at}peak` is missing. Received: {at[:-1]}={faults.show(part)}. Add the highest "
            f"{key.replace('_', ' ') if key != 'beta_1' else key}."
        )
    if key == "beta_1":
        return found + too_high(table, f"{prefix}{key}.")
    return found + only_for_beta_1(table, f"{prefix}{key}.")


# In these keys the word "none" is None, for files that have no null.
_OPTIONAL = frozenset(
    key
    for key, field in NadamConfig.model_fields.items()
    if type(None) in get_args(field.annotation)
)
