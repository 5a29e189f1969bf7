"""Which precision needs a loss scale, and putting one around an optimizer where it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.precision.loss_scale import DynamicLossScaleOptimizer

__all__ = ["needs_loss_scale", "skip_nonfinite", "wrap_for_policy"]


def wrap_for_policy(
    optimizer: keras.optimizers.Optimizer,
    policy: Any = None,
    *,
    skip_nonfinite: bool = False,
    max_consecutive_skips: int | None = 50,
    **options: Any,
) -> keras.optimizers.Optimizer:
    """Put a dynamic loss scale around an optimizer where the precision needs one: for float16.

    bfloat16 has the range of float32 and needs none. `compile()` alone looks at the policy of the
    model as a whole; a single layer's "mixed_float16", or policy "float16", escapes it.

    Args:
        optimizer: The optimizer. One that scales the loss already comes back as it is.
        policy: What is trained: a policy or its name, a `keras.dtype_policies.DTypePolicyMap`, a
            layer or a whole model, whose layers are all looked at. By default the global policy.
        skip_nonfinite: Whether a precision without a loss scale is to have steps skipped whose
            gradients are not finite, too; see the function of that name.
        max_consecutive_skips: Number of skips in a row that ends the training, >= 1, or None.
        **options: Further arguments of `DynamicLossScaleOptimizer`, used for float16.

    Returns:
        The optimizer, or a wrapper around it.

    Raises:
        ArgumentError: float16 on a TPU, which computes in bfloat16; or a stock loss scale.
        ArgumentTypeError: `policy` is none.

    Example:

    >>> from nadam_suite import Nadam
    >>> from nadam_suite.precision import wrap_for_policy
    >>> type(wrap_for_policy(Nadam(), "mixed_float16")).__name__
    'DynamicLossScaleOptimizer'
    >>> type(wrap_for_policy(Nadam(), "mixed_bfloat16")).__name__
    'Nadam'
    """
    if isinstance(optimizer, DynamicLossScaleOptimizer):
        return optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ArgumentError(
            "Argument `optimizer` must not be a stock loss scale, which may bring all weights to "
            f"NaN. Received: optimizer={optimizer!r}. Pass its `inner_optimizer`."
        )
    if needs_loss_scale(policy):
        if get_backend().trains_on_tpu():
            raise ArgumentError(
                "Argument `policy` must not compute in float16 on a TPU, which has no float16 "
                f'arithmetic. Received: policy={policy!r}. Use "mixed_bfloat16", which needs no '
                "loss scale."
            )
        options["max_consecutive_skips"] = max_consecutive_skips
        return DynamicLossScaleOptimizer(optimizer, **options)
    if not skip_nonfinite:
        return optimizer
    return _guarded(optimizer, max_consecutive_skips=max_consecutive_skips)


def skip_nonfinite(
    optimizer: keras.optimizers.Optimizer, max_consecutive_skips: int | None = 50
) -> DynamicLossScaleOptimizer:
    """Let an optimizer skip steps whose gradients are not finite, without scaling the loss.

    For float32 and bfloat16: one bad batch changes no weight, moment, average or counter; many in a
    row end the training with an error that names the variables.

    Args:
        optimizer: The optimizer.
        max_consecutive_skips: Number of skips in a row that ends the training, >= 1, or None.

    Returns:
        A loss scale that stays at one, which costs one look at the gradients.

    Raises:
        ArgumentError: The optimizer scales its loss already, or the number is less than one.
        ArgumentTypeError: It is no optimizer of Keras.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.precision import skip_nonfinite
    >>> weight, optimizer = keras.Variable(np.ones(2, "float32")), skip_nonfinite(Nadam(0.1))
    >>> optimizer.apply([np.array([np.nan, 1.0], "float32")], [weight])
    >>> keras.ops.convert_to_numpy(weight).tolist(), int(optimizer.iterations)
    ([1.0, 1.0], 0)
    """
    return _guarded(optimizer, max_consecutive_skips=max_consecutive_skips)


def _guarded(optimizer: Any, **options: Any) -> DynamicLossScaleOptimizer:
    return DynamicLossScaleOptimizer(optimizer, initial_scale=1.0, dynamic=False, **options)


def needs_loss_scale(policy: Any = None) -> bool:
    """Return whether any part of what a policy says is computed in float16.

    Args:
        policy: As for `wrap_for_policy`.

    Raises:
        ArgumentTypeError: `policy` is none.

    Example:

    >>> import keras
    >>> from nadam_suite.precision import needs_loss_scale
    >>> half = keras.layers.Dense(1, dtype="mixed_float16")
    >>> needs_loss_scale(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), half]))
    True
    """
    return any(each.compute_dtype == "float16" for each in _policies(policy))


def _policies(policy: Any) -> Iterator[keras.dtype_policies.DTypePolicy]:
    """Yield all policies that something has."""
    if policy is None:
        yield keras.config.dtype_policy()
    elif isinstance(policy, keras.Layer):
        for layer in policy._flatten_layers():
            yield from _policies(layer.dtype_policy)
    elif isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        yield policy.default_policy
        yield from policy.values()
    elif isinstance(policy, keras.dtype_policies.DTypePolicy):
        yield policy
    elif isinstance(policy, str):
        yield _named(policy)
    else:
        raise ArgumentTypeError(
            "Argument `policy` must be a policy, its name, a layer or a model. Received: policy="
            f'{policy!r} (of type {type(policy).__name__}). Pass for instance "mixed_float16".'
        )


def _named(name: str) -> keras.dtype_policies.DTypePolicy:
    try:
        return keras.dtype_policies.get(name)
    except ValueError as error:
        raise ArgumentError(
            f"Argument `policy` must be the name of a policy of Keras. Received: policy={name!r}. "
            'Pass for instance "mixed_float16", "mixed_bfloat16" or "float32".'
        ) from error
