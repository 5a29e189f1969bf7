"""What else must be as it was when the raw weights come back: statistics that fit the average."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import keras

__all__ = ["put_aside", "put_back"]

_ASIDE: weakref.WeakKeyDictionary[Any, list[tuple[Any, Any]]] = weakref.WeakKeyDictionary()


def put_aside(model: keras.Model, values: Iterable[tuple[Any, Any]]) -> None:
    """Keep values of variables until `show_raw(model)` puts the raw weights back, and them too.

    Of a variable that is kept already the older value stays. Call it while an average is shown,
    before the variables get what fits the average.

    Args:
        model: The model that shows an average.
        values: Pairs of a variable that the optimizer does not train, such as a moving mean, and
            a copy of its value.
    """
    kept = _ASIDE.setdefault(model, [])
    known = {id(variable) for variable, _ in kept}
    kept += [(variable, value) for variable, value in values if id(variable) not in known]


def put_back(model: keras.Model, wanted: bool) -> None:
    """Give the kept variables their values back if that is wanted, and forget the values."""
    for variable, value in _ASIDE.pop(model, ()):
        if wanted:
            variable.assign(value)
