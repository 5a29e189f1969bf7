"""`AverageSnapshots`: keep power function averages, to choose their length after the training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.averaging import average_tensors, show_raw
from nadam_suite.averaging.posthoc_files import (
    Snapshot,
    list_snapshots,
    unique_paths,
    write_snapshot,
)
from nadam_suite.averaging.powers import PowerRule
from nadam_suite.averaging.shown import keepers
from nadam_suite.backends import get_backend
from nadam_suite.callbacks.files import replace_file
from nadam_suite.errors import ArgumentError, RunFolderError, SettingError
from nadam_suite.schedules.checks import count as checked_count

__all__ = ["AverageSnapshots"]


class AverageSnapshots(keras.callbacks.Callback):
    """Writes snapshots of the model's power function averages, evenly over the training.

    From them `nadam_suite.averaging.posthoc.reconstruct` puts together the average of any other
    width, after the training. The optimizer must keep them: `Nadam(averaging=PowerEMA())`. A
    snapshot takes 4 bytes a parameter and average; the last one is taken at the end of the
    training, also after an early stop.

    The callback reads the device once an epoch and when a snapshot is due. Each is a file of its
    own, written whole or not at all. A training that is resumed keeps the snapshots of the updates
    behind it, and replaces those of later ones; one that begins anew in the same folder replaces
    all of them, as soon as its first one is written. Of several processes only the chief writes.

    Args:
        folder: Where the files lie; created if it is missing. One for each training.
        count: Number of snapshots in the whole training, an integer >= 1. Defaults to 32.
        total: Length of the whole training in real updates, an integer >= 1. Defaults to what
            `fit()` knows: its steps and epochs, and the optimizer's accumulation.
        every: Updates from one snapshot to the next, an integer >= 1, instead of `count` and
            `total`; for trainings whose length is not known.

    Raises:
        ArgumentError: An argument lies out of its range; at the start of `fit()`: the length of
            the training is not known, or the folder has snapshots of another model.
        ArgumentTypeError: An argument has the wrong type.
        DataFileError: At the start of `fit()`: a snapshot in the folder is damaged.
        RunFolderError: A snapshot cannot be written; those before it are whole.
        SettingError: At the start of `fit()`: the optimizer keeps no power function average.

    Example:

    >>> import keras, numpy as np, pathlib, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import PowerEMA
    >>> from nadam_suite.callbacks import AverageSnapshots
    >>> folder = tempfile.mkdtemp()
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.01, averaging=PowerEMA()), loss="mse")
    >>> x = np.ones((8, 2), "float32")
    >>> history = model.fit(x, x[:, :1], batch_size=1, epochs=2, verbose=0,
    ...                     callbacks=[AverageSnapshots(folder, count=2)])
    >>> sorted(path.name for path in pathlib.Path(folder).iterdir())
    ['average_000000008.npz', 'average_000000016.npz']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        count: int = 32,
        total: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.count = checked_count("count", count, 1)
        self.total = None if total is None else checked_count("total", total, 1)
        self.every = None if every is None else checked_count("every", every, 1)
        if total is not None and every is not None:
            raise ArgumentError(
                "Only one of `total` and `every` can be given. Received: "
                f"total={total!r}, every={every!r}. Leave one of them out."
            )
        self._forget()

    def _forget(self) -> None:
        self._length: int | None = None  # in updates, of the whole training
        self._calls = 0  # of the optimizer, before the first batch of this epoch
        self._due: int | None = None  # number of updates at which the next snapshot is taken
        self._checked = False
        self._outdated: list[Path] = []  # of times that an earlier training has come to
        self._last = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Refuse what cannot work before the first step."""
        self._forget()
        show_raw(self.model)
        if self.model.built and not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        _power_rules(self.model)
        known = {name: self.params.get(name) for name in ("steps", "epochs")}
        if self.every is None and self.total is None and None in known.values():
            raise ArgumentError(
                "The length of the training must be known for snapshots that are evenly spaced. "
                f"Received: total=None, every=None, and fit() knows {known}. Pass "
                "AverageSnapshots(total=...), the number of updates of the whole training, "
                "AverageSnapshots(every=...), or fit(steps_per_epoch=...)."
            )
        if self.model.built:
            own = _described(self.model)
            self._check_folder(own, own.time)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Find out where the training stands, and at the first epoch how long it will be."""
        self._calls = self._calls_made()
        if self._due is None:
            self._length = self.total or self._length_of_fit(epoch)
            self._due = self._next_due(self._calls // self._window)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Take a snapshot after the batches so far if one is due.

        At the begin of a batch, not at the end of the one before: there Keras would hand over
        the logs of each batch, for which it waits for the device.
        """
        expected = self._calls + batch  # without the steps that a loss scale may have skipped
        if self._due is None or expected // self._window < self._due:
            return
        self._synchronize()
        self._calls += self._calls_made() - expected
        self._take_if_due(self._calls + batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take a snapshot after the epoch's last batch if one is due."""
        self._take_if_due(self._calls_made())

    def on_train_end(self, logs: Any = None) -> None:
        """Take the last snapshot."""
        if self.model.optimizer.built:
            self._take()

    @property
    def _window(self) -> int:
        return keepers(self.model)[0].gradient_accumulation_steps or 1

    def _calls_made(self) -> int:
        optimizer = keepers(self.model)[0]
        # `iterations` is rounded down to whole windows.
        return _number(optimizer._layout.state.iterations) if optimizer.built else 0

    def _synchronize(self) -> None:
        """Give the variables the values that JAX' compiled steps hand from one to the next."""
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _length_of_fit(self, epoch: int) -> int | None:
        """Return the number of updates after the last epoch, if it is known."""
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if self.every is not None or steps is None or epochs is None:
            return None
        # A resumed training stands within its first epoch; another `fit()` after a whole one adds
        # all of its epochs to those before.
        resumed = epoch * steps <= self._calls < (epoch + 1) * steps
        batches = epochs * steps if resumed else self._calls + (epochs - epoch) * steps
        return max(batches // self._window, 1)

    def _next_due(self, updates: int) -> int:
        """Return the first number of updates after these at which a snapshot is due."""
        if self.every is not None:
            return (updates // self.every + 1) * self.every
        length = self._length or 1
        number = updates * self.count // length
        due = updates
        while due <= updates:
            number += 1
            due = -(-number * length // self.count)
        return due

    def _take_if_due(self, calls: int) -> None:
        updates = calls // self._window
        if self._due is not None and updates >= self._due:
            self._due = self._next_due(updates)
            self._take()

    def _take(self) -> None:
        """Write a snapshot of what the averages are now, unless they are that of the last one."""
        snapshot = _described(self.model)
        self._check_folder(snapshot, 0)
        if min(snapshot.times) == 0 or snapshot.time == self._last:
            return
        self._last = snapshot.time
        values = _values(self.model)
        if get_backend().process()[0] != 0:
            for _ in values:  # some are put together from all processes by reading
                pass
            return
        path = self.folder / snapshot.name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda file: write_snapshot(file, snapshot, values))
            self._remove_outdated(path)
        except OSError as error:
            raise RunFolderError(
                f"The snapshot {str(path)!r} cannot be written: {error}. Those before it are "
                "whole. Free space, or pass a folder that can be written to, and resume."
            ) from error

    def _remove_outdated(self, written: Path) -> None:
        """Remove the snapshots that the first new one shows to be of another course of events."""
        for path in self._outdated:
            if path != written:
                path.unlink(missing_ok=True)
        self._outdated = []

    def _check_folder(self, own: Snapshot, begun: int) -> None:
        """Refuse, once, a folder with snapshots of another model.

        Args:
            own: A snapshot of this one.
            begun: Number of updates with which this training has begun.
        """
        if self._checked:
            return
        self._checked = True
        found = list_snapshots(self.folder)
        self._outdated = [s.file for s in found if s.time > begun and s.file is not None]
        if found and not found[0].fits(own):
            raise ArgumentError(
                "Argument `folder` must be empty, or have snapshots of this model with the same "
                f"averages. Received: folder={str(self.folder)!r}, whose snapshots have "
                f"{len(found[0].paths)} variables such as {found[0].paths[:2]} and the exponents "
                f"{found[0].gammas}, not {len(own.paths)} variables such as {own.paths[:2]} and "
                f"{own.gammas}. Choose another folder."
            )


def _number(variable: Any) -> int:
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)))


