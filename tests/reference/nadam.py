"""One step of Nadam in float64 NumPy: the twin that every backend's fast path is compared with.

Source: T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016, with the momentum
schedule u_t = beta_1 (1 - 0.5 * 0.96^(t * psi)); psi is `momentum_decay` (1 in Keras, 0.004 in the
paper and in PyTorch; None means u_t = beta_1, as in optax). Symbols are the paper's:

    m_t = beta_1 m_{t-1} + (1 - beta_1) g_t
    v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2
    m^  = u_{t+1} m_t / (1 - U_{t+1}) + (1 - u_t) g_t / (1 - U_t),   U_t = u_1 u_2 ... u_t
    v^  = v_t / (1 - beta_2^t)
    x_t = x_{t-1} (1 - d) - alpha m^ / (sqrt(v^) + epsilon)

d is alpha lambda in mode "lr", lambda alpha / alpha_max in mode "independent", and
lambda alpha^2 / alpha_max in mode "corrected".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Number = float | Callable[[int], float]
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class NadamState:
    """What one step leaves for the next; `batch` counts gradients seen, `update` those applied."""

    m: Arrays
    v: Arrays
    window: list[np.ndarray | None]
    average: Arrays
    batch: int = 0
    update: int = 0
    U: float = 1.0  # the paper's product of u_1 ... u_t
    beta_2_product: float = 1.0


@dataclass(frozen=True)
class Rows:
    """A gradient that has an entry for some rows of its variable; entries of one row add up."""

    indices: Sequence[int]
    values: np.ndarray
    shape: tuple[int, ...]

    def dense(self) -> np.ndarray:
        """The whole gradient."""
        whole = np.zeros(self.shape)
        np.add.at(whole, np.asarray(self.indices, "int64"), np.asarray(self.values, "float64"))
        return whole

    def seen(self) -> np.ndarray:
        """For each row whether it has an entry, in a shape that broadcasts over the variable."""
        rows = np.isin(np.arange(self.shape[0]), np.asarray(self.indices, "int64"))
        return rows.reshape(-1, *(1 for _ in self.shape[1:]))


def initial_state(x: Sequence[np.ndarray], **changes: object) -> NadamState:
    """The state before the first step for variables `x`."""
    zeros = [np.zeros(np.shape(a)) for a in x]
    state = NadamState(m=zeros, v=zeros, window=[None] * len(zeros), average=zeros)
    return replace(state, **changes)


def momentum(beta_1: float, t: int, psi: float | None) -> float:
    """u_t, the momentum of step t (the first step is 1)."""
    return beta_1 if psi is None else beta_1 * (1.0 - 0.5 * 0.96 ** (t * psi))


def clip(g, *, clipnorm=None, global_clipnorm=None, clipvalue=None):
    """Clip gradients as Keras documents: each norm, the norm of all together, or each element."""
    if clipvalue is not None:
        return [None if a is None else np.clip(a, -clipvalue, clipvalue) for a in g]
    if clipnorm is not None:
        return [a if a is None else a * clipnorm / max(_norm([a]), clipnorm) for a in g]
    if global_clipnorm is not None:
        scale = global_clipnorm / max(_norm(g), global_clipnorm)
        return [None if a is None else a * scale for a in g]
    return list(g)


def _norm(arrays) -> float:
    return float(np.sqrt(sum(np.sum(np.square(a)) for a in arrays if a is not None)))


def _sum(a, b):
    """A missing gradient adds nothing; a variable without any in the window has none."""
    return a if b is None else b if a is None else a + b


def _at(value: Number, step: int) -> float:
    return float(value(step)) if callable(value) else float(value)


def _update(x, g, m, v, c, *, epsilon):
    """Decay and the Nadam step of one variable; `c` holds this step's scalars."""
    m = c["beta_1"] * m + (1 - c["beta_1"]) * g
    v = c["beta_2"] * v + (1 - c["beta_2"]) * g * g
    m_hat = c["u_next"] * m / (1 - c["U_next"]) + (1 - c["u"]) * g / (1 - c["U"])
    v_hat = v / (1 - c["beta_2_product"])
    x = x * (1 - c["decay"])
    return x - c["alpha"] * m_hat / (np.sqrt(v_hat) + epsilon), m, v


def _decay(mode: str, c, by_rate: float, highest: float | None) -> float:
    """The share of one variable that the decay takes; `by_rate` multiplies its highest rate too."""
    if mode == "lr":
        return c["alpha"] * c["lambda"]
    r = c["alpha"] / (highest * by_rate)
    return c["lambda"] * r * (1.0 if mode == "independent" else c["alpha"])


