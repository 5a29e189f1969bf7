"""What JAX computes on four devices of the host; run in a process of its own, task by task.

Each task writes what it found into a folder: arrays as `.npz`, facts as `.json`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np

from tests.distribution import problem
from tests.distribution.problem import SCENARIOS, Batches, Scenario, everything, nadam_of
from tests.distribution.scheduled import train as every_schedule

_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    r"|collective-broadcast|ragged-all-to-all)(?:-start)?\("
)


def distribution(setup: str) -> Any:
    """None for one device, else devices that share the batch, or the kernels as well."""
    devices = keras.distribution.list_devices("cpu")
    if setup == "one":
        return None
    if setup.startswith("data"):
        return keras.distribution.DataParallel(devices=devices[: int(setup[-1])])
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*hidden/kernel"] = (None, "model")
    layouts[".*hidden/bias"] = ("model",)
    layouts[".*out/kernel"] = ("model", None)
    layouts[".*embedding/embeddings"] = ("model", None)
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


def start(setup: str) -> None:
    """Begin afresh under a distribution; to clear the session ends the one that was set."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    keras.distribution.set_distribution(distribution(setup))


def placement(model: keras.Model) -> dict[str, list[Any]]:
    """For everything that the optimizer keeps: is it sharded as it should be, and at all?

    A row says whether the array lies as its variable does (for a scalar: whether each device has
    it), whether it is split, and on how many devices it is.
    """
    rows = {}
    for slot in nadam_of(model)._layout.slots:
        wanted = slot.variable.value.sharding
        kinds = ("variable", "momentum", "velocity", "accumulator", "master")
        every = {kind: getattr(slot, kind) for kind in kinds}
        every |= {f"average_{number}": held for number, held in enumerate(slot.averages)}
        for number, copies in enumerate(slot.copies):
            every |= {f"average_{number}_copy_{j}": held for j, held in enumerate(copies)}
        for kind, held in every.items():
            if held is not None:
                found = held.value.sharding
                alike = found.is_equivalent_to(wanted, len(slot.variable.shape))
                split = not found.is_fully_replicated
                rows[f"{kind}_{slot.index}"] = [alike, split, len(found.device_set)]
    for variable in model.optimizer.variables:
        if variable.shape == ():
            found = variable.value.sharding
            rows[variable.path] = [found.is_fully_replicated, False, len(found.device_set)]
    return rows


def train(folder: Path, names: str, setups: str = ",".join(problem.SETUPS)) -> None:
    """Fit every scenario in every setup, from the same weights on the same global batches."""
    placements = {}
    for name in names.split(","):
        for setup in setups.split(","):
            start(setup)
            model, batches = problem.compiled(SCENARIOS[name])
            model.optimizer.build(model.trainable_variables)
            placements[f"{name} {setup} built"] = placement(model)
            model.fit(Batches(batches), shuffle=False, verbose=0)
            placements[f"{name} {setup} trained"] = placement(model)
            np.savez(folder / f"{name}-{setup}.npz", **everything(model))
    (folder / "placement.json").write_text(json.dumps(placements))


def _collectives(program: str) -> list[str]:
    """All collective operations of a compiled program, each with the shapes that it moves."""
    counts: Counter[str] = Counter()
    for shapes, name in _COLLECTIVE.findall(program):
        counts[f"{name} {re.sub(r'{[^}]*}|/[*].*?[*]/', '', shapes)}"] += 1
    return sorted(counts.elements())


def _step_of(model: keras.Model, batch: Any) -> tuple[Any, Any, Any, Any]:
    """The jitted step of the trainer, its state and data on the devices, and its shardings."""
    model.optimizer.build(model.trainable_variables)
    model.train_on_batch(*batch)  # builds metrics and losses
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([v.value for v in group] for group in groups)
    shardings = tuple([v.sharding for v in group] for group in state)
    current = keras.distribution.distribution()

    def place(array: np.ndarray) -> Any:
        return jax.device_put(array, current.get_data_layout(array.shape).backend_layout)

    data = jax.tree.map(place, batch)
    step = jax.jit(model.train_step, donate_argnums=0, out_shardings=(None, shardings))
    return step, state, data, shardings


