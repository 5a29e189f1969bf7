"""What a config comes to, duration by duration and variable by variable, as data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from nadam_suite.backends.slot import dtype_of
from nadam_suite.config import AveragingConfig, Config, NadamConfig, ScheduleConfig, TrainConfig
from nadam_suite.config.faults import counted
from nadam_suite.config.schedule_kinds import uses
from nadam_suite.experiment.assemble import built_task, seeded
from nadam_suite.experiment.average_rows import AverageRow, average_rows
from nadam_suite.experiment.course import course
from nadam_suite.experiment.parts import find_part
from nadam_suite.experiment.preview import DurationRow, Preview
from nadam_suite.schedules import TrainingPlan

__all__ = ["Explanation", "RuleRow", "VariableRow", "describe_optimizer", "explain_config"]

_ENOUGH = 100_000  # updates of which the highest rate is taken


@dataclasses.dataclass(frozen=True)
class VariableRow:
    """What a trainable variable gets.

    Args:
        path: The variable's path.
        shape: Its shape.
        dtype: Its type.
        parameters: Number of its elements.
        learning_rate_multiplier: Product of the matching rules' multipliers; 0 freezes.
        weight_decay_multiplier: Likewise, before the rate's; 0 excludes.
        decayed: Whether its weights decay at all.
        peak_learning_rate: Highest learning rate of any update.
        first_decay: Share of the weights that the first update takes away.
        last_decay: Share that the last update takes away.
        rules: The rules that match, in words.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    parameters: int
    learning_rate_multiplier: float
    weight_decay_multiplier: float
    decayed: bool
    peak_learning_rate: float
    first_decay: float
    last_decay: float
    rules: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RuleRow:
    """A parameter rule and how many variables it matches.

    Args:
        rule: Its condition, in words.
        learning_rate: Its multiplier of the learning rate.
        weight_decay: Its multiplier of the weight decay.
        variables: Number of variables that match; none is a hint at a misspelt pattern.
    """

    rule: str
    learning_rate: float
    weight_decay: float
    variables: int


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a config comes to.

    Args:
        optimizer: The optimizer in one line: what is not the default.
        plan: Length of the training, or None where it is not known.
        durations: The config's durations; none without a plan.
        averages: The running averages of the weights; none without a plan.
        variables: What each trainable variable gets, or None where there is no model.
        rules: The parameter rules, in their order; none without a model.
        notes: What a training could do differently, and what is not known.
    """

    optimizer: str
    plan: TrainingPlan | None = None
    durations: tuple[DurationRow, ...] = ()
    averages: tuple[AverageRow, ...] = ()
    variables: tuple[VariableRow, ...] | None = None
    rules: tuple[RuleRow, ...] = ()
    notes: tuple[str, ...] = ()

    def totals(self) -> dict[str, int]:
        """Return numbers of variables and parameters: all, those decayed, those frozen."""
        rows = self.variables or ()
        return {
            "variables": len(rows),
            "parameters": sum(row.parameters for row in rows),
            "decayed_parameters": sum(row.parameters for row in rows if row.decayed),
            "frozen_parameters": sum(
                row.parameters for row in rows if row.learning_rate_multiplier == 0
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
        table = dataclasses.asdict(self)
        if self.plan is not None:
            table["plan"] |= {
                "total_steps": self.plan.total_steps,
                "total_updates": self.plan.total_updates,
            }
        table["totals"] = None if self.variables is None else self.totals()
        return table


def explain_config(seen: Preview) -> Explanation:
    """Return what a config comes to; of a training, its model is built.

    Args:
        seen: The config with its plan.

    Raises:
        ConfigError: The config names a model that does not exist or does not fit.

    Example:

    >>> from nadam_suite.config import load_config
    >>> from nadam_suite.experiment import recipe_path
    >>> from nadam_suite.experiment.explanation import explain_config
    >>> from nadam_suite.experiment.preview import preview
    >>> found = explain_config(preview(load_config(recipe_path("digits")), examples=1280))
    >>> row = found.variables[-1]
    >>> row.path, round(row.peak_learning_rate, 6), row.weight_decay_multiplier, row.rules
    ('digits/logits/bias', 0.003, 0.0, ('max_ndim=1',))
    """
    found = Explanation(
        describe_optimizer(seen.optimizer_config()),
        seen.plan,
        tuple(seen.durations()),
        average_rows(seen.optimizer_config(), seen.plan),
        notes=seen.notes,
    )
    if not isinstance(seen.resolved, TrainConfig):
        note = "An optimizer's config has no model, so no variables are shown."
        return dataclasses.replace(found, notes=(*found.notes, note))
    variables, rules = _variables(seen, seen.resolved)
    idle = tuple(
        f"The parameter rule ({row.rule}) matches no variable."
        for row in rules
        if not row.variables
    )
    return dataclasses.replace(found, variables=variables, rules=rules, notes=(*found.notes, *idle))


def describe_optimizer(config: NadamConfig) -> str:
    """Return an optimizer's settings in one line, without those that are the default.

    Example:

    >>> from nadam_suite import NadamConfig
    >>> from nadam_suite.experiment.explanation import describe_optimizer
    >>> describe_optimizer(NadamConfig(learning_rate={"peak": 0.1, "warmup": "5%"}, use_ema=True))
    "Nadam(learning_rate=cosine(peak=0.1, warmup='5%'), use_ema=True)"
    """
    return f"Nadam({_settings(config)})"


def _settings(config: Config) -> str:
    """Return the keys of a table whose values are not the default."""
    values, hidden = dict(config), ("kind", "name", "schema_version")
    defaults = {key: field.default for key, field in type(config).model_fields.items()}
    if isinstance(config, ScheduleConfig):
        defaults = uses(values)  # those of its kind
    elif isinstance(config, AveragingConfig):
        defaults = config.defaults()
    return ", ".join(
        f"{key}={_shown(key, values[key])}"
        for key, default in defaults.items()
        if values[key] != default and key not in hidden
    )


def _shown(key: str, value: Any) -> str:
    """Return a setting as it stands in the line."""
    if key == "parameter_rules":
        return counted(len(value), "rule")
    if isinstance(value, (ScheduleConfig, AveragingConfig)):
        return f"{value.kind}({_settings(value)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_shown(key, item)}' for name, item in value.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(key, item) for item in value)}]"
    return repr(value)


def _variables(
    seen: Preview, config: TrainConfig
) -> tuple[tuple[VariableRow, ...], tuple[RuleRow, ...]]:
    """Build the model, and return what each of its variables gets, and by which rules."""
    make_model = find_part("model", config.model, config.model_options)
    optimizer = seen.optimizer()
    used = course(optimizer, seen.plan, largest=_ENOUGH)
    peak = float(used.values["learning_rate"].max())
    decay = used.values.get("decay_per_update")
    first, last = (0.0, 0.0) if decay is None else (float(decay[0]), float(decay[-1]))
    # A multiplied rate multiplies the decay too, unless the mode keeps the two apart.
    apart = optimizer.weight_decay_mode == "independent"
    with seeded(config):
        task = built_task(make_model, config)
        variables = task.model.trainable_variables
        rows = optimizer.explain(variables)
        types = [dtype_of(variable) for variable in variables]
    found = []
    for row, dtype in zip(rows, types, strict=True):
        frozen = row.learning_rate == 0
        multiplier = 0.0 if frozen else row.weight_decay * (1.0 if apart else row.learning_rate)
        found.append(
            VariableRow(
                path=row.path,
                shape=row.shape,
                dtype=dtype,
                parameters=math.prod(row.shape),
                learning_rate_multiplier=row.learning_rate,
                weight_decay_multiplier=row.weight_decay,
                decayed=decay is not None and multiplier > 0,
                peak_learning_rate=peak * row.learning_rate,
                first_decay=first * multiplier,
                last_decay=last * multiplier,
                rules=row.rules,
            )
        )
    rules = tuple(
        RuleRow(
            rule.describe(),
            rule.learning_rate,
            rule.weight_decay,
            sum(rule.matches(row.path, len(row.shape)) for row in rows),
        )
        for rule in optimizer.parameter_rules
    )
    return tuple(found), rules