def _scalars(state, step, next_step, learning_rate, beta_1, beta_2, weight_decay, momentum_decay):
    """The numbers of this update; schedules read `step` now, and `next_step` at the next one."""
    t = state.update + 1
    b1, b2 = _at(beta_1, step), _at(beta_2, step)
    u = momentum(b1, t, momentum_decay)
    u_next = momentum(_at(beta_1, next_step), t + 1, momentum_decay)
    return {
        "alpha": _at(learning_rate, step),
        "lambda": 0.0 if weight_decay is None else _at(weight_decay, step),
        "beta_1": b1,
        "beta_2": b2,
        "beta_2_product": state.beta_2_product * b2,
        "u": u,
        "u_next": u_next,
        "U": state.U * u,
        "U_next": state.U * u * u_next,
    }


def nadam_step(
    x,
    g,
    state: NadamState,
    *,
    learning_rate: Number = 0.001,
    beta_1: Number = 0.9,
    beta_2: Number = 0.999,
    epsilon: float = 1e-7,
    weight_decay: Number | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
    loss_scale_factor: float | None = None,
    gradient_accumulation_steps: int | None = None,
    momentum_decay: float | None = 1.0,
    schedule_step: str = "batch",
    weight_decay_mode: str = "lr",
    max_learning_rate: float | None = None,
    lazy_embeddings: bool = False,
    multipliers: Sequence[tuple[float, float]] | None = None,
    constraints: Sequence[Callable | None] | None = None,
) -> tuple[Arrays, NadamState]:
    """Give new variables and state; nothing is changed in place.

    Args:
        x: Variables, arrays of any float type; computed in float64.
        g: A gradient for each, an array or `Rows`; None leaves that variable as it is (its average
            still moves).
        state: From `initial_state` or the step before.
        learning_rate: alpha; like beta_1, beta_2 and weight_decay a number or a function of the
            step that schedules read (see `schedule_step`).
        multipliers: For each variable what (learning_rate, weight_decay) are multiplied with.
        constraints: For each variable a function of the array, or None.
        **others: As the constructor of `nadam_suite.Nadam`.
    """
    x = [np.asarray(a, "float64") for a in x]
    seen = [a.seen() if lazy_embeddings and isinstance(a, Rows) else None for a in g]
    g = [a.dense() if isinstance(a, Rows) else a for a in g]
    scale = 1.0 if loss_scale_factor is None else loss_scale_factor
    g = [None if a is None else np.asarray(a, "float64") / scale for a in g]
    window = gradient_accumulation_steps or 1
    if window > 1:
        g = [_sum(w, a) for w, a in zip(state.window, g, strict=True)]
        if (state.batch + 1) % window:
            return x, replace(state, window=g, batch=state.batch + 1)
        g = [None if a is None else a / window for a in g]
    g = clip(g, clipnorm=clipnorm, clipvalue=clipvalue, global_clipnorm=global_clipnorm)
    step, stride = (state.batch, window) if schedule_step == "batch" else (state.update, 1)
    c = _scalars(
        state, step, step + stride, learning_rate, beta_1, beta_2, weight_decay, momentum_decay
    )
    m, v = list(state.m), list(state.v)
    for i, gradient in enumerate(g):
        if gradient is None:
            continue
        by_rate, by_decay = multipliers[i] if multipliers else (1.0, 1.0)
        own = c | {"alpha": c["alpha"] * by_rate, "lambda": c["lambda"] * by_decay}
        own["decay"] = _decay(weight_decay_mode, own, by_rate, max_learning_rate)
        old = x[i], m[i], v[i]
        x[i], m[i], v[i] = _update(*old[:1], gradient, *old[1:], own, epsilon=epsilon)
        if seen[i] is not None:  # the other rows are as if there had been no step
            pairs = zip((x[i], m[i], v[i]), old, strict=True)
            x[i], m[i], v[i] = (np.where(seen[i], new, before) for new, before in pairs)
        if constraints and constraints[i] is not None:
            x[i] = constraints[i](x[i])
    average = state.average
    if use_ema:
        d = ema_momentum if state.update else 0.0  # the first real update copies
        average = [d * a + (1 - d) * b for a, b in zip(average, x, strict=True)]
        if ema_overwrite_frequency and (state.update + 1) % ema_overwrite_frequency == 0:
            x = [a.copy() for a in average]
    return x, NadamState(
        m=m,
        v=v,
        window=[None] * len(x),
        average=average,
        batch=state.batch + 1,
        update=state.update + 1,
        U=c["U"],
        beta_2_product=c["beta_2_product"],
    )


def trajectory(x, gradients, state: NadamState | None = None, **options) -> list[Arrays]:
    """The variables after each of `gradients`, one list of arrays a step."""
    state = initial_state(x) if state is None else state
    path = []
    for g in gradients:
        x, state = nadam_step(x, g, state, **options)
        path.append(x)
    return path
