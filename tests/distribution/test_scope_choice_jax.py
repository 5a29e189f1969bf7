"""What each environment of JAX is taken for; devices and clusters are made up, not opened."""

from __future__ import annotations

import importlib

import keras
import pytest

from nadam_suite import training_scope
from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError

pytestmark = [
    pytest.mark.multi_device,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="of the jax backend"),
]


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    """Start from an environment that names no cluster."""
    for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)


@pytest.fixture
def jax_machine(monkeypatch):
    """Give JAX devices that are made up, and distributions that need none."""
    module = importlib.import_module("nadam_suite.backends.jax_scope")

    def make(gpus=0, tpus=0, cpus=1, processes=1):
        counts = {"tpu": tpus, "gpu": gpus, "cpu": cpus}
        default = next(kind for kind, count in counts.items() if count)

        def present(kind=None):
            kind = kind or default
            return [f"{kind}:{i}" for i in range(counts.get(kind, 0))]

        monkeypatch.setattr(module, "_present", present)
        monkeypatch.setattr(module, "split_cpu", lambda count: False)
        monkeypatch.setattr(module, "join", lambda: None)
        if processes > 1:
            monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "a:1")
            monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", str(processes))
            monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")

    return make


def chosen(*arguments, **options):
    """Strategy, replicas and workers that training_scope chooses."""
    scope = training_scope(*arguments, **options, verbose=False)
    return scope.strategy, scope.replicas, scope.workers


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({}, ("none", 1, 1)),
        ({"cpus": 8}, ("none", 1, 1)),
        ({"gpus": 1}, ("none", 1, 1)),
        ({"gpus": 4}, ("data_parallel", 4, 1)),
        ({"tpus": 8}, ("data_parallel", 8, 1)),
        ({"cpus": 2, "processes": 2}, ("data_parallel", 2, 2)),
    ],
    ids=str,
)
def test_auto_on_jax(jax_machine, machine, expected):
    """Several processes or accelerators share a batch; the devices of a CPU are not counted."""
    jax_machine(**machine)
    assert chosen() == chosen("auto") == expected


@pytest.mark.parametrize(
    ("strategy", "options", "expected"),
    [
        ("data_parallel", {}, ("data_parallel", 8, 1)),
        ("mirrored", {}, ("data_parallel", 8, 1)),
        ("mirrored", {"devices": 2}, ("data_parallel", 2, 1)),
        ("auto", {"devices": ["CPU:0", "cpu:1"]}, ("data_parallel", 2, 1)),
        ("tpu", {}, ("data_parallel", 2, 1)),
        ("none", {}, ("none", 1, 1)),
        ("model_parallel", {}, ("model_parallel", 1, 1)),
        ("model_parallel", {"model_devices": 2}, ("model_parallel", 4, 1)),
        ("model_parallel", {"model_devices": 2, "devices": 4}, ("model_parallel", 2, 1)),
    ],
    ids=str,
)
def test_strategies_by_name_on_jax(jax_machine, monkeypatch, strategy, options, expected):
    """A name takes all devices, or those that are named; a model's share makes fewer replicas."""
    jax_machine(gpus=8, cpus=2, tpus=2 if strategy == "tpu" else 0)
    assert chosen(strategy, **options) == expected


def test_what_jax_has_not_is_refused(jax_machine):
    """No cluster, no TPU, too few devices, an uneven division, a layout with an unknown axis."""
    jax_machine(gpus=4)
    with pytest.raises(ArgumentError, match="nadam-suite launch --workers N"):
        training_scope("multi_worker")
    with pytest.raises(ArgumentError, match="no TPU"):
        training_scope("tpu")
    with pytest.raises(ArgumentError, match="devices=5, where there are gpu:0"):
        training_scope("mirrored", devices=5)
    with pytest.raises(ArgumentError, match=r"devices=\['gpu:9'\]"):
        training_scope("mirrored", devices=["gpu:9"])
    with pytest.raises(ArgumentError, match=r"model_devices=3\. Pass one of 1, 2, 4\."):
        training_scope("model_parallel", model_devices=3)
    with pytest.raises(ArgumentError, match="patterns of variable paths to tuples"):
        training_scope("model_parallel", layout={".*kernel": (None, "modell")})


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_a_jax_cluster_is_not_ignored(jax_machine, strategy):
    """In a cluster a strategy for one process would train a model in each."""
    jax_machine(cpus=2, processes=2)
    with pytest.raises(ArgumentError, match=r"KERAS_DISTRIBUTION_\* names 2 processes"):
        training_scope(strategy)


@pytest.mark.parametrize(
    ("addresses", "count", "index", "expected"),
    [
        ("", "", "", (0, 1)),
        ("a:1", "1", "0", (0, 1)),
        ("a:1", "3", "2", (2, 3)),
        ("a:1,b:2", "", "1", (1, 2)),
    ],
    ids=str,
)
def test_the_variables_of_keras_name_the_process(monkeypatch, addresses, count, index, expected):
    """The number is given, or that of the addresses."""
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", addresses)
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", count)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", index)
    assert get_backend().process() == expected


@pytest.mark.parametrize(
    ("addresses", "count", "index", "name"),
    [
        ("a:1", "two", "0", "NUM_PROCESSES='two'"),
        ("a:1", "0", "0", "NUM_PROCESSES='0'"),
        ("a:1", "2", "", "PROCESS_ID=''"),
        ("a:1", "2", "2", "PROCESS_ID='2'"),
        ("", "2", "1", "JOB_ADDRESSES=''"),
        ("a:1,b:2,c:3", "2", "1", "JOB_ADDRESSES='a:1,b:2,c:3'"),
    ],
    ids=str,
)
def test_malformed_variables_are_refused(monkeypatch, addresses, count, index, name):
    """The message has the variable, what was received and what would do."""
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", addresses)
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", count)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", index)
    with pytest.raises(ArgumentError, match="unset all KERAS_DISTRIBUTION_") as caught:
        training_scope()
    assert f"Received: KERAS_DISTRIBUTION_{name}" in str(caught.value)


def test_the_distribution_before_is_set_again():
    """Also "none" is a scope: inside of it nothing is shared out, afterwards all is as before."""
    before = keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:1])
    with before.scope():
        with training_scope("none", verbose=False):
            assert keras.distribution.distribution() is None
        assert keras.distribution.distribution() is before
        with training_scope("data_parallel", verbose=False) as scope:
            assert keras.distribution.distribution() is scope.distribution
        assert keras.distribution.distribution() is before
    assert keras.distribution.distribution() is None
