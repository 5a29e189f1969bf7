"""What whole epochs of `fit()` cost, with the models of the recipes."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import keras

from nadam_suite.experiment.recipes import digits, text_lm
from tests.benchmarks.rows import SETTINGS, Plan, Row, compared
from tests.benchmarks.steps import SIDES
from tests.benchmarks.timing import Run, medians

# Recipe, examples in a batch, and by how much fewer examples its epoch has: text takes longer.
MODELS: dict[str, tuple[ModuleType, int, int]] = {
    "digits": (digits, 64, 1),
    "text_lm": (text_lm, 16, 4),
}


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the time of an epoch for each model, setting and side; compilation is not counted."""
    for name, (recipe, batch_size, fewer) in MODELS.items():
        functions, examples = {}, plan.examples // fewer
        for settings, options in SETTINGS.items():
            for side, kind in SIDES.items():
                run = _epoch(recipe, kind(**options), batch_size, examples)
                functions[f"{side}, {settings}"] = run
        plan.say(f"{name}: train {plan.epochs + 2} epochs with each of {len(functions)} optimizers")
        yield from compared("training", name, medians(functions, plan.epochs))


def _epoch(
    recipe: ModuleType, optimizer: keras.optimizers.Optimizer, batch_size: int, examples: int
) -> Run:
    """Return a function that trains a model of the recipe for one epoch."""
    keras.utils.set_random_seed(0)
    task = recipe.model()
    inputs, targets = (part[:examples] for part in recipe.data().train)
    task.model.compile(optimizer, task.loss)

    def run() -> None:
        # At the end of `fit()` stock `use_ema` hands the averages' own arrays to the weights on
        # JAX, and the next step deletes them; fresh arrays let it train on.
        task.model.set_weights(task.model.get_weights())
        task.model.fit(inputs, targets, batch_size=batch_size, epochs=1, verbose=0)

    return run
