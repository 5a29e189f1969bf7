"""The search for a training's hyperparameters as settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nadam_suite.config import faults
from nadam_suite.config.base import Config

__all__ = ["TunerConfig"]

_SAMPLED = ("quasi_random", "random", "bayesian")
# Keys that only some kinds read; elsewhere they must be left out.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "trials": (*_SAMPLED, "grid"),
        "sampler": ("quasi_random", "hyperband"),
        "factor": ("hyperband",),
        "iterations": ("hyperband",),
    }
)
# Words of names of metrics, of which it is plain which way is best.
_BEST: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("accuracy", "acc", "auc", "f1", "iou", "precision", "r2", "recall"), "max")
    | dict.fromkeys(("crossentropy", "error", "loss", "mae", "mse", "perplexity", "rmse"), "min")
)
_WHY = {
    "trials": "rounds and epochs decide how many there are",
    "sampler": "nothing is drawn from a sequence",
    "factor": "there are no rounds",
    "iterations": "there are no rounds",
}


def _items(value: Any) -> Any:
    """Return a list, or one name alone, as the tuple that it stands for."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _word_none(value: Any) -> Any:
    """Return "none" for None: a bare `none` on the command line is None."""
    return "none" if value is None else value


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names):
        raise faults.refuse("a list of different names, at least one", "Leave it out for all.")
    return names


# Names that `nadam_space` knows, which lies above this module; a test holds them together.
_Tunable = Literal[
    "learning_rate",
    "beta_1",
    "beta_2",
    "epsilon",
    "weight_decay",
    "warmup",
    "schedule",
    "clipping",
    "averaging",
    "accumulation",
]
_Schedule = Literal[
    "constant",
    "linear",
    "cosine",
    "polynomial",
    "exponential",
    "inverse_sqrt",
    "wsd",
    "one_cycle",
]
_Tuned = Annotated[tuple[_Tunable, ...], BeforeValidator(_items), AfterValidator(_different)]
_Schedules = Annotated[tuple[_Schedule, ...], BeforeValidator(_items), AfterValidator(_different)]
_Count = Annotated[int, Field(ge=1)]


def _best(objective: str) -> str | None:
    """Return which way a metric is best, if its name says so; the last word counts most."""
    known = (_BEST.get(word) for word in reversed(objective.lower().split("_")))
    return next(filter(None, known), None)


def _unclear(objective: str, prefix: str) -> str:
    """Return the fault of an objective whose name does not say which way is best."""
    words = (faults.nearest(word, list(_BEST)) or word for word in objective.split("_"))
    meant = "_".join(words)
    if _best(meant):
        requirement = f"a metric whose name tells which way is best, or come with `{prefix}mode`"
        remedy = f"Did you mean {meant!r}?"
        return faults.fault(f"{prefix}objective", requirement, objective, remedy)
    requirement = f'"min" or "max" for objective={objective!r}, whose name does not tell'
    return faults.fault(f"{prefix}mode", requirement, None, "Say which way is best.")


class TunerConfig(Config):
    """Settings of `nadam-suite tune`: what is searched for, how, and for how long.

    A training by itself does not read them.

    Args:
        kind: "quasi_random" (the default: an even spread), "random", "bayesian", "grid" or
            "hyperband".
        trials: Trials in all, an integer >= 1. None, the default, is 30, of a grid all of it.
            "hyperband" decides it by itself, from `epochs` and `factor`.
        preset: Space: "algoperf" (the default), "wide" or "finetune"; see `nadam_space`.
        budget: Number of trials for which the rule of the tuning playbook says what is tuned, an
            integer >= 1, or None, the default, for the preset's own list or for `tune`.
        tune: Names of what is tuned, or None, the default. Only one of it and `budget`.
        schedules: Kinds of schedule to choose from. Defaults to "cosine" alone.
        objective: Name in a run's history that is to be best. Defaults to "val_loss".
        mode: "min" or "max", which way is best; None, the default, finds it out from the name.
        seed: Seed of the search and of every training in it, an integer in [0, 2**32), or None, the
            default, for the training's.
        sampler: "halton" or "sobol"; None, the default, is "halton".
        points: What is tried first. "configured" (the default): the config as it is, then what
            "published" has: the centre of the preset and published settings. "none": nothing. A
            search that goes on keeps the points that it began with.
        factor: Of how many trials one reaches the next round of "hyperband", and how many times as
            long that is, an integer >= 2. None, the default, is 3.
        iterations: How often all rounds of "hyperband" are gone through, an integer >= 1. None, the
            default, is 1.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import TunerConfig
    >>> TunerConfig(objective="val_accuracy").direction
    'max'
    """

    kind: Literal["quasi_random", "random", "bayesian", "grid", "hyperband"] = "quasi_random"
    trials: _Count | None = None
    preset: Literal["algoperf", "wide", "finetune"] = "algoperf"
    budget: _Count | None = None
    tune: _Tuned | None = None
    schedules: _Schedules = ("cosine",)
    objective: Annotated[str, Field(min_length=1)] = "val_loss"
    mode: Literal["min", "max"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    sampler: Literal["halton", "sobol"] | None = None
    points: Annotated[Literal["configured", "published", "none"], BeforeValidator(_word_none)] = (
        "configured"
    )
    factor: Annotated[int, Field(ge=2)] | None = None
    iterations: _Count | None = None

    @property
    def direction(self) -> str:
        """Which way the objective is best: "min" or "max"."""
        return self.mode or _best(self.objective) or "min"

    def max_trials(self) -> int | None:
        """Return how many trials there are at most, or None where the kind decides."""
        return self.trials or (30 if self.kind in _SAMPLED else None)

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        kind = values.get("kind", cls.model_fields["kind"].default)
        found = []
        for key, kinds in _ONLY_FOR.items():
            if values.get(key) is not None and isinstance(kind, str) and kind not in kinds:
                requirement = f'left out with kind "{kind}", where {_WHY[key]}'
                remedy = f"Remove it, or choose kind {' or '.join(map(repr, kinds))}."
                found.append(faults.fault(f"{prefix}{key}", requirement, values[key], remedy))
        objective = values.get("objective", cls.model_fields["objective"].default)
        if values.get("mode") is None and isinstance(objective, str) and not _best(objective):
            found.append(_unclear(objective, prefix))
        if values.get("budget") is not None and values.get("tune") is not None:
            requirement = f"left out where `{prefix}tune` says what is tuned"
            remedy = "Remove one of the two."
            found.append(faults.fault(f"{prefix}budget", requirement, values["budget"], remedy))
        return found
