"""JAX: training on several devices of a mesh ends where training on one device does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.distribution.comparing import assert_equal_training
from tests.distribution.problem import SCENARIOS, SETUPS
from tests.processes import installed, run_python

pytestmark = [
    pytest.mark.once,
    pytest.mark.multi_device,
    pytest.mark.skipif(not installed("jax"), reason="jax is not installed: pip install jax"),
]
WORKER = "from tests.distribution.jax_worker import main\nmain(*sys.argv[1:])"
FOUR_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
QUICK = "together"


def _train(factory, *names):
    folder = factory.mktemp("agreement")
    run_python(WORKER, "train", str(folder), ",".join(names), backend="jax", **FOUR_DEVICES)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What one scenario, with all arguments in it, ends with."""
    return _train(tmp_path_factory, QUICK)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What all other scenarios end with."""
    return _train(tmp_path_factory, *(name for name in SCENARIOS if name != QUICK))


def assert_setups_agree(folder, name, setup):
    """Fifty steps end as on one device, and they were fifty steps that moved the weights."""
    one = dict(np.load(folder / f"{name}-one.npz"))
    assert int(one["iteration"]) == 50
    assert np.abs(one["momentum_0"]).max() > 0.01
    assert_equal_training(dict(np.load(folder / f"{name}-{setup}.npz")), one)


def assert_lies_as_its_variables(folder, name, setup):
    """Slots are split as their variables are, scalars are everywhere; before and after `fit()`."""
    placements = json.loads((folder / "placement.json").read_text())
    devices = {"one": 1, "data-2": 2, "data-4": 4, "model-2x2": 4}[setup]
    for when in ("built", "trained"):
        rows = placements[f"{name} {setup} {when}"]
        assert {kind.rpartition("_")[0] for kind in rows} >= {"variable", "momentum", "velocity"}
        astray = [kind for kind, (alike, _, count) in rows.items() if not alike or count != devices]
        assert not astray, f"{when}: {astray}"
        split = [kind for kind, (_, is_split, _) in rows.items() if is_split]
        assert ("momentum_1" in split) == (setup == "model-2x2"), f"{when}: {split}"


@pytest.mark.parametrize("setup", SETUPS[1:])
def test_all_arguments_together_train_as_on_one_device(together, setup):
    """Accumulation, clipping, decay by rules, averages, schedules, constraints: equal to 1e-5."""
    assert_setups_agree(together, QUICK, setup)


@pytest.mark.parametrize("setup", SETUPS)
def test_all_slots_lie_as_their_variables(together, setup):
    """Moments, accumulators and averages have their variable's sharding; scalars are replicated."""
    assert_lies_as_its_variables(together, QUICK, setup)


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS[1:])
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != QUICK])
def test_each_argument_trains_as_on_one_device(alone, name, setup):
    """Each argument alone, and each precision with all of them: every element equal to 1e-5."""
    assert_setups_agree(alone, name, setup)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bfloat16", "float16", "mixed_float16"])
def test_slots_of_half_precision_lie_as_their_variables(alone, name):
    """The wider slots of a half-precision variable, its master copy too, are split as it is."""
    assert_lies_as_its_variables(alone, name, "model-2x2")
    rows = json.loads((alone / "placement.json").read_text())[f"{name} model-2x2 trained"]
    assert ("master_0" in rows) == (not name.startswith("mixed"))
    if "master_0" in rows:
        assert rows["master_0"] == [True, True, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "free"), [("global_clipnorm", "defaults"), ("clipnorm", "defaults")]
)
def test_the_limits_of_the_scenarios_clip_some_steps(alone, name, free):
    """The scenarios see what they are for: clipping changes the moments, and not into nothing."""
    clipped, unclipped = (np.load(alone / f"{n}-one.npz")["velocity_1"] for n in (name, free))
    assert np.all(clipped < unclipped)
    assert np.all(clipped > 0.05 * unclipped)
