"""The releases that the package was tested with, and how to say that another one is installed."""

from __future__ import annotations

import importlib.metadata
import re

__all__ = ["TESTED", "TITLES", "advice", "compared", "installed", "numbers", "tested"]

# Oldest and newest release under which the contract table was whole, on all three backends.
# `python -m tests --keras VERSION` tries another one.
TESTED = {
    "keras": ("3.12.0", "3.15.1"),
    "keras-tuner": ("1.4.8", "1.4.8"),
    "tensorflow": ("2.21.0", "2.21.0"),
}
TITLES = {"keras": "Keras", "keras-tuner": "keras-tuner", "tensorflow": "TensorFlow"}


def installed(library: str) -> str:
    """Return the version of a distribution, or "not installed".

    Example:

    >>> from nadam_suite.versions import installed
    >>> installed("no-such-library")
    'not installed'
    """
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def tested(library: str) -> str:
    """Return the tested releases of a library in words.

    Example:

    >>> from nadam_suite.versions import tested
    >>> tested("keras")
    '3.12.0 to 3.15.1'
    """
    oldest, newest = TESTED[library]
    return oldest if oldest == newest else f"{oldest} to {newest}"


def compared(library: str, version: str | None = None) -> int:
    """Return -1 for a release older than the tested ones, 1 for a newer one, 0 for one of them.

    Args:
        library: A key of `TESTED`.
        version: Release to look at; the installed one by default.

    Example:

    >>> from nadam_suite.versions import compared
    >>> [compared("keras", version) for version in ("3.9", "3.15.0", "4.0.0.dev1")]
    [-1, 0, 1]
    """
    oldest, newest = map(numbers, TESTED[library])
    found = numbers(installed(library) if version is None else version)
    return (found > newest) - (found < oldest)


def advice(library: str) -> str:
    """Return the command that installs the newest of the tested releases.

    Example:

    >>> from nadam_suite.versions import advice
    >>> advice("keras")
    'pip install keras==3.15.1'
    """
    return f"pip install {library}=={TESTED[library][1]}"


def numbers(version: str) -> tuple[int, int, int]:
    """Return the three numbers of a release; what comes after them does not matter here.

    Example:

    >>> from nadam_suite.versions import numbers
    >>> numbers("3.16.0.dev20260101"), numbers("3.12")
    ((3, 16, 0), (3, 12, 0))
    """
    found = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = (*found, 0, 0, 0)[:3]
    return major, minor, patch
