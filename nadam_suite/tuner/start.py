"""With which points a search begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras_tuner

from nadam_suite.config import faults
from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.points import Enqueued, PublishedPoint, projected
from nadam_suite.tuner.protocols import KnowsPoints

__all__ = ["Points", "starting_points"]

Points = str | Iterable[Mapping[str, Any] | PublishedPoint]


def starting_points(
    points: Points, hypermodel: Any, space: keras_tuner.HyperParameters
) -> list[Enqueued]:
    """Return the points of a space that a search tries before its own.

    Args:
        points: "published" for those of the hypermodel, or the default point where it has none;
            or points of one's own: mappings of names to values, or `PublishedPoint`s. What they
            leave out has its default.
        hypermodel: What is tuned.
        space: The space, declared in full.

    Raises:
        ArgumentError: It is none of these, or a mapping has a name that the space lacks.

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.start import starting_points
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Int("units", 8, 64, default=16), hp.Float("rate", 0.1, 1.0, default=0.5)
    >>> [point.values for point in starting_points([{"units": 32}], None, hp)]
    [{'units': 32, 'rate': 0.5}]
    """
    if isinstance(points, str):
        if points != "published":
            raise _wrong(points)
        return (
            hypermodel.points(space)
            if isinstance(hypermodel, KnowsPoints)
            else projected((), space)
        )
    found: list[Enqueued] = []
    for number, point in enumerate(_listed(points)):
        named = _named(point, f"point-{number + 1}", space)
        made = projected([named], space)[-1]  # the default, where that is what it is
        changed = made.changed if made.name == named.name else ()
        if all(made.values != other.values for other in found):
            found.append(Enqueued(named.name, made.values, changed))
    return found


def _listed(points: Any) -> Sequence[Any]:
    if isinstance(points, (Mapping, PublishedPoint)) or not isinstance(points, Iterable):
        raise _wrong(points)
    return list(points)


def _named(point: Any, name: str, space: keras_tuner.HyperParameters) -> PublishedPoint:
    if isinstance(point, PublishedPoint):
        return point
    if not isinstance(point, Mapping):
        raise _wrong(point)
    names = sorted({hp.name for hp in space.space})
    for key in point:
        if key not in names:
            near = faults.nearest(str(key), names)
            remedy = f"Did you mean {near!r}?" if near else f"There are {', '.join(names)}."
            raise ArgumentError(
                f"Argument `points` must have names of the space. Received: {key!r}. {remedy}"
            )
    return PublishedPoint(name, dict(point), "given")


def _wrong(points: Any) -> ArgumentError:
    return ArgumentError(
        'Argument `points` must be "published", or a list of mappings of names to values. '
        f"Received: points={points!r}. Pass () to try none first."
    )
