"""Trying every private name on the libraries that are installed, and telling what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

import nadam_suite
from nadam_suite import versions
from nadam_suite.doctor.private.name import PrivateResult
from nadam_suite.doctor.private.names import PRIVATE
from nadam_suite.doctor.run import observed

__all__ = ["changed", "keras_as_dict", "summary", "try_private"]


def try_private(
    libraries: Iterable[str] | None = None, *, names: Iterable[str] | None = None
) -> list[PrivateResult]:
    """Try the private names that are used on the running backend.

    Args:
        libraries: "keras", "keras-tuner" or "tensorflow"; all of them by default.
        names: Ids of the list, such as "optimizer._var_key"; all of them by default.

    Example:

    >>> from nadam_suite.doctor.private import try_private
    >>> all(result.as_expected for result in try_private(["keras"]))
    True
    """
    backend = keras.backend.backend()
    wanted = set(versions.TESTED if libraries is None else libraries)
    chosen = {private.id for private in PRIVATE} if names is None else set(names)
    return [
        PrivateResult(private, backend, observed(private.check))
        for private in PRIVATE
        if private.library in wanted and private.id in chosen and backend in private.backends
    ]


def changed(results: Iterable[PrivateResult]) -> list[PrivateResult]:
    """Return the results that are not as expected."""
    return [result for result in results if not result.as_expected]


def summary(results: Sequence[PrivateResult]) -> str:
    """Return one line: whether this Keras is a tested one, and what the checks found.

    Args:
        results: What `try_private` returned.
    """
    side = versions.compared("keras", keras.__version__)
    tested = f"Keras {versions.tested('keras')}"
    if side:
        head = (
            f"Keras {keras.__version__} is {'newer' if side > 0 else 'older'} than what "
            f"nadam-suite {nadam_suite.__version__} was tested with, {tested}: these are known "
            f"to work, and `{versions.advice('keras')}` installs the newest of them. Here"
        )
    else:
        head = f"nadam-suite {nadam_suite.__version__} was tested with {tested}. Here"
    line = f"{head} {_counted(results)}."
    return f"{line} Every row below is tried all the same." if side else line


def _counted(results: Sequence[PrivateResult]) -> str:
    wrong = changed(results)
    kept = f"{len(results) - len(wrong)} of {len(results)}"
    text = f"{kept} private names that it relies on are as expected"
    return f"{text}, but not {', '.join(result.private.id for result in wrong)}" if wrong else text


def keras_as_dict(results: Sequence[PrivateResult]) -> dict[str, Any]:
    """Return the same as plain data, for JSON."""
    return {
        "version": keras.__version__,
        "tested": list(versions.TESTED["keras"]),
        "is_tested": not versions.compared("keras", keras.__version__),
        "private": [
            {
                "library": result.private.library,
                "name": result.private.id,
                "files": list(result.private.files),
                "relied_on": result.private.relied_on,
                "as_expected": result.as_expected,
                "found": result.seen.detail,
            }
            for result in results
        ],
    }
