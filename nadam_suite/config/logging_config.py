"""What a training writes down beside its metrics, as settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from nadam_suite.config.base import Config

__all__ = ["LoggingConfig"]


class LoggingConfig(Config):
    """What a training logs beside its metrics and hyperparameters; it changes no number of them.

    Args:
        norms: Whether norms of updates and gradients are logged: of all weights together into
            `history.csv`, of each layer into `norms.csv` and TensorBoard. Defaults to true.
        norms_every: Updates between two looks, an integer >= 1, or None, the default, for the last
            update of each epoch.
        norms_per: "layer" (the default) or "variable".

    Raises:
        ConfigError: The settings have faults; all of them are listed.

    Example:
    >>> from nadam_suite.config import LoggingConfig
    >>> LoggingConfig(norms_every=50).options()
    {'every': 50, 'per': 'layer'}
    """

    norms: bool = True
    norms_every: Annotated[int, Field(ge=1)] | None = None
    norms_per: Literal["layer", "variable"] = "layer"

    def options(self) -> dict[str, Any]:
        """Return the keywords of `NormLogger`."""
        return {"every": self.norms_every, "per": self.norms_per}
