"""Choose the length of a power function average after the training, from snapshots of a few.

Any other average is close to a mixture of them. The mixture is linear in the weights, so that it is
the average itself that is put together, whatever the weights were.
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np

from nadam_suite.averaging.posthoc_files import (
    Snapshot,
    list_snapshots,
    read_arrays,
    unique_paths,
)
from nadam_suite.averaging.posthoc_solve import profile_error, solve, solve_all
from nadam_suite.averaging.power import exponent
from nadam_suite.errors import ArgumentError, DataFileError, NadamSuiteWarning, StateError

__all__ = ["predicted_error", "profile_error", "reconstruct", "sigmas", "solve"]

_TOLERATED = 0.05
_WIDTHS = tuple(number / 200.0 for number in range(1, 58))  # 0.005 ... 0.285


def reconstruct(
    folder: str | os.PathLike[str],
    sigma_rel: float,
    model: keras.Model | None = None,
    step: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the power function average of any width, put together from snapshots.

    It is the mixture of all averages in the snapshots whose profile is nearest to the profile of
    that width. How far it is, in the L2 norm and relative to it, is known beforehand; more than
    5 % brings a warning. With the default widths 0.05 and 0.1 and 32 snapshots the error is below
    5 % for widths from 0.02 to 0.25, and below 0.3 % from 0.05 to 0.15.

    The variables that are no weights, such as the moving statistics of BatchNormalization, are
    left as they are: see `nadam_suite.callbacks.recalibrate_batch_norm`.

    Args:
        folder: Where `nadam_suite.callbacks.AverageSnapshots` has put the snapshots.
        sigma_rel: Width, as a share of the training, in (0, 0.2886); see `PowerEMA`.
        model: Model whose variables are given these values, or None. Inside
            `with averaged_weights(model):` they come and go, and the raw weights are back
            afterwards.
        step: Number of updates after which the average is wanted; earlier snapshots count.
            Defaults to that of the last snapshot.

    Returns:
        float32 arrays by the paths of their variables; float64 where the averages are.

    Raises:
        ArgumentError: `sigma_rel` or `step` lies out of its range.
        DataFileError: The folder has no snapshots, a damaged one, or those of several trainings.
        StateError: The model has other variables.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import PowerEMA
    >>> from nadam_suite.averaging.posthoc import reconstruct
    >>> from nadam_suite.callbacks import AverageSnapshots
    >>> folder = tempfile.mkdtemp()
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.01, averaging=PowerEMA((0.05, 0.1))), loss="mse")
    >>> x = np.ones((64, 2), "float32")
    >>> history = model.fit(x, x[:, :1], batch_size=1, epochs=1, verbose=0,
    ...                     callbacks=[AverageSnapshots(folder, count=16)])
    >>> [array.shape for array in reconstruct(folder, sigma_rel=0.15, model=model).values()]
    [(2, 1), (1,)]

    Reference: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models",
    2024, section 3.2 and algorithm 3.
    """
    mixture = _Mixture.of(folder, sigma_rel, step)
    if mixture.error > _TOLERATED:
        warnings.warn(mixture.advice(sigma_rel), NadamSuiteWarning, stacklevel=2)
    # Of another model nothing is read.
    variables = None if model is None else _variables(model, mixture.columns[0][0])
    values = mixture.values()
    for variable, value in zip(variables or (), values.values(), strict=bool(variables)):
        variable.assign(value)
    return values


