"""Published settings of Nadam, as data, each with its source.

A preset holds what its source sets and nothing else; whatever it leaves out keeps the default.
`schedule` and `no_decay` are the two entries that are no arguments of `Nadam`: the shape of the
learning rate around its peak, and whether biases and normalization layers are left out of the
weight decay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nadam_suite.errors import ArgumentError

__all__ = ["PRESETS", "Preset", "get_preset"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings under a name.

    Args:
        name: What users write.
        description: What it is for, in a sentence.
        source: Where the values come from, and what was added to them.
        arguments: Arguments of `Nadam`; a learning rate with a schedule is the peak.
        schedule: `kind`, `warmup` and `end` of the learning rate, or None for a constant.
        no_decay: Whether variables of rank 1 or less are left out of the weight decay.
    """

    name: str
    description: str
    source: str
    arguments: Mapping[str, Any]
    schedule: Mapping[str, Any] | None = None
    no_decay: bool = False


def _algoperf(one_minus_beta_1: float, warmup: str, **arguments: float) -> dict[str, Any]:
    """Return what the AlgoPerf points share: constant momentum and a cosine down to zero."""
    return {
        "arguments": MappingProxyType(
            {
                **arguments,
                "beta_1": 1.0 - one_minus_beta_1,  # as the submissions compute it
                "epsilon": 1e-8,
                "momentum_decay": None,
            }
        ),
        "schedule": MappingProxyType({"kind": "cosine", "warmup": warmup, "end": 0.0}),
    }


_ALGOPERF = (
    "MLCommons algorithmic-efficiency, NAdamW baseline, {}. Weight decay on every variable, as "
    "there; the bias correction of the first moment is optax.nadam's, which differs in the first "
    "steps."
)

_ALL = (
    Preset(
        "keras",
        "keras.optimizers.Nadam as it is by default.",
        "Keras 3 keras.optimizers.Nadam, default arguments.",
        MappingProxyType(
            {
                "learning_rate": 1e-3,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-7,
                "momentum_decay": 1.0,
            }
        ),
    ),
    Preset(
        "torch",
        "torch.optim.NAdam as it is by default, which follows Dozat's report.",
        "PyTorch torch.optim.NAdam, default arguments; Dozat, 2016.",
        MappingProxyType(
            {
                "learning_rate": 2e-3,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-8,
                "momentum_decay": 0.004,
            }
        ),
    ),
    Preset(
        "optax",
        "optax.nadam: constant momentum, no weight decay.",
        "optax.nadam, default arguments; it has no default learning rate, so Keras' 1e-3 is used. "
        "optax.nadamw adds weight_decay=1e-4.",
        MappingProxyType(
            {
                "learning_rate": 1e-3,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-8,
                "momentum_decay": None,
            }
        ),
    ),
    Preset(
        "algoperf-v05",
        "One setting for all AlgoPerf workloads, as submitted to version 0.5.",
        _ALGOPERF.format("self-tuning ruleset, v0.5"),
        **_algoperf(
            0.06733926164,
            "2%",
            learning_rate=0.0017486387539278373,
            beta_2=0.9955159689799007,
            weight_decay=0.08121616522670176,
        ),
    ),
    Preset(
        "algoperf-current",
        "One setting for all AlgoPerf workloads, as in the current baseline.",
        _ALGOPERF.format("self-tuning ruleset, current"),
        **_algoperf(
            0.09090652249,
            "10%",
            learning_rate=0.00190834618600756,
            beta_2=0.998898321921855,
            weight_decay=0.08121616522670176,
        ),
    ),
    Preset(
        "algoperf-resnet",
        "AlgoPerf's setting for ResNet-50 on ImageNet.",
        _ALGOPERF.format("self-tuning ruleset, nadamw_resnet"),
        **_algoperf(
            0.00780309833,
            "5%",
            learning_rate=0.004126541534675243,
            beta_2=0.9966054696718922,
            weight_decay=0.05371805022820654,
        ),
    ),
    Preset(
        "vit",
        "Vision transformers trained from scratch on ImageNet.",
        _ALGOPERF.format("external tuning, point 2 of 5, that of the ViT target setting"),
        **_algoperf(
            0.11042418465,
            "5%",
            learning_rate=0.0008445074561975979,
            beta_2=0.9978504782314613,
            weight_decay=0.08135402759553023,
        ),
    ),
    Preset(
        "finetune",
        "Fine-tuning a pretrained transformer for a few epochs.",
        "BERT's fine-tuning script (google-research/bert, run_classifier.py and optimization.py; "
        "Devlin et al., 2019, A.3), an AdamW: the Nesterov momentum is our addition.",
        MappingProxyType(
            {
                "learning_rate": 5e-5,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-6,
                "weight_decay": 0.01,
                "global_clipnorm": 1.0,
                "momentum_decay": None,
            }
        ),
        MappingProxyType({"kind": "linear", "warmup": "10%", "end": 0.0}),
        no_decay=True,
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})


def get_preset(name: Any) -> Preset:
    """Return the preset of that name.

    Raises:
        ArgumentError: There is none; the message lists all.

    Example:
    >>> from nadam_suite.optimizers.presets import get_preset
    >>> get_preset("torch").arguments["momentum_decay"]
    0.004
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    raise ArgumentError(
        f"Argument `preset` must be one of {', '.join(map(repr, PRESETS))}. "
        f"Received: preset={name!r}. `nadam_suite.list_presets()` describes them."
    )
