"""Trainings that work offline: a model and data each, and the config that trains them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

__all__ = ["BUILT_IN", "Recipe", "list_recipes", "recipe_path"]

# Modules with the functions `model(**options)` and `data(**options)`.
BUILT_IN = {
    "digits": "nadam_suite.experiment.recipes.digits",
    "text_lm": "nadam_suite.experiment.recipes.text_lm",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a list of recipes shows.

    Args:
        name: What `nadam-suite train` takes.
        description: What it trains.

    Example: see `list_recipes`.
    """

    name: str
    description: str


def list_recipes() -> tuple[Recipe, ...]:
    """Return one row per recipe; the description is the first comment line of its config.

    Example:

    >>> from nadam_suite.experiment import list_recipes
    >>> [row.name for row in list_recipes()]
    ['digits', 'text_lm']
    """
    return tuple(
        Recipe(name, recipe_path(name).read_text("utf-8").partition("\n")[0].lstrip("# "))
        for name in BUILT_IN
    )


def recipe_path(name: str) -> Path:
    """Return the config file of a recipe.

    Args:
        name: One of those that `list_recipes` has.

    Example:

    >>> from nadam_suite.experiment import recipe_path
    >>> recipe_path("digits").name
    'digits.toml'
    """
    return Path(__file__).parent / f"{name}.toml"
