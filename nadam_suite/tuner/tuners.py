"""keras-tuner's searches, and a quasi-random one, that lose nothing and try known points first."""

from __future__ import annotations

from typing import Any, TypeAlias

from nadam_suite.tuner.hyperband import ResumableHyperband
from nadam_suite.tuner.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    QuasiRandomOracle,
    RandomSearchOracle,
)
from nadam_suite.tuner.search_tuner import SearchTuner
from nadam_suite.tuner.start import Points

__all__ = [
    "BayesianOptimization",
    "GridSearch",
    "QuasiRandomSearch",
    "RandomSearch",
    "ResumableHyperband",
]

Objective: TypeAlias = Any


class QuasiRandomSearch(SearchTuner):
    """Evenly spread points of the space: what to begin with, and to explore with.

    A scrambled low-discrepancy sequence leaves no gaps, as independent draws do, and each of its
    points is a function of seed and number alone, whoever asks, and how often it was interrupted.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model.
        objective: Name of a metric, or a `keras_tuner.Objective`.
        max_trials: Trials in all, those of `points` included. Defaults to 10.
        seed: Seed of the points and of every training; 0 is one. None, the default, draws one.
        sampler: "halton", the default, or "sobol".
        points: What to try first: "published", the default, for the points of a `NadamHyperModel`,
            or the default point of any other; mappings of names to values, or `PublishedPoint`s;
            () for none.
        **kwargs: `hyperparameters`, declared before those of the hypermodel; `tune_new_entries` and
            `allow_new_entries`, whether others than these are tuned, and may be there, both true;
            `max_retries_per_trial`, how often a trial that has crashed is tried again (0);
            `max_consecutive_failed_trials`, crashes in a row that end the search (3);
            `directory`, `project_name`, `overwrite`, `executions_per_trial`, and all others of
            `keras_tuner.Tuner`.

    Raises:
        ArgumentError: An argument is out of its range. In `search()`, before any step of training:
            there is no metric of the objective's name.
        SearchFolderError: The folder belongs to another search, or the space has changed since.
        SearchError: In `search()`: no trial ends well.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.tuner import QuasiRandomSearch
    >>> def build(hp):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(hp.Float("rate", 1e-3, 1.0, sampling="log")), loss="mse")
    ...     return model
    >>> x = np.ones((8, 2), "float32")
    >>> tuner = QuasiRandomSearch(build, "val_loss", 3, seed=0, directory=tempfile.mkdtemp())
    >>> tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), verbose=0)
    >>> trial = tuner.oracle.get_best_trials()[0]
    >>> bool(tuner.get_best_models()[0].evaluate(x, x[:, :1], verbose=0) == trial.score)
    True
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Objective = None,
        max_trials: int = 10,
        seed: int | None = None,
        sampler: str = "halton",
        points: Points = "published",
        **kwargs: Any,
    ) -> None:
        options = {
            "objective": objective,
            "max_trials": max_trials,
            "seed": seed,
            "sampler": sampler,
        }
        super().__init__(QuasiRandomOracle, hypermodel, points, options, **kwargs)


class RandomSearch(SearchTuner):
    """keras-tuner's `RandomSearch`, that loses nothing and tries known points first.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model.
        objective: Name of a metric, or a `keras_tuner.Objective`.
        max_trials: Trials in all, those of `points` included. Defaults to 10.
        seed: Seed of the points and of every training; 0 is one. None, the default, draws one.
        points: What to try first, see `QuasiRandomSearch`.
        **kwargs: Those of `QuasiRandomSearch`.

    Raises:
        ArgumentError: See `QuasiRandomSearch`.
        SearchFolderError: See `QuasiRandomSearch`.
        SearchError: See `QuasiRandomSearch`.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite.tuner import RandomSearch
    >>> from nadam_suite import Nadam
    >>> def build(hp):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(hp.Choice("rate", [0.01, 0.1])), loss="mse")
    ...     return model
    >>> x = np.ones((8, 2), "float32")
    >>> tuner = RandomSearch(build, "loss", 2, seed=0, directory=tempfile.mkdtemp())
    >>> tuner.search(x, x[:, :1], verbose=0)
    >>> len(tuner.oracle.trials)
    2
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Objective = None,
        max_trials: int = 10,
        seed: int | None = None,
        points: Points = "published",
        **kwargs: Any,
    ) -> None:
        options = {
            "objective": objective,
            "max_trials": max_trials,
            "seed": seed,
        }
        super().__init__(RandomSearchOracle, hypermodel, points, options, **kwargs)


