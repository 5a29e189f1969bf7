"""The spaces of Nadam's settings as data: every range with its default and its source.

What is published stands beside its source; what is not says "chosen here", and why. Rates of decay
are searched as their distance to one, on a log scale: between 0.9 and 0.999 lies as much as between
0.99 and 0.9999, which no scale on the rate itself shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import keras_tuner

from nadam_suite.tuner.points import Value, entry_of, published_points

__all__ = [
    "PARTS",
    "SPACES",
    "TUNABLE",
    "Options",
    "Parameter",
    "Range",
    "SpacePreset",
    "Switch",
    "get_space",
]


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from one end to another, the ends included.

    Args:
        low: Lowest value.
        high: Highest value.
        default: Value where it is not tuned, and the first one tried where it is.
        source: Where the ends come from.
        sampling: "log" (the default) or "linear".

    Example:

    >>> import keras_tuner
    >>> from nadam_suite.tuner.ranges import Range
    >>> Range(0.1, 10.0, 1.0, "chosen here").declare(keras_tuner.HyperParameters(), "norm")
    1.0
    """

    low: float
    high: float
    default: float
    source: str
    sampling: Literal["log", "linear"] = "log"

    def declare(self, hp: keras_tuner.HyperParameters, name: str) -> Any:
        """Return the value that `hp` has under that name, None in a scope that is inactive."""
        return hp.Float(name, self.low, self.high, sampling=self.sampling, default=self.default)


@dataclasses.dataclass(frozen=True)
class Options:
    """Some values of one type.

    Args:
        values: The values, numbers in ascending order.
        default: As for `Range`.
        source: Where the values come from.
    """

    values: tuple[Value, ...]
    default: Value
    source: str

    def declare(self, hp: keras_tuner.HyperParameters, name: str) -> Any:
        """Return the value that `hp` has under that name, None in a scope that is inactive."""
        return hp.Choice(name, list(self.values), default=self.default)


@dataclasses.dataclass(frozen=True)
class Switch:
    """On or off.

    Args:
        default: As for `Range`.
        source: Why there is a choice.
    """

    default: bool
    source: str

    def declare(self, hp: keras_tuner.HyperParameters, name: str) -> Any:
        """Return the value that `hp` has under that name, None in a scope that is inactive."""
        return hp.Boolean(name, default=self.default)


Parameter = Range | Options | Switch


@dataclasses.dataclass(frozen=True)
class SpacePreset:
    """A space under a name.

    Args:
        name: What `nadam_space` takes.
        description: What it is for, in a sentence.
        tune: What is tuned where neither a budget nor a list says so; see `TUNABLE`.
        parameters: Every hyperparameter that can be tuned, by its name.
        arguments: Further keys of the `NadamConfig`, the same for every point.
    """

    name: str
    description: str
    tune: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    arguments: Mapping[str, Any]


# What can be tuned, and the hyperparameters that this makes.
TUNABLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "learning_rate": ("learning_rate",),
        "beta_1": ("one_minus_beta_1",),
        "beta_2": ("one_minus_beta_2",),
        "epsilon": ("epsilon",),
        "weight_decay": ("decay", "weight_decay"),
        "schedule": (),  # those of `PARTS`
        "warmup": ("warmup",),
        "clipping": ("clipping", "global_clipnorm"),
        "averaging": ("averaging", "averaging_half_life"),
        "accumulation": ("accumulation",),
    }
)

# The kinds of schedule that a space may have, and the keys of each that can be tuned. Lengths are
# shares of the training. A kind that has a `warmup` of its own here does not use the common one.
PARTS: Mapping[str, Mapping[str, Range]] = MappingProxyType(
    {
        "constant": {},
        "linear": {},
        "cosine": {},
        "polynomial": {
            "power": Range(0.5, 4.0, 1.0, "chosen here: from a late to an early decay"),
        },
        "exponential": {
            "decay_rate": Range(1e-3, 0.5, 0.1, "chosen here: what is left of the peak at the end"),
        },
        "inverse_sqrt": {},
        "wsd": {
            "cooldown": Range(0.1, 0.5, 0.2, "chosen here: a tenth to a half", "linear"),
        },
        "one_cycle": {
            "warmup": Range(
                0.1, 0.5, 0.3, "chosen here, around PyTorch's default of 0.3", "linear"
            ),
        },
    }
)

_CURRENT = published_points()[0].values
_PAPER = "AlgoPerf's NAdamW, archived paper baseline, tuning_search_space.json"

