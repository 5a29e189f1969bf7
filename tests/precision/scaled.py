"""Drive a loss scale by a list of finite and non-finite steps, and read what it remembers."""

from __future__ import annotations

import keras
import numpy as np

from nadam_suite import Nadam
from nadam_suite.precision import DynamicLossScaleOptimizer
from tests.optimizers.driver import Loop, make_variables, to_float64


def remembered(optimizer) -> tuple[float, int, list[int]]:
    """Scale, step counter and counters of a built loss scale."""
    held = optimizer.scale_variables
    numbers = [keras.ops.convert_to_numpy(v) for v in (held.step_counter, held.counters)]
    scale = float(keras.ops.convert_to_numpy(held.dynamic_scale))
    return scale, int(numbers[0]), [int(n) for n in numbers[1]]


class Scaled:
    """A loss scale around an optimizer, compiled as its backend does, and two small variables.

    Args:
        inner: The optimizer inside; a Nadam by default.
        compiled: False calls `apply` eagerly.
        **options: Arguments of the loss scale.
    """

    def __init__(self, inner=None, compiled=True, jit_compile=False, **options):
        options = {"max_consecutive_skips": None, **options}
        inner = Nadam(0.01) if inner is None else inner
        self.optimizer = DynamicLossScaleOptimizer(inner, **options)
        self.variables = make_variables([np.array([1.0, -2.0]), np.array([[0.5]])])
        self.loop = Loop(self.optimizer, self.variables, compiled, jit_compile)

    def step(self, finite=True, value=np.inf) -> None:
        """One step with gradients of the scaled loss, or with one element that is not finite."""
        scale = remembered(self.optimizer)[0]
        gradients = [np.array([0.5, -0.25]) * scale, np.array([[1.0]]) * scale]
        if not finite:
            gradients[0][1] = value
        self.loop.step(gradients)
        self.loop.write_back()

    def everything(self) -> list[np.ndarray]:
        """The model's variables and those of the optimizer inside."""
        return [to_float64(v) for v in (*self.variables, *self.optimizer.inner_optimizer.variables)]
