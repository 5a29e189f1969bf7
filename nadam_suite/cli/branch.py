"""`nadam-suite train --cooldown-from`: what of the arguments is the run, and what its cooldown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nadam_suite.cli.sources import is_override, train_config_of
from nadam_suite.config import TrainConfig, load_config
from nadam_suite.config.overrides import parse_value
from nadam_suite.errors import ConfigError, RunFolderError

__all__ = ["branch_of"]

_NAMES = ("name", "output")
_TABLES = ("schedule", "optimizer.learning_rate")
# What may be another than in the run, by the keyword of `branch_cooldown`. A schedule that has a
# cooldown of its own calls its shape and its end otherwise than one that is given a cooldown.
_WANTED = {
    **{key: key for key in _NAMES},
    **{f"{table}.cooldown": "cooldown" for table in _TABLES},
    **{f"{table}.{prefix}shape": "shape" for table in _TABLES for prefix in ("", "cooldown_")},
    **{f"{table}.{prefix}end": "end" for table in _TABLES for prefix in ("", "cooldown_")},
}


def branch_of(
    checkpoint: Path, source: str | None, overrides: Sequence[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the config that the run was started with, and what is wanted of its cooldown.

    Args:
        checkpoint: The run's folder, or one of its checkpoints.
        source: Name of the recipe or the config file; None for the run's own config.
        overrides: Changes, of the cooldown and those with which the run was started. Without a
            source, which comes first on the command line, the first of them stands there.

    Raises:
        RunFolderError: There is no run at the checkpoint.
        ConfigError: The name is unknown, or the config has faults.
    """
    if source is not None and is_override(source):
        overrides, source = [source, *overrides], None
    wanted: dict[str, Any] = {}
    own: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key.strip() in _WANTED:
            wanted[_WANTED[key.strip()]] = parse_value(value)
        else:
            own.append(override)
    if source is not None:
        try:
            return train_config_of(source, own), wanted
        except ConfigError:  # a "wsd" must have a cooldown, even if it is to be another one
            given = [text for text in overrides if text.partition("=")[0].strip() not in _NAMES]
            return train_config_of(source, given), wanted
    path = checkpoint / "config.toml"
    if not path.is_file():
        raise RunFolderError(
            "Argument `--cooldown-from` must be the folder of a run, or one under its "
            f"`checkpoints`. Received: --cooldown-from={str(checkpoint)!r}, which has no "
            f"{path.name}. Check the path."
        )
    return load_config(path, own, kind=TrainConfig), wanted
