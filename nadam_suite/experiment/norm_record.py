"""The norms of a run, layer by layer, in a file that a resumed run goes on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.callbacks import NormLogger
from nadam_suite.callbacks.layer_norms import LayerNorms, Norms
from nadam_suite.errors import DataFileError
from nadam_suite.experiment.folder import RunFolder

__all__ = ["NORMS", "NormRecord", "norms_csv", "read_norms"]

NORMS = "norms.csv"
_COLUMNS = ("epoch", "step", "layer", "gradient_norm", "update_norm", "weight_norm")


class NormRecord(keras.callbacks.Callback):
    """Writes what a `NormLogger` has seen in an epoch, before the state of the epoch is saved.

    A process that is killed between the two leaves an epoch too much, which the next one drops.

    Args:
        folder: The run's folder; of several processes only the chief may have this callback.
        logger: The logger, which must come before this callback.
        start: Epoch at which the training starts.
    """

    def __init__(self, folder: RunFolder, logger: NormLogger, start: int) -> None:
        super().__init__()
        self._folder = folder
        self._logger = logger
        self._start = start
        self.norms: list[Norms] = []
        self._known = 0

    @property
    def by_epoch(self) -> bool:
        """Whether there is one look an epoch."""
        return self._logger.every is None

    def on_train_begin(self, logs: Any = None) -> None:
        """Read what the run has so far."""
        path = self._folder.path / NORMS
        before = read_norms(path) if path.is_file() else []
        self.norms = [norms for norms in before if norms.epoch < self._start]
        self._known = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write what is new."""
        self.norms += self._logger.norms[self._known :]
        self._known = len(self._logger.norms)
        self._folder.write_text(NORMS, norms_csv(self.norms))


def norms_csv(norms: Sequence[Norms]) -> str:
    """Return norms as CSV text, a row for each layer of each look; floats have all their digits.

    Args:
        norms: The norms.

    Example:

    >>> from nadam_suite.callbacks.layer_norms import LayerNorms, Norms
    >>> from nadam_suite.experiment.norm_record import norms_csv
    >>> print(norms_csv([Norms(0, 8, {"out": LayerNorms(2.0, 0.5, 1.5)})]), end="")
    epoch,step,layer,gradient_norm,update_norm,weight_norm
    0,8,out,1.5,0.5,2.0
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for each in norms:
        for layer, row in each.layers.items():
            gradient = "" if row.gradient is None else row.gradient
            writer.writerow((each.epoch, each.step, layer, gradient, row.update, row.weight))
    return text.getvalue()


def read_norms(path: Path) -> list[Norms]:
    """Return what a file of norms holds.

    Args:
        path: The file.

    Raises:
        DataFileError: It cannot be read, or is no such file.
    """
    found: dict[tuple[int, int], dict[str, LayerNorms]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                gradient = float(row["gradient_norm"]) if row["gradient_norm"] else None
                norms = LayerNorms(float(row["weight_norm"]), float(row["update_norm"]), gradient)
                found.setdefault((int(row["epoch"]), int(row["step"])), {})[row["layer"]] = norms
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataFileError(
            f"The file {str(path)!r} must be the norms that the run wrote. Received: "
            f"{type(error).__name__}: {error}. Delete it to go on without the norms so far."
        ) from error
    return [Norms(epoch, step, layers) for (epoch, step), layers in found.items()]
