"""What a training is made of: a task and its data, by a recipe's name or as "module:function"."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from nadam_suite.errors import ArgumentTypeError, ConfigError, NadamSuiteError
from nadam_suite.experiment.own_code import imported, told
from nadam_suite.experiment.recipes import BUILT_IN
from nadam_suite.experiment.splits import Splits, shape_text

__all__ = ["Part", "Task", "find_part"]


@dataclasses.dataclass(frozen=True)
class Task:
    """A model and what it is trained for; what a model's function returns.

    Args:
        model: The model, not compiled. One that is not built yet, or whose layers are not, such as
            a subclass of `keras.Model`, is called on the first example of the data.
        loss: A Keras loss, or its name.
        metrics: Keras metrics, or their names; one alone will do.

    Raises:
        ArgumentTypeError: The model is none.

    Example:

    >>> import keras
    >>> from nadam_suite.experiment import Task
    >>> def line(units=1):
    ...     return Task(keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)]), "mse")
    >>> line().model.count_params()
    3
    """

    model: keras.Model
    loss: Any
    metrics: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what `fit()` would stumble over, and make a tuple of one metric."""
        if not isinstance(self.model, keras.Model):
            raise ArgumentTypeError(
                f"Argument `model` must be a keras.Model. Received: model={self.model!r}. Pass an "
                "object of that class, not the class itself or a layer."
            )
        if isinstance(self.metrics, (str, keras.metrics.Metric)):
            object.__setattr__(self, "metrics", (self.metrics,))


@dataclasses.dataclass(frozen=True)
class Part:
    """A function found by its reference, with the keywords it will be called with.

    Args:
        key: "model" or "data", for messages.
        reference: What the config said.
        function: The function.
        options: Its keywords.
        kind: The type that it must return.

    Example: see `find_part`.
    """

    key: str
    reference: str
    function: Callable[..., Any]
    options: Mapping[str, Any]
    kind: type

    def __call__(self) -> Any:
        """Call the function and check what it returns.

        Raises:
            ConfigError: It raised, or returned something else.
        """
        try:
            result = self.function(**self.options)
        except (NadamSuiteError, KeyboardInterrupt):
            raise
        except Exception as error:  # the user's own code may raise anything
            raise ConfigError(
                f"`{self.key}` must name a function that works with its options. Received: "
                f"{self.key}={self.reference!r}, which raised {told(error)}. Correct it, or "
                f"`{self.key}_options`; `--debug` shows the whole traceback."
            ) from error
        if not isinstance(result, self.kind):
            raise ConfigError(
                f"`{self.key}` must name a function that returns a "
                f"nadam_suite.experiment.{self.kind.__name__}. Received: "
                f"{self.key}={self.reference!r}, which returned {shape_text(result)}. "
                f"Wrap its result in {self.kind.__name__}(...)."
            )
        return result


def find_part(key: str, reference: str, options: Mapping[str, Any]) -> Part:
    """Return a model's or data's function, checked before anything is written or trained.

    Args:
        key: "model" or "data".
        reference: Name of a recipe, or "module:function".
        options: Keywords for the function.

    Raises:
        ConfigError: There is no such recipe, module or function, or it takes no such option.

    Example:

    >>> from nadam_suite.experiment import find_part
    >>> find_part("model", "digits", {"width": 8})().model.output_shape
    (None, 10)
    """
    path = reference if ":" in reference else _built_in(key, reference)
    module, function_name = imported(key, path)
    function = getattr(module, function_name, None)
    if not callable(function):
        near = _nearest(function_name, [n for n in vars(module) if callable(getattr(module, n))])
        raise ConfigError(
            f"`{key}` must name a function of module {module.__name__!r}. Received: "
            f"{key}={reference!r}. {near or 'Define it there.'}"
        )
    _check_options(key, reference, function, options)
    return Part(key, reference, function, dict(options), {"model": Task, "data": Splits}[key])


def _built_in(key: str, name: str) -> str:
    if name not in BUILT_IN:
        near = _nearest(name, list(BUILT_IN)) or 'Write "module:function" for one of your own.'
        known = ", ".join(map(repr, BUILT_IN))
        raise ConfigError(
            f'`{key}` must be one of {known}, or "module:function". Received: {key}={name!r}. '
            f"{near}"
        )
    return f"{BUILT_IN[name]}:{key}"


def _check_options(
    key: str, reference: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        unknown = [name for name in options if name not in known]
        near = _nearest(unknown[0], known) if unknown else ""
        raise ConfigError(
            f"`{key}_options` must fit {reference!r}, whose options are "
            f"{', '.join(known) or 'none'}. Received: {key}_options={dict(options)!r} ({error}). "
            f"{near or 'Correct their names.'}"
        ) from None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}?" if near else ""
