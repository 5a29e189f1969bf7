"""Where a search looks: values of a conditional space as pure functions of a seed and a number."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, HyperParameter
from scipy.stats import qmc

from nadam_suite.config.faults import nearest, show
from nadam_suite.errors import ArgumentError

__all__ = [
    "SAMPLERS",
    "PseudoRandom",
    "QuasiRandom",
    "Sampler",
    "can_be",
    "completed",
    "coordinates",
    "grid",
    "grid_values",
    "is_active",
    "sampler_of",
    "values_at",
]

SAMPLERS = ("halton", "sobol", "random")
# Sobol's scrambling depends on the number of dimensions, so there always are as many as this.
_SOBOL_DIMENSIONS = 256
_BLOCK = 64  # points made at a time

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class QuasiRandom:
    """A scrambled low-discrepancy sequence in the unit cube: even, and no two seeds alike.

    A point's first coordinates do not depend on how many there are, so a space may grow.

    Args:
        seed: Seed of the scrambling, 0 or more.
        sampler: "halton", for any number of dimensions, or "sobol", for up to 256.

    Raises:
        ArgumentError: Another sampler, or too many dimensions for it.

    Example:

    >>> from nadam_suite.tuner.proposals import QuasiRandom
    >>> points = [QuasiRandom(seed=0).point(index, 1)[0] for index in range(4)]
    >>> sorted(int(4 * x) for x in points)  # one in each quarter
    [0, 1, 2, 3]

    Reference:
        Owen (1995), Randomly permuted (t,m,s)-nets and (t,s)-sequences; Owen (2017), A randomized
        Halton algorithm in R, arXiv:1706.02808.
    """

    seed: int
    sampler: str = "halton"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS[:2]:
            raise ArgumentError(
                "Argument `sampler` of a quasi-random sequence must be 'halton' or 'sobol'. "
                f"Received: sampler={self.sampler!r}."
            )

    def point(self, index: int, dimensions: int) -> np.ndarray:
        """Return a point of the sequence: float64, each coordinate in [0, 1).

        Args:
            index: Number of the point, from 0.
            dimensions: Number of coordinates.
        """
        block, row = divmod(index, _BLOCK)
        return _points(self.seed, self.sampler, dimensions, block)[row, :dimensions]


@dataclasses.dataclass(frozen=True)
class PseudoRandom:
    """Independent uniform points of the unit cube, each from a generator of its own.

    Args:
        seed: Seed, 0 or more.

    Example:

    >>> from nadam_suite.tuner.proposals import PseudoRandom
    >>> few, many = PseudoRandom(seed=0).point(7, 2), PseudoRandom(seed=0).point(7, 5)
    >>> list(few) == list(many[:2])
    True
    """

    seed: int

    def point(self, index: int, dimensions: int) -> np.ndarray:
        """Return a point: float64, each coordinate in [0, 1).

        Args:
            index: Number of the point, from 0.
            dimensions: Number of coordinates.
        """
        return np.random.default_rng([self.seed, index]).random(dimensions)


Sampler = QuasiRandom | PseudoRandom


def sampler_of(name: str, seed: int) -> Sampler:
    """Return the sequence of points called "halton", "sobol" or "random".

    Args:
        name: One of `SAMPLERS`.
        seed: Its seed, 0 or more.

    Raises:
        ArgumentError: Another name.

    Example:

    >>> from nadam_suite.tuner.proposals import sampler_of
    >>> sampler_of("sobol", 3)
    QuasiRandom(seed=3, sampler='sobol')
    """
    if name not in SAMPLERS:
        near = nearest(str(name), SAMPLERS)
        remedy = f" Did you mean {near!r}?" if near else ""
        raise ArgumentError(
            f"Argument `sampler` must be one of {', '.join(map(repr, SAMPLERS))}. "
            f"Received: sampler={show(name)}.{remedy}"
        )
    return PseudoRandom(seed) if name == "random" else QuasiRandom(seed, name)


@functools.lru_cache(maxsize=64)
def _points(seed: int, sampler: str, dimensions: int, block: int) -> np.ndarray:
    """Return `_BLOCK` points of a sequence, not to be written to."""
    if not dimensions:
        return np.empty((_BLOCK, 0))
    generator = np.random.default_rng(seed)
    if sampler == "halton":
        engine = qmc.Halton(dimensions, seed=generator)
    elif dimensions <= _SOBOL_DIMENSIONS:
        engine = qmc.Sobol(_SOBOL_DIMENSIONS, seed=generator)
    else:
        raise ArgumentError(
            f"Argument `sampler`='sobol' is for up to {_SOBOL_DIMENSIONS} hyperparameters. "
            f"Received: a space of {dimensions}. Use sampler='halton'."
        )
    if block:
        engine.fast_forward(block * _BLOCK)
    points: np.ndarray = engine.random(_BLOCK)
    points.setflags(write=False)
    return points


def is_active(hyperparameter: HyperParameter, values: Mapping[str, Any]) -> bool:
    """Return whether all conditions of a hyperparameter are met by `values`."""
    return all(condition.is_active(values) for condition in hyperparameter.conditions)


def coordinates(space: Sequence[HyperParameter]) -> list[HyperParameter]:
    """Return what has a coordinate in the unit cube: all that is not fixed, in declared order.

    The same name under other conditions is another coordinate, so that each keeps its meaning.
    """
    return [entry for entry in space if not isinstance(entry, Fixed)]


def values_at(space: Sequence[HyperParameter], point: Sequence[float] | np.ndarray) -> Values:
    """Return the values at a point of the unit cube; coordinates of what is inactive are skipped.

    Args:
        space: Hyperparameters in declared order, conditional ones after their parents.
        point: One coordinate in [0, 1) for each of `coordinates(space)`.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.proposals import values_at
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Boolean("decay")
    >>> with hp.conditional_scope("decay", [True]):
    ...     _ = hp.Float("weight_decay", 0.01, 1.0, sampling="log")
    >>> _ = hp.Int("units", 1, 10)
    >>> values_at(hp.space, [0.9, 0.5, 0.0]), values_at(hp.space, [0.1, 0.5, 0.0])
    ({'decay': True, 'weight_decay': 0.1, 'units': 1}, {'decay': False, 'units': 1})
    """
    values: Values = {}
    left = iter(point)
    for entry in space:
        value = entry.value if isinstance(entry, Fixed) else entry.prob_to_value(float(next(left)))
        if is_active(entry, values):
            values[entry.name] = value
    return values


def completed(
    space: Sequence[HyperParameter],
    values: Mapping[str, Any] | None = None,
    *,
    within: bool = True,
) -> Values:
    """Return `values` as a point of the space: what is inactive left out, defaults filled in.

    Args:
        space: Hyperparameters in declared order.
        values: Values by name; none are the space's default point.
        within: Whether they must lie within their ranges.

    Raises:
        ArgumentError: A name that the space has not, or a value outside of its range.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.proposals import completed
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("learning_rate", 1e-4, 1e-2, default=1e-3), hp.Int("units", 1, 10)
    >>> completed(hp.space, {"units": 7})
    {'learning_rate': 0.001, 'units': 7}
    """
    given = values or {}
    _check_names(given, sorted({entry.name for entry in space}))
    found: Values = {}
    for entry in space:
        if is_active(entry, found):
            value = given.get(entry.name, entry.default)
            found[entry.name] = _within(entry, value) if within else value
    return found


def _check_names(names: Mapping[str, Any], known: list[str]) -> None:
    for name in names:
        if name not in known:
            near = nearest(name, known)
            remedy = f"Did you mean `{near}`?" if near else f"It has: {', '.join(known)}."
            raise ArgumentError(
                "Argument `points` must have names of the space only. "
                f"Received: {name}={show(names[name])}. {remedy}"
            )


def _within(entry: HyperParameter, value: Any) -> Any:
    if not can_be(entry, value):
        listed = isinstance(entry, (Boolean, Choice, Fixed))
        wanted = (
            f"one of {', '.join(map(repr, entry.values))}"
            if listed
            else f"from {entry.min_value} to {entry.max_value}"
        )
        raise ArgumentError(
            f"Argument `points` must lie within the space, where `{entry.name}` is {wanted}. "
            f"Received: {entry.name}={show(value)}."
        )
    return value


def can_be(entry: HyperParameter, value: Any) -> bool:
    """Return whether a hyperparameter can have a value; of a range with steps, any between."""
    if isinstance(entry, (Boolean, Choice, Fixed)):
        return value in entry.values
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and entry.min_value <= value <= entry.max_value


def grid(space: Sequence[HyperParameter], values_per_range: int = 5) -> Iterator[Values]:
    """Yield the default point, then all combinations, of what is active in each, once.

    Args:
        space: Hyperparameters in declared order; the last one varies first.
        values_per_range: Values of a range without steps, both ends included, 2 or more.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.proposals import grid
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=2e-3)
    >>> [values["learning_rate"] for values in grid(hp.space, 3)]
    [0.002, 0.0001, 0.001, 0.01]
    """
    default = completed(space)
    yield default
    for values in _combinations(space, values_per_range, {}):
        if values != default:
            yield values


def _combinations(
    space: Sequence[HyperParameter], values_per_range: int, chosen: Values
) -> Iterator[Values]:
    if not space:
        yield chosen
        return
    entry, rest = space[0], space[1:]
    if not is_active(entry, chosen):
        yield from _combinations(rest, values_per_range, chosen)
        return
    for value in grid_values(entry, values_per_range):
        yield from _combinations(rest, values_per_range, {**chosen, entry.name: value})


def grid_values(entry: HyperParameter, values_per_range: int) -> list[Any]:
    """Return a hyperparameter's values on the grid, ascending or as declared.

    Args:
        entry: The hyperparameter.
        values_per_range: Values of a range without steps, evenly spread in its own scale, both
            ends included.
    """
    if isinstance(entry, (Boolean, Choice, Fixed)):
        return list(dict.fromkeys(entry.values))
    low, high = entry.min_value, entry.max_value
    if entry.step is not None:
        found = _stepped(entry)
    elif low == high:
        return [low]
    else:
        inner = np.linspace(0.0, 1.0, values_per_range)[1:-1]
        found = [low, *(entry.prob_to_value(float(x)) for x in inner), high]
    cast = int if isinstance(entry, keras_tuner.engine.hyperparameters.Int) else float
    return sorted({cast(value) for value in found})


def _stepped(entry: HyperParameter) -> list[float]:
    """Return all values that the steps reach; rounding takes none away, as it does in stock."""
    low, high, step = entry.min_value, entry.max_value, entry.step
    tiny = 1e-8
    if entry.sampling == "linear":
        number = math.floor((high - low) / step + tiny) + 1
        return [min(low + index * step, high) for index in range(number)]
    number = math.floor(math.log(high / low, step) + tiny) + 1
    powers = [min(low * step**index, high) for index in range(number)]
    return powers if entry.sampling == "log" else [high + low - power for power in powers]
