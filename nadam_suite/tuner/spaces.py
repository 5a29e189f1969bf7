"""Spaces of Nadam's settings for keras-tuner, any point of which is a valid config."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras_tuner

from nadam_suite.config import NadamConfig, faults
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.schedules.checks import count
from nadam_suite.tuner.points import Enqueued, Value, projected, published_points
from nadam_suite.tuner.ranges import (
    PARTS,
    TUNABLE,
    Options,
    Parameter,
    SpacePreset,
    Switch,
    get_space,
)

__all__ = ["budget_rule", "fixed_values", "nadam_space", "points_of_space", "tuned"]

# What the tuning playbook calls "substantially more than 25" trials; the number is chosen here.
_SUBSTANTIALLY_MORE = 50

_OWNERS = {name: what for what, names in TUNABLE.items() for name in names}
_LENGTHS = ("cooldown", "warmup")
_ON = Switch(True, "the space has no other")
_EVERYWHERE = contextlib.nullcontext()


def budget_rule(trials: int) -> tuple[str, ...]:
    """Return what is worth tuning with so many trials.

    Fewer than 10 trials tell something about the learning rate alone; from 10 on beta_1 joins it,
    from 25 on epsilon, and beta_2 with substantially more, which is 50 here. The decay of the
    weights, averages and what else matters to a model come on top: `tune=(*budget_rule(30),
    "weight_decay")`.

    Args:
        trials: Number of trials, an integer >= 1.

    Raises:
        ArgumentError: `trials` is less than 1.
        ArgumentTypeError: `trials` is no integer.

    Reference:
        Godbole, Dahl, Gilmer, Shallue and Nado, "Deep Learning Tuning Playbook", 2023, "How should
        Adam's hyperparameters be tuned?"

    Example:

    >>> from nadam_suite.tuner.spaces import budget_rule
    >>> budget_rule(9), budget_rule(30)
    (('learning_rate',), ('learning_rate', 'beta_1', 'epsilon'))
    """
    trials = count("trials", trials, 1)
    needed = {"learning_rate": 1, "beta_1": 10, "epsilon": 25, "beta_2": _SUBSTANTIALLY_MORE}
    return tuple(name for name, least in needed.items() if trials >= least)


def nadam_space(
    hp: keras_tuner.HyperParameters,
    preset: str = "algoperf",
    budget: int | None = None,
    prefix: str = "",
    tune: Sequence[str] | None = None,
    schedule: Sequence[str] = ("cosine",),
) -> NadamConfig:
    """Declare a space of Nadam's settings in `hp`, and return the config of the point it is at.

    What is tuned becomes hyperparameters of these names, each with `prefix` before it:

    * "learning_rate": `learning_rate`, the peak of the schedule.
    * "beta_1", "beta_2": `one_minus_beta_1`, `one_minus_beta_2`.
    * "epsilon": `epsilon`.
    * "weight_decay": `weight_decay`, and in "wide" and "finetune" `decay`, whether there is any.
    * "warmup": `warmup`, as a share of the training.
    * "schedule": what belongs to the kinds of schedule, such as `wsd/cooldown`. Where there are
      several kinds, `schedule` says which, whether this is tuned or not.
    * "clipping": `clipping`, and `global_clipnorm` where it is on.
    * "averaging": `averaging`, "none" or "ema", and `averaging_half_life`, a share of the training.
    * "accumulation": `accumulation`, batches for each update.

    What is not tuned has the default of the preset. A hyperparameter that depends on a choice is
    active where that choice is made alone, so that an oracle does not look for a pattern in values
    that do nothing. Whatever the values, the config is a valid one; lengths in it are relative, so
    that `build` needs the training's plan.

    Args:
        hp: Hyperparameters of a trial. Any number of calls on the same ones declare the same.
        preset: "algoperf" (the default), the space that AlgoPerf's NAdamW was tuned in; "wide",
            which has room for all published points; or "finetune". `nadam_suite.tuner.ranges` has
            every range with its source.
        budget: Number of trials: `budget_rule` says what is tuned. Not together with `tune`.
            Without both the preset's own list is tuned: learning rate, beta_1 and weight decay;
            of "wide" also beta_2, epsilon, warm-up and clipping; of "finetune" learning rate,
            weight decay and warm-up.
        prefix: What the names begin with, such as "optimizer/", where two spaces share `hp`.
        tune: What is tuned, names from the list above.
        schedule: Kinds of schedule to choose from: "constant", "linear", "cosine" (the default),
            "polynomial", "exponential", "inverse_sqrt", "wsd", "one_cycle". BERT's is "linear".

    Raises:
        ArgumentError: There is no such preset, kind or name to tune; nothing is to be tuned; or
            both `budget` and `tune` are given.
        ArgumentTypeError: `budget` is no integer, or a list is none.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.schedules import TrainingPlan
    >>> from nadam_suite.tuner.spaces import nadam_space
    >>> hp = keras_tuner.HyperParameters()
    >>> config = nadam_space(hp, tune=("learning_rate", "beta_1"), schedule=("cosine", "wsd"))
    >>> list(hp.values)
    ['learning_rate', 'one_minus_beta_1', 'schedule']
    >>> config.learning_rate.kind, config.learning_rate.peak, round(config.beta_1, 4)
    ('cosine', 0.00190834618600756, 0.9091)
    >>> config.resolve(TrainingPlan(steps_per_epoch=100, epochs=5)).learning_rate.warmup
    25
    """
    space = get_space(preset)
    kinds = _kinds(schedule)
    declaring = _Declaring(hp, prefix, space, tuned(space, budget, tune))
    # Their order is that of the dimensions: the first ones are covered most evenly.
    rate = declaring.value("learning_rate")
    values = {
        "beta_1": 1.0 - declaring.value("one_minus_beta_1"),
        "beta_2": 1.0 - declaring.value("one_minus_beta_2"),
        "epsilon": declaring.value("epsilon"),
        "weight_decay": _weight_decay(declaring),
        "learning_rate": {"peak": rate, **_schedule(declaring, kinds)},
        "global_clipnorm": _clipping(declaring),
        "averaging": _averaging(declaring),
        "gradient_accumulation_steps": _accumulation(declaring),
    }
    return NadamConfig(**space.arguments, **values)


def tuned(
    preset: SpacePreset, budget: int | None = None, tune: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return what is tuned of a preset; see `nadam_space`.

    Raises:
        ArgumentError: A name is unknown, nothing is left, or both arguments are given.
        ArgumentTypeError: `budget` is no integer, or `tune` is no list of names.

    Example:

    >>> from nadam_suite.tuner.ranges import get_space
    >>> from nadam_suite.tuner.spaces import tuned
    >>> tuned(get_space("algoperf")), tuned(get_space("algoperf"), budget=5)
    (('learning_rate', 'beta_1', 'weight_decay'), ('learning_rate',))
    """
    if budget is not None and tune is not None:
        raise ArgumentError(
            "Only one of `budget` and `tune` can be given. Received: "
            f"budget={budget!r}, tune={tune!r}. Pass tune=(*budget_rule({budget!r}), ...) to add "
            "to what the budget allows."
        )
    if budget is not None:
        return budget_rule(count("budget", budget, 1))
    if tune is None:
        return preset.tune
    return _known("tune", tune, tuple(TUNABLE))


