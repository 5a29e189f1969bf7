"""TensorBoard logs of a run, which every backend writes alike.

`keras.callbacks.TensorBoard` writes through TensorFlow whatever the backend.
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from nadam_suite.callbacks.event_file import append_scalars, event_path
from nadam_suite.callbacks.layer_norms import Norms
from nadam_suite.callbacks.norms import norm_tags

__all__ = ["EventLog", "is_raw"]


class EventLog:
    """One curve per metric, in a sub-folder for training and one for validation.

    Where the validation is that of averages, that of the raw weights has a third one.

    Args:
        folder: Where the logs lie. Logs of an earlier part of the run are written anew.
        history: Rows of the epochs so far, see `add`.
    """

    def __init__(self, folder: Path, history: Iterable[Mapping[str, float]] = ()) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._files: dict[str, Path] = {}
        for row in history:
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Add the metrics of an epoch; those that begin with "val_" are of the validation."""
        values: dict[str, dict[str, float]] = {}
        for name, value in row.items():
            if name != "epoch":
                split, metric = _place(name, row)
                values.setdefault(split, {})[f"epoch_{metric}"] = value
        for split, metrics in values.items():
            self._append(split, int(row["epoch"]), metrics)

    def add_norms(self, norms: Norms, *, by_epoch: bool) -> None:
        """Add the norms of one update, layer by layer, beside the metrics of the training.

        Args:
            norms: The norms.
            by_epoch: Whether they are drawn over epochs, or over the optimizer's steps.
        """
        self._append("train", norms.epoch if by_epoch else norms.step, norm_tags(norms))

    def _append(self, split: str, step: int, scalars: Mapping[str, float]) -> None:
        if split not in self._files:
            self._files[split] = event_path(self._folder / split)
        append_scalars(self._files[split], scalars, step)


def is_raw(name: str, names: Container[str]) -> bool:
    """Return whether a metric is that of raw weights, where another one is of their averages."""
    return name.startswith("val_raw_") and f"val_{name.removeprefix('val_raw_')}" in names


def _place(name: str, row: Mapping[str, float]) -> tuple[str, str]:
    """Return the sub-folder of a metric, and what it is called there."""
    if is_raw(name, row):
        return "validation_raw", name.removeprefix("val_raw_")
    if name.startswith("val_"):
        return "validation", name.removeprefix("val_")
    return "train", name
