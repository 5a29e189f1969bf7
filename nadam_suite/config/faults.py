"""Turns what pydantic finds into sentences that name the key, the value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

__all__ = ["counted", "describe", "fault", "is_tag", "nearest", "refuse", "show", "unknown_key"]

# What people coming from elsewhere write, and what it is called here.
_SYNONYMS = {
    "lr": "learning_rate",
    "rate": "learning_rate",
    "peak_lr": "peak",
    "max_lr": "peak",
    "value": "peak",
    "min_lr": "end",
    "alpha": "end",
    "base_lr": "base",
    "pct_start": "warmup",
    "schedules": "parts",
    "milestones": "boundaries",
    "values": "points",
    "decay_steps": "decay_every",
    "cooldown_steps": "cooldown",
    "eps": "epsilon",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "b1": "beta_1",
    "b2": "beta_2",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "betas": "beta_1",
    "momentum": "beta_1",
    "schedule_decay": "momentum_decay",
    "grad_clip": "global_clipnorm",
    "max_norm": "global_clipnorm",
    "ema_decay": "ema_momentum",
    "accumulation": "gradient_accumulation_steps",
    "rules": "parameter_rules",
    "total_steps": "total",
    "warmup_steps": "warmup",
    "steps": "total",
    "batch": "batch_size",
    "dtype": "precision",
    "dataset": "data",
    "output_dir": "output",
}

# What pydantic calls an error, and what the value must be; `{...}` are the error's own numbers.
# How a value of another type is to be written depends on that value: `_written`.
_REQUIREMENTS = {
    "float_type": ("a number", ""),
    "finite_number": ("a finite number", "Infinity and NaN mean nothing here."),
    "int_type": ("an integer", ""),
    "bool_type": ("true or false", ""),
    "string_type": ("a string", ""),
    "string_too_short": ("a string that is not empty", "Leave the key out for its default."),
    "greater_than": ("a number > {gt:g}", "Raise it."),
    "greater_than_equal": ("a number >= {ge:g}", "Raise it."),
    "less_than": ("a number < {lt:g}", "Lower it."),
    "less_than_equal": ("a number <= {le:g}", "Lower it."),
    "literal_error": ("one of {expected}", "Choose one of them."),
    "enum": ("one of {expected}", "Choose one of them."),
    "dict_type": ("a table", "Write a table of keys and values."),
    "model_type": ("a table", "Write a table of keys and values."),
    "tuple_type": ("a list", "Put the items into brackets."),
    "list_type": ("a list", "Put the items into brackets."),
}


def refuse(requirement: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator raises; `describe` makes the sentence."""
    context = {"requirement": requirement, "remedy": remedy}
    return PydanticCustomError("refused", "{requirement}", context)


def fault(key: str, requirement: str, value: Any, remedy: str) -> str:
    """Return the sentence about one fault.

    Example:
    >>> from nadam_suite.config.faults import fault
    >>> fault("epochs", "a number >= 1", 0, "Raise it.")
    '`epochs` must be a number >= 1. Received: epochs=0. Raise it.'
    """
    return f"`{key}` must be {requirement}. Received: {key}={show(value)}. {remedy}"


def unknown_key(path: str, value: Any, known: Iterable[str]) -> str:
    """Return the sentence about a key that does not exist, with the nearest one that does."""
    table, _, key = path.rpartition(".")
    known = sorted(known)
    near = nearest(key, known)
    where = f" in `{table}`" if table else ""
    remedy = f"Did you mean `{near}`?" if near else f"Known keys: {', '.join(known)}."
    return f"Unknown key `{path}`{where}. Received: {path}={show(value)}. {remedy}"


def nearest(key: str, known: Sequence[str]) -> str | None:
    """Return the known key that was probably meant, or None."""
    key = key.strip().lower().replace("-", "_")
    if _SYNONYMS.get(key) in known:
        return _SYNONYMS[key]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return close[0] if close else None


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an "s" unless it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show(value: Any) -> str:
    """Return a short repr of a value."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-16:]}"


def is_tag(part: Any) -> bool:
    """Return whether a part of a location is no key, but names an alternative of a union."""
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")


def describe(
    error: ValidationError, keys_of: Callable[[tuple[Any, ...]], Sequence[str]]
) -> list[str]:
    """Return one sentence per fault that pydantic found.

    Args:
        error: What pydantic raised.
        keys_of: Function from one of its locations to the known keys of the table there.
    """
    sentences = []
    for item in error.errors(include_url=False):
        location, kind, context = item["loc"], item["type"], item.get("ctx", {})
        path = ".".join(str(part) for part in location if not is_tag(part)) or "the config"
        if kind in ("extra_forbidden", "invalid_key"):
            sentences.append(unknown_key(path, item["input"], keys_of(location[:-1])))
        elif kind == "missing":
            sentences.append(f"`{path}` is missing. Received: no value for it. Add `{path}`.")
        elif kind == "refused":
            requirement, remedy = context["requirement"], context["remedy"]
            sentences.append(fault(path, requirement, item["input"], remedy))
        elif kind in _REQUIREMENTS:
            if item["input"] != item["input"]:  # NaN, which fails every comparison first
                kind = "finite_number"
            requirement, remedy = _REQUIREMENTS[kind]
            remedy = remedy or _written(kind, item["input"])
            sentences.append(fault(path, requirement.format(**context), item["input"], remedy))
        else:
            sentences.append(fault(path, f"valid ({item['msg']})", item["input"], "Correct it."))
    return sentences


def _written(kind: str, value: Any) -> str:
    """Return how to write a value whose type is wrong."""
    if kind == "string_type":
        return (
            "Write one string." if isinstance(value, (list, tuple, dict)) else "Put it into quotes."
        )
    if kind == "bool_type":
        quoted = isinstance(value, str) and value.strip().lower() in ("true", "false")
        return "Write it without quotes." if quoted else "Write true or false."
    if isinstance(value, bool):
        return f"Write a number, not {str(value).lower()}."
    if isinstance(value, (list, tuple)):
        return "Write one number, without brackets."
    if isinstance(value, float):  # where an integer is wanted
        return "Write a whole number, without a decimal point."
    if isinstance(value, str) and _is_number(value):
        return "Write it without quotes."
    return "Write a number."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
