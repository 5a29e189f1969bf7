"""What the probes share: tiny models with known gradients, Nadam in float64, and comparisons."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Observation, Subject

__all__ = [
    "BAD",
    "FAR",
    "TINY",
    "apply_all",
    "averages",
    "caught_warnings",
    "compare",
    "compile_line",
    "half_model",
    "line_model",
    "nadam",
    "refusal",
    "same",
    "scratch",
    "state_of",
    "train",
    "value",
    "variable",
]

FAR = -1e3  # a target so far below that the gradient of the absolute error is the input itself
BAD = (np.inf, 1.0)  # a batch whose gradients overflow
TINY = 1e-8  # zero in float16, whose smallest number is 6e-8


def variable(
    initial: Any, dtype: str = "float32", name: str = "weight", **kwargs: Any
) -> keras.Variable:
    """Return a trainable variable."""
    return keras.Variable(np.asarray(initial), dtype=dtype, name=name, **kwargs)


def value(tensor: Any) -> np.ndarray:
    """Return a variable or tensor in float64."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), "float64")


def apply_all(optimizer: Any, weights: Sequence[Any], gradients: Sequence[Any]) -> None:
    """Apply one step per entry; an entry is one array for every variable, or a list of arrays."""
    for entry in gradients:
        each = entry if isinstance(entry, list) else [entry] * len(weights)
        typed = [
            keras.ops.convert_to_tensor(np.asarray(g, "float32"), dtype=w.dtype)
            for g, w in zip(each, weights, strict=True)
        ]
        optimizer.apply(typed, list(weights))


def line_model(optimizer: Any, width: int = 2, **layer: Any) -> keras.Model:
    """Return a compiled linear model whose gradient is the input, see `train` and `compile_line`.

    The layer is named "line"; its kernel starts at 1, its bias, if asked for, at 0.
    """
    layer = {"use_bias": False, "kernel_initializer": "ones", "name": "line"} | layer
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1, **layer)])
    compile_line(model, optimizer)
    return model


def compile_line(model: keras.Model, optimizer: Any, loss_weights: Any = None) -> None:
    """Compile a line model; a weight of the loss multiplies the gradients.

    The step is compiled as the backend does it by default, without XLA on TensorFlow, which takes
    longer.
    """
    model.compile(
        optimizer=optimizer,
        loss="mean_absolute_error",
        loss_weights=loss_weights,
        jit_compile=keras.backend.backend() == "jax",
    )


def half_model(
    subject: Subject, optimizer: Any, *, loss_weights: Any = None, **layer: Any
) -> keras.Model:
    """Return a line model that was compiled with what the subject has for its precision."""
    model = line_model(keras.optimizers.SGD(), **layer)
    compile_line(model, subject.precision.for_model(optimizer, model), loss_weights)
    return model


def state_of(model: keras.Model) -> list[np.ndarray]:
    """Return the weights and all that the optimizer keeps, but for the scale of the loss."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return [value(v) for v in (*model.trainable_variables, *optimizer.variables)]


def same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    """Return whether two states are equal to the bit; NaN is equal to nothing."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def train(model: keras.Model, gradients: Iterable[Any]) -> None:
    """Train one batch of one example per gradient, through the compiled step."""
    for gradient in gradients:
        model.train_on_batch(
            np.asarray(gradient, "float32").reshape(1, -1), np.full((1, 1), FAR, "float32")
        )


def nadam(
    weight: Any,
    gradients: Sequence[Any],
    learning_rate: Any = 1e-3,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: Any = 0.0,
    seen: Sequence[Any] | None = None,
) -> list[np.ndarray]:
    """Return the weight after every update, in float64; rates may be one number per update.

    With `seen`, which tells the elements that an update has seen, the others stand still in it.
    """
    w = np.asarray(weight, "float64")
    m = v = np.zeros_like(w)
    product = 1.0
    path = []
    for t, g in enumerate((np.asarray(g, "float64") for g in gradients), start=1):
        rate, decay = (x[t - 1] if np.ndim(x) else x for x in (learning_rate, weight_decay))
        u, u_next = (beta_1 * (1.0 - 0.5 * 0.96**s) for s in (t, t + 1))
        product *= u
        before = w, m, v
        w = w - w * decay * rate
        m = beta_1 * m + (1.0 - beta_1) * g
        v = beta_2 * v + (1.0 - beta_2) * g**2
        m_hat = u_next * m / (1.0 - product * u_next) + (1.0 - u) * g / (1.0 - product)
        w = w - rate * m_hat / (np.sqrt(v / (1.0 - beta_2**t)) + epsilon)
        if seen is not None:
            pairs = zip((w, m, v), before, strict=True)
            w, m, v = (np.where(seen[t - 1], new, old) for new, old in pairs)
        path.append(w)
    return path


def averages(path: Sequence[np.ndarray], momentum: float) -> list[np.ndarray]:
    """Return the moving average after every update; the first update copies the weight."""
    result = [np.asarray(path[0], "float64")]
    for w in path[1:]:
        result.append(momentum * result[-1] + (1.0 - momentum) * w)
    return result


def compare(actual: Any, expected: Any, tolerance: float, what: str) -> Observation:
    """Hold where two arrays agree to within a tolerance relative to 1 or to the value."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    if not np.isfinite(actual).all():
        return Observation(False, f"{what}: not finite")
    error = float(np.max(np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))))
    return Observation(error <= tolerance, f"{what}: off by {error:.2g}")


def refusal(name: str, action: Callable[[], Any]) -> Observation:
    """Hold where an action is refused by an error that names the argument."""
    try:
        action()
    except (ValueError, TypeError, AttributeError) as error:
        message = str(error).partition("\n")[0]
        return Observation(name in message, f"{type(error).__name__}: {message}")
    return Observation(False, f"{name} is accepted")


@contextlib.contextmanager
def caught_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect every warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="nadam-suite-doctor-") as folder:
        yield Path(folder)
