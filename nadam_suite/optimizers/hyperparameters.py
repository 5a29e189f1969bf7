"""Numbers that may change while training runs: constants, schedules and callables, all alike."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError, ArgumentTypeError, SerializationError
from nadam_suite.optimizers.arguments import Interval, check_number, check_range
from nadam_suite.schedules.checks import exact_float

__all__ = [
    "RANGES",
    "Hyperparameters",
    "current_value",
    "is_constant",
    "normalize",
    "schedule_counter",
    "serialize",
]

RANGES = {
    "learning_rate": "[0, inf)",
    "weight_decay": "[0, inf)",
    "beta_1": "[0, 1)",
    "beta_2": "[0, 1)",
}


def normalize(name: str, value: Any) -> Any:
    """Return a float, a schedule or a callable from whatever a user may pass for `name`.

    Raises:
        ArgumentError: A constant lies out of its range.
        ArgumentTypeError: The value is none of the accepted kinds.
    """
    if isinstance(value, Mapping):
        value = keras.saving.deserialize_keras_object(dict(value))
    if value is None and name == "weight_decay":
        return None
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return _checked_schedule(name, value)
    if isinstance(value, keras.Variable):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a number, a schedule or a callable. Received: "
            f"{name}={value!r}. Pass `lambda: variable` to follow the variable's value."
        )
    if callable(value) and not keras.ops.is_tensor(value):
        return _checked_callable(name, value)
    if keras.ops.is_tensor(value) or isinstance(value, np.ndarray):
        value = _constant_tensor(name, value)
    return check_number(name, value, RANGES[name], optional=name == "weight_decay")


def is_constant(value: Any) -> bool:
    """Return whether a normalized hyperparameter is a number (or None) for the whole training."""
    return value is None or isinstance(value, float)


def current_value(name: str, value: Any, counter: Any, step: Any, dtype: str) -> Any:
    """Return the scalar that a hyperparameter has in the running step.

    Args:
        name: Argument name, for messages.
        value: Result of `normalize`, or the variable that holds a settable learning rate.
        counter: What schedules read, an integer tensor.
        step: The optimizer's own counter, by which a traced step is recognised.
        dtype: Type of the scalar.
    """
    backend = get_backend()
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return backend.scalar(value(counter), dtype)
    if isinstance(value, keras.Variable):
        return backend.scalar(value, dtype)
    return backend.call_time_value(lambda: _call(name, value), step, dtype)


def serialize(name: str, value: Any) -> Any:
    """Return a normalized hyperparameter as JSON data.

    Raises:
        SerializationError: A callable or a schedule's class is not registered with Keras.
    """
    if is_constant(value):
        return value
    target = value if inspect.isfunction(value) else type(value)
    registered = keras.saving.get_registered_name(target)
    built_in = getattr(target, "__module__", "").split(".")[0] == "keras"
    if not built_in and keras.saving.get_registered_object(registered) is not target:
        kind = "function" if target is value else "class"
        raise SerializationError(
            f"Argument `{name}` cannot be written into a config, because its {kind} is not "
            f"registered. Received: {name}={value!r}. Decorate the {kind} with "
            "`@keras.saving.register_keras_serializable(package='my_package')`; a lambda or a "
            "nested function needs a name at module level first."
        )
    return keras.saving.serialize_keras_object(value)


def _checked_schedule(name: str, schedule: Any) -> Any:
    """Refuse a schedule that says of itself that it will leave the range."""
    highest = getattr(schedule, "highest", None)
    if isinstance(highest, float) and highest not in Interval(RANGES[name]):
        raise ArgumentError(
            f"Argument `{name}` must be {Interval(RANGES[name])} at every step. Received: "
            f"{name}={schedule!r}, whose highest value is {highest!r}. Lower it."
        )
    return schedule


def _checked_callable(name: str, value: Any) -> Any:
    if inspect.isclass(value):
        raise ArgumentTypeError(
            f"Argument `{name}` must be a number, a schedule or a callable without arguments. "
            f"Received: {name}={value!r}, a class. Pass an instance of it."
        )
    try:
        inspect.signature(value).bind()
    except TypeError:
        raise ArgumentTypeError(
            f"Argument `{name}` must be callable without arguments. Received: {name}={value!r}. "
            "Use a keras.optimizers.schedules.LearningRateSchedule for a function of the step."
        ) from None
    except ValueError:  # a callable of C has no signature to check
        pass
    return value


def _constant_tensor(name: str, value: Any) -> float:
    try:
        array = np.asarray(keras.ops.convert_to_numpy(value))
    except Exception as error:  # noqa: BLE001 - each framework has its own for symbolic tensors
        raise ArgumentTypeError(
            f"Argument `{name}` must be a tensor with a value. Received: {name}={value!r}, which "
            f"has none yet. Pass a number or a callable. ({type(error).__name__})"
        ) from None
    if array.shape != () or array.dtype.kind in "bOUS":
        raise ArgumentTypeError(
            f"Argument `{name}` must be a scalar. Received: {name} of shape {array.shape} and type "
            f"{array.dtype}. Pass a float."
        )
    return exact_float(array)


def _call(name: str, function: Any) -> Any:
    """Call a user's function and check what it returns, if that is a number already."""
    value = function()
    if isinstance(value, keras.Variable):
        return keras.ops.convert_to_tensor(value)
    if value is None or isinstance(value, (bool, str)):
        raise ArgumentTypeError(
            f"The callable of argument `{name}` must return a number. Received: {value!r}."
        )
    if isinstance(value, (int, float, np.generic)):
        return check_range(name, float(value), RANGES[name])
    return value


def schedule_counter(optimizer: Any, ahead: int = 0) -> Any:
    """Return the integer tensor that the schedules of an optimizer read.

    Args:
        ahead: Look this many updates into the future.
    """
    window = optimizer.gradient_accumulation_steps or 1
    counter = keras.ops.convert_to_tensor(optimizer._iterations)
    if window == 1:
        return counter + ahead
    if optimizer.schedule_step == "update":
        return keras.ops.floor_divide(counter, window) + ahead
    return counter + ahead * window


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The values of one step, read outside of any branch, once for all replicas."""

    learning_rate: Any
    weight_decay: Any
    beta_1: Any
    next_beta_1: Any
    beta_2: Any

    @classmethod
    def read(cls, optimizer: Any) -> Hyperparameters:
        """Read what the optimizer's numbers, schedules and callables say for this step."""
        now, dtype = schedule_counter(optimizer), optimizer._layout.scalar_dtype

        def value(name: str, held: Any, counter: Any = now) -> Any:
            return current_value(name, held, counter, optimizer._iterations.value, dtype)

        beta_1 = value("beta_1", optimizer.beta_1)
        scheduled = isinstance(
            optimizer.beta_1, keras.optimizers.schedules.LearningRateSchedule
        )  # only a schedule knows its next value
        rate = value("learning_rate", optimizer._learning_rate)
        scale = optimizer._layout.state.learning_rate_scale
        return cls(
            learning_rate=rate if scale is None else rate * get_backend().scalar(scale, dtype),
            weight_decay=value("weight_decay", optimizer.weight_decay),
            beta_1=beta_1,
            next_beta_1=(
                value("beta_1", optimizer.beta_1, schedule_counter(optimizer, ahead=1))
                if scheduled
                else beta_1
            ),
            beta_2=value("beta_2", optimizer.beta_2),
        )
