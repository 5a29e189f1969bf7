"""PyTorch: eager, so branches are Python's and many variables move in one foreach call."""

from __future__ import annotations

import collections
import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nadam_suite.backends.base import Backend
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

    def scalar(self, value: Any, dtype: str) -> float:
        """Return a Python float."""
        if isinstance(value, keras.Variable):
            value = value.value
        return float(value)

    def counter(self, variable: Any) -> int:
        """Return a Python integer."""
        return int(variable.value)

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
        """Update the variables in place, one foreach call for all that share their scalars."""
        groups = collections.defaultdict(list)
        for position, slot in enumerate(slots):
            key = (
                slot.compute_dtype,
                slot.variable.value.device,
                slot.learning_rate,
                slot.decay,
            )
            groups[key].append(position)
        weights: list[Any] = [None] * len(slots)
        for positions in groups.values():
            members = [slots[position] for position in positions]
            updated = _update_group(members, [gradients[p] for p in positions], scalars)
            for position, weight in zip(positions, updated, strict=True):
                weights[position] = weight
        return weights

    def finite(self, tensors: Sequence[Any]) -> bool:
        """Look at the norms, one foreach call for all tensors."""
        return _all_finite(tensors)

    def divided(self, tensors: Sequence[Any], by: Any) -> list[Any]:
        """Divide with one foreach call."""
        return list(torch._foreach_div(list(tensors), self.scalar(by, "float32")))

    def average(
        self, averages: Sequence[Any], weights: Sequence[Any], share: Any, first: Any
    ) -> None:
        """Do it in place, one foreach call for the variables of a device; see `Backend.average`."""
        groups = collections.defaultdict(list)
        for variable, weight in zip(averages, weights, strict=True):
            groups[weight.device].append((variable, weight))
        for pairs in groups.values():
            variables, tensors = [v for v, _ in pairs], [w for _, w in pairs]
            if _all_finite(tensors):
                # With a share of one, as at the first time, this gives the weights to the bit.
                torch._foreach_lerp_([variable.value for variable in variables], tensors, share)
            else:
                super().average(variables, tensors, share, first)

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


def _all_finite(tensors: Sequence[Any]) -> bool:
    """Return whether all elements are finite.

    Of all ways to find NaN and infinity the norm is the fastest on CPU and GPU. It may overflow by
    itself, so where one is not finite the elements decide.
    """
    norms = collections.defaultdict(list)
    for norm in torch._foreach_norm(list(tensors)):
        norms[norm.device, norm.dtype].append(norm)
    if all(bool(torch.isfinite(torch.stack(group)).all()) for group in norms.values()):
        return True
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _update_group(members: list[Slot], gradients: list[Any], scalars: Any) -> list[Any]:
    """Follow `optimizers.rule.nadam_update` in place; all members share type and multipliers."""
    first = members[0]
    dtype = getattr(torch, first.compute_dtype)
    rate, decay = first.learning_rate, first.decay
    weights = [
        slot.weight() if slot.master is not None else slot.variable.value for slot in members
    ]
    weights = [w if w.dtype == dtype else w.to(dtype) for w in weights]
    momentums = [slot.momentum.value.to(dtype) for slot in members]  # no copy where the type fits
    velocities = [slot.velocity.value.to(dtype) for slot in members]

    if scalars.decay is not None and decay:
        torch._foreach_mul_(weights, 1.0 - decay * scalars.decay)
    torch._foreach_lerp_(momentums, gradients, scalars.one_minus_beta_1)
    # Not beta_2 * v + (1 - beta_2) * g ** 2: in float32 these two factors do not add up to one.
    torch._foreach_lerp_(
        velocities, torch._foreach_mul(gradients, gradients), scalars.one_minus_beta_2
    )
    denominators = torch._foreach_sqrt(velocities)
    torch._foreach_mul_(denominators, scalars.inverse_root_correction)
    torch._foreach_add_(denominators, scalars.epsilon)
    torch._foreach_addcdiv_(weights, momentums, denominators, -rate * scalars.momentum_rate)
    torch._foreach_addcdiv_(weights, gradients, denominators, -rate * scalars.gradient_rate)

    for slot, momentum, velocity in zip(members, momentums, velocities, strict=True):
        if slot.momentum.value.dtype != dtype:
            slot.momentum.assign(momentum)
            slot.velocity.assign(velocity)
    return weights