def collectives(folder: Path) -> None:
    """List the collectives of compiled steps: SGD's, ours, and our optimizer's alone."""
    found = {}
    cases = {
        name: SCENARIOS[name]
        for name in ("bfloat16", "defaults", "clipnorm", "callable", "together")
    }
    cases["all but callables"] = Scenario(problem.TOGETHER)
    for setup in ("data-4", "model-2x2"):
        for name, scenario in {"SGD": Scenario({}), **cases}.items():
            start(setup)
            model, batches = problem.compiled(scenario)
            if name == "SGD":
                model.compile(keras.optimizers.SGD(0.1), "mse")
            step, state, data, shardings = _step_of(model, batches[0])
            program = step.lower(state, data).compile().as_text()
            found[f"{setup} {name}"] = _collectives(program)
            apply = jax.jit(
                model.optimizer.stateless_apply, out_shardings=(shardings[0], shardings[2])
            )
            gradients = state[0]  # arrays of the right shapes, sharded as gradients are
            program = apply.lower(state[2], gradients, state[0]).compile().as_text()
            found[f"{setup} {name} alone"] = _collectives(program)
    # The check itself: what a gather looks like in a program.
    weight = next(v.value for v in model.trainable_variables if v.path.endswith("hidden/kernel"))
    everywhere = jax.sharding.NamedSharding(weight.sharding.mesh, jax.sharding.PartitionSpec())
    program = jax.jit(lambda w: w + 1.0, out_shardings=everywhere).lower(weight).compile()
    found["gather"] = _collectives(program.as_text())
    found["exported"] = _exported_for_accelerators()
    (folder / "collectives.json").write_text(json.dumps(found))


def _exported_for_accelerators() -> list[Any]:
    start("data-4")
    model, batches = problem.compiled(Scenario(problem.TOGETHER))
    step, state, data, _ = _step_of(model, batches[0])
    exported = jax.export.export(step, platforms=["tpu", "cuda"])(state, data)
    return [list(exported.platforms), exported.nr_devices]


def late(folder: Path) -> None:
    """Distributions that are set after the optimizer was made (D45), and what becomes of it."""
    warnings.simplefilter("error", UserWarning)  # Keras warns of what will fail
    options = {"numbers": {}, "all": problem.TOGETHER, "resumed": {}}
    found: dict[str, Any] = {}
    for setup in ("one", "data-4", "model-2x2"):
        for name, chosen in options.items():
            start("data-2" if name == "numbers" and setup != "one" else "one")
            optimizer = problem.make_optimizer(chosen)
            keras.distribution.set_distribution(distribution(setup))
            model, batches = problem.one_signed_model(), problem.one_signed_batches(6)
            model.compile(optimizer, "mse")
            if name == "resumed":
                optimizer.build(model.trainable_variables)
                state: dict[str, Any] = {}
                optimizer.save_own_variables(state)
                optimizer.load_own_variables(state)
                optimizer.learning_rate = 0.01
            try:
                model.fit(Batches(batches), shuffle=False, verbose=0)
            except (ValueError, UserWarning) as error:
                found[f"{name} {setup}"] = str(error)[:200]
                continue
            found[f"{name} {setup}"] = placement(model)
            np.savez(folder / f"late-{name}-{setup}.npz", **everything(model))
    start("one")
    stock = problem.make_optimizer({}, keras.optimizers.Nadam)
    keras.distribution.set_distribution(distribution("data-4"))
    model = problem.one_signed_model()
    model.compile(stock, "mse")
    warnings.simplefilter("ignore", UserWarning)
    try:
        model.fit(Batches(batches), shuffle=False, verbose=0)
        found["stock"] = "trains"
    except ValueError as error:
        found["stock"] = str(error)[:200]
    (folder / "late.json").write_text(json.dumps(found))


def overflow(folder: Path) -> None:
    """Put an overflow into the part of each device in turn, under mixed_float16."""
    facts = []
    for setup, replicas in (("data-4", 4), ("model-2x2", 2)):
        for index in range(replicas):
            start(setup)
            model, batches = problem.compiled(SCENARIOS["mixed_float16"])
            for batch in batches[:5]:
                model.train_on_batch(*batch)
            before = everything(model)
            x, y = batches[5][0].copy(), batches[5][1].copy()
            x[index * len(x) // replicas] = 6e4
            y[index * len(x) // replicas] = 6e4
            model.train_on_batch(x, y)
            after = everything(model)
            changed = sorted(k for k in before if not np.array_equal(before[k], after[k]))
            halved = float(after["dynamic_scale"] / before["dynamic_scale"])
            model.train_on_batch(*batches[6])
            moved = not np.array_equal(after["accumulator_0"], everything(model)["accumulator_0"])
            facts.append([setup, index, changed, halved, moved])
    (folder / "overflow.json").write_text(json.dumps(facts))


def scheduled(folder: Path, setups: str) -> None:
    """Every kind of schedule, logged and scaled, in each setup; "one-8" is eight per execution."""
    for setup in setups.split(","):
        for window in (None, 2):
            start("one" if setup == "one-8" else setup)
            model = problem.one_signed_model()
            found = every_schedule(model, window, 8 if setup == "one-8" else 1)
            np.savez(folder / f"{setup}-{window}-0.npz", **found)


def main(tasks: str, folder: str, *arguments: str) -> None:
    """Do some tasks, joined by "+"; the arguments are those of `train`."""
    known = {"train": train, "collectives": collectives, "late": late, "overflow": overflow}
    known["scheduled"] = scheduled
    for task in tasks.split("+"):
        known[task](Path(folder), *arguments)