def _power_rules(model: keras.Model) -> dict[str, PowerRule]:
    """Return the rules of the power function averages that a model's optimizer keeps, by name."""
    kept = [
        {name: rule for name, rule in optimizer.average_rules.items() if _is_power(rule)}
        for optimizer in keepers(model)
    ]
    if not kept or not kept[0] or any(rules != kept[0] for rules in kept):
        held = [list(optimizer.average_names) for optimizer in keepers(model)]
        raise SettingError(
            "The model's optimizer must keep power function averages, and each part of it the "
            f"same ones. Received: averages {held}. Compile the model with nadam_suite.Nadam("
            "averaging=nadam_suite.averaging.PowerEMA())."
        )
    return kept[0]


def _is_power(rule: Any) -> bool:
    return isinstance(rule, PowerRule)


def _described(model: keras.Model) -> Snapshot:
    """Return what a snapshot taken now would be, without its values."""
    rules = _power_rules(model)
    variables = [variable for variable, _ in _pairs(model, next(iter(rules)))]
    return Snapshot(
        gammas=tuple(rule.gamma for rule in rules.values()),
        times=tuple(_time(model, name) * rule.update_every for name, rule in rules.items()),
        paths=unique_paths(variables),
        shapes=tuple(tuple(variable.shape) for variable in variables),
    )


def _time(model: keras.Model, name: str) -> int:
    """Return how many weights an average has taken in, the number that its formula is about."""
    running = keepers(model)[0]._layout.state.averages
    return next(_number(average.count) for average in running if average.name == name)


def _pairs(model: keras.Model, name: str) -> list[tuple[Any, Any]]:
    """Return the averaged variables and their averages, in the order of the model.

    The parts of a MultiOptimizer have an order of their own.
    """
    place = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    pairs = average_tensors(model, name)
    return sorted(pairs, key=lambda pair: place.get(id(pair[0]), len(place)))


def _values(model: keras.Model) -> Iterator[np.ndarray]:
    """Yield the averaged variables of one average after the other."""
    for name in _power_rules(model):
        for _, tensor in _pairs(model, name):
            yield np.asarray(keras.ops.convert_to_numpy(tensor))
