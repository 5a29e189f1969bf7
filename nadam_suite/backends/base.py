"""What an adapter must do, and why each method differs from one framework to the next.

The optimizer is written once, as a stateful program over `keras.Variable`s. Five things cannot be
said in `keras.ops` alone: how a branch that assigns variables is taken, how a Python value is read
again at every compiled step, how several variables are updated at once, what a sparse gradient is,
and which arithmetic the few scalars of a step deserve.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import rounding
from nadam_suite.backends.scope import Sharing
from nadam_suite.backends.slot import Slot, State
from nadam_suite.backends.together import Together

__all__ = ["Backend", "TensorMath"]


class TensorMath:
    """Scalar arithmetic on tensors, for backends whose step is compiled."""

    pow = staticmethod(keras.ops.power)
    sqrt = staticmethod(keras.ops.sqrt)
    expm1 = staticmethod(keras.ops.expm1)


class Backend(Together):
    """The framework-neutral half of an adapter; the subclasses override what they must."""

    math: Any = TensorMath

    def scalar(self, value: Any, dtype: str) -> Any:
        """Return `value` as a scalar for the arithmetic of `self.math`."""
        if isinstance(value, (int, float)):  # a cast would go by way of float32
            return keras.ops.convert_to_tensor(value, dtype=dtype)
        return keras.ops.cast(value, dtype)

    def check_devices(self, optimizer: Any, variables: Sequence[Any]) -> None:
        """Refuse an optimizer that was created for other devices than its model.

        Args:
            optimizer: The optimizer, which has its counter and maybe its learning rate so far.
            variables: The model's variables.

        Raises:
            NadamSuiteError: They cannot work together.
        """

    def arrange(self, state: State) -> None:
        """Change how the variables of a new optimizer are stored, where that makes steps faster."""

    def on_each_replica(
        self,
        state: State,
        chosen: Sequence[int],
        gradients: Sequence[Any],
        shared: Callable[[], Any],
        step: Callable[[State, Sequence[Any], Any], None],
    ) -> None:
        """Sum the gradients over the replicas, and run a step on each replica's variables.

        Args:
            state: The variables, each of which may stand for one copy per replica.
            chosen: Positions of the slots that have a gradient.
            gradients: Their gradients, in the same order, those of one replica.
            shared: Called once for all replicas that can share values; its result goes to `step`.
            step: Called with the variables of one replica, the sums of the gradients and the
                shared values. All replicas compute the same.
        """
        step(state, gradients, shared())

    def counter(self, variable: Any) -> Any:
        """Return the value of an integer variable, for arithmetic and for comparisons."""
        return keras.ops.convert_to_tensor(variable)

    def flag(self, tensor: Any) -> Any:
        """Return a truth value that `select` takes."""
        return tensor

    def select(self, condition: Any, if_true: Any, if_false: Any) -> Any:
        """Return one of two tensors or numbers."""
        return keras.ops.where(condition, if_true, if_false)

    def rounding_key(self, iteration: Any) -> Any:
        """Return what the random bits of a step depend on; see `backends.rounding`."""
        word = keras.ops.cast(iteration, "uint32")
        return rounding.hashed_tensor(word + keras.ops.convert_to_tensor(np.uint32(rounding.SEED)))

    def call_time_value(self, function: Callable[[], Any], step: Any, dtype: str) -> Any:
        """Return what `function` returns now, and again at every later run of a compiled step.

        Args:
            function: Callable without arguments, free of side effects.
            step: The optimizer's counter, by which a traced step is recognised.
            dtype: Type of the scalar that is returned.
        """
        raise NotImplementedError

    def conditional(
        self,
        predicate: Any,
        if_true: Callable[[], None],
        if_false: Callable[[], None],
        variables: Sequence[Any],
    ) -> None:
        """Run one of two functions that assign `variables`; the other one must cost nothing."""
        raise NotImplementedError

    def both(self, first: Any, second: Any) -> Any:
        """Return whether two truth values that come of `counter` are both true."""
        return keras.ops.logical_and(first, second)

    def copy(self, value: Any) -> Any:
        """Return a tensor with memory of its own."""
        return keras.ops.copy(value)

    def kept(self, value: Any) -> Any:
        """Return what was read of a variable so that no later assignment changes it."""
        return value  # reading gives a value

    def unshared(self, value: Any) -> Any:
        """Return a tensor that can be assigned to a variable and shares no memory with it then."""
        return value  # assigning copies

    def fill(self, variable: Any, value: Any) -> None:
        """Assign a first value to a new variable, whose memory nobody else has seen."""
        variable.assign(self.unshared(value))

    @contextlib.contextmanager
    def no_grad(self) -> Iterator[None]:
        """Switch off gradient recording, where the framework records by default."""
        yield

    def eagerly(self, function: Callable[[], None], variables: Sequence[Any]) -> None:
        """Run a function that creates or assigns variables, for real even while tracing.

        Args:
            function: Called once, whatever the number of replicas.
            variables: The model's variables, on whose devices new ones belong.
        """
        function()

    def operations(self, function: Callable[..., Any], *arguments: Any) -> list[str]:
        """Return the names of the operations that every call of `function` performs.

        What only a branch of a conditional performs is left out. `nadam_suite.doctor` reads from
        it what a step costs, without a clock; on TensorFlow nothing needs it.
        """
        raise NotImplementedError

    def plain_strategy(self, kind: str, replicas: int) -> Any:
        """Return what the framework itself offers for several replicas; it has a `scope()`.

        `nadam_suite.doctor` tries stock Keras with it.

        Args:
            kind: "replicas", "central" (TensorFlow's CentralStorageStrategy) or "workers".
            replicas: Their number on this machine.
        """
        raise NotImplementedError

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that the framework compiles at its first call."""
        return function

    def everywhere(self, flag: Any) -> Any:
        """Return whether a flag that each replica has computed for itself is true on all."""
        return flag

    def mean_everywhere(self, tensor: Any) -> Any:
        """Return the mean of what each replica has computed for itself."""
        return tensor

    def as_written(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that no tracer rewrites: its Python branches stay Python's."""
        return function

    def random_state(self) -> np.ndarray | None:
        """Return the state of the framework's global generator, if layers draw from it unasked.

        Keras' own generators are variables of the model and need no help.
        """
        return None

    def set_random_state(self, state: np.ndarray) -> None:
        """Give the global generator a state that `random_state` returned."""

    def update(
        self,
        slots: Sequence[Slot],
        gradients: Sequence[Any],
        scalars: Any,
        rule: Callable[..., tuple[Any, Any, Any]],
    ) -> list[Any]:
        """Apply `rule(weight, gradient, momentum, velocity, scalars, slot)` to every variable.

        Momentum and velocity are written; the new weights are returned in full precision and are
        the caller's to constrain and to write. A weight that is written and has no constraint may
        be returned as None, or as `Written`, which spares its averages reading it again.
        """
        new_weights = []
        for slot, gradient in zip(slots, gradients, strict=True):
            dtype = slot.compute_dtype
            weight, momentum, velocity = rule(
                slot.weight(),
                gradient,
                keras.ops.cast(slot.momentum, dtype),
                keras.ops.cast(slot.velocity, dtype),
                scalars.cast(dtype),
                slot,
            )
            momentum, velocity = rounding.narrowed([slot], momentum, velocity, scalars)
            slot.momentum.assign(momentum)
            slot.velocity.assign(velocity)
            new_weights.append(weight)
        return new_weights

    def finite(self, tensors: Sequence[Any]) -> Any:
        """Return a truth value for `conditional`: whether all elements of all tensors are finite.

        Each tensor is read once.
        """
        flags = [keras.ops.all(keras.ops.isfinite(tensor)) for tensor in tensors]
        return keras.ops.all(keras.ops.stack(flags))

    def divided(self, tensors: Sequence[Any], by: Any) -> list[Any]:
        """Return tensors that are divided by a scalar tensor; the given ones stay as they are."""
        return [tensor / keras.ops.cast(by, tensor.dtype) for tensor in tensors]

    def on_verdict(
        self,
        gradients: Sequence[Any],
        verdict: Callable[[Sequence[Any]], Any],
        if_true: Callable[[Sequence[Any]], None],
        if_false: Callable[[Sequence[Any]], None],
        variables: Sequence[Any],
    ) -> None:
        """Run one of two functions that may themselves sum gradients over the replicas.

        Args:
            gradients: Those of one replica; each function is called with them.
            verdict: Decides, alike on all replicas.
            if_true: Called if so.
            if_false: Called if not.
            variables: What the two may assign.
        """
        self.conditional(
            verdict(gradients), lambda: if_true(gradients), lambda: if_false(gradients), variables
        )

    def trains_on_tpu(self) -> bool:
        """Return whether the framework's default devices are TPUs."""
        return False

    def runs_now(self, variable: Any) -> bool:
        """Return whether operations on a variable are executed as they are called, not traced."""
        return True

    def average(
        self, averages: Sequence[Any], weights: Sequence[Any], share: Any, first: Any
    ) -> None:
        """Let averages take weights in: `average + (weight - average) * share`, element by element.

        Weights that are not finite leave their averages as they are.

        Args:
            averages: The variables.
            weights: Tensors in the averages' type, one for each.
            share: Share of the weights, in (0, 1].
            first: Whether the weights come in as they are, whatever the share.
        """
        for variable, new in zip(averages, weights, strict=True):
            average = keras.ops.convert_to_tensor(variable)
            weight = keras.ops.where(keras.ops.isfinite(new), new, average)
            mixed = average + (weight - average) * share
            variable.assign(self.select(first, weight, mixed))

    def process(self) -> tuple[int, int]:
        """Return (index of this process, number of processes) of the job; (0, 1) alone.

        The environment says so (TF_CONFIG, KERAS_DISTRIBUTION_*), or the cluster that runs already;
        no device is opened.

        Raises:
            ArgumentError: The environment is malformed.
        """
        return 0, 1

    def join(self) -> None:
        """Join the cluster that the environment describes; alone or joined already, do nothing.

        This must come before any operation of the framework, and it waits for the other processes.

        Raises:
            ArgumentError: The environment is malformed.
            NadamSuiteError: Devices are open already, or this backend trains in one process only.
        """

    def same_on_all(self, number: int) -> bool:
        """Return whether all processes of the job call this with the same number; all must call."""
        return True

    def split_cpu(self, count: int) -> bool:
        """Make the CPU look like `count` devices; return whether it does.

        Frameworks allow that until they open their devices.
        """
        return count <= 1

    def open_scope(
        self,
        strategy: str,
        *,
        devices: int | Sequence[str] | None = None,
        layout: Mapping[str, Any] | None = None,
        model_devices: int | None = None,
    ) -> Sharing:
        """Decide how to share out a training, and create what that takes.

        Args:
            strategy: One of `nadam_suite.backends.scope.STRATEGIES`.
            devices: Number or names of the devices; None takes all that the strategy can use.
            layout: Of "model_parallel": patterns of variable paths, to the axes to divide.
            model_devices: Of "model_parallel": number of devices that share one model.

        Raises:
            ArgumentError: The strategy is not possible on this backend or machine.
            NadamSuiteError: The cluster of the environment cannot be joined.
        """
        raise NotImplementedError
