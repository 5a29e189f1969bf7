"""Anneal from any state of a run: a new run that begins there and ends when the cooldown does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.averaging.posthoc_files import list_snapshots
from nadam_suite.backends import get_backend
from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks.files import replace_text
from nadam_suite.callbacks.hyperparameters import innermost
from nadam_suite.callbacks.snapshot import Snapshot, read
from nadam_suite.config import TrainConfig, fingerprint
from nadam_suite.errors import RunFolderError
from nadam_suite.experiment.assemble import open_scope
from nadam_suite.experiment.checkpoints import copy_into, epoch_of
from nadam_suite.experiment.cooldown import Cooldown, cooled
from nadam_suite.experiment.folder import CONFIG, ORIGIN, RunFolder
from nadam_suite.experiment.lengths import change, schedules_of
from nadam_suite.experiment.norm_record import NORMS
from nadam_suite.experiment.own_callbacks import average_files, snapshot_folder
from nadam_suite.experiment.run import RunResult, Training

__all__ = ["branch_cooldown"]

_REMEDY = (
    "Take them back, or leave NAME out for the config of the run. Of it, only length, shape and "
    "end of the cooldown can be changed."
)


def branch_cooldown(
    checkpoint: str | os.PathLike[str],
    *,
    config: TrainConfig | None = None,
    cooldown: int | str | None = None,
    shape: str | None = None,
    end: float | None = None,
    name: str | None = None,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    tell: Callable[[str], object] | None = None,
) -> RunResult:
    """Train a run of its own that starts from a kept state and anneals the learning rate at once.

    It ends with the weights of a run that was planned from the start to cool down there, for as
    long. The run that it comes from is only read. A "wsd" cools down earlier than it would have;
    any other schedule is left at the epoch of the state, and goes down from where it is then.

    Args:
        checkpoint: A folder under `checkpoints` of a run, or a run's folder for its latest state.
        config: The settings that the run was started with, to be compared; its own by default.
        cooldown: Length of the cooldown: steps, "5ep", "20000ex", or "20%" of the new run; whole
            epochs. Defaults to the length that the run's own schedule has.
        shape: Its curve. Defaults to the one of the run's schedule, or "1-sqrt".
        end: Learning rate at its end. Defaults to the one of the run's schedule, or 0.
        name: Name of the new run. Defaults to `<name>-cooldown-<epoch>`.
        output: Its folder. Defaults to `runs/<name>`.
        resume: Go on with the branch in the folder; if there is none, begin it.
        callbacks: Callbacks that watch, such as a progress bar; the state does not keep theirs.
        tell: Called with lines that say on which devices the training runs, and where it begins.

    Raises:
        ArgumentError: There are no such devices, or the batch size does not divide by them.
        ConfigError: The cooldown makes no whole epochs or does not go down, or one has begun.
        RunFolderError: The checkpoint is none, or the new folder exists already or cannot be
            written.
        DataFileError: The saved state is damaged.

    Example:

    >>> import tempfile
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment import branch_cooldown, run_training
    >>> folder = tempfile.mkdtemp()
    >>> options = {"data_options": {"train_examples": 64}, "model_options": {"width": 4}}
    >>> config = TrainConfig(model="digits", data="digits", batch_size=32, **options)
    >>> _ = run_training(config, output=folder + "/run")
    >>> branch_cooldown(folder + "/run", cooldown="1ep", output=folder + "/cooled").epochs
    2
    """
    started = time.monotonic()
    source = RunFolder(checkpoint, chief=False)
    epoch = _epoch(source)
    own = source.config()
    name = name or f"{own.name}-cooldown-{epoch}"
    path = Path(output or Path("runs") / name)
    folder = RunFolder(path, chief=get_backend().process()[0] == 0)
    goes_on = folder.check(resume=resume)
    if goes_on:
        epoch = _epoch_of_branch(folder)
    elif resume and tell is not None:
        tell(f"{path} has no run yet: starting anew.")
    given = own if config is None else _with_cooldown_of(own, config)
    with open_scope(given) as scope:
        training = Training(given, folder, scope, started, tell)
        training.wait()  # all have looked whether there is a folder, which the chief may create
        own = source.check_same(training.config, training.environment, _REMEDY)
        wanted = Cooldown(cooldown, shape, end)
        branch = cooled(own, own.plan(training.feed.examples), epoch, wanted, source.path)
        training.use(branch.replace(name=name, output=str(path)))
        if goes_on:
            return training.train(callbacks, goes_on=True)
        snapshot = _read(source, epoch)
        if tell is not None:
            tell(
                f"Branched from {source.path} into {path}: it cools down from epoch {epoch} to "
                f"{branch.epochs}."
            )

        def fill(model: keras.Model, draft: RunFolder) -> None:
            draft.state.mkdir()
            _begun_anew(snapshot, model, own).write(TrainingState(draft.state).path)
            steps = epoch * training.plan.steps_per_epoch
            _take_averages_along(source, draft.path, steps // training.plan.accumulation)
            origin = {
                "checkpoint": str(source.path.absolute()),
                "config_fingerprint": fingerprint(source.config()),
                "epoch": epoch,
                "run": own.name,
                "step": steps,
            }
            replace_text(draft.path / ORIGIN, json.dumps(origin, indent=2, sort_keys=True) + "\n")

        return training.train(callbacks, goes_on=False, fill=fill)


def _with_cooldown_of(own: TrainConfig, given: TrainConfig) -> TrainConfig:
    """Return a config with the cooldown of another one, if both have a "wsd" in the same place."""
    changes: dict[str, Any] = {}
    known = schedules_of(own)
    for key, schedule in schedules_of(given).items():
        if schedule.kind == "wsd" and key in known and known[key].kind == "wsd":
            for name in ("cooldown", "shape", "end"):
                change(changes, f"{key}.{name}", getattr(known[key], name))
    return given.replace(**changes)


def _epoch(source: RunFolder) -> int:
    """Return the epoch of the state in a checkpoint or a run's folder.

    Raises:
        RunFolderError: There is none.
    """
    epoch = epoch_of(source) if (source.path / CONFIG).is_file() else 0
    if epoch == 0:
        raise RunFolderError(
            "Argument `--cooldown-from` must be a folder under `checkpoints` of a run, or a run's "
            f"folder with the state of an epoch. Received: --cooldown-from={str(source.path)!r}. "
            "Check the path."
        )
    return epoch


def _epoch_of_branch(folder: RunFolder) -> int:
    """Return the epoch at which the run in a folder was branched from another one.

    Raises:
        RunFolderError: It was not.
    """
    origin = folder.origin()
    if origin is None:
        raise RunFolderError(
            "A cooldown must go on in the folder that it began in. Received: "
            f"output={str(folder.path)!r}, which holds another run. Pass another folder with "
            "--output."
        )
    return int(origin["epoch"])


def _read(source: RunFolder, epoch: int) -> Snapshot:
    """Return the state of an epoch.

    Raises:
        DataFileError: The file is damaged.
        RunFolderError: It was replaced by a later one since its epoch was read.
    """
    snapshot = read(TrainingState(source.state).path)
    if snapshot.header["epoch"] != epoch:
        raise RunFolderError(
            f"The state must stay as it is while it is read. Received: {str(source.path)!r}, which "
            f"went on from epoch {epoch} to {snapshot.header['epoch']}. Pass a checkpoint of it."
        )
    return snapshot


def _take_averages_along(source: RunFolder, target: Path, updates: int) -> None:
    """Copy the averages that a run has saved, the snapshots of them from before a time, its norms.

    Args:
        source: The run's folder, or one of its checkpoints.
        target: Folder of the branch.
        updates: Number of updates after which it begins.
    """
    config, path = source.config(), source.path.absolute()
    copy_into(path, target, average_files(config, path))
    run = path.parents[1] if path.parent.name == source.checkpoints.name else path
    if (run / NORMS).is_file():  # of which the branch drops those of later epochs
        copy_into(run, target, [NORMS])
    snapshots = snapshot_folder(config, run)
    if snapshots is not None and run in snapshots.parents and snapshots.is_dir():
        before = [s.name for s in list_snapshots(snapshots) if s.time <= updates]
        copy_into(snapshots, target / snapshots.relative_to(run), before)


def _begun_anew(snapshot: Snapshot, model: keras.Model, before: TrainConfig) -> Snapshot:
    """Return a state from which a cooldown can begin.

    A rate that was a number becomes a schedule times a scale, which takes what callbacks made of
    the number. What a callback ended goes on, and the callback counts from the start.

    Args:
        snapshot: The state.
        model: The model, whose optimizer has a schedule.
        before: The config that the state was saved under.
    """
    snapshot = _with_callbacks(snapshot)
    arrays, paths = dict(snapshot.arrays), dict(snapshot.paths)
    name = f"{before.optimizer.name}/learning_rate"  # a wrapper has one too, of no use
    rate = before.full_optimizer().learning_rate
    if name in paths["optimizer"] and isinstance(rate, float):
        values, known = list(arrays["optimizer"]), list(paths["optimizer"])
        held = values.pop(known.index(name))
        known.remove(name)
        index = _index_of_scale(model)
        values.insert(index, held / held.dtype.type(rate))
        known.insert(index, "learning_rate_scale")
        arrays["optimizer"], paths["optimizer"] = values, known
    return Snapshot(snapshot.header, arrays, paths)


def _with_callbacks(snapshot: Snapshot) -> Snapshot:
    """Return a state with what the callbacks of a cooldown remember; see `cooled`."""
    header, stopped = snapshot.header, snapshot.header["stopped"]
    arrays = {k: v for k, v in snapshot.arrays.items() if not k.startswith("callback_")}
    entries: list[dict[str, Any]] = []
    for index, entry in enumerate(header["callbacks"]):
        if entry["kind"] == keras.callbacks.ReduceLROnPlateau.__name__:
            continue
        for name in entry["weights"]:
            key = f"callback_{len(entries)}/{name}"
            arrays[key] = snapshot.arrays[f"callback_{index}/{name}"]
        values = entry["values"]
        if stopped and "wait" in values:
            values = {**values, "wait": 0}
        entries.append({**entry, "values": values})
    header = {**header, "stopped": False, "callbacks": entries}
    return Snapshot(header, arrays, snapshot.paths)


def _index_of_scale(model: keras.Model) -> int:
    """Return the position of the rate's scale among the variables of a model's optimizer."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    scale = innermost(model).learning_rate_scale
    found = [variable is scale for variable in model.optimizer.variables]
    return found.index(True)
