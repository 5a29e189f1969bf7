"""`nadam-suite explain`: what a config comes to, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from nadam_suite.cli.backend import load_backend
from nadam_suite.cli.length import Length, load
from nadam_suite.cli.printing import print_json, widen

if TYPE_CHECKING:
    from nadam_suite.config import NadamConfig, TrainConfig
    from nadam_suite.experiment.explanation import Explanation
    from nadam_suite.schedules import TrainingPlan

__all__ = ["explain"]

_NARROW = 72  # columns without which numbers would be cut


def explain(
    source: str,
    overrides: Sequence[str],
    *,
    length: Length,
    as_json: bool = False,
    backend: str | None = None,
) -> None:
    """Print plan, durations, optimizer and variables.

    Args:
        source: Name of a recipe or preset, or a config file.
        overrides: Changes to the config.
        length: Length of the training, where the config does not say it. Of an optimizer's config
            it may be left out: the settings are shown alone.
        as_json: Print JSON instead of tables.
        backend: Framework, or None for the one that Keras is set to.
    """
    load_backend(backend)
    name, config = load(source, overrides)
    found = _explained(config, length)
    if as_json:
        print_json({"name": name, **found.to_dict()})
        return
    console = Console(highlight=False, markup=False)
    widen(console)
    console.width = max(console.width, _NARROW)
    console.print(f"{name}: {found.optimizer}")
    if found.plan is not None:
        console.print(_plan(found.plan))
    if found.durations:
        console.print(_durations(found))
    if found.averages:
        console.print(_averages(found))
    if found.rules:
        console.print(_rules(found))
    if found.variables is not None:
        for part in _variables(found, console.width):
            console.print(part)
        console.print(_totals(found))
    for note in found.notes:
        console.print(f"Note: {note}")


def _explained(config: TrainConfig | NadamConfig, length: Length) -> Explanation:
    from nadam_suite.config import NadamConfig
    from nadam_suite.experiment.explanation import Explanation, describe_optimizer, explain_config
    from nadam_suite.experiment.preview import preview

    if not isinstance(config, NadamConfig) or length.given():
        return explain_config(preview(config, **length.options()))
    note = (
        "An optimizer's config has no model and does not know how long it trains, so its settings "
        "are shown alone, as typed. Pass --steps 10000, or --examples, --batch-size and --epochs, "
        "to see its durations."
    )
    return Explanation(describe_optimizer(config), notes=(note,))


def _plan(plan: TrainingPlan) -> Table:
    """Return the length of the training, in every unit."""
    table = _table("Plan", "", "steps")
    table.show_header = False
    rows = {
        "training examples": plan.examples,
        "batch size": plan.batch_size,
        "steps per epoch": plan.steps_per_epoch,
        "epochs": plan.epochs,
        "total steps": plan.total_steps,
        "batches per update": plan.accumulation,
        "total updates": plan.total_updates,
    }
    for what, number in rows.items():
        if number is not None:
            table.add_row(what, f"{number:,}")
    return table


def _durations(found: Explanation) -> Table:
    """Return each duration as typed and as what it became."""
    table = _table("Durations", "key", "as typed", "steps", "epochs")
    for row in found.durations:
        typed = "(all)" if row.typed is None else str(row.typed)
        table.add_row(row.key, typed, f"{row.steps:,}", f"{row.epochs:.4g}")
    return table


def _averages(found: Explanation) -> Table:
    """Return each running average: when it begins, and how far it looks back."""
    columns = ("kind", "begins after", "every", "times", "length", "mean age")
    table = _table("Averages of the weights, in updates", "name", *columns)
    for row in found.averages:
        age = "" if row.mean_age is None else f"{row.mean_age:,.4g}"
        numbers = (f"{number:,}" for number in (row.start, row.every, row.taken))
        table.add_row(row.name, row.kind, *numbers, row.describe(), age)
    return table


def _rules(found: Explanation) -> Table:
    """Return the parameter rules, with the numbers by which the variables' rows name them."""
    table = _table("Parameter rules", "rule", "number", "rate x", "decay x", "variables")
    for number, row in enumerate(found.rules, 1):
        multipliers = f"{row.learning_rate:.4g}", f"{row.weight_decay:.4g}"
        table.add_row(row.rule, str(number), *multipliers, f"{row.variables:,}")
    return table


def _variables(found: Explanation, width: int) -> Iterator[Table | str]:
    """Yield a table of what each variable gets; where it is narrow, what all have in common first.

    Args:
        found: The explanation.
        width: Columns of the screen.
    """
    rows = found.variables or ()
    by_rule = {row.rule: str(number) for number, row in [*enumerate(found.rules, 1)][::-1]}
    columns = {
        "shape": ["x".join(map(str, row.shape)) or "scalar" for row in rows],
        "type": [row.dtype for row in rows],
        "size": [f"{row.parameters:,}" for row in rows],
        "rate x": [f"{row.learning_rate_multiplier:.4g}" for row in rows],
        "decay x": [f"{row.weight_decay_multiplier:.4g}" for row in rows],
        "peak rate": [f"{row.peak_learning_rate:.4g}" for row in rows],
        "first decay": [f"{row.first_decay:.3g}" for row in rows],
        "last decay": [f"{row.last_decay:.3g}" for row in rows],
        "rules": [", ".join(by_rule[rule] for rule in row.rules) for row in rows],
    }
    needed = max((len(row.path) for row in rows), default=0)
    needed += sum(max(map(len, [name, *values])) + 2 for name, values in columns.items())
    common = {name: values[0] for name, values in columns.items() if len({*values}) == 1}
    if needed > width and len(rows) > 1:
        columns = {name: values for name, values in columns.items() if name not in common}
        shown = ", ".join(f"{name} {value or 'none'}" for name, value in common.items())
        yield f"All variables: {shown}."
        columns = {name.replace(" ", "\n"): values for name, values in columns.items()}
    table = _table("Trainable variables", "path", *columns)
    for row, *values in zip(rows, *columns.values(), strict=True):
        table.add_row(row.path, *values)
    yield table


def _table(title: str, text: str, *others: str) -> Table:
    """Return an empty table: a column that may be folded, and others that stay whole."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(text, overflow="fold", min_width=8)
    for name in others:
        justify: Literal["left", "right"] = (
            "left" if name in ("kind", "length", "shape", "type") else "right"
        )
        table.add_column(name, justify=justify, no_wrap=True)
    return table


def _totals(found: Explanation) -> str:
    totals = found.totals()
    return (
        f"{totals['variables']:,} variables with {totals['parameters']:,} parameters, of which "
        f"{totals['decayed_parameters']:,} are decayed and {totals['frozen_parameters']:,} frozen. "
        "First and last decay: the share of the weights that the first and the last update take "
        "away."
    )
