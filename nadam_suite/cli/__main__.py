"""Run the command as `python -m nadam_suite.cli`."""

from __future__ import annotations

from nadam_suite.cli import main

main()
