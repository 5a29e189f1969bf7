"""Differences between configs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from nadam_suite.config import ABSENT, Change, NadamConfig, TrainConfig, diff, fingerprint
from tests.config.strategies import CONFIGS, NADAM_CONFIGS

pytestmark = pytest.mark.once


def test_a_difference_names_its_dotted_key_and_both_values():
    """Every key that differs is one row, sorted, and nothing else is."""
    before = TrainConfig(model="digits", data="digits", epochs=3)
    after = before.replace(
        optimizer={"beta_1": 0.8},
        schedule={"warmup": "5%"},
        callbacks=[{"kind": "terminate_on_nan"}],
    )
    changes = diff(before, after)
    assert changes == [
        Change("callbacks", [], ABSENT),
        Change("callbacks.0.kind", ABSENT, "terminate_on_nan"),
        Change("optimizer.beta_1", 0.9, 0.8),
        Change("schedule", None, ABSENT),
        Change("schedule.end", ABSENT, 0.0),
        Change("schedule.kind", ABSENT, "cosine"),
        Change("schedule.peak", ABSENT, None),
        Change("schedule.start", ABSENT, 0.0),
        Change("schedule.total", ABSENT, None),
        Change("schedule.warmup", ABSENT, "5%"),
    ]
    assert str(changes[2]) == "optimizer.beta_1: 0.9 -> 0.8"
    assert str(changes[1]) == "callbacks.0.kind: <absent> -> 'terminate_on_nan'"


def test_true_and_one_differ():
    """Python takes True for 1; a config does not."""
    assert diff({"a": True, "b": 1}, {"a": 1, "b": 1.0}) == [Change("a", True, 1)]


@given(CONFIGS, NADAM_CONFIGS)
def test_configs_differ_exactly_where_they_are_not_equal(one, other):
    """No rows for a config and itself; rows, mirrored, for two that are not equal."""
    assert diff(one, one) == []
    forth, back = diff(one, other), diff(other, one)
    assert (forth == []) == (one.to_dict() == other.to_dict())
    assert back == [Change(c.key, c.after, c.before) for c in forth]


def test_fingerprints_are_digests_that_are_kept_for_ever():
    """The digests of these configs are those; other ones break everybody's records."""
    parts = {"model": "digits", "data": "digits"}
    configs = [
        NadamConfig(),
        NadamConfig(learning_rate={"kind": "constant", "peak": 0.1, "warmup": 3}),
        TrainConfig(**parts, schedule={"warmup": "5%"}, callbacks=[{"kind": "terminate_on_nan"}]),
        TrainConfig(**parts, schedule={"kind": "constant", "warmup": "5%"}),
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in GOLDEN)
    assert [fingerprint(config) for config in configs] == GOLDEN


def test_keys_that_came_later_count_once_they_are_set():
    """A fingerprint leaves out what had no name before, but not what differs from its default."""
    base = TrainConfig(model="digits", data="digits")
    changed = [
        base.replace(checkpoint_every=3),
        base.replace(optimizer={"weight_decay_mode": "independent"}),
        base.replace(schedule={"kind": "constant", "factor": 1.0}),
    ]
    assert len({fingerprint(config) for config in [base, *changed]}) == 4


# Of the first version that wrote them.
GOLDEN = [
    "1702bd32dabf5b565130e674d6f24f46cd29a2509d11167b7a32c6d12f3db4bb",
    "72d84b83f4cd76c183d3afb82192464d73cbbe023c4fd558268cc28177f84e07",
    "633535d1ae5f791b89166f75920b2a28f70a43b19b28467731a63ca14dfee9c7",
    "716b0c9d17fe454ff8aaba7ff568516e9da6974cd4f55bcb3b5bb13a1d85c330",
]
