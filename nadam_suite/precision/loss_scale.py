"""Dynamic loss scaling for float16: one verdict on the gradients for all replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from nadam_suite.backends import get_backend

__all__ = ["DynamicLossScaleOptimizer"]


@keras.saving.register_keras_serializable(package="nadam_suite")
class DynamicLossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Multiplies the loss before the backward pass, so that small float16 gradients survive.

    A step whose gradients are not all finite is skipped and halves the scale; after
    `dynamic_growth_steps` finite ones in a row the scale doubles. `keras.optimizers
    .LossScaleOptimizer`, which this is a subclass of, asks under `tf.distribute` the first replica
    alone: an overflow on another one makes all weights infinite, and on another worker leaves the
    workers waiting for each other. Here a step is skipped by all replicas of all workers, or by
    none. `compile()` wraps this optimizer into no other under "mixed_float16".

    Args:
        inner_optimizer: The optimizer that does the updates.
        initial_scale: Scale of the first step, > 0. Defaults to 2**15.
        dynamic_growth_steps: Finite steps in a row after which the scale doubles, >= 1. Defaults
            to 2000.
        name: Name of the optimizer.
        **kwargs: As in the stock class: defaults of arguments that belong to the inner optimizer.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            inner_optimizer,
            initial_scale=initial_scale,
            dynamic_growth_steps=dynamic_growth_steps,
            name=name,
            **kwargs,
        )

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Return whether the gradients of all replicas are finite, the same on each of them.

        Args:
            grads: Gradients of one replica, still scaled; None where a variable has none.
        """
        return get_backend().everywhere(super().check_finite(grads))
