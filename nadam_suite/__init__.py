"""Nadam whose every documented argument means the same thing everywhere, and a kit around it.

Importing the package imports Keras and registers the classes that saved files name. Only the
command postpones that, so that `nadam-suite --help` answers at once and `--backend` comes in time.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
import typing

if typing.TYPE_CHECKING:
    from nadam_suite.config import (
        NadamConfig,
        TrainConfig,
        list_presets,
        load_config,
        save_config,
    )
    from nadam_suite.distribution import training_scope
    from nadam_suite.optimizers import (
        Nadam,
        ParameterRule,
        layerwise_decay,
        nadam,
        nadamw,
        no_decay,
    )

__version__ = "0.1.0"

__all__ = [
    "Nadam",
    "NadamConfig",
    "ParameterRule",
    "TrainConfig",
    "__version__",
    "layerwise_decay",
    "list_presets",
    "load_config",
    "nadam",
    "nadamw",
    "no_decay",
    "save_config",
    "training_scope",
]

_CONFIG = ("NadamConfig", "TrainConfig", "list_presets", "load_config", "save_config")
_HOMES = {name: "config" if name in _CONFIG else "optimizers" for name in __all__}
_HOMES["training_scope"] = "distribution"


def __getattr__(name: str) -> typing.Any:
    """Import a public name when it is first used."""
    if name not in _HOMES or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


# "-m" stands in argv while Python looks for the module that `python -m nadam_suite` runs.
if pathlib.Path(sys.argv[0] if sys.argv else "").stem not in {"nadam-suite", "-m"}:
    for _name in __all__:
        if not _name.startswith("__"):
            __getattr__(_name)
