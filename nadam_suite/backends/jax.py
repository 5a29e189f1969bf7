"""JAX: branches are pure functions of the variables' values, Python values host callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from nadam_suite.backends import jax_rows
from nadam_suite.backends.base import Backend
from nadam_suite.backends.rows import Seen
from nadam_suite.backends.scope import Sharing
from nadam_suite.backends.slot import Slot

__all__ = ["JaxBackend"]


class JaxBackend(Backend):
    """Adapter of the JAX backend: eager, and traced inside `stateless_apply`."""

    def check_devices(self, optimizer: Any, variables: Sequence[Any]) -> None:
        """Bring what the optimizer has so far to the devices of the model's variables.

        An optimizer that is created before `keras.distribution.set_distribution` has its counter
        and its rate on one device. The layout is set too, so that later assignments keep to it.
        """
        meshes = [mesh for mesh in map(_mesh_of, variables) if mesh is not None]
        if not meshes:
            return
        layout = jax.sharding.NamedSharding(meshes[0], jax.sharding.PartitionSpec())
        for variable in optimizer.variables:
            if _mesh_of(variable) != meshes[0]:
                variable._layout = layout
                variable.assign(np.asarray(variable.value))

    def call_time_value(self, function: Callable[[], Any], step: Any, dtype: str) -> Any:
        """Return the value of `function`; in a traced step the host is asked at every run.

        A function that computes with traced values (it reads variables that belong to the step) is
        live by itself. One that returns a number would be frozen into the program.
        """
        value = function()
        if not isinstance(step, jax.core.Tracer) or isinstance(value, jax.core.Tracer):
            return jnp.asarray(value, dtype=dtype)

        def ask(_: Any) -> Any:
            return np.asarray(function(), dtype=dtype).reshape(())

        return jax.pure_callback(ask, jax.ShapeDtypeStruct((), dtype), step)

    def conditional(
        self,
        predicate: Any,
        if_true: Callable[[], None],
        if_false: Callable[[], None],
        variables: Sequence[Any],
    ) -> None:
        """Trace both functions as loops of one turn or none.

        What a conditional returns is new memory, so that a branch that changes one variable copies
        all. A loop changes its variables in place.
        """
        if not isinstance(predicate, jax.core.Tracer):
            (if_true if predicate else if_false)()
            return
        predicate = jnp.asarray(predicate, bool)
        values = [variable.value for variable in variables]
        values = _once(predicate, if_true, variables, values)
        values = _once(jnp.logical_not(predicate), if_false, variables, values)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def plain_strategy(self, kind: str, replicas: int) -> Any:
        """Return a stock distribution of the batch over the first devices of the CPU."""
        devices = keras.distribution.list_devices("cpu")[:replicas]
        return keras.distribution.DataParallel(devices=devices)

    def trains_on_tpu(self) -> bool:
        """Return whether JAX computes on TPUs, which opens its devices."""
        return jax.default_backend() == "tpu"

    def runs_now(self, variable: Any) -> bool:
        """Return whether the variable's value is an array of numbers."""
        return not isinstance(variable.value, jax.core.Tracer)

    def densify(self, gradient: Any) -> Any:
        """Turn a sparse gradient into rows that add up."""
        return gradient.todense() if hasattr(gradient, "todense") else gradient

    def is_sparse(self, gradient: Any) -> bool:
        """Look at its type."""
        return isinstance(gradient, jax_rows.KINDS)

    def seen(self, gradient: Any, dtype: str) -> Seen | None:
        """Sum the entries of each row of a `BCOO` matrix."""
        return jax_rows.seen(gradient, dtype)

    def take_rows(self, variable: Any, seen: Seen) -> Any:
        """Gather them."""
        return jnp.take(variable.value, seen.indices, axis=0, mode="clip")

    def put_rows(self, variable: Any, seen: Seen, values: Any) -> None:
        """Scatter them; a compiled step does it in place, a call of its own copies the variable."""
        variable.assign(variable.value.at[seen.indices].set(values, mode="drop"))

    def copy(self, value: Any) -> Any:
        """Return an array with a buffer of its own: a donated one must not be shared."""
        return jnp.array(keras.ops.convert_to_tensor(value), copy=True)

    def unshared(self, value: Any) -> Any:
        """Return a copy: a variable takes an array over as it is, and a step may donate it."""
        return self.copy(value)

    def fill(self, variable: Any, value: Any) -> None:
        """Write into the buffer that the variable has.

        With a new array beside the old one `malloc` would keep the memory of the old ones, which
        is too narrow for aligned arrays of the same size.
        """
        old, new = variable.value, keras.ops.convert_to_tensor(value)
        traced = isinstance(old, jax.core.Tracer) or isinstance(new, jax.core.Tracer)
        if traced or old.sharding != new.sharding:
            variable.assign(self.unshared(new))
        else:
            variable.assign(_written_over(old, new))

    def finite(self, tensors: Sequence[Any]) -> Any:
        """Sum the squares, which XLA does four times as fast on a CPU as it looks for NaN.

        A sum may overflow by itself, so where one is not finite the elements decide.
        """
        wide = [t if t.dtype == "float64" else jnp.asarray(t, "float32") for t in tensors]
        sums = [jnp.asarray(jnp.sum(jnp.square(tensor)), "float32") for tensor in wide]
        quick = jnp.isfinite(jnp.sum(jnp.stack(sums)))
        slow = super().finite
        return jax.lax.cond(quick, lambda: jnp.asarray(True), lambda: jnp.asarray(slow(tensors)))

    def divided(self, tensors: Sequence[Any], by: Any) -> list[Any]:
        """Multiply by the reciprocal, which is the same for powers of two, else to rounding.

        XLA on a CPU computes quotients once, into new memory that is as large as all gradients; a
        product is computed where it is used.
        """

        def one(tensor: Any) -> Any:
            divisor = jnp.asarray(by, tensor.dtype)
            # The reciprocal of a very large number is subnormal, which XLA may take for zero.
            part = jnp.where(divisor > 2.0**100, 2.0**-60, 1.0).astype(tensor.dtype)
            return tensor * part * (1.0 / (divisor * part))

        return [one(tensor) for tensor in tensors]

    def clear_window(self, slots: Sequence[Slot]) -> None:
        """Let the zeros of a compiled step come of the new weights, by shifts.

        Zeros that depend on nothing are written to new memory and copied, and the sums are copied
        before that for those who read them. These come behind all readers, so that XLA writes them
        straight into the sums.
        """
        for slot in slots:
            weight = jnp.asarray(slot.variable.value, slot.accumulator.value.dtype)
            if isinstance(weight, jax.core.Tracer):
                slot.accumulator.assign(_zeros_of(weight))
            else:
                self.clear([slot.accumulator])

    def values(self, variables: Sequence[Any]) -> list[Any]:
        """Return the variables' arrays, which nothing can change."""
        return [variable.value for variable in variables]

    def weights(self, slots: Sequence[Slot]) -> list[Any]:
        """Return the variables' own arrays where their type is the arithmetic's."""
        own = self.values([slot.variable for slot in slots])
        return [
            value if slot.master is None and value.dtype == slot.compute_dtype else slot.weight()
            for slot, value in zip(slots, own, strict=True)
        ]

    def put(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        """Copy all in one compiled function: one dispatch for each would take longer."""
        types = tuple(variable.value.dtype for variable in variables)
        for variable, copy in zip(variables, _copies(list(values), types), strict=True):
            variable.assign(copy)

    def operations(self, function: Callable[..., Any], *arguments: Any) -> list[str]:
        """Trace the function and list its primitives; a conditional or a loop counts as one."""
        return list(_primitives(jax.make_jaxpr(function)(*arguments).jaxpr))

    def process(self) -> tuple[int, int]:
        """Return (index, number) as KERAS_DISTRIBUTION_* say, or the cluster that runs."""
        from nadam_suite.backends import jax_scope

        return jax_scope.process()

    def join(self) -> None:
        """Initialize `jax.distributed`, if KERAS_DISTRIBUTION_* name several processes."""
        from nadam_suite.backends import jax_scope

        jax_scope.join()

    def same_on_all(self, number: int) -> bool:
        """Gather the numbers of all processes."""
        from nadam_suite.backends import jax_scope

        return jax_scope.same_on_all(number)

    def split_cpu(self, count: int) -> bool:
        """Set the number of devices that JAX makes of the CPU."""
        from nadam_suite.backends import jax_scope

        return jax_scope.split_cpu(count)

    def open_scope(
        self,
        strategy: str,
        *,
        devices: int | Sequence[str] | None = None,
        layout: Mapping[str, Any] | None = None,
        model_devices: int | None = None,
    ) -> Sharing:
        """Create a `keras.distribution`."""
        from nadam_suite.backends import jax_scope

        return jax_scope.open_scope(strategy, devices, layout, model_devices)


@functools.partial(jax.jit, static_argnames="types")
def _copies(values: list[Any], types: tuple[Any, ...]) -> list[Any]:
    """Return arrays with buffers of their own, in the given types."""
    return [jnp.array(v, dtype=t, copy=True) for v, t in zip(values, types, strict=True)]


@functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
def _written_over(old: Any, new: Any) -> Any:
    """Return a copy of `new`, of the type of `old` and in its buffer."""
    return jnp.array(new, old.dtype, copy=True)


def _zeros_of(tensor: Any) -> Any:
    """Return zeros that take `tensor` as their input, which nobody sees through."""
    width = 8 * tensor.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(tensor, f"uint{width}")
    return jax.lax.bitcast_convert_type((bits >> (width - 1)) >> 1, tensor.dtype)


def _once(
    wanted: Any, function: Callable[[], None], variables: Sequence[Any], values: list[Any]
) -> list[Any]:
    """Return the values of variables after `function`, or as they are unless that is wanted."""

    def turn(carried: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        mapping = list(zip(variables, carried[1], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            function()
        return jnp.zeros((), bool), [scope.get_current_value(variable) for variable in variables]

    result: list[Any] = jax.lax.while_loop(lambda carried: carried[0], turn, (wanted, values))[1]
    return result


def _mesh_of(variable: Any) -> Any:
    """Return the device mesh that a variable lies on; None for one device, and inside a trace."""
    value = getattr(variable, "value", variable)
    sharding = None if isinstance(value, jax.core.Tracer) else getattr(value, "sharding", None)
    return sharding.mesh if isinstance(sharding, jax.sharding.NamedSharding) else None


def _primitives(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        if equation.primitive.name not in ("cond", "while"):  # what `conditional` makes is a loop
            for parameter in equation.params.values():
                if inner := getattr(parameter, "jaxpr", None):
                    yield from _primitives(inner)
