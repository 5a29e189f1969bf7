"""Which variable gets which learning rate and which weight decay, as data."""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nadam_suite.backends.slot import path_of
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.optimizers.arguments import check_integer, check_number

__all__ = ["ParameterRow", "ParameterRule", "as_rules", "explain", "layerwise_decay", "no_decay"]


@dataclasses.dataclass(frozen=True)
class ParameterRule:
    """Multipliers for the variables whose path and rank match.

    Every rule that matches a variable counts: their multipliers are multiplied. Rules are plain
    data, so that a saved optimizer keeps them, and a path is searched, not matched whole, because
    Keras drops the model's name from a path when a model is loaded.

    Args:
        match: Regular expression that is searched in the variable's path, such as
            `"block_3/"` or `"(bias|gamma|beta)$"`. The default matches every path.
        max_ndim: Match only variables of at most this rank, or None for any rank. 1 stands for
            biases and the scales and offsets of normalization layers.
        learning_rate: Multiplier of the learning rate; 0 freezes the variable.
        weight_decay: Multiplier of the weight decay; 0 excludes the variable from it.

    Raises:
        ArgumentError: The expression does not compile, or a number is negative.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite import ParameterRule
    >>> ParameterRule("^head/", learning_rate=10.0).matches("head/kernel", ndim=2)
    True
    """

    match: str = ""
    max_ndim: int | None = None
    learning_rate: float = 1.0
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.match, str):
            raise ArgumentTypeError(
                "Argument `match` of ParameterRule must be a regular expression as a string. "
                f"Received: match={self.match!r}"
            )
        try:
            re.compile(self.match)
        except re.error as error:
            raise ArgumentError(
                f"Argument `match` of ParameterRule must be a valid regular expression ({error}). "
                f"Received: match={self.match!r}. Escape special characters, or use re.escape."
            ) from None
        check_integer("max_ndim", self.max_ndim, 0)
        for name in ("learning_rate", "weight_decay"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), "[0, inf)"))

    def matches(self, path: str, ndim: int) -> bool:
        """Return whether the rule applies to a variable of this path and rank."""
        if self.max_ndim is not None and ndim > self.max_ndim:
            return False
        return re.search(self.match, path) is not None

    def describe(self) -> str:
        """Return the condition in a few words, as `explain` shows it."""
        parts = [f"match={self.match!r}"] if self.match else []
        if self.max_ndim is not None:
            parts.append(f"max_ndim={self.max_ndim}")
        return ", ".join(parts) or "every variable"

    def get_config(self) -> dict[str, Any]:
        """Return the rule as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class ParameterRow:
    """What the rules decide for one variable.

    Args:
        path: The variable's path.
        shape: The variable's shape.
        learning_rate: Product of the learning-rate multipliers of the matching rules.
        weight_decay: Product of the weight-decay multipliers of the matching rules.
        rules: The matching rules, described.
    """

    path: str
    shape: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    rules: tuple[str, ...]


def no_decay(*patterns: str, max_ndim: int | None = 1) -> tuple[ParameterRule, ...]:
    """Return rules that exclude variables from weight decay.

    Args:
        *patterns: Regular expressions searched in the path, such as `"embeddings"`; excluded
            whatever their rank.
        max_ndim: Exclude every variable of at most this rank; the default, 1, stands for biases
            and normalization layers. None excludes by pattern alone.

    Raises:
        ArgumentError: A pattern is no regular expression, or the rank is negative.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> from nadam_suite import Nadam, no_decay
    >>> optimizer = Nadam(1e-3, weight_decay=0.01, parameter_rules=no_decay("embeddings"))
    """
    rules = [] if max_ndim is None else [ParameterRule(max_ndim=max_ndim, weight_decay=0.0)]
    return (*rules, *(ParameterRule(match=pattern, weight_decay=0.0) for pattern in patterns))


def layerwise_decay(model: Any, decay: float = 0.75) -> tuple[ParameterRule, ...]:
    """Return rules that lower the learning rate layer by layer, from the output to the input.

    The last layer with weights trains at the full rate, the one before it at `decay` times the
    rate, and so on, as in BEiT (Bao et al., 2021) and ELECTRA's fine-tuning.

    Args:
        model: A built `keras.Model`; its top-level layers are counted, in order.
        decay: Factor from one layer to the one before it, in (0, 1].

    Raises:
        ArgumentError: `decay` is out of its range, the model has no weights yet, or a layer's name
            also occurs inside another layer, so that a path cannot tell them apart.

    Example:

    >>> import keras
    >>> from nadam_suite import Nadam, layerwise_decay
    >>> layers = [keras.layers.Dense(4, name="body"), keras.layers.Dense(2, name="head")]
    >>> model = keras.Sequential([keras.Input((3,)), *layers])
    >>> [rule.learning_rate for rule in layerwise_decay(model, 0.5)]
    [0.5, 1.0]
    """
    if not isinstance(decay, numbers.Real) or not 0.0 < decay <= 1.0:
        raise ArgumentError(f"Argument `decay` must be in (0, 1]. Received: decay={decay!r}")
    layers = [layer for layer in getattr(model, "layers", ()) if layer.trainable_variables]
    if not layers:
        raise ArgumentError(
            "Argument `model` must be a built model whose layers have trainable weights. "
            f"Received: model={model!r}. Call it on a batch, or give it an Input, first."
        )
    rules = tuple(
        ParameterRule(
            match=rf"(^|/){re.escape(layer.name)}/",
            learning_rate=float(decay) ** (len(layers) - 1 - position),
        )
        for position, layer in enumerate(layers)
    )
    for layer, own in zip(layers, rules, strict=True):
        for row in explain(rules, layer.trainable_variables):
            if row.rules != (own.describe(),):
                raise ArgumentError(
                    f"Argument `model` has the variable {row.path!r}, which the names of several "
                    f"layers match. Received: rules={row.rules}. Give the layers distinct names."
                )
    return rules


def explain(rules: Sequence[ParameterRule], variables: Iterable[Any]) -> list[ParameterRow]:
    """Return one row per variable: what the rules decide for it, and which of them do."""
    rows = []
    for variable in variables:
        path, shape = path_of(variable), tuple(variable.shape)
        matching = [rule for rule in rules if rule.matches(path, len(shape))]
        rate = decay = 1.0
        for rule in matching:
            rate, decay = rate * rule.learning_rate, decay * rule.weight_decay
        described = tuple(rule.describe() for rule in matching)
        rows.append(ParameterRow(path, shape, rate, decay, described))
    return rows


def exclusion_rules(variables: Sequence[Any], marks: Sequence[bool]) -> list[ParameterRule]:
    """Return a rule for every marked variable that excludes it, and it alone, from weight decay.

    The rule matches the shortest end of the path, from the layer's name on, that no other variable
    shares, so that it still holds when a model's name in front of it changes.
    """
    paths = [path_of(variable) for variable in variables]
    rules = []
    for path, marked in zip(paths, marks, strict=True):
        if marked:
            parts = path.split("/")
            ends = ["/".join(parts[start:]) for start in range(len(parts) - 2, -1, -1)]
            alone = [e for e in ends if sum(f"/{p}".endswith(f"/{e}") for p in paths) == 1]
            end = re.escape(alone[0] if alone else path)
            rules.append(ParameterRule(match=f"(^|/){end}$", weight_decay=0.0))
    return rules


def as_rules(value: Any) -> tuple[ParameterRule, ...]:
    """Return the rules in `value`: a rule, its config, or any nesting of sequences of them."""
    if value is None:
        return ()
    if isinstance(value, ParameterRule):
        return (value,)
    if isinstance(value, Mapping):
        known = [field.name for field in dataclasses.fields(ParameterRule)]
        unknown = [key for key in value if key not in known]
        if unknown:
            raise ArgumentError(
                f"Argument `parameter_rules` must hold the keys {known} alone. "
                f"Received: {dict(value)!r}. Remove or correct {unknown}."
            )
        return (ParameterRule(**value),)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(rule for item in value for rule in as_rules(item))
    raise ArgumentTypeError(
        "Argument `parameter_rules` must be a sequence of ParameterRule objects or of their "
        f"configs. Received: parameter_rules={value!r}. Use no_decay() or ParameterRule(match=...)."
    )
