"""The constructor's arguments of Nadam as a whole: checked, recalled, and guarded once built."""

from __future__ import annotations

import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import keras

from nadam_suite.averaging import EMA, named_rules
from nadam_suite.averaging.named import checked_averaging
from nadam_suite.backends.slot import path_of
from nadam_suite.errors import ArgumentError, ArgumentTypeError, SettingError
from nadam_suite.optimizers.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from nadam_suite.optimizers.hyperparameters import RANGES, normalize
from nadam_suite.optimizers.parameter_rules import as_rules
from nadam_suite.schedules.checks import exact_float

__all__ = [
    "average_rules",
    "checked",
    "current_arguments",
    "guard",
    "matched",
    "refuse_late_exclusion",
    "refuse_other_kind",
    "refuse_second_scale",
    "serialized_averaging",
]

_SLOT_DTYPES = (None, "float32", "bfloat16", "float16")
_POSITIVE = ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "max_learning_rate")


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments in their normal form.

    Raises:
        ArgumentError: A value lies out of its range, or two arguments exclude each other.
        ArgumentTypeError: A value has the wrong type.
    """
    result = dict(values)
    for name in RANGES:
        result[name] = normalize(name, values[name])
    for name in _POSITIVE:
        result[name] = check_number(name, values[name], "(0, inf)", optional=True)
    result["epsilon"] = check_number("epsilon", values["epsilon"], "(0, inf)")
    result["use_ema"] = check_flag("use_ema", values["use_ema"])
    result["ema_momentum"] = check_number("ema_momentum", values["ema_momentum"], "[0, 1]")
    for name, minimum in (("ema_overwrite_frequency", 1), ("gradient_accumulation_steps", 2)):
        result[name] = check_integer(name, values[name], minimum)
    decay = check_number("momentum_decay", values["momentum_decay"], "[0, inf)", optional=True)
    result["momentum_decay"] = decay
    result["parameter_rules"] = as_rules(values["parameter_rules"])
    result["schedule_step"] = check_choice(
        "schedule_step", values["schedule_step"], ("batch", "update")
    )
    result["slot_dtype"] = check_choice("slot_dtype", values["slot_dtype"], _SLOT_DTYPES)
    result["weight_decay_mode"] = check_choice(
        "weight_decay_mode", values["weight_decay_mode"], ("lr", "independent", "corrected")
    )
    result["averaging"] = checked_averaging(deserialized_averaging(values["averaging"]))
    result["lazy_embeddings"] = check_flag("lazy_embeddings", values["lazy_embeddings"])
    _check_name(values["name"])
    _check_clipping(result)
    _check_lazy_embeddings(result)
    _check_one_kind_of_averages(result)
    return result


def _check_name(name: Any) -> None:
    if name is not None and (not isinstance(name, str) or not name):
        raise ArgumentTypeError(
            f"Argument `name` must be a non-empty string or None. Received: name={name!r}. "
            "Pass None for a name of its own."
        )


def _check_clipping(values: dict[str, Any]) -> None:
    clips = {name: values[name] for name in ("clipnorm", "clipvalue", "global_clipnorm")}
    given = {name: value for name, value in clips.items() if value is not None}
    if len(given) > 1:
        raise ArgumentError(
            "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. "
            f"Received: {', '.join(f'{k}={v}' for k, v in given.items())}. Set the others to None."
        )


def _check_lazy_embeddings(values: dict[str, Any]) -> None:
    window = values["gradient_accumulation_steps"]
    if values["lazy_embeddings"] and window is not None:
        raise ArgumentError(
            "Argument `lazy_embeddings` must be False with `gradient_accumulation_steps`, whose "
            "sums are as large as the table and do not tell which rows were seen. Received: "
            f"lazy_embeddings=True, gradient_accumulation_steps={window}. Leave one of them out; "
            "a larger batch does what accumulation does."
        )


def _check_one_kind_of_averages(values: dict[str, Any]) -> None:
    if values["use_ema"] and values["averaging"] is not None:
        raise ArgumentError(
            "Only one of `use_ema` and `averaging` can be set. Received: use_ema=True, "
            f"averaging={values['averaging']!r}. Set use_ema=False; averaging=EMA(momentum="
            f"{values['ema_momentum']}, warmup=None) is its average."
        )


def average_rules(optimizer: Any) -> Mapping[str, Any]:
    """Return the rule of each running average; not as a dict, which Keras would track."""
    averaging = optimizer.averaging
    if optimizer.use_ema:
        averaging = EMA(optimizer.ema_momentum, warmup=None)
    return types.MappingProxyType(named_rules(averaging))


def serialized_averaging(averaging: Any) -> Any:
    """Return the argument `averaging` as JSON data."""
    if isinstance(averaging, Mapping):
        return {name: serialized_averaging(average) for name, average in averaging.items()}
    return None if averaging is None else keras.saving.serialize_keras_object(averaging)


def deserialized_averaging(averaging: Any) -> Any:
    """Return the argument `averaging` from JSON data; objects are left as they are."""
    if isinstance(averaging, Mapping) and "class_name" in averaging and "config" in averaging:
        return keras.saving.deserialize_keras_object(dict(averaging))
    if isinstance(averaging, Mapping):
        return {name: deserialized_averaging(average) for name, average in averaging.items()}
    return averaging


def current_arguments(optimizer: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the constructor's arguments as they stand, callables as they are.

    A learning rate that nobody has assigned since comes back with the digits that were typed, not
    with those of the variable that holds it; then the highest rate that was typed comes along.
    """
    values = {name: getattr(optimizer, name) for name in names if name != "learning_rate"}
    rate = optimizer._learning_rate
    if isinstance(rate, keras.Variable):
        held = keras.ops.convert_to_numpy(rate)
        unchanged = held == held.dtype.type(optimizer._typed_rate)
        rate = optimizer._typed_rate if unchanged else exact_float(held)
        if optimizer._highest_rate not in (None, rate):  # the number no longer tells it
            values["max_learning_rate"] = optimizer._highest_rate
    return {"learning_rate": rate, **values}


