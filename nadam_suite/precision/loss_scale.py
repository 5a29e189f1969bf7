"""Dynamic loss scaling: one verdict on the gradients for all replicas, and no way to die."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import as_written, get_backend
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.arguments import check_integer
from nadam_suite.precision.forwarding import Forwarding
from nadam_suite.precision.guard import FiniteGuard, ScaleVariables
from nadam_suite.precision.persistence import Persistence
from nadam_suite.precision.scale_rule import COUNTERS, ScaleRule
from nadam_suite.precision.skips import raise_if_stuck, warn_if_stuck

__all__ = ["DynamicLossScaleOptimizer"]

REMEMBERED_SCALES = 8


@keras.saving.register_keras_serializable(package="nadam_suite")
class DynamicLossScaleOptimizer(Forwarding, Persistence, keras.optimizers.LossScaleOptimizer):
    """Multiplies the loss before the backward pass, so that small float16 gradients survive.

    A step whose gradients are not all finite is skipped: weights, moments, averages, the running
    accumulation window and the iteration stay as they are, and the scale falls. After
    `dynamic_growth_steps` finite steps in a row it grows. All replicas of all workers skip a step,
    or none does. Gradients are unscaled, summed over the replicas, and only then accumulated or
    clipped. A window of accumulation consists of finite batches: one that is skipped is replaced
    by the next.

    It is a `keras.optimizers.LossScaleOptimizer`, so that `compile()` wraps it into no other, and
    differs from it where that one stops training: its scale has a floor and a ceiling, overflows
    of every replica count, and a training that skips step after step is ended with an error. Where
    steps are executed as they are called, the error comes by itself; inside of a compiled step
    nothing can be raised, there `nadam_suite.callbacks.LossScaleMonitor` does it, and the end of
    `fit()` warns.

    The settings and methods of the inner optimizer can be reached through this one: its learning
    rate, averages, `explain`, `exclude_from_weight_decay`, `replace`.

    Args:
        inner_optimizer: The optimizer that does the updates, a `nadam_suite.Nadam` or any other of
            Keras.
        initial_scale: Scale of the first step, > 0. Defaults to 2**15.
        dynamic_growth_steps: Finite steps in a row after which the scale grows, >= 1. Defaults to
            2000.
        name: Name of the optimizer.
        growth_factor: What the scale is multiplied by when it grows, >= 1. Defaults to 2.
        backoff_factor: What it is multiplied by after a skipped step, in (0, 1]. Defaults to 0.5.
        hysteresis: Number of skipped steps since the last growth from which on each one lowers the
            scale, >= 1. Defaults to 1: all of them.
        min_scale: Floor of the scale, > 0. Defaults to 2**-14.
        max_scale: Ceiling of the scale, finite in float32. Defaults to 2**24.
        dynamic: False keeps `initial_scale` for ever; steps are skipped all the same.
        max_consecutive_skips: Number of steps skipped in a row that ends the training, >= 1, or
            None. Defaults to 50, which is more than the way from ceiling to floor takes.
        **kwargs: As in the stock class: defaults of arguments that belong to the inner optimizer.

    Raises:
        ArgumentError: A value is out of its range, the inner optimizer has a `loss_scale_factor`,
            or is a loss scale itself.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.precision import DynamicLossScaleOptimizer
    >>> keras.config.set_dtype_policy("mixed_float16")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> keras.config.set_dtype_policy("float32")
    >>> model.compile(DynamicLossScaleOptimizer(Nadam(1e-2), initial_scale=1024.0), "mse")
    >>> history = model.fit(np.full((8, 4), 1e4), np.ones((8, 1)), batch_size=8, verbose=0)
    >>> int(model.optimizer.iterations), float(model.optimizer.dynamic_scale.numpy())
    (0, 512.0)

    Reference: Micikevicius et al., "Mixed Precision Training", ICLR 2018.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        *,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        hysteresis: int = 1,
        min_scale: float = 2.0**-14,
        max_scale: float = 2.0**24,
        dynamic: bool = True,
        max_consecutive_skips: int | None = 50,
        **kwargs: Any,
    ) -> None:
        check_inner(inner_optimizer)
        rule = ScaleRule(
            initial_scale,
            dynamic_growth_steps,
            growth_factor,
            backoff_factor,
            hysteresis,
            min_scale,
            max_scale,
            dynamic,
        )
        limit = check_integer("max_consecutive_skips", max_consecutive_skips, 1)
        super().__init__(
            inner_optimizer,
            initial_scale=float(initial_scale),
            dynamic_growth_steps=int(dynamic_growth_steps),
            name=name,
            **kwargs,
        )
        self.rule = rule
        self.max_consecutive_skips = limit
        self._skip_noted = False
        self._pending_state: Mapping[str, np.ndarray] | None = None

    def build(self, var_list: Sequence[Any]) -> None:
        """Create the variables of the scale and those of the inner optimizer."""
        if self.built:
            return
        variables = list(var_list)
        backend = get_backend()
        self.inner_optimizer.build(variables)
        backend.check_devices(self, variables)
        backend.eagerly(lambda: self._build(variables), variables)

    def _build(self, variables: list[Any]) -> None:
        def add(name: str, shape: tuple[int, ...], dtype: str, start: Any) -> Any:
            variable = self.add_variable(
                shape=shape, dtype=dtype, initializer="zeros", aggregation="none", name=name
            )
            variable.assign(np.full(shape, start, dtype))
            return variable

        self.step_counter = add("step_counter", (), "int32", 0)
        self.dynamic_scale = add("dynamic_scale", (), "float32", self.initial_scale)
        self.scale_variables = ScaleVariables(
            self.dynamic_scale,
            self.step_counter,
            add("counters", (len(COUNTERS),), "int32", self.rule.start()),
            add("shares", (len(variables),), "float32", 0.0),
            add("last_scales", (REMEMBERED_SCALES,), "float32", 0.0),
        )
        self._is_building = True  # averages and accumulators are the inner optimizer's to create
        try:
            # Not the stock wrapper's, whose variables are those above; the one below it is used.
            super(keras.optimizers.LossScaleOptimizer, self).build(variables)
        finally:
            self._is_building = False
        self.restore_pending()

    @as_written
    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the variables with the gradients of the scaled loss, if those are finite.

        Args:
            grads: One gradient per variable; None leaves a variable as it is.
            trainable_variables: The variables, as for the inner optimizer.

        Raises:
            NonFiniteError: Steps are executed as they are called, and this was one too many that
                had to be skipped.
        """
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        self._skip_noted = False
        guard = FiniteGuard(self.rule, self.scale_variables, self._note_skip)
        if isinstance(self.inner_optimizer, Nadam):
            self.inner_optimizer.apply_guarded(grads, trainable_variables, guard)
        else:
            self._apply_other(grads, trainable_variables or self.model_variables, guard)
        if self._skip_noted and get_backend().runs_now(self.dynamic_scale):
            raise_if_stuck(self)

    def _note_skip(self) -> None:
        self._skip_noted = True

    def _apply_other(
        self, grads: Sequence[Any], variables: Sequence[Any], guard: FiniteGuard
    ) -> None:
        """Let an optimizer do the step that sums over the replicas by itself."""
        present = [place for place, gradient in enumerate(grads) if gradient is not None]
        places = [self._get_variable_index(variables[place]) for place in present]
        scaled = [not getattr(variables[p], "overwrite_with_gradient", False) for p in present]

        def take(gradients: Sequence[Any]) -> None:
            every: list[Any] = [None] * len(grads)
            for place, gradient in zip(present, guard.unscaled(gradients, scaled), strict=True):
                every[place] = gradient
            self.inner_optimizer.apply(every, variables)
            guard.passed()

        get_backend().on_verdict(
            [grads[place] for place in present],
            self.check_finite,
            take,
            lambda gradients: guard.skipped(gradients, places),
            [*self.variables, *self.model_variables],
        )

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Any
    ) -> tuple[list[Any], list[Any]]:
        """Do as `apply` does, as a function of the variables' values; for JAX."""
        stock: Any = super(keras.optimizers.LossScaleOptimizer, self)
        return stock.stateless_apply(optimizer_variables, grads, trainable_variables)

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Return whether the gradients of all replicas are finite, the same on each of them.

        Args:
            grads: Gradients of one replica, still scaled; None where a variable has none.
        """
        backend = get_backend()
        return backend.everywhere(backend.finite([g for g in grads if g is not None]))

    @property
    def model_variables(self) -> tuple[Any, ...]:
        """The variables that the optimizer was built with."""
        return tuple(self._trainable_variables)

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is multiplied by anything but one."""
        return self.rule.scales

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Do what the inner optimizer does at the end of `fit()`; warn if all ended in skips."""
        warn_if_stuck(self)
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data."""
        rule = self.rule
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "initial_scale": float(rule.initial_scale),
            "dynamic_growth_steps": int(rule.growth_steps),
            "growth_factor": float(rule.growth_factor),
            "backoff_factor": float(rule.backoff_factor),
            "hysteresis": int(rule.hysteresis),
            "min_scale": float(rule.min_scale),
            "max_scale": float(rule.max_scale),
            "dynamic": bool(rule.dynamic),
            "max_consecutive_skips": self.max_consecutive_skips,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> DynamicLossScaleOptimizer:
        """Create an optimizer from its config, which is left as it is."""
        inner = keras.saving.deserialize_keras_object(
            dict(config["inner_optimizer"]), custom_objects=dict(custom_objects or {})
        )
        return cls(**{**config, "inner_optimizer": inner})


def check_inner(optimizer: Any) -> None:
    """Refuse what cannot do the updates under a loss scale.

    Raises:
        ArgumentError: It scales its loss already.
        ArgumentTypeError: It is no optimizer.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ArgumentTypeError(
            "Argument `inner_optimizer` must be a Keras optimizer. Received: inner_optimizer="
            f"{optimizer!r} (of type {type(optimizer).__name__}). Pass for instance `Nadam()`."
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ArgumentError(
            "Argument `inner_optimizer` must not be a loss scale itself. Received: inner_optimizer="
            f"{optimizer!r}. Pass its own `inner_optimizer`."
        )
    if (factor := optimizer.loss_scale_factor) is not None:
        raise ArgumentError(
            "The inner optimizer of a loss scale must have no `loss_scale_factor`, which would be "
            f"dropped. Received: loss_scale_factor={factor!r}. Leave it out; for a scale that "
            f"never changes pass `initial_scale={factor!r}, dynamic=False` to the loss scale."
        )