_COMMON: dict[str, Parameter] = {
    "epsilon": Range(1e-10, 1e-3, 1e-8, "chosen here, around AlgoPerf's 1e-8"),
    "warmup": Range(0.0, 0.2, 0.1, "chosen here, around AlgoPerf's 0.02 to 0.1", "linear"),
    "clipping": Switch(False, "chosen here: AlgoPerf's points do not clip"),
    "global_clipnorm": Range(0.1, 10.0, 1.0, "chosen here, around the customary 1"),
    "averaging": Options(("none", "ema"), "none", "chosen here: its length must be tuned with it"),
    "averaging_half_life": Range(
        0.002, 0.1, 0.02, "chosen here: a share of the training; longer ones lag behind"
    ),
    "accumulation": Options((1, 2, 4, 8), 1, "chosen here: powers of two"),
}

_ALGOPERF = SpacePreset(
    "algoperf",
    "The space that AlgoPerf's NAdamW was tuned in.",
    ("learning_rate", "beta_1", "weight_decay"),
    MappingProxyType(
        {
            **_COMMON,
            "learning_rate": Range(1e-4, 1e-2, float(_CURRENT["learning_rate"]), _PAPER),
            "one_minus_beta_1": Range(4e-3, 0.1, float(_CURRENT["one_minus_beta_1"]), _PAPER),
            "one_minus_beta_2": Range(
                5e-4, 0.1, 1.0 - 0.999, "chosen here, around the 0.999 that is fixed there"
            ),
            "weight_decay": Range(5e-3, 1.0, float(_CURRENT["weight_decay"]), _PAPER),
            "warmup": Range(0.0, 0.2, 0.05, "chosen here, around the 0.05 fixed there", "linear"),
        }
    ),
    MappingProxyType({"momentum_decay": None}),
)

_WIDE = SpacePreset(
    "wide",
    "A space with room for every published point, for models that are far from AlgoPerf's.",
    ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay", "warmup", "clipping"),
    MappingProxyType(
        {
            **_COMMON,
            "learning_rate": Range(
                3e-5,
                3e-2,
                float(_CURRENT["learning_rate"]),
                "chosen here: half a decade beyond AlgoPerf's on either side, for small models",
            ),
            "one_minus_beta_1": Range(
                4e-3,
                0.3,
                float(_CURRENT["one_minus_beta_1"]),
                "chosen here: AlgoPerf's winning points reach 0.136, beyond its own space",
            ),
            "one_minus_beta_2": Range(
                1e-3,
                0.5,
                float(_CURRENT["one_minus_beta_2"]),
                "chosen here: AlgoPerf's winning points lie between 0.0011 and 0.37",
            ),
            "decay": Switch(True, "chosen here: small models may need none"),
            "weight_decay": Range(
                1e-3,
                1.0,
                float(_CURRENT["weight_decay"]),
                "chosen here: AlgoPerf's target setting for Criteo, 0.0036, lies below its space",
            ),
        }
    ),
    MappingProxyType({"momentum_decay": None}),
)

_FINETUNE = SpacePreset(
    "finetune",
    "Fine-tuning a pretrained transformer for a few epochs; biases and norms do not decay.",
    ("learning_rate", "weight_decay", "warmup"),
    MappingProxyType(
        {
            **_COMMON,
            "learning_rate": Range(5e-6, 2e-4, 5e-5, "chosen here, around BERT's 2e-5 to 5e-5"),
            "one_minus_beta_1": Range(0.02, 0.3, 0.1, "chosen here, around BERT's 0.9"),
            "one_minus_beta_2": Range(
                5e-4, 0.05, 1e-3, "chosen here, around BERT's 0.999 and RoBERTa's 0.98"
            ),
            "epsilon": Range(1e-9, 1e-4, 1e-6, "chosen here, around BERT's 1e-6"),
            "decay": Switch(True, "chosen here: a short training may need none"),
            "weight_decay": Range(
                1e-3, 0.3, 0.01, "chosen here, around BERT's 0.01 and RoBERTa's 0.1"
            ),
            "clipping": Switch(True, "BERT clips; RoBERTa does not"),
        }
    ),
    MappingProxyType(
        {
            "momentum_decay": None,
            "parameter_rules": ({"max_ndim": 1, "weight_decay": 0.0},),
        }
    ),
)

SPACES: Mapping[str, SpacePreset] = MappingProxyType(
    {space.name: space for space in (_ALGOPERF, _WIDE, _FINETUNE)}
)


def get_space(name: Any, argument: str = "preset") -> SpacePreset:
    """Return the space of that name.

    Args:
        name: The name.
        argument: What a message calls it.

    Raises:
        ArgumentError: There is none; the message lists all.

    Example:

    >>> from nadam_suite.tuner.ranges import get_space
    >>> get_space("algoperf").parameters["learning_rate"].high
    0.01
    """
    return entry_of(SPACES, name, argument)
