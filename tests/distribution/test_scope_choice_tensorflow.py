"""What each environment of TensorFlow is taken for; devices and clusters are made up here."""

from __future__ import annotations

import importlib
import json
import types

import keras
import pytest

from nadam_suite import training_scope
from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError, NadamSuiteError

pytestmark = [
    pytest.mark.multi_device,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of the tensorflow backend"),
]
HOSTS = ["a:1", "b:2", "c:3"]


def tf_config(kind="worker", index=0, **cluster):
    """A TF_CONFIG of three workers, or of the cluster that is given."""
    cluster = cluster or {"worker": HOSTS}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    """Start from an environment that names no cluster."""
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)


def fake_strategy(replicas, names=()):
    """What training_scope reads of a strategy."""
    extended = types.SimpleNamespace(worker_devices=names)
    return types.SimpleNamespace(num_replicas_in_sync=replicas, extended=extended, scope=None)


@pytest.fixture
def tensorflow_machine(monkeypatch):
    """Give TensorFlow devices that are made up."""
    module = importlib.import_module("nadam_suite.backends.tensorflow_scope")

    def make(gpus=0, tpus=0, workers=1, cpus=1):
        counts = {"GPU": gpus, "TPU": tpus}
        names = [f"/device:GPU:{i}" for i in range(gpus)]
        names += [f"/device:CPU:{i}" for i in range(cpus)]
        devices = [types.SimpleNamespace(name=name) for name in names]
        monkeypatch.setattr(module, "_present", lambda kind: range(counts[kind]))
        monkeypatch.setattr(
            module.tf.config,
            "list_logical_devices",
            lambda kind=None: [d for d in devices if kind is None or kind in d.name],
        )
        monkeypatch.setattr(module, "split_cpu", lambda count: False)
        monkeypatch.setattr(module, "MirroredStrategy", lambda names: fake_strategy(len(names)))
        monkeypatch.setattr(module, "_open_tpu", lambda: fake_strategy(8))
        each = ["/job:worker/replica:0/task:1/device:GPU:0", "/job:worker/task:1/device:GPU:1"]
        monkeypatch.setattr(module, "join", lambda: fake_strategy(2 * workers, each))
        if workers > 1:
            monkeypatch.setenv("TF_CONFIG", tf_config(index=1, worker=HOSTS[:workers]))
        return module

    return make


def chosen(*arguments, **options):
    """Strategy, replicas and workers that training_scope chooses."""
    scope = training_scope(*arguments, **options, verbose=False)
    return scope.strategy, scope.replicas, scope.workers


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({}, ("none", 1, 1)),
        ({"gpus": 1}, ("none", 1, 1)),
        ({"cpus": 4}, ("none", 1, 1)),
        ({"gpus": 2}, ("mirrored", 2, 1)),
        ({"tpus": 8, "gpus": 2}, ("tpu", 8, 1)),
        ({"workers": 3, "gpus": 2}, ("multi_worker", 6, 3)),
        ({"workers": 2, "tpus": 8}, ("multi_worker", 4, 2)),
    ],
    ids=str,
)
def test_auto_on_tensorflow(tensorflow_machine, machine, expected):
    """Several workers, else a TPU, else several GPUs, else one device; CPUs are never counted."""
    tensorflow_machine(**machine)
    assert chosen() == chosen("auto") == expected


@pytest.mark.parametrize(
    ("arguments", "expected", "told"),
    [
        (("mirrored",), ("mirrored", 4, 1), "GPU:0, GPU:1, GPU:2, GPU:3"),
        (("data_parallel",), ("mirrored", 4, 1), "(what data_parallel is on tensorflow)"),
        (("mirrored", 2), ("mirrored", 2, 1), "on GPU:0, GPU:1;"),
        (("auto", 2), ("mirrored", 2, 1), "on GPU:0, GPU:1;"),
        (("mirrored", ["gpu:3", "/device:CPU:1"]), ("mirrored", 2, 1), "on GPU:3, CPU:1;"),
        (("none",), ("none", 1, 1), "on one device"),
        (("tpu",), ("tpu", 8, 1), "cores of the TPU"),
    ],
    ids=str,
)
def test_strategies_by_name_on_tensorflow(tensorflow_machine, arguments, expected, told):
    """A name takes all devices of its kind, or those that are named."""
    tensorflow_machine(gpus=4, tpus=8, cpus=2)
    strategy, *devices = arguments
    scope = training_scope(strategy, devices=devices[0] if devices else None, verbose=False)
    assert (scope.strategy, scope.replicas, scope.workers) == expected
    assert told in scope.describe()


