"""From a config to the objects of a training: its scope, its compiled model, its evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from nadam_suite.config import TrainConfig
from nadam_suite.distribution import TrainingScope, training_scope
from nadam_suite.errors import ConfigError
from nadam_suite.experiment.own_code import told
from nadam_suite.experiment.parts import Part, Task, find_part
from nadam_suite.experiment.splits import Splits, shape_text, taken
from nadam_suite.experiment.stream import Epoch, Evaluation, SharedBatches, batches
from nadam_suite.precision import wrap_for_policy
from nadam_suite.schedules import TrainingPlan

__all__ = [
    "EVALUATION_BATCH",
    "Feed",
    "build_ahead",
    "built_task",
    "check_inputs",
    "compiled",
    "open_scope",
    "seeded",
]

EVALUATION_BATCH = 256


def build_ahead(model: keras.Model, x: Any, y: Any) -> None:
    """Create the variables of optimizer and metrics before the first step.

    TensorFlow traces a step twice that creates any; on other backends this does nothing.

    Args:
        model: A compiled model.
        x: An example, with the axis of the batch.
        y: Its target.
    """
    if keras.backend.backend() == "tensorflow":
        model.optimizer.build(model.trainable_variables)
        model.compute_metrics(x, y, model(x))
        model.reset_metrics()


def check_inputs(model: keras.Model, splits: Splits) -> None:
    """Refuse examples that a model with one input cannot take.

    Args:
        model: The model.
        splits: The data. Augmentation may change the shape of what is trained on.

    Raises:
        ConfigError: The shapes differ.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite.experiment import Splits
    >>> from nadam_suite.experiment.assemble import check_inputs
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> check_inputs(model, Splits(train=(np.zeros((8, 2)), np.zeros(8))))
    """
    inputs: Any = getattr(model, "inputs", None) or ()  # a subclassed model does not say
    if len(inputs) != 1:
        return
    wanted = tuple(inputs[0].shape[1:])
    for name in ("train", "validation", "test"):
        split = getattr(splits, name)
        if split is None or (name == "train" and splits.augment is not None):
            continue
        shape = getattr(split[0], "shape", (0, *wanted))[1:]
        if _takes(wanted, shape):
            continue
        refusal = ConfigError(
            f"`model` must take the examples of `data`. Received: a model whose input has the "
            f"shape {wanted}, and examples of the shape {shape} in `{name}`, without the axis of "
            f"the batch. Begin the model with keras.Input({shape}), or change the data."
        )
        if not isinstance(model, keras.Sequential):
            raise refusal
        try:  # it takes what its layers take, such as larger images
            model(taken(split[0], slice(1)), training=False)
        except Exception as error:  # layers of the user's own may raise anything
            raise refusal from error


def _takes(wanted: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a functional model takes examples of a shape; it may add or drop a last 1."""
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    if len(shape) != len(wanted):
        return False
    return all(one in (None, other) for one, other in zip(wanted, shape, strict=True))


def open_scope(config: TrainConfig) -> TrainingScope:
    """Return the scope that a config asks for."""
    settings = config.distribution
    return training_scope(
        settings.strategy,
        devices=settings.devices,
        batch_size=config.batch_size,
        base_batch_size=settings.base_batch_size,
        scale_learning_rate=settings.scale_learning_rate,
        model_devices=settings.model_devices,
        verbose=False,
    )