def predicted_error(
    folder: str | os.PathLike[str], sigma_rel: float, step: int | None = None
) -> float:
    """Return the relative L2 error of the profile that `reconstruct` would have.

    Args:
        folder: See `reconstruct`.
        sigma_rel: See `reconstruct`.
        step: See `reconstruct`.

    Raises:
        ArgumentError: See `reconstruct`.
        DataFileError: See `reconstruct`.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.averaging import PowerEMA
    >>> from nadam_suite.averaging.posthoc import predicted_error
    >>> from nadam_suite.callbacks import AverageSnapshots
    >>> folder = tempfile.mkdtemp()
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(Nadam(0.01, averaging=PowerEMA((0.05, 0.1))), loss="mse")
    >>> x = np.ones((64, 2), "float32")
    >>> history = model.fit(x, x[:, :1], batch_size=1, epochs=1, verbose=0,
    ...                     callbacks=[AverageSnapshots(folder, count=16)])
    >>> predicted_error(folder, sigma_rel=0.1), predicted_error(folder, sigma_rel=0.07) < 0.01
    (0.0, True)
    """
    return _Mixture.of(folder, sigma_rel, step).error


def sigmas(sigma: str, count: int = 9) -> tuple[float, ...]:
    """Return the widths that a text stands for, to try one after the other.

    Args:
        sigma: Widths and ranges, separated by commas: ".05,.1" are two, ".02:.25" is a range and
            ".02:.25:5" one of five. Each is so many times the one before it, rounded to three
            digits; the ends are as they are written.
        count: Number of widths in a range that does not say it, an integer >= 2. Defaults to 9.

    Raises:
        ArgumentError: The text has another form, or a width is not in (0, 0.2886).

    Example:

    >>> from nadam_suite.averaging.posthoc import sigmas
    >>> sigmas(".02:.25:5, .1")
    (0.02, 0.0376, 0.0707, 0.133, 0.25, 0.1)
    """
    number = r"\s*([0-9]*\.?[0-9]+(?:[eE]-?[0-9]+)?)\s*"
    widths: list[float] = []
    for part in sigma.split(","):
        match = re.fullmatch(rf"{number}(?::{number}(?::\s*([0-9]+)\s*)?)?", part)
        if match is None:
            _refuse_text(sigma, f"{part!r} is neither a number nor a range")
        first, last = float(match[1]), float(match[2] or match[1])
        exponent(first)
        exponent(last)
        points = int(match[3] or count) if match[2] else 1
        if match[2] and not (first < last and points >= 2):
            _refuse_text(sigma, f"{part!r} does not lead upwards in at least two widths")
        inner = np.geomspace(first, last, points)[1:-1]
        between = [float(f"{x:.3g}") for x in inner]
        widths += [first, *between, last] if match[2] else [first]
    return tuple(dict.fromkeys(widths))


def _refuse_text(sigma: str, fault: str) -> NoReturn:
    raise ArgumentError(
        'Argument `sigma` must be widths such as ".05,.1", or a range such as ".02:.25" or '
        f'".02:.25:8". Received: sigma={sigma!r}, and {fault}. Correct it.'
    )


