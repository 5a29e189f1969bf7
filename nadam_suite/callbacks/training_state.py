"""`TrainingState`: keep the whole state of a training on disk, and go on from it exactly.

`keras.callbacks.BackupAndRestore` repeats the interrupted epoch's batches on weights that have
seen them already, forgets what other callbacks remember, and leaves an epoch number in the model
that stops later calls of `fit()`. Here the state is taken between batches, holds everything that
the next batch depends on, and nothing of the model's internals is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.averaging import show_raw
from nadam_suite.backends import get_backend
from nadam_suite.callbacks.average_checkpoint import AverageCheckpoint
from nadam_suite.callbacks.finalization import EMAFinalization
from nadam_suite.callbacks.loss_scale_monitor import LossScaleMonitor
from nadam_suite.callbacks.plateau import PlateauScale
from nadam_suite.callbacks.snapshot import Snapshot, assign, read, take
from nadam_suite.errors import ArgumentError, StateError

__all__ = ["TrainingState"]

# What Keras' own callbacks, and ours, remember between epochs, in their public attributes.
_REMEMBERED: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("best", "best_epoch", "best_weights", "stopped_epoch", "wait"),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
    keras.callbacks.ModelCheckpoint: ("best",),
    PlateauScale: ("best", "cooldown_counter", "scale", "wait"),
    AverageCheckpoint: ("best",),
    EMAFinalization: ("best", "best_averages", "best_epoch", "best_statistics"),
    LossScaleMonitor: ("growths_before", "skips_before"),
}
_FILE = "training_state.npz"


class TrainingState(keras.callbacks.Callback):
    """Saves the state of a training at the end of epochs, or within them, and restores it.

    A state has the model's variables with those of its random generators, the optimizer's, the
    metrics', the counters, the history so far, and what early stopping, plateau and checkpoint
    callbacks remember. It is written beside the previous one, which it replaces when it is whole:
    a process that is killed at any moment leaves one complete state, or none if there was none.

    Give `fit()` the callbacks by `around()`, in which this one comes last, so that it sees what
    the others decided. For a training to go on exactly, the batches of an epoch must depend on
    nothing but the epoch; what Python's and NumPy's global generators draw is not kept. States
    within epochs need a generator and `steps_per_epoch`: Keras reads it as one stream, which after
    a restore must begin at batch `skip_batches` of the first epoch. TensorFlow builds the metrics
    at the first batch; evaluate one before such a `fit()`, or that epoch's metrics cover its rest.

    Of the processes of one training only the chief writes. All of them restore, so that all must
    see the folder.

    Args:
        folder: Where the state lies; created if it is missing.
        save_every_epochs: Epochs between two states, >= 1. The last epoch is always saved.
        save_every_batches: Batches of one epoch between two states, >= 1, or None, the default,
            for none within epochs. With `steps_per_execution` a state is taken at the first
            execution's end that reaches it.

    Raises:
        ArgumentError: A number is less than one.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.callbacks import TrainingState
    >>> folder = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(0.1), loss="mse")
    ...     state = TrainingState(folder)
    ...     start = state.restore(model)
    ...     x = np.ones((8, 2), "float32")
    ...     model.fit(x, x[:, :1], epochs=epochs, initial_epoch=start, verbose=0,
    ...               callbacks=state.around())
    ...     return start, int(model.optimizer.iterations), len(state.history)
    >>> train(2), train(3)
    ((0, 2, 2), (2, 3, 3))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        save_every_epochs: int = 1,
        save_every_batches: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.save_every_epochs = _count("save_every_epochs", save_every_epochs)
        if save_every_batches is not None:
            save_every_batches = _count("save_every_batches", save_every_batches)
        self.save_every_batches = save_every_batches
        self.history: list[dict[str, float]] = []
        self.stopped = False
        self.skip_batches = 0
        self._others: list[keras.callbacks.Callback] = []
        self._restored: Snapshot | None = None
        self._random: np.ndarray | None = None
        self._cut_short = False
        self._epoch = 0
        self._last_saved = 0

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / _FILE

    @property
    def restored_callbacks(self) -> tuple[str, ...] | None:
        """Classes of the callbacks that the restored state knows, or None before `restore`."""
        if self._restored is None:
            return None
        return tuple(entry["kind"] for entry in self._restored.header["callbacks"])

    def exists(self) -> bool:
        """Whether there is a state to restore."""
        return self.path.is_file()

    def around(self, *callbacks: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
        """Return the list for `fit(callbacks=...)`, and keep what these callbacks remember.

        Args:
            *callbacks: All other callbacks, in their order, the same ones after a restore.
        """
        self._others = list(callbacks)
        return [_CutEpochEnd(self), *callbacks, self]

    def restore(self, model: keras.Model) -> int:
        """Load the state, if there is one, and return the epoch at which to go on.

        After it `history` has one row for each epoch so far, `skip_batches` is the number of
        batches of the next epoch that were trained before, and `stopped` says whether a callback
        ended the training: then pass `initial_epoch=epochs`, and no epoch is trained.

        Args:
            model: The compiled model, built as it was when the state was saved.

        Returns:
            What to pass as `fit(initial_epoch=...)`; 0 if there is no state.

        Raises:
            ArgumentError: The model is not built or not compiled.
            DataFileError: The file is damaged.
            StateError: The state belongs to another model or optimizer.
        """
        optimizer = _optimizer(model)
        if not self.exists():
            return 0
        snapshot = read(self.path)
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        show_raw(model)  # what a training before has left beside would be put back later
        assign("model", model.variables, snapshot)
        assign("optimizer", optimizer.variables, snapshot)
        header = snapshot.header
        self.history = [dict(row) for row in header["history"]]
        self.stopped = header["stopped"]
        self.skip_batches = header["batch"]
        self._random = next(iter(snapshot.arrays["random"]), None)
        self._restored = snapshot
        return header["epoch"]

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the other callbacks back what they remembered, after they forgot it."""
        if self._restored is not None:
            _recall(self._others, self._restored)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Check where `fit()` starts, and go on with the metrics of an epoch cut before."""
        self._epoch, self._last_saved = epoch, 0
        if self._restored is None:
            self.skip_batches = 0
            return
        snapshot, self._restored = self._restored, None
        if epoch != snapshot.header["epoch"]:
            raise StateError(
                f"Argument `initial_epoch` must be {snapshot.header['epoch']}, at which the "
                f"restored state goes on. Received: initial_epoch={epoch}. Pass what `restore` "
                "returned."
            )
        metrics = self.model.metrics_variables
        # A metric that is not built yet starts anew: the history then covers the epoch's rest.
        if self.skip_batches and len(metrics) == len(snapshot.arrays["metrics"]):
            assign("metrics", metrics, snapshot)
        self._last_saved = self.skip_batches

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin each epoch with the random state that the last one, or the saved one, ended with.

        What reading the data draws in between then makes no difference; nor does a restore.
        """
        if self._random is not None:
            get_backend().set_random_state(self._random)
            self._random = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save within the epoch when it is time, and end an epoch that was begun before."""
        done, steps = batch + 1 + self.skip_batches, self.params.get("steps")
        if self.skip_batches and steps and done >= steps:
            # Stopping ends the batches of this epoch; `_CutEpochEnd` lets the next one begin.
            self._cut_short = not self.model.stop_training
            self.model.stop_training = True
            return
        every = self.save_every_batches
        if every and done - self._last_saved >= every and done != steps:
            self._last_saved = done
            self._save(self._epoch, done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a row to the history, and save."""
        row = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch, **row})
        self.skip_batches = 0
        self.stopped = bool(self.model.stop_training)
        self._random = get_backend().random_state()
        last = epoch + 1 == self.params.get("epochs")
        if self.stopped or last or (epoch + 1) % self.save_every_epochs == 0:
            self._save(epoch + 1, 0)

    def _save(self, epoch: int, batch: int) -> None:
        model = self.model
        groups = {
            "model": model.variables,
            "optimizer": model.optimizer.variables,
            "metrics": model.metrics_variables,
        }
        taken = {group: take(variables) for group, variables in groups.items()}
        arrays = {group: arrays for group, (arrays, _) in taken.items()}
        header: dict[str, Any] = {
            "epoch": epoch,
            "batch": batch,
            "stopped": self.stopped,
            "history": self.history,
            "callbacks": [],
        }
        for index, (values, weights) in enumerate(_remembered(self._others)):
            header["callbacks"].append(values)
            arrays |= {f"callback_{index}/{name}": list(w) for name, w in weights.items()}
        random = get_backend().random_state()
        arrays["random"] = [] if random is None else [random]
        paths = {group: names for group, (_, names) in taken.items()}
        if get_backend().process()[0] != 0:
            return  # but the values were read: some are summed up over all processes by reading
        self.folder.mkdir(parents=True, exist_ok=True)
        Snapshot(header, arrays, paths).write(self.path)


class _CutEpochEnd(keras.callbacks.Callback):
    """Takes back the stop that ended an epoch's rest, before others may ask for a real one."""

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self._state = state

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._state._cut_short:
            self._state._cut_short = False
            self.model.stop_training = False


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(
            f"Argument `{name}` must be an integer >= 1. Received: {name}={value!r}. Use 1 for "
            "every one."
        )
    return value


def _optimizer(model: keras.Model) -> Any:
    """Return the model's optimizer, checked."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not model.built:
        raise ArgumentError(
            "Argument `model` must be compiled and built. Received: "
            f"model={model.name!r}, compiled={model.compiled}, built={model.built}. Call "
            "`compile()`, and give the model its input shape."
        )
    return optimizer


def _attributes(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    for kind, names in _REMEMBERED.items():
        if isinstance(callback, kind):
            return names
    return ()


def _remembered(
    callbacks: Sequence[keras.callbacks.Callback],
) -> Iterator[tuple[dict[str, Any], dict[str, list[np.ndarray]]]]:
    """Yield for each callback its numbers, and its lists of weights."""
    for callback in callbacks:
        values: dict[str, Any] = {}
        weights: dict[str, list[np.ndarray]] = {}
        for name in _attributes(callback):
            value = getattr(callback, name, None)
            if isinstance(value, list):
                weights[name] = [np.asarray(array) for array in value]
            else:
                values[name] = value if value is None or isinstance(value, int) else float(value)
        yield {"kind": type(callback).__name__, "values": values, "weights": list(weights)}, weights


def _recall(callbacks: Sequence[keras.callbacks.Callback], snapshot: Snapshot) -> None:
    """Set the attributes that `_remembered` read."""
    saved = snapshot.header["callbacks"]
    kinds = [type(callback).__name__ for callback in callbacks]
    if kinds != [entry["kind"] for entry in saved]:
        raise StateError(
            "The callbacks must be those with which the state was saved: "
            f"{[entry['kind'] for entry in saved]}. Received: {kinds}. Give `around` the same ones "
            "in the same order."
        )
    for index, (callback, entry) in enumerate(zip(callbacks, saved, strict=True)):
        for name, value in entry["values"].items():
            setattr(callback, name, value)
        for name in entry["weights"]:
            setattr(callback, name, snapshot.arrays[f"callback_{index}/{name}"])