@contextlib.contextmanager
def seeded(config: TrainConfig) -> Iterator[None]:
    """Set the precision for what is built inside, and all seeds; give the precision back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        keras.utils.set_random_seed(config.seed)
        yield
    finally:
        keras.config.set_dtype_policy(before)


def built_task(make_model: Part, config: TrainConfig, x: Any = None) -> Task:
    """Return a model with its loss, all its variables there.

    A model that is not built, or one of whose layers is not, is called on an example: `build` of a
    subclass that does not define it creates no variable of its layers.

    Args:
        make_model: The model's function.
        config: The training's config.
        x: An example's inputs, with the axis of the batch; or None, where they are taken from the
            config's data if they are needed.

    Raises:
        ConfigError: The model cannot be called on it.
    """
    task: Task = make_model()
    model = task.model
    if model.built and all(layer.built for layer in model.layers):
        return task
    if x is None:
        splits: Splits = find_part("data", config.data, config.data_options)()
        x = splits.first[0]
    try:
        model(keras.tree.map_structure(keras.ops.convert_to_tensor, x), training=False)
    except Exception as error:  # the user's own code may raise anything
        raise ConfigError(
            "`model` must name a model that can be called on the inputs of its data. Received: "
            f"model={make_model.reference!r}, which raised {told(error)} on "
            f"{shape_text(x)}. Correct the model, or the shapes of the data; `--debug` shows the "
            "whole traceback."
        ) from error
    return task


def compiled(
    make_model: Part, config: TrainConfig, plan: TrainingPlan, x: Any = None
) -> keras.Model:
    """Return the model with its optimizer, in a loss scale where any layer needs one.

    Args:
        make_model: The model's function.
        config: The training's config.
        plan: Its length.
        x: As for `built_task`.
    """
    task = built_task(make_model, config, x)
    # Before `compile()`, which would add Keras' own wrapper: that one asks the first replica alone.
    optimizer: Any = wrap_for_policy(
        config.build_optimizer(plan),
        task.model,
        skip_nonfinite=config.skip_nonfinite,
        **(config.loss_scale.options() if config.loss_scale else {}),
    )
    task.model.compile(optimizer=optimizer, loss=task.loss, metrics=list(task.metrics))
    return task.model


class Feed:
    """The data of a training as its scope shares it out.

    Args:
        splits: The data.
        batch_size: Examples in a batch, of all processes together.
        seed: Seed of the order and of the augmentation.
        scope: The scope, open.
    """

    def __init__(self, splits: Splits, batch_size: int, seed: int, scope: TrainingScope) -> None:
        self.splits = splits
        self._batch_size = batch_size
        self._seed = seed
        self._scope = scope

    @property
    def examples(self) -> int:
        """How many examples of an epoch are trained on.

        Raises:
            ConfigError: There is not one for each replica.
        """
        splits, replicas = self.splits, self._scope.replicas
        if replicas == 1:
            return splits.examples
        if splits.examples < replicas:
            raise ConfigError(
                f"`data` must have at least one training example for each of {replicas} replicas. "
                f"Received: {splits.examples} examples. Train on fewer devices."
            )
        return SharedBatches.examples(splits, self._batch_size, replicas)

    def batches(self, epoch: int) -> Any:
        """Return the stream, or this process' part of it where the backend asks for that."""
        scope = self._scope
        if scope.replicas == 1:
            return batches(self.splits, self._batch_size, self._seed, epoch=epoch)
        # TensorFlow divides a batch itself; JAX puts a batch together from what processes have.
        part = (0, 1)
        if keras.backend.backend() == "jax":
            part = (scope.worker, scope.workers)
            scope.distribution.auto_shard_dataset = False
        return SharedBatches(
            self.splits,
            self._batch_size,
            self._seed,
            replicas=scope.replicas,
            epoch=epoch,
            part=part,
        )

    def epoch(self) -> Epoch:
        """Return what one process alone reads of the training data, always the same."""
        return Epoch(self.splits, self._batch_size, self._seed)

    def evaluation(self, split: tuple[Any, Any] | None) -> Any:
        """Return a split in the form in which all processes together evaluate it."""
        scope = self._scope
        if split is None or scope.replicas == 1 or keras.backend.backend() != "jax":
            return split
        return Evaluation(split, EVALUATION_BATCH, devices=scope.replicas // scope.workers)

    def build_ahead(self, model: keras.Model) -> None:
        """Do what `build_ahead` does; replicas make their variables within their scope.

        Raises:
            ConfigError: The model does not take the examples.
        """
        check_inputs(model, self.splits)
        if self._scope.replicas == 1:
            build_ahead(model, *self.splits.first)

    def evaluate(self, model: keras.Model) -> dict[str, dict[str, float]]:
        """Return the metrics of a model by split, of those that there are."""
        metrics = {}
        for name in ("validation", "test"):
            if (split := self.evaluation(getattr(self.splits, name))) is not None:
                options = {"verbose": 0, "return_dict": True}
                if isinstance(split, tuple):
                    values = model.evaluate(*split, batch_size=EVALUATION_BATCH, **options)
                else:
                    values = model.evaluate(split, **options)
                metrics[name] = {key: float(value) for key, value in values.items()}
        return metrics
