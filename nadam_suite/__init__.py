"""Nadam whose every documented argument means the same thing everywhere, and a kit around it."""

from __future__ import annotations

from nadam_suite.optimizers import Nadam, ParameterRule, layerwise_decay, no_decay

__version__ = "0.1.0"

__all__ = ["Nadam", "ParameterRule", "__version__", "layerwise_decay", "no_decay"]
