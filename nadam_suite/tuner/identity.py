"""Which search a folder holds: what its files say, and what must be as it was to go on with it."""

from __future__ import annotations

import contextlib
import json
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keras_tuner.engine.trial import Trial

from nadam_suite.config.faults import show
from nadam_suite.errors import ArgumentError, SearchFolderError
from nadam_suite.tuner.search_record import OWN, STATE, TRIAL

__all__ = [
    "OWN",
    "STATE",
    "TRIAL",
    "check_fresh",
    "check_identity",
    "check_seed",
    "drawn_seed",
    "read_json",
    "read_trial",
    "refuse",
    "undamaged",
]

_REMEDY = (
    "Give the search another `project_name`, or its old settings; `overwrite=True` deletes what it "
    "has found."
)


def read_json(path: Path) -> dict[str, Any]:
    """Return the table in a file of a search.

    Raises:
        SearchFolderError: There is none, or it is damaged.
    """
    with undamaged(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found.items())


@contextlib.contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Let what a file has too little or too much of be an error that names the file.

    Raises:
        SearchFolderError: The code within did not find in it what it should.
    """
    try:
        yield
    except FileNotFoundError:
        raise SearchFolderError(
            f"A file of the search is missing. Received: {str(path)!r}. Bring it back, or start "
            "the search anew in another folder."
        ) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise SearchFolderError(
            f"A file of the search is damaged. Received: {str(path)!r}, in which "
            f"{type(error).__name__}: {error}. Bring it back as it was, or start the search anew "
            "in another folder."
        ) from error


def check_fresh(folder: Path) -> None:
    """Check that a search that begins does not do so on top of trained trials of another.

    Args:
        folder: The folder. Trials that were proposed and then not handed out may be in it.

    Raises:
        SearchFolderError: Trials in it have begun to train.
    """
    for path in sorted(folder.glob("trial_*/*")):
        if path.name not in {TRIAL, f".{TRIAL}.tmp"}:
            raise SearchFolderError(
                f"The folder has trials, but no {STATE} that knows them. Received: {str(path)!r}. "
                "Bring that file back, or start the search anew in another folder."
            )


def check_identity(folder: Path, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
    """Check that a folder holds the search that is to go on in it.

    Args:
        folder: The folder.
        old: What makes the search in it what it is; None if it is not one of ours.
        new: The same of the one that is to go on; its seed may be None, which is any.

    Raises:
        SearchFolderError: They differ; all differences are listed.
    """
    shown = str(folder)
    if old is None:
        raise SearchFolderError(
            f"The folder has a search of another program. Received: {shown!r}. Give the search "
            "another `project_name`; what is in the folder can be reported on."
        )
    new = json.loads(json.dumps(new))
    differences = [
        f"{name}: {_what_differs(name, old.get(name), new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if _counted(name, old.get(name)) != _counted(name, new.get(name))
        and not (name == "seed" and new[name] is None)
    ]
    refuse("The folder has another search.", shown, differences)


def _counted(name: str, value: Any) -> Any:
    """Return what counts of a value: what points are called does not."""
    if name == "points" and isinstance(value, list):
        return [point["values"] for point in value]
    return value


def _what_differs(name: str, old: Any, new: Any) -> str:
    if name == "points" and isinstance(old, list) and isinstance(new, list):
        before, after = ([point["name"] for point in points] for points in (old, new))
        if before != after:
            return f"{', '.join(before) or 'none'} -> {', '.join(after) or 'none'}"
        pairs = zip(old, new, strict=True)
        changed = [a["name"] for a, b in pairs if a["values"] != b["values"]]
        return f"{', '.join(changed)} with other values"
    return f"{show(old)} -> {show(new)}"


def refuse(what: str, folder: str, differences: list[str]) -> None:
    """Raise an error that lists the differences, if there are any.

    Raises:
        SearchFolderError: There are some.
    """
    if differences:
        listed = "".join(f"\n  {difference}" for difference in differences)
        raise SearchFolderError(f"{what} Received: {folder!r}, with{listed}\n{_REMEDY}")


def read_trial(folder: Path) -> Trial:
    """Return the trial in a folder.

    Raises:
        SearchFolderError: There is none, or its file is damaged.
    """
    state = read_json(folder / TRIAL)
    with undamaged(folder / TRIAL):
        return Trial.from_state(state)


def drawn_seed() -> int:
    """Return a seed out of the system's entropy, of the size that all generators take."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def check_seed(seed: int | None) -> None:
    """Check a search's seed, which all generators must be able to take.

    Raises:
        ArgumentError: It is neither None nor an integer from 0 to 2**31 - 1.
    """
    if seed is None:
        return
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise ArgumentError(
            f"Argument `seed` must be None or an integer from 0 to 2**31 - 1. Received: {seed=}."
        )
