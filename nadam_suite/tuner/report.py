"""What a search has found: its best trials, what mattered, and where its ranges were too narrow."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from nadam_suite.callbacks.files import replace_text
from nadam_suite.config.faults import counted
from nadam_suite.tuner.importance import Importances, importances
from nadam_suite.tuner.search_folder import read_search
from nadam_suite.tuner.search_record import CONFIGURED, Dimension, SearchRecord, TrialRecord

__all__ = ["FILES", "Boundary", "SearchReport", "boundaries", "report"]

FILES = ("report.html", "importance.png", "slices.png", "parallel.png")
_FIRST = ("centre of preset", "default")  # what the point is called that a space begins with
_NEAR = 0.05  # share of a range, at either end
_FEW = 20  # values of which the outermost is nearer to an end than that


@dataclasses.dataclass(frozen=True)
class Boundary:
    """An end of a range at which the best trials lie.

    Args:
        name: The hyperparameter, by its label.
        end: Which end.
        value: The range's value there.
        hits: How many of the best trials lie there.
        looked: Of how many.
    """

    name: str
    end: Literal["lower", "upper"]
    value: float
    hits: int
    looked: int

    def __str__(self) -> str:
        """Return what was found, and what to do."""
        beyond = "downwards" if self.end == "lower" else "upwards"
        return (
            f"{self.name}: {self.hits} of the {self.looked} best trials lie at its {self.end} end "
            f"{self.value:g}. Better values may lie beyond it: widen the range {beyond} and search "
            "again in another folder."
        )


@dataclasses.dataclass(frozen=True)
class SearchReport:
    """A search, and what can be said of it.

    Args:
        record: The search.
        importances: What each hyperparameter is responsible for.
        boundaries: Ends of ranges at which the best trials lie.
    """

    record: SearchRecord
    importances: Importances
    boundaries: tuple[Boundary, ...]

    def summary(self) -> list[str]:
        """Return the search in a few sentences."""
        record, well = self.record, len(self.record.ranked)
        diverged = sum(trial.diverged for trial in record.failed)
        failed = len(record.failed) - diverged
        parts = {"ended well": well, "diverged": diverged, "failed": failed}
        parts["not finished"] = len(record.unfinished)
        counts = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
        goal = "greatest" if record.direction == "max" else "least"
        lines = [f"{counted(len(record.trials), 'trial')}: {counts or 'none yet'}."]
        best = record.best
        if best is None:
            lines.append("No trial has ended well yet, so there is none to recommend.")
            return lines
        lines.append(f"The {goal} {record.objective}: {best.score:.6g}, of trial {best.id}.")
        configured = record.configured
        if configured is not None:
            lines.append(f"As configured (trial {configured.id}): {_score(configured)}.")
        first = next((t for t in record.ranked if (t.origin or "").startswith(_FIRST)), None)
        if first is not None:
            where = "default point of the space" if first.origin == "default" else first.origin
            lines.append(f"At the {where} (trial {first.id}): {_score(first)}.")
        return lines

    def verdict(self) -> str | None:
        """Return the best trial beside that of the config as it is, or None without the two."""
        best, configured = self.record.best, self.record.configured
        if best is None or configured is None:
            return None
        own = f"trial {configured.id}, {self.record.objective} {_score(configured)}"
        if best.origin == CONFIGURED:
            return f"No trial is better than the config as it is ({own})."
        return (
            f"Trial {best.id} is better than the config as it is: {self.record.objective} "
            f"{_score(best)}, as configured {_score(configured)} (trial {configured.id})."
        )

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return everything as plain data; numbers that are not finite are None.

        Args:
            top: So many of the best trials; all by default.
        """
        record = self.record
        ranked = [
            {"rank": rank, **_row(trial)} for rank, trial in enumerate(record.configurations, 1)
        ]
        found = {
            "folder": str(record.folder),
            "objective": record.objective,
            "direction": record.direction,
            "trials": {
                "all": len(record.trials),
                "ended_well": len(record.ranked),
                "failed": len(record.failed),
                "diverged": sum(trial.diverged for trial in record.failed),
                "unfinished": len(record.unfinished),
            },
            "ranked": ranked[:top],
            "importances": {
                **dataclasses.asdict(self.importances),
                "rows": [
                    {**dataclasses.asdict(row), "clear": row.clear} for row in self.importances.rows
                ],
            },
            "boundaries": [
                {**dataclasses.asdict(found), "message": str(found)} for found in self.boundaries
            ],
            "failed": [_row(trial) for trial in record.failed],
            "unfinished": [trial.id for trial in record.unfinished],
            "notes": list(record.notes),
        }
        return _finite(found)

    def write(self, output: str | os.PathLike[str]) -> list[Path]:
        """Write the report as one HTML page, and its pictures as PNG files.

        Args:
            output: Folder, which is created. Files of these names in it are replaced.

        Returns:
            The files: those of `FILES`.

        Raises:
            OSError: The folder cannot be written to.
        """
        from nadam_suite.tuner import report_plots as plots
        from nadam_suite.tuner.report_html import page

        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        html, *pictures = (folder / name for name in FILES)
        plots.plot_importances(self.importances, pictures[0])
        plots.plot_slices(self.record, pictures[1])
        plots.plot_parallel(self.record, pictures[2])
        replace_text(html, page(self, {picture.stem: picture.read_bytes() for picture in pictures}))
        return [html, *pictures]


