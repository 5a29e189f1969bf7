"""JAX: what a step sends between devices, an optimizer older than its devices, an overflow."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from tests.distribution.comparing import assert_equal_training
from tests.distribution.test_jax_agreement import FOUR_DEVICES, WORKER
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install jax"),
]
MESHES = ("data-4", "model-2x2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the worker found out about all three."""
    where = tmp_path_factory.mktemp("devices")
    tasks = "collectives+late+overflow"
    run_python(WORKER, tasks, str(where), backend="jax", **FOUR_DEVICES)
    return where


@pytest.fixture(scope="module")
def collectives(folder):
    """The collective operations of compiled programs, by mesh and settings."""
    return json.loads((folder / "collectives.json").read_text())


def is_sum_of_scalars(operation: str) -> bool:
    """Whether an operation sums single numbers, and nothing else, over the devices."""
    name, _, shapes = operation.partition(" ")
    return name == "all-reduce" and set(re.findall(r"\w+\[[^]]*\]", shapes)) == {"f32[]"}


def test_the_reader_of_programs_sees_a_gather(collectives):
    """A sharded kernel that is wanted whole on all devices is an all-gather in the program."""
    assert collectives["gather"] == ["all-gather f32[8,8]"]


@pytest.mark.parametrize("name", ["defaults", "clipnorm", "all but callables"])
def test_under_data_parallel_the_optimizer_sends_nothing(collectives, name):
    """The train step has the one sum of gradients that SGD's has, and the optimizer adds none."""
    assert collectives[f"data-4 {name} alone"] == []
    (one,) = collectives["data-4 SGD"]
    assert one.startswith("all-reduce")
    assert {"f32[8,4]", "f32[8,8]", "f32[2,8]"} <= set(re.findall(r"f32\[[\d,]+\]", one))
    assert collectives[f"data-4 {name}"] == [one]


@pytest.mark.parametrize(
    "name", ["defaults", "clipnorm", "all but callables", "together", "bfloat16"]
)
def test_under_model_parallel_the_optimizer_sums_scalars_only(collectives, name):
    """Sharded kernels are updated where they lie; only their squared norms are summed."""
    alone = collectives[f"model-2x2 {name} alone"]
    assert all(is_sum_of_scalars(operation) for operation in alone), alone
    assert bool(alone) == (name != "defaults")
    if name == "bfloat16":  # another model than that of SGD
        return
    added = Counter(collectives[f"model-2x2 {name}"]) - Counter(collectives["model-2x2 SGD"])
    assert all(is_sum_of_scalars(operation) for operation in added), added
    assert collectives["model-2x2 SGD"], "nothing to compare with"


@pytest.mark.parametrize("mesh", MESHES)
def test_a_callable_is_asked_once_for_all_devices(collectives, mesh):
    """Its number reaches the other devices in a sum of scalars; there is one for each callable."""
    (operation,) = collectives[f"{mesh} callable alone"]
    assert operation == "all-reduce (f32[], f32[])"


def test_a_step_on_four_devices_is_exported_for_accelerators(collectives):
    """The sharded train step with all settings lowers for TPU and CUDA on a machine without."""
    assert collectives["exported"] == [["tpu", "cuda"], 4]


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("name", ["numbers", "all", "resumed"])
def test_an_optimizer_may_be_made_before_the_distribution(folder, name, mesh):
    """D45: its counter and rate move to the model's devices, and it trains as on one device."""
    rows = json.loads((folder / "late.json").read_text())[f"{name} {mesh}"]
    assert isinstance(rows, dict), rows
    assert "nadam/iteration" in rows
    astray = [kind for kind, (alike, _, devices) in rows.items() if not alike or devices != 4]
    assert not astray
    on_mesh, on_one = (dict(np.load(folder / f"late-{name}-{s}.npz")) for s in (mesh, "one"))
    assert_equal_training(on_mesh, on_one)


def test_the_stock_optimizer_may_not(folder):
    """D45, the stock half: when Keras mends it, ours can leave it to Keras."""
    stock = json.loads((folder / "late.json").read_text())["stock"]
    assert stock.startswith("Received incompatible devices for jitted computation"), stock


def test_an_overflow_on_any_device_skips_the_step_on_all(folder):
    """Wherever the infinite gradient is: nothing changes, and the loss scale is halved once."""
    facts = json.loads((folder / "overflow.json").read_text())
    assert len(facts) == 4 + 2
    for setup, index, changed, halved, moved in facts:
        where = f"{setup}, part {index}"
        assert changed == ["dynamic_scale"], f"{where}: {changed}"
        assert halved == 0.5, where
        assert moved, f"{where}: the next batch counts again"
