"""A hypermodel whose optimizer is a Nadam out of a space, planned for the whole training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from nadam_suite.averaging import average_names
from nadam_suite.callbacks import EvaluateAverage
from nadam_suite.config import NadamConfig
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.precision import wrap_for_policy
from nadam_suite.schedules import TrainingPlan
from nadam_suite.schedules.checks import count
from nadam_suite.tuner.ordered import fit_arguments, ordered
from nadam_suite.tuner.points import Enqueued, projected, published_points
from nadam_suite.tuner.ranges import get_space
from nadam_suite.tuner.spaces import nadam_space, points_of_space
from nadam_suite.tuner.trial_callbacks import FatalArgumentError

__all__ = ["BuildModel", "NadamHyperModel", "Space"]

Space = str | Callable[[keras_tuner.HyperParameters], NadamConfig]
BuildModel = Callable[[keras_tuner.HyperParameters, keras.optimizers.Optimizer], keras.Model]

_USUAL = ("cosine",)
_KERAS_BATCH_SIZE = 32  # what `fit()` takes where nothing says more


class NadamHyperModel(keras_tuner.HyperModel):
    """A model that is tuned together with its Nadam, for any tuner of keras-tuner.

    Each trial's settings are a valid `NadamConfig` whose lengths are resolved against the whole
    training: also where a trial trains for a part of it only, as at the rungs of Hyperband, its
    schedule is that of the whole.

    Where the settings have averages, val_* are the metrics of the averages, and so is an objective
    such as "val_loss". Under the global policy "mixed_float16" the optimizer has a loss scale.

    Args:
        build_model: Called with the hyperparameters and the optimizer, returns the model, compiled
            with it. It may declare hyperparameters of its own.
        space: "algoperf" (the default), "wide" or "finetune", see `nadam_space`; or a function that
            declares a space in the hyperparameters and returns the config of their values.
        plan: Length of the whole training; of its `accumulation` each config has its own.
        prefix: What the names of the optimizer's hyperparameters begin with.
        budget: Number of trials, by which it is decided what is tuned. For a preset alone.
        tune: What is tuned. For a preset alone, and not together with `budget`.
        schedule: Kinds of schedule to choose from. For a preset alone.
        name: Name of the hypermodel, or None.

    Raises:
        ArgumentError: There is no such preset, kind or name to tune; or `budget`, `tune` or
            `schedule` comes with a function.
        ArgumentTypeError: `build_model` is no function, or `plan` no plan.
        ConfigError: The training is too short for the schedules.

    Example:

    >>> import keras, keras_tuner
    >>> from nadam_suite.schedules import TrainingPlan
    >>> from nadam_suite.tuner.hypermodel import NadamHyperModel
    >>> def build_model(hp, optimizer):
    ...     units = hp.Choice("units", [8, 16])
    ...     hidden, out = keras.layers.Dense(units, "relu"), keras.layers.Dense(1)
    ...     model = keras.Sequential([keras.Input((2,)), hidden, out])
    ...     model.compile(optimizer, loss="mse")
    ...     return model
    >>> plan = TrainingPlan.from_data(examples=100, batch_size=10, epochs=5)
    >>> hypermodel = NadamHyperModel(build_model, "algoperf", plan=plan, budget=12)
    >>> hp = keras_tuner.HyperParameters()
    >>> model = hypermodel.build(hp)
    >>> list(hp.values)
    ['learning_rate', 'one_minus_beta_1', 'units']
    >>> hypermodel.config(hp).learning_rate.total
    50
    """

    def __init__(
        self,
        build_model: BuildModel,
        space: Space = "algoperf",
        *,
        plan: TrainingPlan,
        prefix: str = "",
        budget: int | None = None,
        tune: Sequence[str] | None = None,
        schedule: Sequence[str] = _USUAL,
        name: str | None = None,
    ) -> None:
        if not callable(build_model):
            raise ArgumentTypeError(
                "Argument `build_model` must be a function of the hyperparameters and the "
                f"optimizer. Received: build_model={build_model!r}. Pass build_model(hp, "
                "optimizer), which returns the compiled model."
            )
        if not isinstance(plan, TrainingPlan):
            raise ArgumentTypeError(
                f"Argument `plan` must be a TrainingPlan. Received: plan={plan!r}. Pass "
                "TrainingPlan.from_data(examples, batch_size, epochs)."
            )
        self.build_model = build_model
        self.plan = plan
        self.space = space
        self.prefix = prefix
        self._options: dict[str, Any] = {"budget": budget, "tune": tune, "schedule": schedule}
        if callable(space):
            _refuse_options(self._options)
        else:
            get_space(space, "space")
            self.config(keras_tuner.HyperParameters())  # find faults before anything is trained
        super().__init__(name=name)

    def config(self, hp: keras_tuner.HyperParameters) -> NadamConfig:
        """Return the settings of a trial, every duration in steps of the whole training.

        Args:
            hp: The trial's hyperparameters.

        Raises:
            ArgumentTypeError: `space` is a function that returned no `NadamConfig`.
            ConfigError: The training is too short for the schedules.
        """
        config = self._declared(hp)
        return config.resolve(self._plan_of(config))

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model of a trial.

        Args:
            hp: The trial's hyperparameters.

        Raises:
            ArgumentTypeError: `build_model` returned no Keras model.
            ArgumentError: It is not compiled with the optimizer that `build_model` was given.
        """
        config = self._declared(hp)
        optimizer = wrap_for_policy(config.build(self._plan_of(config)))
        model = self.build_model(hp, optimizer)
        _check_compiled(model, optimizer)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *args: Any,
        seed: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train a trial's model as `model.fit` does, by default for the whole training.

        NumPy arrays are shuffled by seed and epoch alone, so that a training that goes on at
        `initial_epoch` sees the batches that it would have seen without an interruption.

        Args:
            hp: The trial's hyperparameters.
            model: What `build` has returned.
            *args: Arguments of `keras.Model.fit`.
            seed: Seed of the order of arrays. None, the default, draws it from NumPy's global
                generator, which `keras.utils.set_random_seed` seeds.
            **kwargs: Arguments of `keras.Model.fit`. `epochs` and `batch_size` default to the
                plan's; an `EvaluateAverage` is added where there are averages and none is given.

        Raises:
            ArgumentError: There are more epochs, or other batches in one, than the plan has. It is
                one that ends a search, as it would meet every trial.
        """
        del hp
        arguments = self.arguments(model, *args, **kwargs)
        if seed is None:
            seed = int(np.random.randint(2**31))  # noqa: NPY002 - what the user has seeded
        start, together = arguments.get("initial_epoch", 0), model.steps_per_execution
        return model.fit(**ordered(arguments, seed, start, together))

    def arguments(self, model: keras.Model, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of `keras.Model.fit` with all that `fit` adds to them, by name.

        Args:
            model: What `build` has returned.
            *args: Arguments of `keras.Model.fit`.
            **kwargs: Likewise.

        Raises:
            ArgumentError: As for `fit`.
        """
        arguments = fit_arguments(args, kwargs)
        epochs = arguments.setdefault("epochs", self.plan.epochs)
        if count("epochs", epochs, 0) > self.plan.epochs:
            raise FatalArgumentError(
                "Argument `epochs` must be at most the plan's, for whose length the schedules are "
                f"made. Received: epochs={epochs}, and the plan has {self.plan.epochs}. Pass "
                f"plan=TrainingPlan(..., epochs={epochs}) to the hypermodel."
            )
        if _are_arrays(arguments):
            size = arguments.get("batch_size") or self.plan.batch_size or _KERAS_BATCH_SIZE
            arguments["batch_size"] = size
            arguments.setdefault("validation_batch_size", size)
        self._check_steps(arguments)
        callbacks = list(arguments.get("callbacks") or ())
        if average_names(model) and not any(isinstance(c, EvaluateAverage) for c in callbacks):
            arguments["callbacks"] = [EvaluateAverage(), *callbacks]
        return arguments

    def points(self, hyperparameters: keras_tuner.HyperParameters) -> list[Enqueued]:
        """Return what is tried first: the centre of the space, and the nearest to published points.

        Args:
            hyperparameters: The whole space, its conditional scopes declared.
        """
        if callable(self.space):
            return projected(published_points(), hyperparameters, self.prefix)
        schedule = self._options["schedule"]
        return points_of_space(hyperparameters, self.space, schedule, self.prefix)

    def _declared(self, hp: keras_tuner.HyperParameters) -> NadamConfig:
        """Return the settings of a trial with relative durations."""
        if not callable(self.space):
            return nadam_space(hp, self.space, prefix=self.prefix, **self._options)
        config = self.space(hp)
        if not isinstance(config, NadamConfig):
            raise ArgumentTypeError(
                "Argument `space` must be a function that returns a NadamConfig. Received: "
                f"{self.space!r}, which returned {config!r}. Return NadamConfig(...)."
            )
        return config

    def _plan_of(self, config: NadamConfig) -> TrainingPlan:
        window = config.gradient_accumulation_steps or 1
        return dataclasses.replace(self.plan, accumulation=window)

    def _check_steps(self, arguments: Mapping[str, Any]) -> None:
        """Refuse a training whose epochs have other batches than the plan's."""
        steps = arguments.get("steps_per_epoch")
        if steps is None and _are_arrays(arguments):
            examples = _examples(arguments)
            steps = -(-examples // arguments["batch_size"])
        if steps not in (None, self.plan.steps_per_epoch):
            raise FatalArgumentError(
                "Argument `plan` must have the batches of an epoch that is trained, for which the "
                f"schedules are made. Received: a plan of {self.plan.steps_per_epoch} batches, and "
                f"{steps} to train. Make it with TrainingPlan.from_data(examples, batch_size, "
                "epochs), and pass the same batch_size."
            )


def _refuse_options(options: Mapping[str, Any]) -> None:
    """Refuse what a space that is a function would not see."""
    usual = {"budget": None, "tune": None, "schedule": _USUAL}
    given = {name: value for name, value in options.items() if value != usual[name]}
    for name, value in given.items():
        raise ArgumentError(
            f"Argument `{name}` must be left out where `space` is a function. Received: "
            f"{name}={value!r}. Pass it to nadam_space within that function."
        )


def _check_compiled(model: Any, optimizer: keras.optimizers.Optimizer) -> None:
    """Refuse a model that would not be trained by the optimizer."""
    if not isinstance(model, keras.Model):
        raise ArgumentTypeError(
            "Argument `build_model` must return a keras.Model. Received: a function that returned "
            f"{model!r}. Return the compiled model."
        )
    found: Any = getattr(model, "optimizer", None)
    while found is not None:
        if found is optimizer:
            return
        found = getattr(found, "inner_optimizer", None)
    raise ArgumentError(
        "Argument `build_model` must return a model that is compiled with the optimizer it was "
        f"given. Received: a model with optimizer={getattr(model, 'optimizer', None)!r}. Call "
        "model.compile(optimizer, loss=...) with the second argument of build_model."
    )


def _are_arrays(arguments: Mapping[str, Any]) -> bool:
    leaves = keras.tree.flatten(arguments.get("x"))
    return bool(leaves) and all(isinstance(leaf, np.ndarray) for leaf in leaves)


def _examples(arguments: Mapping[str, Any]) -> int:
    """Return how many examples arrays are trained with."""
    examples = len(keras.tree.flatten(arguments["x"])[0])
    share = arguments.get("validation_split") or 0.0
    alone = arguments.get("validation_data") is None
    return int(examples * (1.0 - share)) if share and alone else examples