def test_cpus_are_mirrored_where_they_are_asked_for(tensorflow_machine):
    """Without a GPU "mirrored" is all logical CPUs, and more than there are is refused."""
    tensorflow_machine(cpus=2)
    assert chosen("mirrored") == ("mirrored", 2, 1)
    with pytest.raises(ArgumentError, match=r"devices=3, where there are CPU:0, CPU:1\. On a CPU"):
        training_scope("mirrored", devices=3)
    with pytest.raises(ArgumentError, match=r"devices=\['CPU:0', 'CPU:5'\]"):
        training_scope("mirrored", devices=["CPU:0", "CPU:5"])


def test_a_cluster_is_described_with_its_devices(tensorflow_machine):
    """The second of two workers with two GPUs each is worker 1 of 4 replicas."""
    tensorflow_machine(workers=2)
    scope = training_scope(batch_size=8, verbose=False)
    assert (scope.worker, scope.is_chief) == (1, False)
    assert "on GPU:0, GPU:1 of each worker; replicas: 4; workers: 2;" in scope.describe()


@pytest.mark.parametrize("strategy", ["none", "mirrored", "tpu"])
def test_a_tensorflow_cluster_is_not_ignored(tensorflow_machine, strategy):
    """In a cluster a strategy for one process would train a model in each."""
    tensorflow_machine(workers=2, gpus=2)
    with pytest.raises(ArgumentError, match="TF_CONFIG names 2 processes"):
        training_scope(strategy)


def test_what_tensorflow_has_not_is_refused(tensorflow_machine, monkeypatch):
    """No cluster, no TPU, no division of a model: each with the way to it."""
    module = tensorflow_machine()
    with pytest.raises(ArgumentError, match="nadam-suite launch --workers N"):
        training_scope("multi_worker")
    with pytest.raises(ArgumentError, match="Set KERAS_BACKEND=jax"):
        training_scope("model_parallel")
    monkeypatch.undo()
    if not module._present("TPU"):
        with pytest.raises(ArgumentError, match="no TPU"):
            training_scope("tpu")


def test_no_scope_within_anothers_scope():
    """TensorFlow refuses nested strategies while a model is built; this comes before."""
    import tensorflow as tf

    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(NadamSuiteError, match="scope of a OneDeviceStrategy is open"),
    ):
        training_scope()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 1)),
        ("{}", (0, 1)),
        (tf_config(worker=["a:1"]), (0, 1)),
        (tf_config(index=2), (2, 3)),
        (tf_config("chief", 0, chief=["x:1"], worker=HOSTS), (0, 4)),
        (tf_config("worker", 0, chief=["x:1"], worker=HOSTS), (1, 4)),
    ],
    ids=str,
)
def test_tf_config_names_the_worker(monkeypatch, text, expected):
    """A chief comes before the workers; a cluster of one is no cluster."""
    monkeypatch.setenv("TF_CONFIG", text)
    assert get_backend().process() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": {"worker": 3}}', "cannot be read"),
        (tf_config(index=3), "task worker:3 is not one of the 3 workers"),
        (tf_config("evaluator", 0), "task evaluator:0"),
        (tf_config("ps", 0, ps=["p:1"], worker=HOSTS), "parameter servers"),
    ],
    ids=str,
)
def test_a_malformed_tf_config_is_refused(monkeypatch, text, words):
    """The message has what was received, what is wrong, and an example."""
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ArgumentError, match="Environment variable TF_CONFIG") as caught:
        training_scope()
    assert words in str(caught.value)
    assert '"task": {"type": "worker", "index": 0}' in str(caught.value)
