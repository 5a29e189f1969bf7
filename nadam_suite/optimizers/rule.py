"""The arithmetic of one Nadam step, as pure functions that follow the equations.

Dozat (2016), "Incorporating Nesterov Momentum into Adam", in the form of Keras: with gradient g,
step t = 1, 2, ..., rate lr, decay w and U_t the product of u_1 ... u_t,

    u_t = beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    m   = beta_1 * m + (1 - beta_1) * g
    v   = beta_2 * v + (1 - beta_2) * g ** 2
    m^  = u_{t+1} * m / (1 - U_{t+1}) + (1 - u_t) * g / (1 - U_t)
    v^  = v / (1 - beta_2 ** t)
    x   = x * (1 - d) - lr * m^ / (sqrt(v^) + epsilon)

where d is lr * w, w * lr / max(lr) or w * lr ** 2 / max(lr): see `weight_decay`.

The scalars are gathered first (`StepScalars`), so that a variable's update (`nadam_update`) is a
single pass over x, g, m and v.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

__all__ = [
    "StepScalars",
    "clip_scale",
    "momentum_schedule",
    "nadam_update",
    "power_complement",
    "weight_decay",
]


@dataclasses.dataclass(frozen=True)
class StepScalars:
    """What every variable of one step shares; Python floats or scalar tensors.

    Args:
        momentum_rate: lr * u_{t+1} / (1 - U_{t+1}), the factor of m.
        gradient_rate: lr * (1 - u_t) / (1 - U_t), the factor of g.
        inverse_root_correction: 1 / sqrt(1 - beta_2 ** t), the factor of sqrt(v).
        one_minus_beta_1: Weight of g in m.
        one_minus_beta_2: Weight of g ** 2 in v.
        decay: What `weight_decay` has decided on, or None without weight decay.
        epsilon: Added to the root.
        gradient_scale: Factor of all gradients that the backend applies in its update, or None;
            see `Backend.scaled`.
        rounding_key: Integer that the random bits of this step depend on, or None; see
            `nadam_suite.backends.rounding`.
        average_shares: Share of the weights in each average, where the backend may take them in as
            it updates; else empty. See `nadam_suite.backends.slot.Written`.
    """

    momentum_rate: Any
    gradient_rate: Any
    inverse_root_correction: Any
    one_minus_beta_1: Any
    one_minus_beta_2: Any
    decay: Any
    epsilon: float
    gradient_scale: Any = None
    rounding_key: Any = None
    average_shares: tuple[Any, ...] = ()

    def cast(self, dtype: str) -> StepScalars:
        """Return the same scalars as tensors of type `dtype`.

        Python floats stay as they are, and so do the key, which is an integer, and the
        shares, which backends that use them have as floats.
        """

        def one(name: str) -> Any:
            value = getattr(self, name)
            kept = name in {"rounding_key", "average_shares"}
            if kept or value is None or isinstance(value, float):
                return value
            return keras.ops.cast(value, dtype)

        return StepScalars(**{field.name: one(field.name) for field in dataclasses.fields(self)})


def momentum_schedule(beta_1: Any, t: Any, momentum_decay: float | None, xp: Any) -> Any:
    """Return u_t; `momentum_decay=None` keeps it at `beta_1`."""
    if momentum_decay is None:
        return beta_1
    return beta_1 * (1.0 - 0.5 * xp.pow(0.96, t * momentum_decay))


def weight_decay(mode: str, decay: Any, rate: Any, highest: Any) -> Any:
    """Return the share of a weight that an update takes away, at weight decay `decay`.

    Args:
        mode: "lr": the rate times the decay, as in Keras, PyTorch and optax. "independent": the
            decay times the schedule's multiplier, which is the rate over its highest value;
            Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, and
            Wortsman et al., "Small-scale proxies for large-scale Transformer training
            instabilities", 2023. "corrected": the rate times both; Defazio, "Why Gradients Rapidly
            Increase Near the End of Training", 2025, and timm's `nadamc`.
        decay: The weight decay of this step.
        rate: The learning rate of this step.
        highest: The highest learning rate, a number; "lr" does not use it.
    """
    if mode == "lr":
        return rate * decay
    multiplier = rate * (1.0 / highest)
    return decay * multiplier if mode == "independent" else rate * decay * multiplier


def power_complement(beta: float, t: Any, xp: Any) -> Any:
    """Return 1 - beta ** t without cancellation, also where beta rounds to one in float32."""
    return 1.0 if beta == 0.0 else -xp.expm1(t * math.log(beta))


def nadam_update(x: Any, g: Any, m: Any, v: Any, s: StepScalars, slot: Any) -> tuple[Any, Any, Any]:
    """Return the new x, m and v; `slot` has the multipliers of the parameter rules."""
    if s.decay is not None and slot.decay:
        x = x - x * (s.decay * slot.decay)
    m = m + (g - m) * s.one_minus_beta_1
    v = v + (keras.ops.square(g) - v) * s.one_minus_beta_2
    direction = m * (s.momentum_rate * slot.learning_rate)
    direction = direction + g * (s.gradient_rate * slot.learning_rate)
    x = x - direction / (keras.ops.sqrt(v) * s.inverse_root_correction + s.epsilon)
    return x, m, v


def clip_scale(norm: Any, limit: float) -> Any:
    """Return the factor that brings `norm` down to `limit`; a non-finite norm gives NaN."""
    return limit / keras.ops.maximum(norm, limit) + (norm - norm)
