"""The command `nadam-suite`. Importing it imports neither Keras nor a framework."""

from __future__ import annotations

from nadam_suite.cli.app import app, main

__all__ = ["app", "main"]