class BayesianOptimization(SearchTuner):
    """keras-tuner's `BayesianOptimization`, that loses nothing and tries known points first.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model.
        objective: Name of a metric, or a `keras_tuner.Objective`.
        max_trials: Trials in all, those of `points` included. Defaults to 10.
        num_initial_points: Random points before the first that is chosen; None, the default, for
            three times the number of hyperparameters.
        alpha: Noise of the objective that is expected. Defaults to 1e-4.
        beta: Weight of exploring over exploiting. Defaults to 2.6.
        seed: Seed of the points and of every training; 0 is one. None, the default, draws one.
        points: What to try first, see `QuasiRandomSearch`.
        **kwargs: Those of `QuasiRandomSearch`.

    Raises:
        ArgumentError: See `QuasiRandomSearch`.
        SearchFolderError: See `QuasiRandomSearch`.
        SearchError: See `QuasiRandomSearch`.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite.tuner import BayesianOptimization
    >>> from nadam_suite import Nadam
    >>> def build(hp):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(hp.Choice("rate", [0.01, 0.1])), loss="mse")
    ...     return model
    >>> x = np.ones((8, 2), "float32")
    >>> tuner = BayesianOptimization(build, "loss", 2, seed=0, directory=tempfile.mkdtemp())
    >>> tuner.search(x, x[:, :1], verbose=0)
    >>> len(tuner.oracle.trials)
    2
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Objective = None,
        max_trials: int = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        points: Points = "published",
        **kwargs: Any,
    ) -> None:
        options = {
            "objective": objective,
            "max_trials": max_trials,
            "num_initial_points": num_initial_points,
            "alpha": alpha,
            "beta": beta,
            "seed": seed,
        }
        super().__init__(BayesianOptimizationOracle, hypermodel, points, options, **kwargs)


class GridSearch(SearchTuner):
    """keras-tuner's `GridSearch`, that loses nothing and tries known points first.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model.
        objective: Name of a metric, or a `keras_tuner.Objective`.
        max_trials: Trials in all; None, the default, for the whole grid.
        seed: Seed of the points and of every training; 0 is one. None, the default, draws one.
        points: What to try first, see `QuasiRandomSearch`.
        values_per_range: Values of a range without steps, both ends included. Defaults to 5.
        **kwargs: Those of `QuasiRandomSearch`.

    Raises:
        ArgumentError: See `QuasiRandomSearch`.
        SearchFolderError: See `QuasiRandomSearch`.
        SearchError: See `QuasiRandomSearch`.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite.tuner import GridSearch
    >>> from nadam_suite import Nadam
    >>> def build(hp):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(hp.Choice("rate", [0.01, 0.1])), loss="mse")
    ...     return model
    >>> x = np.ones((8, 2), "float32")
    >>> tuner = GridSearch(build, "loss", seed=0, directory=tempfile.mkdtemp())
    >>> tuner.search(x, x[:, :1], verbose=0)
    >>> len(tuner.oracle.trials)
    2
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Objective = None,
        max_trials: int | None = None,
        seed: int | None = None,
        points: Points = "published",
        values_per_range: int = 5,
        **kwargs: Any,
    ) -> None:
        options = {
            "objective": objective,
            "max_trials": max_trials,
            "seed": seed,
            "values_per_range": values_per_range,
        }
        super().__init__(GridSearchOracle, hypermodel, points, options, **kwargs)
