"""How a training is shared out over devices and workers, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from nadam_suite.config import faults
from nadam_suite.config.base import Config

__all__ = ["DistributionConfig"]


def _devices(value: Any) -> int | tuple[str, ...] | None:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or number:
        return value
    names = isinstance(value, (list, tuple)) and value and all(isinstance(n, str) for n in value)
    if not names or len(set(value)) != len(value) or "" in value:
        requirement = 'an integer >= 1, or a list of different names such as ["cpu:0", "cpu:1"]'
        raise faults.refuse(requirement, "Leave it out for all devices.")
    return tuple(value)


def _word_none(value: Any) -> Any:
    """Return "none" for None: a bare `none` on the command line is None."""
    return "none" if value is None else value


def _no_rule(value: Any) -> Any:
    return None if value == "none" else value


Devices = Annotated[
    Any,
    BeforeValidator(_devices),
    PlainSerializer(lambda value: list(value) if isinstance(value, tuple) else value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
                {"type": "null"},
            ]
        }
    ),
]


class DistributionConfig(Config):
    """Which devices train, and whether the learning rate follows the batch size.

    The workers of a training are no setting: `nadam-suite launch` starts them, or the environment
    of each process names them.

    Args:
        strategy: "auto" (the default: what is there), "none", "mirrored", "multi_worker", "tpu",
            "data_parallel" or "model_parallel"; see `training_scope`.
        devices: How many devices of this process, or their names. None, the default, is all.
        model_devices: Devices over which "model_parallel" splits each layer, an integer >= 1.
            None, the default, is all.
        scale_learning_rate: "sqrt" (what suits Nadam) or "linear" multiplies the rate by the root
            of batch_size / base_batch_size, or by that itself. None, the default, and "none" leave
            it as it is.
        base_batch_size: Batch size for which the learning rate was chosen, an integer >= 1, where
            the rate is scaled. None, the default, is that of one replica.

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import DistributionConfig
    >>> DistributionConfig(scale_learning_rate="sqrt", base_batch_size=64).strategy
    'auto'
    """

    strategy: Annotated[
        Literal[
            "auto", "none", "mirrored", "multi_worker", "tpu", "data_parallel", "model_parallel"
        ],
        BeforeValidator(_word_none),
    ] = "auto"
    devices: Devices = None
    model_devices: Annotated[int, Field(ge=1)] | None = None
    scale_learning_rate: Annotated[Literal["sqrt", "linear"] | None, BeforeValidator(_no_rule)] = (
        None
    )
    base_batch_size: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def cross_faults(cls, values: Mapping[str, Any], prefix: str = "") -> list[str]:
        """Return the faults that concern several keys."""
        found = []
        rule, base = values.get("scale_learning_rate"), values.get("base_batch_size")
        if _no_rule(rule) is None and base is not None:
            requirement = '"sqrt" or "linear" where `base_batch_size` is given'
            remedy = 'Choose "sqrt", which suits Nadam, or remove `base_batch_size`.'
            found.append(faults.fault(f"{prefix}scale_learning_rate", requirement, rule, remedy))
        model_devices = values.get("model_devices")
        if model_devices is not None and values.get("strategy") != "model_parallel":
            requirement = 'left out unless strategy is "model_parallel"'
            remedy = f"Remove it, or change `{prefix}strategy`."
            found.append(faults.fault(f"{prefix}model_devices", requirement, model_devices, remedy))
        return found
