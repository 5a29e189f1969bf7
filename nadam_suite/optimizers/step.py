"""One optimizer step over Keras variables: accumulate, clip, decay, update, constrain, average."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from nadam_suite.backends import Backend, get_backend, rows
from nadam_suite.backends.slot import Running, Slot, State, Written, dtype_of
from nadam_suite.optimizers.averages import overwrite, shares, take_in
from nadam_suite.optimizers.guard import Guard
from nadam_suite.optimizers.hyperparameters import Hyperparameters, is_constant
from nadam_suite.optimizers.monitor import record
from nadam_suite.optimizers.rule import (
    StepScalars,
    clip_scale,
    momentum_schedule,
    nadam_update,
    power_complement,
    weight_decay,
)
from nadam_suite.optimizers.subset import still_slots

__all__ = ["take_step"]


def take_step(
    optimizer: Any, chosen: Sequence[int], gradients: Sequence[Any], guard: Guard | None = None
) -> None:
    """Sum the gradients over the replicas, then update, or add to the running window.

    Args:
        optimizer: A built Nadam.
        chosen: Positions of the variables that have a gradient.
        gradients: Their gradients, in the same order.
        guard: Decides on the sums whether the step is taken, and unscales them.
    """
    state = optimizer._layout.state
    if guard is not None:
        state = dataclasses.replace(state, guard=guard)

    def shared() -> Hyperparameters:
        return Hyperparameters.read(optimizer)

    def run(state: State, sums: Sequence[Any], hyperparameters: Hyperparameters) -> None:
        Step(optimizer, state, chosen, sums, hyperparameters).run()

    backend = get_backend()
    if optimizer.lazy_embeddings and not optimizer.has_seen_rows:
        optimizer.has_seen_rows = True
        rows.warn_of_dense(backend, gradients)
    with backend.no_grad():
        backend.on_each_replica(state, chosen, gradients, shared, run)


class Step:
    """One call of `Nadam.apply` on one replica, after the gradients of all have been summed.

    Args:
        optimizer: A built Nadam; its settings are read, not its variables.
        state: The variables of this replica.
        chosen: Positions of the slots that have a gradient.
        gradients: Their gradients, in the same order.
        hyperparameters: The values of this step.
    """

    def __init__(
        self,
        optimizer: Any,
        state: State,
        chosen: Sequence[int],
        gradients: Sequence[Any],
        hyperparameters: Hyperparameters,
    ) -> None:
        self.optimizer = optimizer
        self.state = state
        self.hyperparameters = hyperparameters
        self.backend: Backend = get_backend()
        self.slots = [state.slots[index] for index in chosen]
        if optimizer.lazy_embeddings:
            self.slots, gradients = rows.divided(self.backend, self.slots, gradients)
        self.gradients = self.backend.prepared(self.slots, gradients, optimizer.loss_scale_factor)
        self.window = optimizer.gradient_accumulation_steps or 1
        iteration = self.backend.counter(state.iterations)
        self.iteration = iteration
        self.update_number = iteration // self.window + 1
        self.dtype = optimizer._layout.scalar_dtype

    def run(self) -> None:
        """Take the step, if no guard stands in its way."""
        if (guard := self.state.guard) is None:
            self._run()
            return

        def take(unscaled: list[Any]) -> None:
            self.gradients = unscaled
            self._run()

        places = [slot.index for slot in self.slots]
        scaled = [not slot.overwrite for slot in self.slots]
        guard.run(self.gradients, places, scaled, take, list(self.state.variables()))

    def _run(self) -> None:
        """Update, or add to the running window; and count."""
        if self.window == 1:
            self._update()
        else:
            ends = (self.iteration + 1) % self.window == 0
            touched = list(self.state.variables())
            self.backend.conditional(ends, self._update, self._accumulate, touched)
        self.state.iterations.assign_add(1)

    def _accumulate(self) -> None:
        slots, gradients = self._trained()
        self.backend.accumulate([slot.accumulator for slot in slots], gradients)
        for slot, gradient in self._overwritten():
            slot.accumulator.assign(_largest(slot, gradient))

    def _trained(self) -> tuple[list[Slot], list[Any]]:
        """Return the slots that follow their gradients, and these."""
        pairs = zip(self.slots, self.gradients, strict=True)
        chosen = [(slot, gradient) for slot, gradient in pairs if not slot.overwrite]
        return [slot for slot, _ in chosen], [gradient for _, gradient in chosen]

    def _overwritten(self) -> list[tuple[Slot, Any]]:
        """Return the slots whose gradients are their new values, with these."""
        pairs = zip(self.slots, self.gradients, strict=True)
        return [(slot, gradient) for slot, gradient in pairs if slot.overwrite]

    def _update(self) -> None:
        """Do one real update with the gradients, or with the mean of the window."""
        for slot, gradient in self._overwritten():
            value = gradient if self.window == 1 else _largest(slot, gradient)
            slot.variable.assign(keras.ops.cast(value, dtype_of(slot.variable)))
        slots, gradients = self._trained()
        left_over = self._left_over()
        if self.window > 1:
            accumulators = [slot.accumulator for slot in slots]
            gradients = self.backend.mean_of_window(accumulators, gradients, self.window)
        trained = [(slot, g, None) for slot, g in zip(slots, gradients, strict=True)]
        still = still_slots(self.optimizer) if self.state.averages else frozenset()
        written = self._update_weights([*trained, *left_over], self._shares(still))
        if self.optimizer.ema_overwrite_frequency is not None:
            written = {}  # after the first average weights may be others
        seen_to = still.union(index for index, new in written.items() if new.averaged)
        known = {i: new.weight for i, new in written.items() if new.weight is not None}
        for position, running in enumerate(self.state.averages):
            self._average(position, running, seen_to, known)
        if self.window > 1:
            self.backend.clear_window(self.state.slots)

    def _left_over(self) -> list[tuple[Slot, Any, Any]]:
        """Return the variables whose gradient is missing now but came earlier in the window.

        Whether it did is known at run time only; the third item tells.
        """
        if self.window == 1:
            return []
        present = {slot.index for slot in self.slots}
        left = []
        for slot in self.state.slots:
            if slot.index not in present and not slot.overwrite:
                total = keras.ops.convert_to_tensor(slot.accumulator)
                came = self.backend.flag(keras.ops.any(keras.ops.not_equal(total, 0.0)))
                if came is not False:
                    left.append((slot, total / self.window, came))
        return left

    def _shares(self, still: frozenset[int]) -> tuple[Any, ...]:
        """Return the weights' shares in averages that the backend may update with the weights."""
        possible = self.backend.averages_in_update() and not still
        if not possible or self.optimizer.ema_overwrite_frequency is not None:
            return ()
        return shares(self.state)

    def _update_weights(
        self, trained: list[tuple[Slot, Any, Any]], average_shares: tuple[Any, ...]
    ) -> dict[int, Written]:
        """Clip, decay, update and constrain; an item's flag, if any, decides whether it counts.

        Return what the backend says of weights that it has written, by the positions of their
        slots.
        """
        opt, (scalars, momentum) = self.optimizer, self._scalars()
        if not trained:
            return {}
        gradients = [gradient for _, gradient, _ in trained]
        norm = self._global_norm(gradients)
        if opt.monitored:
            record(self.state.monitor, self.hyperparameters, momentum, norm)
        gradients, scalars = self._clip(gradients, norm, scalars)
        moving = [
            (slot, gradient, came)
            for (slot, _, came), gradient in zip(trained, gradients, strict=True)
            if not slot.frozen
        ]
        flags = {slot.index: came for slot, _, came in moving if came is not None}
        before = {slot.index: slot.weight() for slot, _, _ in moving if slot.index in flags}

        def rule(x: Any, g: Any, m: Any, v: Any, s: StepScalars, slot: Slot) -> tuple[Any, ...]:
            new = nadam_update(x, g, m, v, s, slot)
            if slot.index not in flags:
                return new
            came = flags[slot.index]
            return tuple(
                self.backend.select(came, n, o) for n, o in zip(new, (x, m, v), strict=True)
            )

        slots, gradients = [slot for slot, _, _ in moving], [g for _, g, _ in moving]
        scalars = dataclasses.replace(scalars, average_shares=average_shares)
        if opt.lazy_embeddings:
            weights = rows.update(self.backend, slots, gradients, scalars, rule)
        else:
            weights = self.backend.update(slots, gradients, scalars, rule)
        for slot, weight in zip(slots, weights, strict=True):
            if weight is None or isinstance(weight, Written):
                continue
            new = weight if slot.constraint is None else slot.constraint(weight)
            if slot.index in flags:
                new = self.backend.select(flags[slot.index], new, before[slot.index])
            slot.write(new)
        pairs = zip(slots, weights, strict=True)
        return {slot.index: new for slot, new in pairs if isinstance(new, Written)}

    def _scalars(self) -> tuple[StepScalars, Any]:
        """Return the scalars of this update and its momentum; advance the running products."""
        opt, state, h, backend = self.optimizer, self.state, self.hyperparameters, self.backend
        t = backend.scalar(self.update_number, self.dtype)
        u_t = momentum_schedule(h.beta_1, t, opt.momentum_decay, backend.math)
        u_next = momentum_schedule(h.next_beta_1, t + 1.0, opt.momentum_decay, backend.math)
        u_product = backend.scalar(state.u_product, self.dtype) * u_t
        state.u_product.assign(u_product)
        corrections = 1.0 - u_product, 1.0 - u_product * u_next
        if opt.momentum_decay is None and is_constant(opt.beta_1):
            # The product is a power here, whose complement does not cancel for a beta_1 near one.
            corrections = tuple(
                power_complement(h.beta_1, time, backend.math) for time in (t, t + 1.0)
            )
        if is_constant(opt.beta_2):
            velocity_correction = power_complement(h.beta_2, t, backend.math)
        else:
            beta_2_product = backend.scalar(state.beta_2_product, self.dtype) * h.beta_2
            state.beta_2_product.assign(beta_2_product)
            velocity_correction = 1.0 - beta_2_product
        decay = h.weight_decay
        if decay is not None:
            decay = weight_decay(opt.weight_decay_mode, decay, h.learning_rate, opt._highest_rate)
        scalars = StepScalars(
            momentum_rate=h.learning_rate * u_next / corrections[1],
            gradient_rate=h.learning_rate * (1.0 - u_t) / corrections[0],
            inverse_root_correction=1.0 / backend.math.sqrt(velocity_correction),
            one_minus_beta_1=1.0 - h.beta_1,
            one_minus_beta_2=1.0 - h.beta_2,
            decay=decay,
            epsilon=opt.epsilon,
            rounding_key=self._rounding_key(),
        )
        return scalars, u_t

    def _rounding_key(self) -> Any:
        """Return what the random bits of this step depend on, or None where nothing needs any."""
        if self.optimizer.slot_dtype != "bfloat16":
            return None
        return self.backend.rounding_key(self.iteration)

    def _global_norm(self, gradients: list[Any]) -> Any:
        """Return the norm of all gradients together, or None where nothing needs it."""
        if self.optimizer.global_clipnorm is None and self.optimizer.monitored != "norm":
            return None
        return self.backend.norm(gradients, self.dtype)

    def _clip(
        self, gradients: list[Any], norm: Any, scalars: StepScalars
    ) -> tuple[list[Any], StepScalars]:
        """Clip the aggregated gradients by value, by their own norms or by their common norm."""
        opt = self.optimizer
        if opt.global_clipnorm is not None:
            return self.backend.scaled(gradients, clip_scale(norm, opt.global_clipnorm), scalars)
        if opt.clipvalue is not None:
            bound = opt.clipvalue
            gradients = [keras.ops.clip(g, -bound, bound) for g in gradients]
        if opt.clipnorm is not None:
            norms = map(keras.ops.sqrt, self.backend.squares(gradients))
            factors = [clip_scale(norm, opt.clipnorm) for norm in norms]
            gradients = [g * factor for g, factor in zip(gradients, factors, strict=True)]
        return gradients, scalars

    def _average(
        self, position: int, running: Running, still: frozenset[int], known: dict[int, Any]
    ) -> None:
        """Let a running average take the weights in, if this update is one of its times."""
        rule = running.rule

        def take() -> None:
            take_in(self.state, position, still)

        if rule.always:
            take_in(self.state, position, still, known)
        else:
            since = self.update_number - rule.start
            due = self.backend.both(since > 0, since % rule.update_every == 0)
            touched = list(self.state.of_average(position))
            self.backend.conditional(due, take, _nothing, touched)
        frequency = self.optimizer.ema_overwrite_frequency
        if position == 0 and frequency is not None:
            overwrite(self.state, self.update_number % frequency == 0, still)


def _nothing() -> None:
    """Leave everything as it is."""


def _largest(slot: Slot, value: Any) -> Any:
    """Return the largest of the values that a window has for what overwrites its variable."""
    accumulated = keras.ops.convert_to_tensor(slot.accumulator)
    return keras.ops.maximum(accumulated, keras.ops.cast(value, accumulated.dtype))
