"""TensorFlow: branches are graph branches, and Python values are captured at call time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from nadam_suite.backends import (
    tensorflow_packs,
    tensorflow_rows,
    tensorflow_sums,
    tensorflow_update,
)
from nadam_suite.backends.base import Backend
from nadam_suite.backends.rows import Seen
from nadam_suite.backends.scope import Sharing
from nadam_suite.backends.slot import Slot, State
from nadam_suite.backends.tensorflow_place import Place
from nadam_suite.backends.tensorflow_replicas import (
    check_strategy,
    everywhere,
    mean_everywhere,
    on_each_replica,
    on_verdict,
    run_eagerly,
)

__all__ = ["TensorFlowBackend"]


class TensorFlowBackend(Backend):
    """Adapter of the TensorFlow backend: eager, `tf.function` and XLA."""

    scales_in_update = True

    def check_devices(self, optimizer: Any, variables: Sequence[Any]) -> None:
        """Refuse an optimizer that was created in another strategy's scope, or in none."""
        check_strategy(optimizer, variables)

    def arrange(self, state: State) -> None:
        """Put what is kept for small variables into packs; see `backends.tensorflow_packs`."""
        tensorflow_update.arrange(state)

    def on_each_replica(
        self,
        state: State,
        chosen: Sequence[int],
        gradients: Sequence[Any],
        shared: Callable[[], Any],
        step: Callable[[State, Sequence[Any], Any], None],
    ) -> None:
        """Sum first, then run the step on every copy of the variables in this process."""
        on_each_replica(state, chosen, gradients, shared, step)

    def call_time_value(self, function: Callable[[], Any], step: Any, dtype: str) -> Any:
        """Return the value of `function`; in a graph it becomes an input of every call.

        A function that builds graph tensors (it reads variables with tensor operations) is live by
        itself. One that returns a number would be frozen into the graph, so it is called again, on
        the host, each time the compiled function is called, and its value is fed in; unlike a
        host call inside the graph this works under XLA too.
        """
        value = function()
        if tf.executing_eagerly() or tf.is_symbolic_tensor(value):
            return self.scalar(value, dtype)

        graph = _capturing_graph(tf.compat.v1.get_default_graph())
        with graph.as_default():
            return graph.capture_call_time_value(
                lambda: self.scalar(function(), dtype), tf.TensorSpec((), dtype)
            )

    def conditional(
        self,
        predicate: Any,
        if_true: Callable[[], None],
        if_false: Callable[[], None],
        variables: Sequence[Any],
    ) -> None:
        """Take a graph branch; assignments inside are side effects of the branch."""
        tf.cond(predicate, _returning_nothing(if_true), _returning_nothing(if_false))

    def finite(self, tensors: Sequence[Any]) -> Any:
        """Sum the squares, which reads each tensor once.

        A sum may overflow by itself, so where one is not finite the elements decide.
        """
        values = [getattr(tensor, "values", tensor) for tensor in tensors]
        return tf.cond(
            tf.math.is_finite(tensorflow_sums.total(values, "float32")),
            lambda: tf.constant(True),
            lambda: super(TensorFlowBackend, self).finite(values),
        )

    def divided(self, tensors: Sequence[Any], by: Any) -> list[Any]:
        """Divide the rows alone of embedding gradients."""
        return [
            tf.IndexedSlices(rows, tensor.indices, tensor.dense_shape)
            if isinstance(tensor, tf.IndexedSlices)
            else rows
            for tensor, rows in zip(
                tensors,
                super().divided([getattr(tensor, "values", tensor) for tensor in tensors], by),
                strict=True,
            )
        ]

    def on_verdict(
        self,
        gradients: Sequence[Any],
        verdict: Callable[[Sequence[Any]], Any],
        if_true: Callable[[Sequence[Any]], None],
        if_false: Callable[[Sequence[Any]], None],
        variables: Sequence[Any],
    ) -> None:
        """Branch where all replicas meet: inside of a replica's branch they could not."""
        if not on_verdict(gradients, verdict, if_true, if_false):
            super().on_verdict(gradients, verdict, if_true, if_false, variables)

    def trains_on_tpu(self) -> bool:
        """Return whether a TPU strategy is active, or TPUs are there."""
        strategy = tf.distribute.get_strategy()
        return isinstance(strategy, tf.distribute.TPUStrategy) or bool(
            tf.config.list_physical_devices("TPU")
        )

    def runs_now(self, variable: Any) -> bool:
        """Return whether no graph is being built."""
        return bool(tf.executing_eagerly())

    def densify(self, gradient: Any) -> Any:
        """Sum the rows of an embedding gradient that name the same index."""
        if isinstance(gradient, tf.IndexedSlices):
            return tf.math.unsorted_segment_sum(
                gradient.values, gradient.indices, gradient.dense_shape[0]
            )
        return gradient

    def is_sparse(self, gradient: Any) -> bool:
        """Look at its type."""
        return isinstance(gradient, tf.IndexedSlices)

    def seen(self, gradient: Any, dtype: str) -> Seen | None:
        """Sum the entries of each row of an embedding gradient."""
        return tensorflow_rows.seen(gradient, dtype)

    def take_rows(self, variable: Any, seen: Seen) -> Any:
        """Gather them."""
        return tensorflow_rows.take(variable, seen)

    def put_rows(self, variable: Any, seen: Seen, values: Any) -> None:
        """Scatter them."""
        tensorflow_rows.put(variable, seen, values)

    def update(
        self,
        slots: Sequence[Slot],
        gradients: Sequence[Any],
        scalars: Any,
        rule: Callable[..., tuple[Any, Any, Any]],
    ) -> list[Any]:
        """Stack small variables, fuse large ones; see `backends.tensorflow_update`."""
        one_by_one = super().update, super().average
        return tensorflow_update.update(slots, gradients, scalars, rule, *one_by_one)

    def averages_in_update(self) -> bool:
        """Those of large variables are, where XLA compiles their update."""
        return Place.here().fuses

    def average(
        self, averages: Sequence[Any], weights: Sequence[Any], share: Any, first: Any
    ) -> None:
        """Stack and fuse as in `update`."""
        tensorflow_update.average(averages, weights, share, first, super().average)

    def values(self, variables: Sequence[Any]) -> list[Any]:
        """Read a pack once for all that lies in it."""
        return tensorflow_packs.values(variables, super().values)

    def norm(self, tensors: Sequence[Any], dtype: str) -> Any:
        """Square and sum in one pass."""
        return tensorflow_sums.norm(tensors, dtype)

    def squares(self, tensors: Sequence[Any]) -> list[Any]:
        """Square and sum in one pass each."""
        return tensorflow_sums.squares(tensors)

    def eagerly(self, function: Callable[[], None], variables: Sequence[Any]) -> None:
        """Leave the graph that is being traced, and the replica that traces it."""
        run_eagerly(function, variables)

    def plain_strategy(self, kind: str, replicas: int) -> Any:
        """Return a stock strategy over the first devices of the CPU."""
        devices = [f"CPU:{index}" for index in range(replicas)]
        if kind == "workers":
            return tf.distribute.MultiWorkerMirroredStrategy()
        if kind == "central":
            return tf.distribute.experimental.CentralStorageStrategy(devices, devices[0])
        return tf.distribute.MirroredStrategy(devices)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a `tf.function`."""
        return tf.function(function)

    def everywhere(self, flag: Any) -> Any:
        """Count the replicas on which it is false; a call outside of replicas speaks for all."""
        return everywhere(flag)

    def mean_everywhere(self, tensor: Any) -> Any:
        """Sum over the replicas and divide; a call outside of replicas speaks for all."""
        return mean_everywhere(tensor)

    def as_written(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Keep AutoGraph out, which rewrites whatever a user's `tf.function` calls."""
        return tf.autograph.experimental.do_not_convert(function)

    def process(self) -> tuple[int, int]:
        """Return (index, number) of this worker as TF_CONFIG says; the chief comes first."""
        from nadam_suite.backends import tensorflow_scope

        return tensorflow_scope.process()

    def join(self) -> None:
        """Create the multi-worker strategy of this process, if TF_CONFIG has several workers."""
        from nadam_suite.backends import tensorflow_scope

        tensorflow_scope.join()

    def same_on_all(self, number: int) -> bool:
        """Compare over the workers of the strategy that `join` created."""
        from nadam_suite.backends import tensorflow_scope

        return tensorflow_scope.same_on_all(number)

    def split_cpu(self, count: int) -> bool:
        """Make logical devices of the CPU."""
        from nadam_suite.backends import tensorflow_scope

        return tensorflow_scope.split_cpu(count)

    def open_scope(
        self,
        strategy: str,
        *,
        devices: int | Sequence[str] | None = None,
        layout: Mapping[str, Any] | None = None,
        model_devices: int | None = None,
    ) -> Sharing:
        """Create a strategy of `tf.distribute`."""
        from nadam_suite.backends import tensorflow_scope

        return tensorflow_scope.open_scope(strategy, devices)


def _capturing_graph(graph: Any) -> Any:
    """Return the graph to capture in: this one, or the outermost if a branch lies between.

    Captures at call time pass through functions and loops by themselves, not through branches,
    which Keras puts around a step when it runs several per execution.
    """
    outermost, crosses_branch = graph, False
    while getattr(outermost.outer_graph, "outer_graph", None) is not None:
        crosses_branch |= type(outermost).__name__ == "CondBranchFuncGraph"
        outermost = outermost.outer_graph
    return outermost if crosses_branch else graph


def _returning_nothing(function: Callable[[], None]) -> Callable[[], Any]:
    def branch() -> Any:
        function()
        return tf.constant(0)

    return branch
