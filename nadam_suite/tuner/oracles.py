"""The oracles of keras-tuner and a quasi-random one, all of which go on where they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from nadam_suite.errors import ArgumentError
from nadam_suite.tuner.configured import is_configured
from nadam_suite.tuner.durable import Durable
from nadam_suite.tuner.points import Enqueued
from nadam_suite.tuner.proposals import coordinates, grid, is_active, values_at
from nadam_suite.tuner.surrogate import promising

__all__ = [
    "COMMON",
    "BayesianOptimizationOracle",
    "GridSearchOracle",
    "HyperbandOracle",
    "QuasiRandomOracle",
    "RandomSearchOracle",
]

# Arguments that all oracles have.
COMMON = (
    "hyperparameters",
    "tune_new_entries",
    "allow_new_entries",
    "max_retries_per_trial",
    "max_consecutive_failed_trials",
)

Answer = dict[str, Any]


def _answer(values: dict[str, Any] | None) -> Answer:
    status = TrialStatus.STOPPED if values is None else TrialStatus.RUNNING
    return {"status": status, "values": values}


class QuasiRandomOracle(Durable, keras_tuner.Oracle):
    """Even coverage of the space: a scrambled Halton or Sobol sequence, after `points`.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_trials: Trials at most, `points` included.
        sampler: "halton" or "sobol".
        points: What to try first.
        **options: `seed`, `hyperparameters`, `allow_new_entries`, `tune_new_entries`,
            `max_retries_per_trial` and `max_consecutive_failed_trials` of `keras_tuner.Oracle`.

    Raises:
        ArgumentError: A sampler that is not quasi-random, or a bad seed.

    Example:

    >>> from nadam_suite.tuner.oracles import QuasiRandomOracle
    >>> QuasiRandomOracle("val_loss", max_trials=30, seed=0).seed
    0

    Reference:
        Google's deep learning tuning playbook, "Why use quasi-random search".
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        sampler: str = "halton",
        points: Sequence[Enqueued] = (),
        **options: Any,
    ) -> None:
        if sampler == "random":
            raise ArgumentError(
                "Argument `sampler` must be 'halton' or 'sobol'. Received: sampler='random'. "
                "Use RandomSearchOracle."
            )
        super().__init__(
            objective=objective, max_trials=max_trials, sampler=sampler, points=points, **options
        )

    def populate_space(self, trial_id: str) -> Answer:
        """Return the next point that is new."""
        return _answer(self._random_values())


class RandomSearchOracle(Durable, keras_tuner.oracles.RandomSearchOracle):
    """Independent random values, after `points`.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_trials: Trials at most, `points` included.
        points: What to try first.
        **options: As in `QuasiRandomOracle`.

    Example:

    >>> from nadam_suite.tuner.oracles import RandomSearchOracle
    >>> RandomSearchOracle("val_loss", max_trials=30, seed=0).max_trials
    30
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        *,
        points: Sequence[Enqueued] = (),
        **options: Any,
    ) -> None:
        super().__init__(
            objective=objective, max_trials=max_trials, sampler="random", points=points, **options
        )


class GridSearchOracle(Durable, keras_tuner.Oracle):
    """Every combination of values, after `points` and the default point.

    Stock's grid loses its place when it is loaded again, and of a range without steps it tries
    ten values that leave out both ends.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_trials: Trials at most; None for all of the grid.
        values_per_range: Values of a range without steps, both ends included, evenly spread in its
            own scale; 2 or more.
        points: What to try first.
        **options: As in `QuasiRandomOracle`.

    Raises:
        ArgumentError: Fewer than 2 `values_per_range`, or a bad seed.

    Example:

    >>> from nadam_suite.tuner.oracles import GridSearchOracle
    >>> GridSearchOracle("val_loss", values_per_range=3).values_per_range
    3
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = None,
        *,
        values_per_range: int = 5,
        points: Sequence[Enqueued] = (),
        **options: Any,
    ) -> None:
        if values_per_range < 2:
            raise ArgumentError(
                "Argument `values_per_range` must be 2 or more, since both ends are tried. "
                f"Received: {values_per_range=}."
            )
        super().__init__(objective=objective, max_trials=max_trials, points=points, **options)
        self.values_per_range = values_per_range

    def populate_space(self, trial_id: str) -> Answer:
        """Return the first combination that is new; wait if running trials may reveal more."""
        point = self._next_of_points()
        if point is not None:
            return _answer(point)
        for values in grid(self.hyperparameters.space, self.values_per_range):
            if not self._duplicate(values):
                return _answer(values)
        grows = self.allow_new_entries and self.tune_new_entries
        if self.ongoing_trials and grows:
            return {"status": TrialStatus.IDLE, "values": None}
        return _answer(None)

    def _settings(self) -> dict[str, Any]:
        return {"values_per_range": self.values_per_range}


