"""Make a run longer: find the state to go on from, keep what the shorter run left, swap the config.

Every step leaves a folder that resumes as a whole run. The results are copied beside, then taken
away, and the state is set back: until then it is the shorter run, which would train its last epochs
again. The config is replaced last, by one rename, and from then on it is the longer run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable

from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks.files import replace_file, sync_folder
from nadam_suite.callbacks.snapshot import read
from nadam_suite.config import TrainConfig
from nadam_suite.errors import ArgumentError, ConfigError, RunFolderError
from nadam_suite.experiment.checkpoints import (
    copy_files,
    epoch_of,
    kept_epochs,
    remove_folder,
    take_averages_back,
)
from nadam_suite.experiment.folder import RESULT, RunFolder
from nadam_suite.experiment.lengths import check_same_so_far, extended, longer_by, stable_epoch
from nadam_suite.schedules import TrainingPlan

__all__ = ["extend_run"]

# What the end of a run writes, and the longer run will write anew.
_RESULTS = (RESULT, "model.keras", "curves.png")


def extend_run(
    folder: RunFolder,
    config: TrainConfig,
    plan: TrainingPlan,
    duration: int | str,
    tell: Callable[[str], object] | None = None,
) -> None:
    """Make the run in a folder longer, so that resuming it goes on with the longer one.

    If an extension to that length has begun and not finished, nothing is changed: the command that
    began it can be repeated.

    Args:
        folder: The run's folder; only the chief may call this.
        config: The run's config, every duration in steps.
        plan: Length of the run as it is.
        duration: How much longer it is to be.
        tell: Called with a line that says what was done.

    Raises:
        ArgumentError: The duration makes no whole epochs.
        ConfigError: A schedule would have had other values in the past.
        DataFileError: The state to go on from is damaged.
        RunFolderError: A callback ended the run, or the folder cannot be written.
    """
    say = tell or (lambda _: None)
    shorter = folder.shorter()
    if shorter and folder.result() is None:
        before = dataclasses.replace(plan, epochs=shorter[-1].epochs)
        with contextlib.suppress(ArgumentError):
            if before.epochs + longer_by(duration, before) == plan.epochs:
                say(f"This run is being extended to {plan.epochs} epochs already. It goes on.")
                return
    longer = extended(config, plan, duration)
    latest = epoch_of(folder)
    epoch = _epoch_to_go_on_from(folder, longer, plan, latest)
    number = len(shorter) + 1
    later = [kept for kept in kept_epochs(folder) if kept > epoch]
    _keep_results(folder, number, later)
    _rewind(folder, epoch, latest)
    folder.lengthen(longer)
    for kept in later:
        remove_folder(folder.checkpoints / str(kept))
    back = "" if epoch == latest else f", going back to epoch {epoch}, before its cooldown"
    say(
        f"Extended from {config.epochs} to {longer.epochs} epochs{back}. The run as it was is "
        f"kept in {folder.before(number)}."
    )


def _epoch_to_go_on_from(
    folder: RunFolder, longer: TrainConfig, plan: TrainingPlan, latest: int
) -> int:
    """Return the last epoch whose state the longer run would have had too.

    Raises:
        ConfigError: There is none; the message is about the state before the cooldown, if it is
            there.
    """
    stable = stable_epoch(folder.config(), plan)
    kept = [] if stable is None else [e for e in kept_epochs(folder) if e < latest]
    remedy = _remedy(folder, None if stable in kept else stable)
    refused = ConfigError(remedy)
    for epoch in [latest, *kept]:
        run = folder if epoch == latest else RunFolder(folder.checkpoints / str(epoch))
        try:
            check_same_so_far(run.config(), longer, plan, epoch, remedy)
        except ConfigError as error:
            refused = error if epoch in (latest, stable) else refused
            continue
        if epoch:
            _check_not_stopped(run, epoch)
        return epoch
    raise refused


def _remedy(folder: RunFolder, missing: int | None) -> str:
    """Return what can be done about a run that cannot be extended.

    Args:
        folder: The run's folder.
        missing: Epoch of the state before its cooldown, if that is not there.
    """
    if missing == 0:
        return "Its cooldown begins in the first epoch. Begin a new run, planned that long."
    if missing:
        kept = folder.checkpoints / str(missing)
        return f"The state before the cooldown, {str(kept)!r}, is gone. Begin a new run."
    return (
        'Begin a new run, planned that long; with kind = "wsd", whose past does not depend on its '
        "length, it can be extended. --cooldown-from goes on from a state of this one."
    )


def _check_not_stopped(run: RunFolder, epoch: int) -> None:
    """Refuse a state in which a callback had ended the training: the longer one ends there too.

    Raises:
        DataFileError: The file is damaged.
        RunFolderError: It is one.
    """
    if read(TrainingState(run.state).path).header["stopped"]:  # all of it, as it may be damaged
        raise RunFolderError(
            f"A run that a callback ended cannot be extended, because a longer one would end at "
            f"the same epoch. Received: {str(run.path)!r}, ended after epoch {epoch}. Branch a "
            f"cooldown from it: nadam-suite train --cooldown-from {run.path} schedule.cooldown=1ep"
        )


def _keep_results(folder: RunFolder, number: int, later: list[int]) -> None:
    """Copy the run into a folder within it, without what stays in the run itself.

    Args:
        folder: The run.
        number: Number of the extension.
        later: Epochs of checkpoints that the longer run will not have.
    """
    path = folder.before(number)
    if folder.result() is None and RunFolder(path).result() is not None:
        return  # an extension that was cut short: the results are there, and gone from here
    names = [
        entry.name
        for entry in folder.path.iterdir()
        if entry != folder.checkpoints and not folder.is_before(entry) and entry.name[0] != "."
    ]
    copy_files(folder.path, path, [*names, *(f"{folder.checkpoints.name}/{n}" for n in later)])


def _rewind(folder: RunFolder, epoch: int, latest: int) -> None:
    """Take the results away, and go back to the state of an epoch and its averages."""
    for name in _RESULTS:
        (folder.path / name).unlink(missing_ok=True)
    sync_folder(folder.path)
    if epoch != latest:
        kept = TrainingState(RunFolder(folder.checkpoints / str(epoch)).state).path
        with kept.open("rb") as file:
            path = TrainingState(folder.state).path
            replace_file(path, lambda state: shutil.copyfileobj(file, state))
    take_averages_back(folder, epoch)
