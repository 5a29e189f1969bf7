from __future__ import annotations

import contextlib

import keras
import pytest

from nadam_suite import distribution, training_scope
from nadam_suite.backends import get_backend
from nadam_suite.backends.scope import STRATEGIES, Sharing
from nadam_suite.errors import ArgumentError, ArgumentTypeError, NadamSuiteError


class FakeBackend:
    """A machine with four replicas, of which nothing is opened."""

    def __init__(self, **sharing):
        self.entered = []
        self.asked = None
        self.sharing = {"strategy": "mirrored", "devices": "GPU:0 to 3", "replicas": 4} | sharing

    def process(self):
        return self.sharing.get("worker", 0), self.sharing.get("workers", 1)

    def open_scope(self, strategy, **rest):
        self.asked = {"strategy": strategy, **rest}
        return Sharing(**self.sharing, enter=self.enter)

    @contextlib.contextmanager
    def enter(self):
        self.entered.append("in")
        try:
            yield
        finally:
            self.entered.append("out")


@pytest.fixture
def machine(monkeypatch):
    """Let training_scope see a machine that is made up."""

    def make(**sharing):
        fake = FakeBackend(**sharing)
        monkeypatch.setattr(distribution, "get_backend", lambda: fake)
        return fake

    return make


def test_the_scope_says_what_was_chosen(machine):
    """The attributes hold what the backend has decided."""
    machine(strategy="multi_worker", replicas=8, workers=2, worker=1, native="the strategy")
    scope = training_scope(batch_size=64)
    assert (scope.strategy, scope.replicas, scope.workers, scope.worker) == (
        "multi_worker",
        8,
        2,
        1,
    )
    assert (scope.is_chief, scope.batch_size, scope.distribution) == (False, 64, "the strategy")
    assert scope.learning_rate_factor == 1.0


def test_the_choice_is_printed_in_one_line(machine, capsys):
    """Strategy, replicas, workers, both batch sizes and the derivation stand in one line."""
    machine()
    scope = training_scope("mirrored", batch_size=64, scale_learning_rate="sqrt")
    assert capsys.readouterr().out == scope.describe() + "\n"
    assert scope.describe() == (
        "Strategy: mirrored on GPU:0 to 3; replicas: 4; workers: 1; global batch: 64, 16 a "
        "replica; learning rate: x sqrt(64 / 16) = 2 (sqrt rule)."
    )


def test_another_name_of_the_strategy_is_explained(machine):
    """A name of the other backend is shown beside what it has become."""
    machine()
    told = training_scope("data_parallel", verbose=False).describe()
    assert told.startswith(
        f"Strategy: mirrored (what data_parallel is on {keras.backend.backend()})"
    )
    assert "what" not in training_scope("auto", verbose=False).describe()


@pytest.mark.parametrize("worker", [0, 1])
def test_only_the_chief_prints_and_only_if_asked(machine, capsys, worker):
    """The other workers, and verbose=False, print nothing."""
    machine(workers=2, worker=worker)
    training_scope(verbose=False)
    assert capsys.readouterr().out == ""
    training_scope()
    assert bool(capsys.readouterr().out) == (worker == 0)


@pytest.mark.parametrize(
    ("arguments", "factor"),
    [
        ({}, 1.0),
        ({"scale_learning_rate": None}, 1.0),
        ({"scale_learning_rate": False}, 1.0),
        ({"scale_learning_rate": True}, 2.0),
        ({"scale_learning_rate": "sqrt"}, 2.0),
        ({"scale_learning_rate": "linear"}, 4.0),
        ({"scale_learning_rate": "none"}, 1.0),
        ({"scale_learning_rate": "linear", "base_batch_size": 32}, 2.0),
        ({"scale_learning_rate": "sqrt", "base_batch_size": 256}, 0.5),
    ],
    ids=str,
)
def test_the_rate_is_scaled_from_the_base_batch(machine, arguments, factor):
    """The base is what was given, or the batch of one replica: 16 of 64."""
    machine()
    scope = training_scope(batch_size=64, verbose=False, **arguments)
    assert scope.learning_rate_factor == factor
    assert scope.scaled(0.25) == 0.25 * factor


def test_without_a_batch_size_the_replicas_scale_the_rate(machine):
    """Four replicas that each keep their batch are four times the batch."""
    machine()
    assert training_scope(scale_learning_rate="linear", verbose=False).learning_rate_factor == 4.0


def test_scaled_takes_a_number_only(machine):
    """A schedule is refused with words: its peak is what can be scaled."""
    machine()
    scope = training_scope(verbose=False)
    with pytest.raises(ArgumentTypeError, match="learning_rate"):
        scope.scaled(keras.optimizers.schedules.CosineDecay(0.1, 10))


