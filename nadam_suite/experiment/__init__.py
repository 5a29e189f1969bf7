"""One training from one config: run it, record it, and go on with it after an interruption."""

from __future__ import annotations

from nadam_suite.experiment.branch import branch_cooldown
from nadam_suite.experiment.parts import Part, Task, find_part
from nadam_suite.experiment.recipes import Recipe, list_recipes, recipe_path
from nadam_suite.experiment.run import RunResult, run_training
from nadam_suite.experiment.splits import Splits
from nadam_suite.experiment.stream import batches

__all__ = [
    "Part",
    "Recipe",
    "RunResult",
    "Splits",
    "Task",
    "batches",
    "branch_cooldown",
    "find_part",
    "list_recipes",
    "recipe_path",
    "run_training",
]
