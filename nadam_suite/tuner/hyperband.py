"""Hyperband whose trials go on with their own state from rung to rung."""

from __future__ import annotations

from typing import Any

from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.oracles import HyperbandOracle
from nadam_suite.tuner.search_tuner import SearchTuner
from nadam_suite.tuner.start import Points

__all__ = ["ResumableHyperband"]


class ResumableHyperband(SearchTuner):
    """Hyperband whose trials go on where they were, instead of beginning with their best weights.

    Many trials begin, and the best of them go on with more epochs: from the state of their last
    epoch, optimizer, averages and counters included, so that no warm-up is repeated. Schedules are
    to be planned for `max_epochs`, as with the plan of a `NadamHyperModel`.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that builds a compiled model.
        objective: Name of a metric, or a `keras_tuner.Objective`.
        max_epochs: Epochs of the longest trials. Defaults to 100.
        factor: How many trials are there for each that goes on, >= 2. Defaults to 3.
        hyperband_iterations: How often all of it is done. Defaults to 1.
        seed: Seed of the points and of every training; 0 is one. None, the default, draws one.
        points: What to try first, see `QuasiRandomSearch`.
        sampler: "halton", the default, "sobol" or "random".
        **kwargs: Those of `QuasiRandomSearch`.

    Raises:
        ArgumentError: `max_epochs` is not the length that a `NadamHyperModel` is planned for; see
            also `QuasiRandomSearch`.

    Reference:
        Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", 2018.

    Example:

    >>> import keras, numpy as np, tempfile
    >>> from nadam_suite.tuner import ResumableHyperband
    >>> from nadam_suite import Nadam
    >>> def build(hp):
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(Nadam(hp.Choice("rate", [0.01, 0.1])), loss="mse")
    ...     return model
    >>> x = np.ones((8, 2), "float32")
    >>> folder = tempfile.mkdtemp()
    >>> tuner = ResumableHyperband(build, "loss", 2, factor=2, seed=0, directory=folder)
    >>> tuner.search(x, x[:, :1], verbose=0)
    >>> [t.hyperparameters.values["tuner/epochs"] for t in tuner.oracle.trials.values()]
    [1, 1, 2]
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        points: Points = "published",
        sampler: str = "halton",
        **kwargs: Any,
    ) -> None:
        _check_plan(hypermodel, max_epochs)
        options = {
            "objective": objective,
            "max_epochs": max_epochs,
            "factor": factor,
            "hyperband_iterations": hyperband_iterations,
            "seed": seed,
            "sampler": sampler,
        }
        super().__init__(HyperbandOracle, hypermodel, points, options, **kwargs)


def _check_plan(hypermodel: Any, max_epochs: int) -> None:
    """See that the schedules of a trial end with its last rung."""
    if isinstance(hypermodel, NadamHyperModel) and hypermodel.plan.epochs != max_epochs:
        raise ArgumentError(
            "Argument `max_epochs` must be that of the hypermodel's plan, for whose length the "
            f"schedules are made. Received: max_epochs={max_epochs}, and the plan has "
            f"{hypermodel.plan.epochs}. Make both the same."
        )
