"""PyTorch: eager, so branches are Python's and many variables move in one foreach call."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nadam_suite.backends import (
    rounding,
    torch_blocks,
    torch_norms,
    torch_plan,
    torch_rows,
    torch_update,
)
from nadam_suite.backends.base import Backend
from nadam_suite.backends.rows import Seen
from nadam_suite.backends.scope import Sharing
from nadam_suite.backends.slot import Slot
from nadam_suite.errors import ArgumentError, NadamSuiteError

__all__ = ["TorchBackend"]


class PythonMath:
    """Scalar arithmetic on Python floats: exact, and no kernel is launched for it."""

    pow = staticmethod(math.pow)
    sqrt = staticmethod(math.sqrt)
    expm1 = staticmethod(math.expm1)


class TorchBackend(Backend):
    """Adapter of the PyTorch backend."""

    math: Any = PythonMath
    scales_in_update = True

    def scalar(self, value: Any, dtype: str) -> float:
        """Return a Python float."""
        if isinstance(value, keras.Variable):
            value = value.value
        return float(value)

    def counter(self, variable: Any) -> int:
        """Return a Python integer."""
        return int(variable.value)

    def rounding_key(self, iteration: int) -> int:
        """Return a Python integer."""
        return rounding.hashed((iteration + rounding.SEED) & rounding.WORD)

    def flag(self, tensor: Any) -> bool:
        """Return a Python bool."""
        return bool(tensor)

    def both(self, first: Any, second: Any) -> bool:
        """Return a Python bool."""
        return first and second

    def select(self, condition: Any, if_true: Any, if_false: Any) -> Any:
        """Return one of two tensors or numbers; the other is not computed with."""
        return if_true if condition else if_false

    def call_time_value(self, function: Callable[[], Any], step: Any, dtype: str) -> float:
        """Call the function: every step is run by Python."""
        return self.scalar(function(), dtype)

    def conditional(
        self,
        predicate: Any,
        if_true: Callable[[], None],
        if_false: Callable[[], None],
        variables: Sequence[Any],
    ) -> None:
        """Take a Python branch."""
        if predicate:
            if_true()
        else:
            if_false()

    def densify(self, gradient: Any) -> Any:
        """Sum the rows of a sparse gradient that name the same index."""
        return gradient.to_dense() if getattr(gradient, "is_sparse", False) else gradient

    def is_sparse(self, gradient: Any) -> bool:
        """Look at its type."""
        return bool(getattr(gradient, "is_sparse", False))

    def seen(self, gradient: Any, dtype: str) -> Seen | None:
        """Sum the entries of each row of a sparse tensor."""
        return torch_rows.seen(gradient, dtype)

    def take_rows(self, variable: Any, seen: Seen) -> Any:
        """Gather them."""
        return variable.value.index_select(0, seen.indices)

    def put_rows(self, variable: Any, seen: Seen, values: Any) -> None:
        """Scatter them in place."""
        variable.value.index_copy_(0, seen.indices, values)

    def narrowed_rows(
        self, slot: Slot, seen: Seen, momentum: Any, velocity: Any, scalars: Any
    ) -> tuple[Any, Any]:
        """Compute with signed integers; see `nadam_suite.backends.torch_rounding`."""
        return torch_rows.narrowed(slot, seen, momentum, velocity, scalars.rounding_key)

    def copy(self, value: Any) -> Any:
        """Return a tensor with memory of its own."""
        return keras.ops.convert_to_tensor(value).detach().clone()

    def kept(self, value: Any) -> Any:
        """Return a copy: reading gives the variable's own memory."""
        return self.copy(value)

    @contextlib.contextmanager
    def no_grad(self) -> Iterator[None]:
        """Updates are not part of any graph."""
        with torch.no_grad():
            yield

    def update(
        self,
        slots: Sequence[Slot],
        gradients: Sequence[Any],
        scalars: Any,
        rule: Callable[..., tuple[Any, Any, Any]],
    ) -> list[Any]:
        """Update the variables in place; see `nadam_suite.backends.torch_plan`."""
        return torch_plan.update(slots, gradients, scalars)

    def prepared(self, slots: Sequence[Slot], gradients: Sequence[Any], scale: Any) -> list[Any]:
        """Look at the types of tensors alone, and divide with one foreach call."""
        ready = [self._prepared(*pair) for pair in zip(slots, gradients, strict=True)]
        if scale is None:
            return ready
        scaled = [place for place, slot in enumerate(slots) if not slot.overwrite]
        divided = torch._foreach_div([ready[place] for place in scaled], scale)
        for place, gradient in zip(scaled, divided, strict=True):
            ready[place] = gradient
        return ready

    def _prepared(self, slot: Slot, gradient: Any) -> Any:
        dtype = torch_blocks.DTYPES[slot.compute_dtype]
        if type(gradient) is torch.Tensor and gradient.dtype is dtype and not gradient.is_sparse:
            return gradient
        tensor = isinstance(gradient, torch.Tensor)
        dense = self.densify(gradient if tensor else keras.ops.convert_to_tensor(gradient))
        return dense if slot.overwrite else dense.to(dtype)

    def values(self, variables: Sequence[Any]) -> list[Any]:
        """Return the variables' own tensors."""
        return torch_update.tensors(variables)

    def weights(self, slots: Sequence[Slot]) -> list[Any]:
        """Return the variables' own tensors where their type is the arithmetic's."""
        own = torch_update.tensors([slot.variable for slot in slots])
        wide = (torch.float32, torch.float64)
        return [w if w.dtype in wide else s.weight() for s, w in zip(slots, own, strict=True)]

    def norm(self, tensors: Sequence[Any], dtype: str) -> Any:
        """Return a tensor on the device: reading it would wait for a GPU."""
        return torch_norms.global_norm(tensors)

    def accumulate(self, accumulators: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Add in place with one foreach call."""
        torch._foreach_add_(torch_update.tensors(accumulators), list(gradients))

    def mean_of_window(
        self, accumulators: Sequence[Any], gradients: Sequence[Any], window: int
    ) -> list[Any]:
        """Compute it in the accumulators."""
        self.accumulate(accumulators, gradients)
        means = torch_update.tensors(accumulators)
        torch._foreach_div_(means, window)
        return means

    def clear(self, variables: Sequence[Any]) -> None:
        """Set them to zero with one foreach call."""
        torch._foreach_zero_(torch_update.tensors(variables))

    def kept_weights(self, slots: Sequence[Slot]) -> list[Any]:
        """Return copies, made with one foreach call: reading gives the variables' own memory."""
        weights = self.weights(slots)
        copies = [torch.empty_like(weight, requires_grad=False) for weight in weights]
        torch._foreach_copy_(copies, weights)
        return copies

    def put(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        """Copy and cast with one foreach call."""
        tensors = [v if isinstance(v, torch.Tensor) else torch.as_tensor(v) for v in values]
        torch._foreach_copy_(torch_update.tensors(variables), tensors)

    def put_back(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        """Copy back with one foreach call."""
        self.put(variables, values)

    def finite(self, tensors: Sequence[Any]) -> bool:
        """Look at the norms, one foreach call for all tensors."""
        return torch_norms.all_finite(tensors)

    def divided(self, tensors: Sequence[Any], by: Any) -> list[Any]:
        """Divide with one foreach call."""
        return list(torch._foreach_div(list(tensors), self.scalar(by, "float32")))

    def averages_in_update(self) -> bool:
        """Block by block, while the weights are in the cache."""
        return True

    def average(
        self, averages: Sequence[Any], weights: Sequence[Any], share: Any, first: Any
    ) -> None:
        """Do it in place, one foreach call for the variables of a device; see `Backend.average`.

        At the first time the share is one, which gives the weights.
        """
        pairs = zip(torch_update.tensors(averages), weights, strict=True)
        for members in torch_blocks.grouped(lambda pair: pair[1].device, pairs).values():
            own, taken = zip(*members, strict=True)
            torch_update.take_in(own, taken, share)

    def operations(self, function: Callable[..., Any], *arguments: Any) -> list[str]:
        """Run the function and list the kernels that it launches; a foreach call is one."""
        names: list[str] = []

        class Recorder(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                names.append(str(func))
                return func(*args, **(kwargs or {}))

        with Recorder():
            function(*arguments)
        return names

    def random_state(self) -> np.ndarray:
        """Return the states of the generators of all devices; Keras' unseeded dropout uses them."""
        states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        return np.concatenate([state.numpy() for state in states])

    def set_random_state(self, state: np.ndarray) -> None:
        """Split the states as they were joined: one of the CPU, and one of each GPU there is."""
        size, count = len(torch.get_rng_state()), torch.cuda.device_count()
        parts = np.split(state[size:], count) if count else []
        torch.set_rng_state(torch.from_numpy(state[:size].copy()))
        torch.cuda.set_rng_state_all([torch.from_numpy(part.copy()) for part in parts])

    def process(self) -> tuple[int, int]:
        """Return (0, 1): Keras trains on one device here, whatever started the process."""
        return 0, 1

    def join(self) -> None:
        """Refuse a job of several processes: each would train a model of its own.

        Raises:
            NadamSuiteError: WORLD_SIZE says that there are several processes.
        """
        if (count := os.environ.get("WORLD_SIZE", "").strip()) not in {"", "0", "1"}:
            raise NadamSuiteError(
                "On the torch backend Keras trains on one device, in one process. Received: "
                f"WORLD_SIZE={count!r}. Train in one process, or set KERAS_BACKEND to tensorflow "
                "or jax, where several share a batch."
            )

    def open_scope(
        self,
        strategy: str,
        *,
        devices: int | Sequence[str] | None = None,
        layout: Mapping[str, Any] | None = None,
        model_devices: int | None = None,
    ) -> Sharing:
        """Keep to the one device that Keras has chosen."""
        self.join()
        if strategy in {"auto", "none"} and devices in (None, 1):
            return Sharing("none")
        asked = f"strategy={strategy!r}, devices={devices!r}"
        raise ArgumentError(
            'Argument `strategy` must be "auto" or "none" on the torch backend, and `devices` 1: '
            f"Keras trains on one device there. Received: {asked}. Set KERAS_BACKEND to tensorflow "
            "or jax, where several devices share a batch."
        )
