"""Published settings of Nadam as points of a search, and the nearest ones that a space has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from nadam_suite.config import faults
from nadam_suite.errors import ArgumentError

__all__ = [
    "Enqueued",
    "PublishedPoint",
    "Value",
    "entry_of",
    "nearest_values",
    "projected",
    "published_points",
]

Entry = TypeVar("Entry")

Value = float | int | str | bool


@dataclasses.dataclass(frozen=True)
class PublishedPoint:
    """Settings that somebody has published, as a point of the spaces of `nadam_space`.

    Args:
        name: What reports call it.
        values: One value for each hyperparameter that matters to it, without a prefix.
        source: Where the values come from, and what was added to them.

    Example:

    >>> from nadam_suite.tuner.points import PublishedPoint
    >>> PublishedPoint("mine", {"learning_rate": 3e-3}, "my last search").values["learning_rate"]
    0.003
    """

    name: str
    values: Mapping[str, Value]
    source: str


@dataclasses.dataclass(frozen=True)
class Enqueued:
    """A point of a space, to be tried before those that the search proposes.

    Args:
        name: What reports call it: "default", or the name of the point that it stands for.
        values: A value for each hyperparameter that is active there, prefixes included. They lie
            within the ranges, unless there is something in `extra`.
        changed: Names of the settings, without a prefix, in which it differs from that point:
            the space has other bounds, or holds the setting fixed at another value.
        extra: Values of no hyperparameter, by which the hypermodel knows the trial; their names
            begin with "tuner/", as keras-tuner's own do.

    Example:

    >>> from nadam_suite.tuner.points import Enqueued
    >>> Enqueued("default", {"learning_rate": 1e-3}).changed
    ()
    """

    name: str
    values: dict[str, Any]
    changed: tuple[str, ...] = ()
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)


def published_points(name: str = "algoperf") -> tuple[PublishedPoint, ...]:
    """Return published points, those that did best over many workloads first.

    "algoperf", and "wide", which has room for them: the points of MLCommons' AlgoPerf with which
    NAdamW was submitted. Of the five of the external tuning the third is the first without label
    smoothing, and the fifth is the self-tuning one of version 0.5, so that each stands here once.
    Label smoothing and dropout belong to the model and are left out.

    "finetune": the learning rates with which BERT was fine-tuned.

    Args:
        name: "algoperf" (the default), "wide" or "finetune".

    Raises:
        ArgumentError: There are no points of that name.

    Example:

    >>> from nadam_suite.tuner.points import published_points
    >>> [point.name for point in published_points()][:3]
    ['algoperf-current', 'algoperf-1', 'algoperf-2']
    >>> published_points()[0].values["learning_rate"]
    0.00190834618600756
    """
    return entry_of(_POINTS, name, "name")


def entry_of(table: Mapping[str, Entry], name: Any, argument: str) -> Entry:
    """Return the entry of a table that an argument names.

    Raises:
        ArgumentError: There is none; the message lists all.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    near = faults.nearest(name, list(table)) if isinstance(name, str) else None
    remedy = f"Did you mean {near!r}?" if near else "Choose one of them."
    raise ArgumentError(
        f"Argument `{argument}` must be one of {', '.join(map(repr, table))}. Received: "
        f"{argument}={name!r}. {remedy}"
    )


def projected(
    points: Iterable[PublishedPoint],
    hyperparameters: keras_tuner.HyperParameters,
    prefix: str = "",
    *,
    fixed: Mapping[str, Value] | None = None,
    first: str = "default",
) -> list[Enqueued]:
    """Return the default point of a space, and the nearest ones in it to the given points.

    A number out of its range goes to the nearest end, a choice to the nearest value; what a point
    says nothing about, such as the width of a layer, gets its default. Points that come to the
    same values are there once, under the first name.

    Args:
        points: The points.
        hyperparameters: The space, all its conditional scopes declared; its values do not matter.
        prefix: What the names of the optimizer's hyperparameters begin with there.
        fixed: Values, by names without the prefix, of settings that are not in the space. Where a
            point has the same one, it is not called changed. None, the default, knows of none.
        first: What the default point is called.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.points import projected, published_points
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("learning_rate", 1e-4, 3e-3, sampling="log", default=1e-3)
    >>> for point in projected(published_points(), hp)[:2]:
    ...     print(point.name, point.values)
    default {'learning_rate': 0.001}
    algoperf-current {'learning_rate': 0.00190834618600756}
    >>> max(point.values["learning_rate"] for point in projected(published_points(), hp))
    0.003
    """
    found = [Enqueued(first, nearest_values({}, hyperparameters, prefix))]
    for point in points:
        values = nearest_values(point.values, hyperparameters, prefix)
        if any(values == other.values for other in found):
            continue
        there = {**(fixed or {}), **_without(prefix, hyperparameters, values)}
        changed = [name for name, value in point.values.items() if there.get(name) != value]
        found.append(Enqueued(point.name, values, tuple(changed)))
    return found