def fixed_values(preset: SpacePreset, schedule: Sequence[str] = ("cosine",)) -> dict[str, Value]:
    """Return, by the names of hyperparameters, the values of what is not tuned.

    Args:
        preset: The space.
        schedule: Its kinds of schedule.

    Example:

    >>> from nadam_suite.tuner.ranges import get_space
    >>> from nadam_suite.tuner.spaces import fixed_values
    >>> fixed = fixed_values(get_space("algoperf"))
    >>> fixed["warmup"], fixed["decay"], fixed["schedule"]
    (0.05, True, 'cosine')
    """
    kinds = _kinds(schedule)
    parts = {f"{kind}/{key}": p.default for kind in kinds for key, p in PARTS[kind].items()}
    defaults = {name: parameter.default for name, parameter in preset.parameters.items()}
    return {"decay": _ON.default, "schedule": kinds[0], **parts, **defaults}


def points_of_space(
    hyperparameters: keras_tuner.HyperParameters,
    preset: str,
    schedule: Sequence[str] = ("cosine",),
    prefix: str = "",
) -> list[Enqueued]:
    """Return the centre of a declared space, its default, and the nearest to published points.

    Args:
        hyperparameters: The whole space, as `nadam_space` has declared it.
        preset: As in `nadam_space`.
        schedule: Likewise.
        prefix: Likewise.
    """
    fixed, first = fixed_values(get_space(preset), schedule), f"centre of preset {preset}"
    points = published_points(preset)
    return projected(points, hyperparameters, prefix, fixed=fixed, first=first)