@dataclasses.dataclass(frozen=True)
class _Mixture:
    """A mixture of averages.

    Args:
        columns: Snapshot and number of each average.
        weights: Its weight in the mixture.
        time: Number of updates of the target.
        error: Relative L2 error of the profile.
    """

    columns: Sequence[tuple[Snapshot, int]]
    weights: np.ndarray
    time: int
    error: float

    @classmethod
    def of(cls, folder: str | os.PathLike[str], sigma_rel: float, step: int | None) -> _Mixture:
        """Return the mixture that comes nearest to a width after a number of updates."""
        gamma = exponent(sigma_rel)
        snapshots = _snapshots(folder)
        time = _target_time(snapshots, step)
        columns = [
            (snapshot, average)
            for snapshot in snapshots
            for average, taken in enumerate(snapshot.times)
            if taken <= time
        ]
        times, gammas = _profiles(columns)
        weights = solve(times, gammas, time, gamma)
        return cls(columns, weights, time, profile_error(times, gammas, weights, time, gamma))

    def values(self) -> dict[str, np.ndarray]:
        """Read the snapshots, an array at a time, and add them up in float64."""
        first = self.columns[0][0]
        totals: list[Any] = [np.zeros(shape) for shape in first.shapes]
        types = [np.dtype("float32")] * len(totals)
        for (snapshot, average), weight in zip(self.columns, self.weights, strict=True):
            if weight == 0.0:
                continue
            for index, array in enumerate(read_arrays(snapshot, average)):
                totals[index] += weight * array.astype("float64")
                types[index] = np.promote_types(types[index], array.dtype)
        for index, dtype in enumerate(types):
            totals[index] = totals[index].astype(dtype)
        return dict(zip(first.paths, totals, strict=True))

    def advice(self, sigma_rel: float) -> str:
        """Return a warning that says how large the error is, and where it is small."""
        times, gammas = _profiles(self.columns)
        targets = [exponent(width) for width in _WIDTHS]
        rows = solve_all(times, gammas, self.time, targets)
        good = [
            width
            for width, row, gamma in zip(_WIDTHS, rows, targets, strict=True)
            if profile_error(times, gammas, row, self.time, gamma) <= _TOLERATED
        ]
        where = f"from {good[0]:g} to {good[-1]:g}" if good else "none"
        number = len({snapshot.time for snapshot, _ in self.columns})
        return (
            f"The average of sigma_rel={sigma_rel:g} after {self.time} updates can be put together "
            f"from {number} snapshots with an error of {self.error:.1%} in its profile. The widths "
            f"with at most {_TOLERATED:.0%} are {where}. Choose one of them; the next time take "
            "more snapshots, or let PowerEMA(sigma_rel=...) keep a width near to this one."
        )


def _profiles(columns: Sequence[tuple[Snapshot, int]]) -> tuple[list[int], list[float]]:
    times = [snapshot.times[average] for snapshot, average in columns]
    return times, [snapshot.gammas[average] for snapshot, average in columns]


def _snapshots(folder: str | os.PathLike[str]) -> list[Snapshot]:
    """Return the snapshots of a folder, at least one."""
    if found := list_snapshots(folder):
        return found
    missing = "it has none" if Path(folder).is_dir() else "there is no such folder"
    raise DataFileError(
        f"The folder {str(folder)!r} must have snapshots of averages, but {missing}. Train with "
        "Nadam(averaging=PowerEMA()) and the callback AverageSnapshots(folder), and pass the same "
        "folder."
    )


def _target_time(snapshots: Sequence[Snapshot], step: int | None) -> int:
    first, last = min(snapshots[0].times), snapshots[-1].time
    if step is None:
        return last
    if isinstance(step, bool) or not isinstance(step, (int, np.integer)):
        step_ok = False
    else:
        step_ok = first <= step <= last
    if not step_ok:
        raise ArgumentError(
            f"Argument `step` must be an integer from {first} to {last}, the updates of the first "
            f"and the last snapshot, or None. Received: step={step!r}. Leave it out for the last."
        )
    return int(step)


def _variables(model: keras.Model, snapshot: Snapshot) -> list[Any]:
    """Return the model's variables that a snapshot is of: by path, or else by position."""
    by_path = dict(zip(unique_paths(model.variables), model.variables, strict=True))
    for found in ([by_path.get(path) for path in snapshot.paths], model.trainable_variables):
        if [None if v is None else tuple(v.shape) for v in found] == list(snapshot.shapes):
            return list(found)
    saved = dict(zip(snapshot.paths, snapshot.shapes, strict=True))
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    own = dict(zip(unique_paths(model.trainable_variables), shapes, strict=True))
    raise StateError(
        f"The model {model.name!r} must have the variables of the snapshots. Received: "
        f"{_differences(saved, own)}. Build the model as it was trained."
    )


def _differences(saved: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]]) -> str:
    """Return the first difference between two lists of variables in words."""
    if len(saved) != len(own):
        return f"{len(own)} trainable variables, and {len(saved)} in the snapshots"
    for (path, shape), (name, size) in zip(saved.items(), own.items(), strict=True):
        if shape != size:
            return f"{name!r} of shape {size}, where the snapshots have {path!r} of shape {shape}"
    return f"variables {list(own)}, and {list(saved)} in the snapshots"