def guard(optimizer: Any, name: str, value: Any) -> None:
    """Refuse to change a setting of a built optimizer, which a compiled step would not see.

    Raises:
        SettingError: The value differs from the one that is held.
    """
    held = getattr(optimizer, name)
    if value is not held and value != held:
        raise SettingError(
            f"Argument `{name}` of a built optimizer cannot be assigned, because a compiled step "
            f"would not see it. Received: {name}={value!r}, held: {held!r}. Use "
            f"`optimizer.replace({name}=...)` and compile the model with the result, or create the "
            "optimizer with a schedule or a callable."
        )


def refuse_second_scale(held: float | None, value: Any) -> None:
    """Refuse that a wrapper takes a `loss_scale_factor` away, as those of Keras do when they wrap.

    Raises:
        SettingError: There is a factor, and it is to be None.
    """
    if held is not None and value is None:
        raise SettingError(
            f"Argument `loss_scale_factor` cannot be taken away. Received: loss_scale_factor=None, "
            f"held: {held!r}. A wrapper does that, such as the loss scale that `compile()` adds "
            "under mixed_float16: leave `loss_scale_factor` out, or compile with "
            "`auto_scale_loss=False`."
        )


def refuse_other_kind(held: Any, wanted: Any) -> NoReturn:
    """Raise because a built optimizer's learning rate can change its value, not its kind."""
    held = "a number" if isinstance(held, keras.Variable) else repr(held)
    raise ArgumentTypeError(
        "Argument `learning_rate` of a built optimizer can change its value, not its kind. "
        f"Received: learning_rate={wanted!r}, the optimizer was created with {held}. Use "
        "`optimizer.replace(learning_rate=...)` and compile the model with the result; "
        "`nadam_suite.callbacks.PlateauScale` lowers any kind of rate on a plateau."
    )


def refuse_late_exclusion() -> NoReturn:
    """Raise because exclusions are resolved when the optimizer is built."""
    raise SettingError(
        "`exclude_from_weight_decay()` must be called before the optimizer is built. Use "
        "`optimizer.replace(parameter_rules=...)` and compile the model with the result."
    )


def matched(grads: Sequence[Any], variables: Sequence[Any] | None) -> list[tuple[Any, Any]]:
    """Return the pairs of gradient and variable that have a gradient; warn about the others.

    Raises:
        ArgumentError: The variables are unknown, the numbers differ, or no gradient is left.
    """
    if variables is None:
        raise ArgumentError(
            "Argument `trainable_variables` must be given in the first call of `apply`, or "
            "`optimizer.build(trainable_variables)` must be called before. Received: None."
        )
    if len(grads) != len(variables):
        raise ArgumentError(
            "Argument `grads` must have one gradient per variable. "
            f"Received: {len(grads)} gradients for {len(variables)} variables."
        )
    pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
    missing = [path_of(v) for g, v in zip(grads, variables, strict=True) if g is None]
    if not pairs:
        raise ArgumentError(
            f"No gradients provided for any variable. Received: None for {missing}. "
            "Check that the loss depends on them."
        )
    if missing:
        warnings.warn(
            f"Gradients do not exist for variables {missing} when minimizing the loss. If you are "
            "using `model.compile()`, did you forget to provide a `loss` argument?",
            stacklevel=3,
        )
    return pairs