def report(folder: str | os.PathLike[str]) -> SearchReport:
    """Return what a search has found so far.

    Args:
        folder: The search's folder, this package's or stock keras-tuner's. Nothing is written.

    Raises:
        SearchFolderError: There is no search in it.

    Example:

    >>> import keras_tuner, tempfile
    >>> from keras_tuner.oracles import RandomSearchOracle
    >>> from nadam_suite.tuner.report import report
    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    >>> class Formula(keras_tuner.Tuner):
    ...     def run_trial(self, trial, **options):
    ...         return trial.hyperparameters["rate"]
    >>> folder = tempfile.mkdtemp()
    >>> oracle = RandomSearchOracle(max_trials=2, seed=1, hyperparameters=hp)
    >>> Formula(oracle, directory=folder, project_name="search").search(verbose=0)
    >>> found = report(folder + "/search")
    >>> print(found.summary()[0])
    2 trials: 2 ended well.
    """
    record = read_search(folder)
    return SearchReport(record, importances(record), boundaries(record))


def boundaries(record: SearchRecord) -> tuple[Boundary, ...]:
    """Return the ends of ranges at which most of the best trials lie.

    The best trials are a tenth of all, but at least three, and no more than half. Of a range that
    has few values one is at its end soon, so there all of them must be.

    Args:
        record: The search.
    """
    trials = record.configurations
    looked = max(3, math.ceil(len(trials) / 10))
    if 2 * looked > len(trials):
        return ()
    best = trials[:looked]
    found = (_boundary(dimension, best) for dimension in record.varied)
    return tuple(boundary for boundary in found if boundary is not None)


def _boundary(dimension: Dimension, best: tuple[TrialRecord, ...]) -> Boundary | None:
    """Return the end of one range at which these trials lie, or None."""
    levels = [level for t in best if (level := dimension.level(t.values)) is not None]
    few = dimension.count is not None and dimension.count <= _FEW
    if not (dimension.numeric or dimension.ordered) or len(levels) < (3 if few else 2):
        return None
    if few and (dimension.count or 0) < 3:
        return None
    share = 1.0 if few else 2.0 / 3.0
    low = dimension.low if dimension.low is not None else dimension.values[0]
    high = dimension.high if dimension.high is not None else dimension.values[-1]
    lower = sum(level <= _NEAR for level in levels)
    upper = sum(level >= 1.0 - _NEAR for level in levels)
    if lower >= share * len(levels):
        return Boundary(dimension.label, "lower", low, lower, len(levels))
    if upper >= share * len(levels):
        return Boundary(dimension.label, "upper", high, upper, len(levels))
    return None


def _score(trial: TrialRecord) -> str:
    return "no score" if trial.score is None or trial.failed else f"{trial.score:.6g}"


def _row(trial: TrialRecord) -> dict[str, Any]:
    """Return a trial as plain data."""
    table = dataclasses.asdict(trial)
    table["folder"] = str(trial.folder)
    table["diverged"] = trial.diverged
    return table


def _finite(value: Any) -> Any:
    """Return plain data with None for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
