"""Several runs side by side: what differs between their configs and environments, and seeds."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nadam_suite.config import ABSENT, diff
from nadam_suite.experiment.folder import FREE
from nadam_suite.experiment.report.record import RunRecord, read_run, run_folder

__all__ = ["Comparison", "Difference", "Group", "Spread", "compare", "read_runs"]

# What is another run without training anything else, or another place of the same.
_SAME = ("output", "name", "tuner")
# Facts about a run rather than about where it ran.
_NOT_ENVIRONMENT = ("config_fingerprint", "seed")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A key that does not have the same value in all runs.

    Args:
        key: Dotted key.
        values: Its value in each run; `ABSENT` where a run does not have it.
    """

    key: str
    values: tuple[Any, ...]

    def shown(self) -> list[str]:
        """Return the values as text."""
        return ["–" if v is ABSENT or v is None else _text(v) for v in self.values]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A metric over runs that differ in their seeds.

    Args:
        values: Its finite values, one for each run that has it.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Their sample standard deviation, with n - 1; None of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        """Return mean and spread in a few digits."""
        spread = "" if self.std is None else f" ± {self.std:.2g}"
        return f"{self.mean:.5g}{spread}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one config and environment that differ in their seeds alone.

    Args:
        runs: Positions of the runs.
        final: Spread of each metric of the final models.
        best: Spread of the best value of each metric that was validated.
    """

    runs: tuple[int, ...]
    final: Mapping[str, Spread]
    best: Mapping[str, Spread]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs, and how they differ.

    Args:
        runs: The runs.
        config: Keys of their configs that differ.
        environment: What differs of where they ran.
        groups: Runs that differ in their seeds alone, in the order of the first of each.
    """

    runs: tuple[RunRecord, ...]
    config: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    groups: tuple[Group, ...]

    @property
    def seeds(self) -> bool:
        """Whether any of the groups has several runs."""
        return any(len(group.runs) > 1 for group in self.groups)

    def name(self, group: Group) -> str:
        """Return what a group is called: its runs."""
        return ", ".join(self.runs[index].label for index in group.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        labels = [run.label for run in self.runs]
        tables = {"config": self.config, "environment": self.environment}
        found: dict[str, Any] = {"runs": [run.to_dict() for run in self.runs]}
        for name, differences in tables.items():
            found[f"{name}_differences"] = {
                each.key: {
                    label: None if value is ABSENT else value
                    for label, value in zip(labels, each.values, strict=True)
                }
                for each in differences
            }
        found["groups"] = [
            {
                "runs": [labels[index] for index in group.runs],
                "seeds": [self.runs[index].config.seed for index in group.runs],
                "final": {name: _spread(each) for name, each in group.final.items()},
                "best": {name: _spread(each) for name, each in group.best.items()},
            }
            for group in self.groups
        ]
        return found


def read_runs(paths: Sequence[Path]) -> Comparison:
    """Return runs by their folders, each under a name of its own.

    Args:
        paths: Folders of runs, or of trials that are runs.

    Raises:
        RunFolderError: A folder is that of no run, or a file of it is damaged.
        DataFileError: A file is damaged.
        ConfigError: A run's config has faults.
    """
    labels = _labels([run_folder(path) or path for path in paths])
    return compare([read_run(path, label) for path, label in zip(paths, labels, strict=True)])


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Return how runs differ.

    Args:
        runs: At least one.

    Example:

    >>> from pathlib import Path
    >>> from nadam_suite.config import TrainConfig
    >>> from nadam_suite.experiment.report import RunRecord, compare
    >>> def run(seed, **final):
    ...     config = TrainConfig(model="digits", data="digits", seed=seed)
    ...     result = {"metrics": {"test": final}}
    ...     return RunRecord(Path("run"), f"run-{seed}", config, "finished", (), (), (), {}, result)
    >>> found = compare([run(0, accuracy=0.98), run(1, accuracy=0.96)])
    >>> [each.key for each in found.config], str(found.groups[0].final["test accuracy"])
    (['seed'], '0.97 ± 0.014')
    """
    tables = [
        {key: value for key, value in run.config.to_dict().items() if key not in _SAME}
        for run in runs
    ]
    environments = [
        {key: value for key, value in run.environment.items() if key not in _NOT_ENVIRONMENT}
        for run in runs
    ]
    members: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        members.setdefault(_identity(run), []).append(index)
    return Comparison(
        tuple(runs),
        tuple(_differences(tables)),
        tuple(_differences(environments)),
        tuple(_group(runs, indices) for indices in members.values()),
    )


def _identity(run: RunRecord) -> str:
    """Return a text that runs share which differ in their seeds alone."""
    table = {k: v for k, v in run.config.to_dict().items() if k not in {*FREE, "seed"}}
    place = {key: run.environment.get(key) for key in ("backend", "data_sha256")}
    return json.dumps([table, place], sort_keys=True, default=str)


def _group(runs: Sequence[RunRecord], indices: Sequence[int]) -> Group:
    finals = [runs[index].final() for index in indices if runs[index].status == "finished"]
    bests = [{name: value for name, (value, _) in runs[index].best().items()} for index in indices]
    return Group(tuple(indices), _spreads(finals), _spreads(bests))


def _spreads(tables: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for table in tables for name in table)
    values = {
        name: tuple(t[name] for t in tables if name in t and math.isfinite(t[name]))
        for name in names
    }
    return {name: Spread(found) for name, found in values.items() if found}


def _differences(tables: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return the keys that differ between tables, in the order of their names."""
    changes = [{change.key: change for change in diff(tables[0], table)} for table in tables]
    keys = sorted({key for each in changes for key in each})
    found = []
    for key in keys:
        first = next(each[key].before for each in changes if key in each)
        values = tuple(each[key].after if key in each else first for each in changes)
        # A table that one run has and another has not differs by its keys.
        if any(value is not ABSENT and value is not None for value in values):
            found.append(Difference(key, values))
    return found


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths by which they can be told from each other."""
    parts = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{each[-1]} ({number})" for number, each in enumerate(parts, 1)]


def _spread(each: Spread) -> dict[str, Any]:
    low, high = min(each.values), max(each.values)
    return {"n": len(each.values), "mean": each.mean, "std": each.std, "min": low, "max": high}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
