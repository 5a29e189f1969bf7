"""Why trials failed: where the reason is kept, whether it is a divergence, and how it is told."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from nadam_suite.tuner.search_record import FAILURE

__all__ = [
    "FAILURE",
    "failures_in_a_row",
    "has_diverged",
    "message_of",
    "no_result",
    "reason_of",
    "verdict",
]

_DIVERGED = re.compile(r"^(?:[\w.]+: )?Diverged:", re.MULTILINE)


def has_diverged(message: str | None) -> bool:
    """Return whether a failed trial's message says that its numbers left the finite ones.

    Example:

    >>> from nadam_suite.tuner.failures import has_diverged
    >>> has_diverged("Diverged: val_loss is nan at epoch 3"), has_diverged("Out of memory")
    (True, False)
    """
    return _DIVERGED.search(message or "") is not None


def reason_of(message: str | None) -> str:
    r"""Return the line of a failed trial's message that has the reason: a traceback's last one.

    Example:

    >>> from nadam_suite.tuner.failures import reason_of
    >>> reason_of('Traceback (most recent call last):\n  File "x.py", line 1\nOSError: full')
    'OSError: full'
    """
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    if not lines:
        return "no reason was given"
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def message_of(trial: Trial, folder: Path) -> str | None:
    """Return why a trial failed: what is in its folder, or else its message.

    The protocol between workers and chief drops the message, so a worker also writes the file.

    Args:
        trial: A trial that has ended.
        folder: Its folder.
    """
    if trial.status == TrialStatus.COMPLETED:
        return None
    path = folder / FAILURE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else trial.message


def verdict(trial: Trial, objective: str) -> tuple[str, str | None]:
    """Return the status of a trial that came to its end, and what is wrong with its objective.

    Args:
        trial: The trial, with its metrics.
        objective: Name of the objective.
    """
    if not trial.metrics.exists(objective):
        reported = ", ".join(sorted(trial.metrics.metrics)) or "nothing"
        message = f"The trial reported no objective `{objective}`. Received: {reported}."
        return TrialStatus.INVALID, message
    values = np.array([seen.mean() for seen in trial.metrics.get_history(objective)], float)
    known = values[~np.isnan(values)]
    best = float(trial.metrics.get_best_value(objective)) if known.size else math.nan
    if math.isfinite(best):
        return TrialStatus.COMPLETED, None
    return TrialStatus.FAILED, f"Diverged: {objective} is {best}"


def failures_in_a_row(ended: Sequence[Trial], limit: int) -> str | None:
    """Return why a search stops if the last trials failed, one after another; None if it goes on.

    Args:
        ended: Trials in the order in which they ended. Those that diverged neither count nor
            break the row.
        limit: As many failures stop a search.
    """
    failed: list[Trial] = []
    for trial in reversed(ended):
        if trial.status != TrialStatus.FAILED:
            break
        if not has_diverged(trial.message):
            failed.append(trial)
    if len(failed) < limit:
        return None
    return (
        "The search stopped, since one trial after another failed. Received: "
        f"max_consecutive_failed_trials={limit}, and{_listed(failed[::-1])}\nMend the cause and "
        "start the search again: it goes on with the next trial."
    )


def no_result(ended: Sequence[Trial]) -> str | None:
    """Return what to say of a search that is over if none of its trials ended well; else None.

    Args:
        ended: All of its trials.
    """
    if not ended or any(trial.status != TrialStatus.FAILED for trial in ended):
        return None
    return (
        "The search is over and has no best trial, because none ended well. Received: "
        f"{len(ended)} trials, of which{_listed(ended)}\nMend the cause, or search where training "
        "is stable, such as at lower learning rates, in another folder."
    )


def _listed(trials: Sequence[Trial], most: int = 10) -> str:
    lines = [f"\n  trial {trial.trial_id}: {reason_of(trial.message)}" for trial in trials]
    more = f"\n  and {len(lines) - most} more" if len(lines) > most else ""
    return "".join(lines[:most]) + more
