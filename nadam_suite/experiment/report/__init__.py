"""Reports on runs: what their folders tell, how they differ, and both as one HTML page."""

from __future__ import annotations

from nadam_suite.experiment.report.compare import Comparison, compare, read_runs
from nadam_suite.experiment.report.page import page
from nadam_suite.experiment.report.record import RunRecord, is_run, read_run

__all__ = ["Comparison", "RunRecord", "compare", "is_run", "page", "read_run", "read_runs"]