class _Declaring:
    """A space while it is declared: values come from `hp` where they are tuned."""

    def __init__(
        self,
        hp: keras_tuner.HyperParameters,
        prefix: str,
        preset: SpacePreset,
        names: tuple[str, ...],
    ) -> None:
        self._hp, self._prefix, self._names = hp, _text(prefix), names
        self._parameters = preset.parameters
        self._declared: set[str] = set()

    def value(self, name: str) -> Any:
        """Return the value of one of the preset's hyperparameters, None where it is inactive."""
        return self.of(_OWNERS[name], name, self._parameters.get(name, _ON))

    def of(self, what: str, name: str, parameter: Parameter) -> Any:
        """Return a value, the default if it has no alternative, or is not tuned."""
        if what not in self._names or parameter is _ON:
            return parameter.default
        return self.choose(name, parameter)

    def choose(self, name: str, parameter: Parameter) -> Any:
        """Return a value, tuned whatever the list says."""
        self._declared.add(name)
        return parameter.declare(self._hp, self._prefix + name)

    def where(self, name: str, values: Sequence[Value]) -> contextlib.AbstractContextManager[None]:
        """Return the scope in which a hyperparameter, if it is one, has one of these values."""
        if name not in self._declared:
            return contextlib.nullcontext()
        return self._hp.conditional_scope(self._prefix + name, list(values))


def _weight_decay(space: _Declaring) -> float | None:
    on = space.value("decay")
    with space.where("decay", [True]):
        amount = space.value("weight_decay")
    return float(amount) if on else None


def _schedule(space: _Declaring, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Return the table of the schedule, without its peak."""
    kind = kinds[0]
    if len(kinds) > 1:
        kind = space.choose("schedule", Options(kinds, kinds[0], "given"))
    table: dict[str, Any] = {"kind": kind}
    usual = [each for each in kinds if "warmup" not in PARTS[each]]
    if usual:
        with space.where("schedule", usual) if len(usual) < len(kinds) else _EVERYWHERE:
            warmup = space.value("warmup")
        if kind in usual:
            table["warmup"] = _percent(warmup)
    for each in kinds:
        with space.where("schedule", [each]):
            parts = {
                key: space.of("schedule", f"{each}/{key}", part)
                for key, part in PARTS[each].items()
            }
        if each == kind:
            table |= {k: _percent(v) if k in _LENGTHS else v for k, v in parts.items()}
    return table


def _clipping(space: _Declaring) -> float | None:
    on = space.value("clipping")
    with space.where("clipping", [True]):
        norm = space.value("global_clipnorm")
    return float(norm) if on else None


def _averaging(space: _Declaring) -> dict[str, str] | None:
    kind = space.value("averaging")
    with space.where("averaging", ["ema"]):
        half_life = space.value("averaging_half_life")
    return {"kind": kind, "half_life": _percent(half_life)} if kind != "none" else None


def _accumulation(space: _Declaring) -> int | None:
    batches = int(space.value("accumulation"))
    return batches if batches > 1 else None


def _percent(share: float) -> str:
    """Return a share of the training as a duration, to a millionth of it."""
    return f"{share * 100.0:.4f}".rstrip("0").rstrip(".") + "%"


def _kinds(schedule: Any) -> tuple[str, ...]:
    return _known("schedule", schedule, tuple(PARTS))


def _known(argument: str, names: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return names without repetition, all of them known, at least one."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ArgumentTypeError(
            f"Argument `{argument}` must be a list of names. Received: {argument}={names!r} (of "
            f"type {type(names).__name__}). Write for instance {argument}=({known[0]!r},)."
        )
    unknown = [name for name in names if not (isinstance(name, str) and name in known)]
    if unknown or not names:
        meant = [_meant(name, known) for name in unknown]
        near = " and ".join(repr(name) for name in meant if name)
        remedy = f"Did you mean {near}?" if near else "Name at least one of them."
        raise ArgumentError(
            f"Argument `{argument}` must hold names out of {', '.join(map(repr, known))}. "
            f"Received: {argument}={names!r}. {remedy}"
        )
    return tuple(dict.fromkeys(names))


def _meant(name: Any, known: tuple[str, ...]) -> str | None:
    """Return the known name that was probably meant: a hyperparameter's stands for its own."""
    if not isinstance(name, str):
        return None
    for what, hyperparameters in TUNABLE.items():
        if name in hyperparameters and what in known:
            return what
    return faults.nearest(name, known)


def _text(prefix: Any) -> str:
    if not isinstance(prefix, str):
        raise ArgumentTypeError(
            f"Argument `prefix` must be a string. Received: prefix={prefix!r} (of type "
            f'{type(prefix).__name__}). Write for instance prefix="optimizer/".'
        )
    return prefix
