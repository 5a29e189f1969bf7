"""A step under `tf.distribute`: gradients are summed once, then every replica does the same.

Keras sums the gradients late, inside the update of each variable; what comes before then differs
between replicas (clipping, finite checks), and what lies in a branch may not sum at all
(accumulation, overwriting by averages). Here the sum comes first. After it all replicas hold the
same numbers, so that the rest needs no communication and may branch as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from nadam_suite.backends.slot import State, native, path_of
from nadam_suite.backends.tensorflow_batches import shares
from nadam_suite.errors import ArgumentError

__all__ = [
    "check_strategy",
    "everywhere",
    "mean_everywhere",
    "on_each_replica",
    "on_verdict",
    "run_eagerly",
    "strategy_of",
]


def strategy_of(variable: Any) -> Any:
    """Return the strategy under which a variable was created, or None for the default one."""
    strategy = getattr(native(variable), "distribute_strategy", None)
    if strategy is None or type(strategy).__name__ == "_DefaultDistributionStrategy":
        return None
    return strategy


def check_strategy(optimizer: Any, variables: Sequence[Any]) -> None:
    """Refuse an optimizer whose variables would live under another strategy than the model's.

    Raises:
        ArgumentError: Model and optimizer were not created in the same scope, or the slots are of
            a type that the strategy cannot create.
    """
    own = strategy_of(optimizer.variables[0])  # its counter, which exists before it is built
    workers = isinstance(own, tf.distribute.MultiWorkerMirroredStrategy)
    if workers and getattr(optimizer, "slot_dtype", None) == "bfloat16":
        raise ArgumentError(
            "Argument `slot_dtype` must not be bfloat16 under MultiWorkerMirroredStrategy, whose "
            "workers cannot send each other bfloat16 variables. Received: slot_dtype='bfloat16'. "
            "Leave it out, or train on JAX."
        )
    for variable in variables:
        if (strategy := strategy_of(variable)) is not own:
            raise ArgumentError(
                "Model and optimizer must be created in the same strategy scope. Received: an "
                f"optimizer of {_shown(own)} for the variable {path_of(variable)!r} of "
                f"{_shown(strategy)}. Create and compile both inside `with strategy.scope():`."
            )


def run_eagerly(function: Callable[[], None], variables: Sequence[Any]) -> None:
    """Run a function that creates or fills variables: once, eagerly, in the model's scope."""
    strategy = next((s for v in variables if (s := strategy_of(v)) is not None), None)

    def lifted(strategy: Any) -> None:
        with tf.init_scope(), strategy.scope():
            function()

    if strategy is None:
        with tf.init_scope():
            function()
    elif _is_replica_of(strategy):
        # All replicas meet here, and one of them builds.
        tf.distribute.get_replica_context().merge_call(lifted)
    else:
        lifted(strategy)


def on_each_replica(
    state: State,
    chosen: Sequence[int],
    gradients: Sequence[Any],
    shared: Callable[[], Any],
    step: Callable[[State, Sequence[Any], Any], None],
) -> None:
    """See `Backend.on_each_replica`."""
    strategy = strategy_of(state.iterations)
    if strategy is None:
        step(state, gradients, shared())
        return
    if not _is_replica_of(strategy):
        _on_copies(strategy, _undistributed(gradients), state, shared, step)
        return
    context = tf.distribute.get_replica_context()
    summed = _summed(context, state, chosen, gradients)
    if _stays_on_replica(strategy):
        step(state.mapped(_copy_of(strategy, context)), summed, shared())
    else:
        # Arguments are gathered from the replicas, which is right for the sums alone.
        context.merge_call(
            lambda strategy, sums: _on_copies(strategy, sums, state, shared, step), args=(summed,)
        )


def everywhere(flag: Any) -> Any:
    """See `Backend.everywhere`."""
    context = tf.distribute.get_replica_context()
    if context is None or not tf.distribute.has_strategy():
        return flag
    wrong = tf.cast(tf.logical_not(flag), tf.float32)
    return tf.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, wrong), 0.0)


def mean_everywhere(tensor: Any) -> Any:
    """See `Backend.mean_everywhere`."""
    context = tf.distribute.get_replica_context()
    if context is None or not tf.distribute.has_strategy():
        return tensor
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, tensor)


