"""What the commands that look ahead share: a config by its name, and the length of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nadam_suite.cli.backend import find_modules

if TYPE_CHECKING:
    from nadam_suite.config import NadamConfig, TrainConfig

__all__ = ["Length", "load"]


@dataclasses.dataclass(frozen=True)
class Length:
    """What `--examples`, `--batch-size`, `--epochs` and `--steps` say; see `preview`."""

    examples: int | None = None
    batch_size: int | None = None
    epochs: int | None = None
    steps: int | None = None

    def options(self) -> dict[str, Any]:
        """Return them as the keywords of `nadam_suite.experiment.preview.preview`."""
        return dataclasses.asdict(self)

    def given(self) -> bool:
        """Return whether anything is said."""
        return any(value is not None for value in self.options().values())


def load(source: str, overrides: Sequence[str]) -> tuple[str, TrainConfig | NadamConfig]:
    """Return a name and the config.

    Modules of the current folder that it names are found, as in a training.

    Args:
        source: Name of a recipe or preset, or a config file.
        overrides: Changes to the config.
    """
    from nadam_suite.cli.sources import config_of
    from nadam_suite.config import TrainConfig

    find_modules()
    config = cast("TrainConfig | NadamConfig", config_of(source, overrides))
    return config.name if isinstance(config, TrainConfig) else Path(source).stem, config
