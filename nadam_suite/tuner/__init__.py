"""Search for hyperparameters with keras-tuner: spaces, published points, tuners that resume."""

from __future__ import annotations

from nadam_suite.tuner.check import check_space
from nadam_suite.tuner.hyperband import ResumableHyperband
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.points import Enqueued, PublishedPoint, published_points
from nadam_suite.tuner.report import report
from nadam_suite.tuner.spaces import budget_rule, nadam_space
from nadam_suite.tuner.tuners import (
    BayesianOptimization,
    GridSearch,
    QuasiRandomSearch,
    RandomSearch,
)

__all__ = [
    "BayesianOptimization",
    "Enqueued",
    "GridSearch",
    "NadamHyperModel",
    "PublishedPoint",
    "QuasiRandomSearch",
    "RandomSearch",
    "ResumableHyperband",
    "budget_rule",
    "check_space",
    "nadam_space",
    "published_points",
    "report",
]