def nearest_values(
    wanted: Mapping[str, Value],
    hyperparameters: keras_tuner.HyperParameters,
    prefix: str = "",
    *,
    within: bool = True,
) -> dict[str, Any]:
    """Return the values of the nearest point, one for each active hyperparameter.

    Args:
        wanted: Values by names without the prefix.
        hyperparameters: The space, all its conditional scopes declared.
        prefix: As in `projected`.
        within: Whether numbers are to lie in their ranges.
    """
    space = hyperparameters.copy()
    space.values = {}
    before = -1
    # Parents first, whatever the order: over gRPC a space comes sorted by type.
    while before < len(space.values):
        before = len(space.values)
        for parameter in space.space:
            if parameter.name not in space.values and space.is_active(parameter):
                value = wanted.get(parameter.name[len(prefix) :])
                mine = parameter.name.startswith(prefix) and value is not None
                space.values[parameter.name] = (
                    _nearest_value(parameter, value, within) if mine else parameter.default
                )
    return {p.name: space.values[p.name] for p in space.space if p.name in space.values}


def _nearest_value(parameter: Any, value: Any, within: bool) -> Any:
    """Return the value of a hyperparameter that is nearest, its default where none is near."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(parameter, kinds.Boolean) and isinstance(value, bool):
        return value
    if isinstance(parameter, kinds.Choice):
        if value in parameter.values and type(value) is type(parameter.values[0]):
            return value
        if parameter.ordered and number:
            return min(parameter.values, key=lambda option: abs(option - value))
    elif isinstance(parameter, (kinds.Float, kinds.Int)) and number and math.isfinite(value):
        return _nearest_number(parameter, value) if within else value
    return parameter.default


def _nearest_number(parameter: Any, value: float) -> float | int:
    """Return the nearest number of a range, on its grid if it has one."""
    if parameter.step is not None:
        return min(parameter.values, key=lambda option: abs(option - value))
    clipped = min(max(value, parameter.min_value), parameter.max_value)
    return round(clipped) if isinstance(parameter, kinds.Int) else float(clipped)


def _without(
    prefix: str, space: keras_tuner.HyperParameters, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a space's values by names without the prefix, None for what is inactive."""
    names = {p.name: None for p in space.space if p.name.startswith(prefix)}
    return {name[len(prefix) :]: values.get(name) for name in names}


def _algoperf(
    name: str,
    values: tuple[float, float, float, float, float],
    source: str,
) -> PublishedPoint:
    """Return a point of AlgoPerf: learning rate, 1 - beta_1, beta_2, weight decay, warm-up."""
    rate, one_minus_beta_1, beta_2, decay, warmup = values
    settings: dict[str, Value] = {
        "learning_rate": rate,
        "one_minus_beta_1": one_minus_beta_1,
        "one_minus_beta_2": 1.0 - beta_2,  # exact, and so is the way back
        "epsilon": 1e-8,
        "decay": True,
        "weight_decay": decay,
        "schedule": "cosine",
        "warmup": warmup,
        "clipping": False,
        "averaging": "none",
        "accumulation": 1,
    }
    return PublishedPoint(
        f"algoperf-{name}",
        MappingProxyType(settings),
        f"MLCommons algorithmic-efficiency, NAdamW baseline, {source}.",
    )


def _bert(rate: float, source: str) -> PublishedPoint:
    """Return a point of BERT, whose fine-tuning differs in the learning rate alone."""
    settings: dict[str, Value] = {
        "learning_rate": rate,
        "one_minus_beta_1": 0.1,
        "one_minus_beta_2": 0.001,
        "epsilon": 1e-6,
        "decay": True,
        "weight_decay": 0.01,
        "schedule": "linear",
        "warmup": 0.1,
        "clipping": True,
        "global_clipnorm": 1.0,
        "averaging": "none",
        "accumulation": 1,
    }
    return PublishedPoint(
        f"bert-{rate:.0e}".replace("e-0", "e-"),
        MappingProxyType(settings),
        f"google-research/bert, {source}, an AdamW: the Nesterov momentum is our addition.",
    )


_ALGOPERF = (
    _algoperf(
        "current",
        (0.00190834618600756, 0.09090652249, 0.998898321921855, 0.08121616522670176, 0.1),
        "self-tuning ruleset, current",
    ),
    _algoperf(
        "1",
        (0.001308209823469072, 0.02686663061, 0.9981232922116359, 0.16375311233774334, 0.1),
        "external tuning, points 1 and 3 of 5",
    ),
    _algoperf(
        "2",
        (0.0008445074561975979, 0.11042418465, 0.9978504782314613, 0.08135402759553023, 0.05),
        "external tuning, point 2 of 5, that of the ViT target setting",
    ),
    _algoperf(
        "4",
        (0.004958460849689891, 0.13625575743, 0.6291854735396584, 0.1147386261512052, 0.02),
        "external tuning, point 4 of 5, that of the DeepSpeech target setting",
    ),
    _algoperf(
        "5",
        (0.0017486387539278373, 0.06733926164, 0.9955159689799007, 0.08121616522670176, 0.02),
        "external tuning, point 5 of 5, that of the self-tuning ruleset of version 0.5",
    ),
    _algoperf(
        "resnet",
        (0.004126541534675243, 0.00780309833, 0.9966054696718922, 0.05371805022820654, 0.05),
        "self-tuning ruleset, nadamw_resnet",
    ),
)
_POINTS: Mapping[str, tuple[PublishedPoint, ...]] = MappingProxyType(
    {
        "algoperf": _ALGOPERF,
        "wide": _ALGOPERF,
        "finetune": (
            _bert(5e-5, "default of run_classifier.py"),
            _bert(3e-5, "README.md, SQuAD"),
            _bert(2e-5, "README.md, MRPC"),
        ),
    }
)
