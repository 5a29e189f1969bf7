"""Which length of average is the best for a run, found out after its training from snapshots."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from nadam_suite.averaging.posthoc import predicted_error, reconstruct
from nadam_suite.averaging.posthoc_files import list_snapshots
from nadam_suite.callbacks import TrainingState, recalibrate_batch_norm
from nadam_suite.callbacks.model_files import save_model, without_optimizer
from nadam_suite.callbacks.monitored import better, checked_monitor
from nadam_suite.callbacks.snapshot import assign, read
from nadam_suite.config import TrainConfig
from nadam_suite.errors import ArgumentError, ConfigError, NadamSuiteWarning, RunFolderError
from nadam_suite.experiment.assemble import EVALUATION_BATCH, built_task, seeded
from nadam_suite.experiment.folder import CONFIG, RunFolder
from nadam_suite.experiment.own_callbacks import snapshot_folder
from nadam_suite.experiment.parts import find_part
from nadam_suite.experiment.splits import Splits
from nadam_suite.experiment.stream import Epoch

__all__ = ["TOLERATED", "Sweep", "SweepRow", "check_run", "sweep_averages"]

TOLERATED = 0.05  # error of a profile, above which an average is marked as inexact


@dataclasses.dataclass(frozen=True)
class SweepRow:
    """An average that was put together from snapshots.

    Args:
        sigma_rel: Its width.
        error: Relative L2 error of its profile.
        metrics: Metrics on the validation data.
    """

    sigma_rel: float
    error: float
    metrics: dict[str, float]

    @property
    def exact(self) -> bool:
        """Whether the error of its profile is small."""
        return self.error <= TOLERATED


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Averages of a run by their widths, and the best of them.

    Args:
        run: The run's folder.
        step: Number of updates after which the averages are.
        snapshots: Number of snapshots that they were put together from.
        monitor: Metric by which the best is the best.
        rows: The averages.
        best: Position of the best, or None where no metric is a number.
        raw: Metrics of the raw weights at the last epoch, on the same data.
        test: Metrics of the best on the test data, or None where there are none.
    """

    run: Path
    step: int
    snapshots: int
    monitor: str
    rows: tuple[SweepRow, ...]
    best: int | None
    raw: dict[str, float]
    test: dict[str, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold."""
        rows = [
            {**dataclasses.asdict(row), "metrics": _finite(row.metrics), "best": index == self.best}
            for index, row in enumerate(self.rows)
        ]
        test = None if self.test is None else _finite(self.test)
        table = {"run": str(self.run), "raw": _finite(self.raw), "rows": rows, "test": test}
        return {**dataclasses.asdict(self), **table}

    def csv_rows(self) -> list[dict[str, float]]:
        """Return a row for each average, for a table of numbers."""
        return [
            {"sigma_rel": row.sigma_rel, "error": row.error, **row.metrics} for row in self.rows
        ]


def sweep_averages(
    run: str | os.PathLike[str],
    sigmas: Sequence[float],
    *,
    monitor: str = "loss",
    mode: str = "auto",
    step: int | None = None,
    write: str | os.PathLike[str] | None = None,
    watch: Callable[[SweepRow], object] | None = None,
) -> Sweep:
    """Evaluate power function averages of several widths on the validation data of a run.

    They are put together from the run's snapshots (see `nadam_suite.averaging.posthoc`), and batch
    normalization is recalibrated for each. The run is only read, and may still be training.

    Args:
        run: The run's folder.
        sigmas: Widths.
        monitor: Metric of the validation that the best is chosen by. Defaults to "loss".
        mode: "min" or "max"; "auto", the default, knows it of many metrics.
        step: Number of updates after which the averages are wanted. Defaults to the last snapshot.
        write: File to write a model with the best average to, which can be loaded without this
            package; or None.
        watch: Called with each average that has been evaluated.

    Raises:
        ArgumentError: A width or the step lies out of its range, or there is no such metric.
        ConfigError: The run has no validation data.
        DataFileError: A snapshot, or the state, is damaged.
        RunFolderError: The folder is no run, or has no snapshots.

    Example:

    >>> import tempfile
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment import run_training
    >>> from nadam_suite.experiment.average_sweep import sweep_averages
    >>> options = {"data_options": {"train_examples": 64}, "model_options": {"width": 4}}
    >>> config = TrainConfig(model="digits", data="digits", batch_size=4, **options,
    ...                      optimizer={"averaging": "power_ema"},
    ...                      callbacks=[{"kind": "average_snapshots", "count": 16}])
    >>> result = run_training(config, output=tempfile.mkdtemp() + "/run")
    >>> sweep = sweep_averages(result.folder, (0.05, 0.1, 0.2))
    >>> len(sweep.rows), sweep.step, sorted(sweep.raw)
    (3, 16, ['accuracy', 'loss'])
    """
    folder = RunFolder(run, chief=False)
    config, snapshots = check_run(run)
    splits: Splits = find_part("data", config.data, config.data_options)()
    if splits.validation is None:
        raise ConfigError(
            "`data` must have validation data, by which averages are compared. Received: "
            f"data={config.data!r}, which has none. Add them to its Splits."
        )
    known = [s for s in list_snapshots(snapshots) if step is None or s.time <= step]
    with seeded(config):
        model = _model(config, folder)
        evaluate = _Evaluation(model, splits, config)
        raw = evaluate("validation")
        rises = _rises(monitor, mode, raw)
        rows: list[SweepRow] = []
        best: int | None = None
        for sigma in sigmas:
            evaluate.show(snapshots, sigma, step)
            error = predicted_error(snapshots, sigma, step)
            rows.append(SweepRow(sigma, error, evaluate("validation")))
            top = None if best is None else rows[best].metrics[monitor]
            if better(rows[-1].metrics[monitor], top, rises):
                best = len(rows) - 1
            if watch is not None:
                watch(rows[-1])
        test = None
        if best is not None:
            evaluate.show(snapshots, rows[best].sigma_rel, step)
            test = evaluate("test") if splits.test is not None else None
            if write is not None:
                with without_optimizer(model):
                    save_model(model, Path(write))
    last = step or (known[-1].time if known else 0)
    return Sweep(folder.path, last, len(known), monitor, tuple(rows), best, raw, test)


class _Evaluation:
    """A model, what it is evaluated on, and what its statistics are computed from."""

    def __init__(self, model: keras.Model, splits: Splits, config: TrainConfig) -> None:
        self._model = model
        self._splits = splits
        self._training = Epoch(splits, config.batch_size, config.seed)

    def __call__(self, split: str) -> dict[str, float]:
        """Return the metrics on a split."""
        data, options = getattr(self._splits, split), {"verbose": 0, "return_dict": True}
        values = self._model.evaluate(*data, batch_size=EVALUATION_BATCH, **options)
        return {name: float(value) for name, value in values.items()}

    def show(self, snapshots: Path, sigma_rel: float, step: int | None) -> None:
        """Give the model an average, and statistics that fit it."""
        with warnings.catch_warnings():  # how inexact it is stands in the table
            warnings.simplefilter("ignore", NadamSuiteWarning)
            reconstruct(snapshots, sigma_rel, self._model, step)
        recalibrate_batch_norm(self._model, self._training)


def check_run(run: str | os.PathLike[str]) -> tuple[TrainConfig, Path]:
    """Return a run's config and the folder of its snapshots, of which there are some.

    Args:
        run: The run's folder.

    Raises:
        RunFolderError: It is no run, or has no snapshots or no state.
    """
    folder = RunFolder(run, chief=False)
    shown = f"RUN={str(folder.path)!r}"
    if not (folder.path / CONFIG).is_file():
        raise RunFolderError(
            f"Argument `RUN` must be the folder of a run. Received: {shown}, which has no "
            f"{CONFIG}. Check the path."
        )
    config = folder.config()
    snapshots = snapshot_folder(config, folder.path)
    if snapshots is None:
        raise RunFolderError(
            "Argument `RUN` must be a run that kept snapshots of power function averages. "
            f"Received: {shown}, whose config has no such callback. Train it with "
            "optimizer.averaging=power_ema 'callbacks=[{kind=\"average_snapshots\"}]'."
        )
    if not list_snapshots(snapshots) or not TrainingState(folder.state).exists():
        raise RunFolderError(
            "Argument `RUN` must be a run with snapshots of its averages and the state of an "
            f"epoch. Received: {shown}, which does not have both yet. Wait for its first epoch, "
            "or go on with it: nadam-suite train NAME --resume."
        )
    return config, snapshots


def _model(config: TrainConfig, folder: RunFolder) -> keras.Model:
    """Return the model as it was at the end of the last epoch, compiled to be evaluated."""
    task = built_task(find_part("model", config.model, config.model_options), config)
    task.model.compile(optimizer="sgd", loss=task.loss, metrics=list(task.metrics))
    assign("model", task.model.variables, read(TrainingState(folder.state).path))
    return task.model


def _rises(monitor: str, mode: str, metrics: dict[str, float]) -> bool:
    """Return whether a higher value is better.

    Raises:
        ArgumentError: There is no such metric, or it is not known.
    """
    if monitor not in metrics:
        raise ArgumentError(
            f"Argument `monitor` must be one of {', '.join(map(repr, sorted(metrics)))}. Received: "
            f"monitor={monitor!r}. Correct it."
        )
    return checked_monitor(monitor, mode)


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Return metrics with None for what is no number, which JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