class BayesianOptimizationOracle(Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    """A Gaussian process with upper confidence bounds, after `points` and some even coverage.

    A proposal depends on the trials so far and on the seed only, not on what this process has
    computed before. A failed trial counts as one that scored as the worst; stock learns nothing
    from it and goes there again.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_trials: Trials at most, `points` included.
        num_initial_points: Trials that must have ended well before the process proposes; None for
            three times the number of hyperparameters, and at least 3.
        alpha: Variance of the objective's noise, in units of its own variance.
        beta: How many standard deviations count for exploring.
        sampler: Where the initial points come from: "halton", "sobol" or "random".
        points: What to try first.
        **options: As in `QuasiRandomOracle`.

    Raises:
        ArgumentError: An unknown sampler, or a bad seed.

    Example:

    >>> from nadam_suite.tuner.oracles import BayesianOptimizationOracle
    >>> BayesianOptimizationOracle("val_loss", max_trials=30, seed=0).beta
    2.6
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        *,
        sampler: str = "halton",
        points: Sequence[Enqueued] = (),
        **options: Any,
    ) -> None:
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            num_initial_points=num_initial_points,
            alpha=alpha,
            beta=beta,
            sampler=sampler,
            points=points,
            **options,
        )

    def populate_space(self, trial_id: str) -> Answer:
        """Return an initial point, or where the process expects the best."""
        space = self.hyperparameters.space
        dimensions = len(coordinates(space))
        initial = self.num_initial_points or max(3 * dimensions, 3)
        own = [trial for trial in self.trials.values() if not is_configured(trial)]
        well = [trial for trial in own if trial.status == TrialStatus.COMPLETED]
        if self.points_left or len(well) < initial or not dimensions:
            return _answer(self._random_values())
        for point in promising(
            *self._known(well),
            alpha=self.alpha,
            beta=self.beta,
            seed=int(np.random.default_rng([self.seed, len(self.trials)]).integers(2**31)),
        ):
            values = values_at(space, point)
            if not self._duplicate(values):
                return _answer(values)
        return _answer(self._random_values())

    def _known(self, well: list[Trial]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points, scores of which low is good, and points of running trials.

        A trial of the search's config as it is has settings that the space does not tell.
        """
        sign = -1.0 if self.objective.direction == "max" else 1.0
        scores = [sign * trial.score for trial in well]
        own = [trial for trial in self.trials.values() if not is_configured(trial)]
        failed = [trial for trial in own if trial.status == TrialStatus.FAILED]
        known = np.array([self._vector(trial) for trial in [*well, *failed]])
        ongoing = [trial for trial in self.ongoing_trials.values() if not is_configured(trial)]
        running = [self._vector(trial) for trial in ongoing]
        return (
            known,
            np.array(scores + [max(scores)] * len(failed)),
            np.array(running).reshape(len(running), known.shape[1]),
        )

    def _vector(self, trial: Trial) -> list[float]:
        """Return a trial's point of the unit cube; what is inactive lies at its default."""
        values = trial.hyperparameters.values
        return [
            entry.value_to_prob(
                values[entry.name]
                if entry.name in values and is_active(entry, values)
                else entry.default
            )
            for entry in coordinates(self.hyperparameters.space)
        ]

    def _settings(self) -> dict[str, Any]:
        names = ("num_initial_points", "alpha", "beta")
        return {name: getattr(self, name) for name in names}


class HyperbandOracle(Durable, keras_tuner.oracles.HyperbandOracle):
    """Successive halving in stock's brackets, with even coverage and `points` in the first rounds.

    Args:
        objective: As in `keras_tuner.Oracle`.
        max_epochs: Epochs of a trial that is never thrown out.
        factor: By how much the epochs grow, and the trials become fewer, from round to round.
        hyperband_iterations: How often all brackets are run; more may be asked for later.
        sampler: Where values come from: "halton", "sobol" or "random".
        points: What to try first.
        **options: As in `QuasiRandomOracle`.

    Raises:
        ArgumentError: An unknown sampler, or a bad seed.

    Example:

    >>> from nadam_suite.tuner.oracles import HyperbandOracle
    >>> HyperbandOracle("val_loss", max_epochs=27, seed=0).factor
    3

    Reference:
        Li et al. (2018), Hyperband: a novel bandit-based approach to hyperparameter optimization,
        JMLR 18.
    """

    hyperband_iterations: int

    def __init__(
        self,
        objective: Any = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        *,
        sampler: str = "halton",
        points: Sequence[Enqueued] = (),
        **options: Any,
    ) -> None:
        super().__init__(
            objective=objective,
            max_epochs=max_epochs,
            factor=factor,
            hyperband_iterations=hyperband_iterations,
            sampler=sampler,
            points=points,
            **options,
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned, but for the number of iterations asked for now."""
        iterations = self.hyperband_iterations
        super().set_state(state)
        self.hyperband_iterations = iterations

    def _settings(self) -> dict[str, Any]:
        return {"max_epochs": self.max_epochs, "factor": self.factor}