@pytest.mark.parametrize(("batch", "near"), [(30, "28 or 32"), (3, "Pass 4."), (65, "64 or 68")])
def test_a_global_batch_that_cannot_be_shared_is_refused(machine, batch, near):
    """The message has the replicas, the devices and the nearest batch sizes that fit."""
    machine()
    with pytest.raises(ArgumentError, match="divisible by the 4 replicas") as caught:
        training_scope(batch_size=batch)
    assert near in str(caught.value)
    assert f"batch_size={batch}, with mirrored on GPU:0 to 3" in str(caught.value)


def test_leaving_calls_what_the_backend_opened_also_after_an_error(machine):
    """The scope is left where the block ends, by an error too, and may be entered again."""
    fake = machine()
    scope = training_scope(verbose=False)
    assert fake.entered == []
    with scope as entered:
        assert entered is scope
        assert fake.entered == ["in"]
    with contextlib.suppress(KeyError), scope:
        raise KeyError
    assert fake.entered == ["in", "out", "in", "out"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"strategy": "mirored"}, ArgumentError, "strategy='mirored'"),
        ({"strategy": None}, ArgumentError, "strategy=None"),
        ({"devices": "GPU:0"}, ArgumentTypeError, 'Pass for instance ["GPU:0"]'),
        ({"devices": []}, ArgumentError, "at least one device"),
        ({"devices": ["GPU:0", "GPU:0"]}, ArgumentError, "none twice"),
        ({"devices": [0, 1]}, ArgumentTypeError, "devices=[0, 1]"),
        ({"devices": 0}, ArgumentError, "devices=0"),
        ({"devices": True}, ArgumentTypeError, "devices=True"),
        ({"batch_size": 0}, ArgumentError, "batch_size=0"),
        ({"batch_size": 64.0}, ArgumentTypeError, "batch_size=64.0"),
        ({"scale_learning_rate": "root"}, ArgumentError, "scale_learning_rate='root'"),
        ({"base_batch_size": 8}, ArgumentError, "batch_size=None, base_batch_size=8"),
        ({"base_batch_size": 8, "batch_size": 8}, ArgumentError, "scale_learning_rate=None"),
        ({"model_devices": 2}, ArgumentError, "unless strategy is"),
        ({"layout": {".*": ("batch",)}}, ArgumentError, "unless strategy is"),
        ({"verbose": 1}, ArgumentTypeError, "verbose=1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named_before_any_device_is_opened(machine, arguments, error, words):
    """The message has the argument and what was received; the backend was not asked."""
    fake = machine()
    with pytest.raises(error, match="Argument") as caught:
        training_scope(**arguments)
    assert words in str(caught.value)
    assert fake.asked is None


def test_devices_cannot_be_chosen_in_a_cluster(machine):
    """Each process uses all of its devices: a part of them would leave the others waiting."""
    fake = machine(workers=2)
    with pytest.raises(ArgumentError, match="each of the 2 processes"):
        training_scope(devices=2)
    assert fake.asked is None


def test_arguments_reach_the_backend(machine):
    """What divides a model is handed on as it was given."""
    fake = machine()
    training_scope("model_parallel", devices=["gpu:1"], layout={"a": ()}, model_devices=2)
    assert fake.asked == {
        "strategy": "model_parallel",
        "devices": ["gpu:1"],
        "layout": {"a": ()},
        "model_devices": 2,
    }


def test_one_device_is_none_on_every_backend():
    """Strategy "none" shares nothing out, and a model made in its scope computes as outside."""
    with training_scope("none", batch_size=7, verbose=False) as scope:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert (scope.strategy, scope.replicas, scope.workers, scope.is_chief) == ("none", 1, 1, True)
    assert model.predict(keras.ops.ones((3, 2)), verbose=0).shape == (3, 1)


def test_a_process_that_is_alone_is_number_zero_of_one(monkeypatch):
    """Without a cluster in the environment, join() does nothing."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert get_backend().process() == (0, 1)
    assert get_backend().join() is None


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of the torch backend")
@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s not in ("auto", "none")])
def test_torch_trains_on_one_device(strategy):
    """Every strategy for several devices is refused early, with the remedy."""
    with pytest.raises(ArgumentError, match="Set KERAS_BACKEND to tensorflow or jax"):
        training_scope(strategy)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of the torch backend")
def test_torch_refuses_a_job_of_several_processes(monkeypatch):
    """WORLD_SIZE=2 would train two models; one process trains."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(NadamSuiteError, match="WORLD_SIZE='2'"):
        training_scope()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert training_scope(verbose=False).replicas == 1