def on_verdict(
    gradients: Sequence[Any],
    verdict: Callable[[Sequence[Any]], Any],
    if_true: Callable[[Sequence[Any]], None],
    if_false: Callable[[Sequence[Any]], None],
) -> bool:
    """Branch outside of the replicas, see `Backend.on_verdict`; return whether there are any.

    A function that all replicas have to enter together must not be called in a branch of one.
    """
    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return False
    if _stays_on_replica(tf.distribute.get_strategy()):
        return False

    def together(strategy: Any, gradients: Sequence[Any]) -> None:
        def everywhere(function: Callable[[Sequence[Any]], Any]) -> Any:
            return strategy.extended.call_for_each_replica(function, args=(gradients,))

        flag = strategy.experimental_local_results(everywhere(verdict))[0]

        def branch(function: Callable[[Sequence[Any]], None]) -> Callable[[], None]:
            def run() -> None:
                everywhere(function)

            return run

        tf.cond(flag, branch(if_true), branch(if_false))

    tf.distribute.get_replica_context().merge_call(together, args=(list(gradients),))
    return True


def _on_copies(
    strategy: Any,
    gradients: Sequence[Any],
    state: State,
    shared: Callable[[], Any],
    step: Callable[[State, Sequence[Any], Any], None],
) -> None:
    """Run the step for each copy of the variables in this process, on the copy's device."""
    local = strategy.experimental_local_results
    copies = local(native(state.slots[0].variable))
    with tf.device(copies[0].device):
        values = shared()
    for index, copy in enumerate(copies):

        def own(value: Any, index: int = index) -> Any:
            parts = local(native(value))
            return parts[min(index, len(parts) - 1)]  # what is not distributed is all copies'

        with tf.device(copy.device):
            step(state.mapped(own), [own(gradient) for gradient in gradients], values)


def _summed(
    context: Any, state: State, chosen: Sequence[int], gradients: Sequence[Any]
) -> list[Any]:
    """Return the sums of the gradients over all replicas of all workers.

    A gradient that replaces its variable (a float8 scale) is the largest of the replicas' instead,
    as over the micro-batches of a window. Half-precision gradients are summed in float32.
    """
    slots = [state.slots[index] for index in chosen]
    # Sums are placed by the device of their parts, and an argument of a `tf.function` has none.
    wide = [
        None if slot.overwrite else tf.identity(tf.cast(gradient, slot.compute_dtype))
        for slot, gradient in zip(slots, gradients, strict=True)
    ]
    own = shares(context.strategy, [gradient for gradient in wide if gradient is not None])
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, own))
    return [
        _largest(context, gradient) if slot.overwrite else next(sums)
        for slot, gradient in zip(slots, gradients, strict=True)
    ]


def _largest(context: Any, gradient: Any) -> Any:
    every = context.all_gather(tf.convert_to_tensor(gradient)[tf.newaxis], axis=0)
    return tf.reduce_max(every, axis=0)


def _undistributed(gradients: Sequence[Any]) -> Sequence[Any]:
    """Return the gradients of a call outside of `strategy.run`, which all replicas share."""
    for gradient in gradients:
        if isinstance(gradient, tf.distribute.DistributedValues):
            raise ArgumentError(
                "Argument `grads` of a call outside of `strategy.run` must be plain tensors, the "
                f"same for all replicas. Received: {type(gradient).__name__}. Call "
                "`optimizer.apply` inside of the function that `strategy.run` runs; it sums them."
            )
    return gradients


def _is_replica_of(strategy: Any) -> bool:
    """Whether this runs in one of the strategy's replicas, and not once for all."""
    inside = tf.distribute.get_strategy() is strategy
    return inside and not tf.distribute.in_cross_replica_context()


def _stays_on_replica(strategy: Any) -> bool:
    """Whether replicas cannot meet in Python: XLA compiles them as one program, or one each."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return True
    return bool(tf.__internal__.distribute.strategy_supports_no_merge_call())


def _copy_of(strategy: Any, context: Any) -> Callable[[Any], Any]:
    """Return a function from a variable to the copy that this replica may assign alone."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return native  # one program for all: the replicated variable is each replica's own
    replica = int(tf.get_static_value(context.replica_id_in_sync_group))

    def copy(variable: Any) -> Any:
        parts = strategy.experimental_local_results(native(variable))
        return parts[replica % len(parts)]

    return copy


def _shown(strategy: Any) -> str:
    return "no strategy" if strategy is None else f"a {type(strategy).__name__}"
