"""Several runs side by side: what differs, and the spread over seeds."""

from __future__ import annotations

import json
import statistics

import pytest

from nadam_suite.experiment.report import read_runs
from tests.experiment.fake_runs import make

pytestmark = pytest.mark.once


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    """Mean and sample standard deviation of the final and of the best metrics."""
    paths = [make(tmp_path / f"seed-{seed}", seed=seed) for seed in (0, 1, 2)]
    other = make(tmp_path / "other", seed=0, batch_size=64)
    found = read_runs([*paths, other])
    assert [group.runs for group in found.groups] == [(0, 1, 2), (3,)]
    spread = found.groups[0].final["test accuracy"]
    assert spread.values == pytest.approx((0.9, 0.8, 0.7))
    assert spread.mean == pytest.approx(0.8)
    assert spread.std == pytest.approx(statistics.stdev([0.9, 0.8, 0.7])) == pytest.approx(0.1)
    best = found.groups[0].best["val_accuracy"]
    assert best.values == pytest.approx((0.675, 0.6, 0.525))
    assert found.groups[1].final["test accuracy"].std is None
    assert found.name(found.groups[0]) == "seed-0, seed-1, seed-2"


def test_another_backend_is_another_group(tmp_path):
    """Its runs differ in more than their seeds."""
    first = make(tmp_path / "a")
    second = make(tmp_path / "b", seed=1, environment={"backend": "torch"})
    found = read_runs([first, second])
    assert len(found.groups) == 2
    assert not found.seeds
    assert [(each.key, each.values) for each in found.environment] == [
        ("backend", ("jax", "torch"))
    ]


def test_unfinished_runs_have_no_final_metrics_in_a_group(tmp_path):
    """What a run has so far is no result."""
    paths = [make(tmp_path / "a"), make(tmp_path / "b", seed=1, result=False, sessions=[])]
    group = read_runs(paths).groups[0]
    assert group.runs == (0, 1)
    assert group.final["test accuracy"].values == (0.9,)
    assert "last loss" not in group.final


def test_only_the_keys_that_differ_are_listed(tmp_path):
    """Names and places are no difference; a table that only one has is told by its keys."""
    first = make(tmp_path / "a", output="a", name="a")
    second = make(
        tmp_path / "b",
        output="b",
        name="b",
        precision="mixed_float16",
        loss_scale={"hysteresis": 2},
    )
    third = make(tmp_path / "c", optimizer={"beta_2": 0.99, "averaging": "ema"})
    differing = {each.key: each.shown() for each in read_runs([first, second, third]).config}
    assert differing["precision"] == ["float32", "mixed_float16", "float32"]
    assert differing["loss_scale.hysteresis"] == ["–", "2", "–"]
    assert differing["optimizer.beta_2"] == ["0.999", "0.999", "0.99"]
    assert not {"name", "output", "loss_scale"} & set(differing)
    assert all(len(set(values)) > 1 for values in differing.values())


def test_the_same_numbers_as_plain_data(tmp_path):
    """What the command prints with --json."""
    paths = [make(tmp_path / f"seed-{seed}", seed=seed) for seed in (0, 1)]
    table = json.loads(json.dumps(read_runs(paths).to_dict(), allow_nan=False))
    assert table["config_differences"] == {"seed": {"seed-0": 0, "seed-1": 1}}
    assert table["environment_differences"] == {}
    spread = table["groups"][0]["final"]["test accuracy"]
    assert spread == {
        "n": 2,
        "mean": pytest.approx(0.85),
        "std": pytest.approx(0.0707107),
        "min": 0.8,
        "max": 0.9,
    }
    run = table["runs"][1]
    assert run["best"]["val_loss"] == {"value": pytest.approx(2.2 / 3), "epoch": 3}
    assert run["history"][0]["learning_rate"] == 1.0
    assert run["norms"][0]["layers"]["out"]["ratio"] == 0.05
