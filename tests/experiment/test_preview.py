"""What a config comes to before it is trained: the plan, the durations, the scaled rate."""

from __future__ import annotations

import pytest

from nadam_suite.config import NadamConfig, TrainConfig, load_config
from nadam_suite.errors import ArgumentError, ConfigError
from nadam_suite.experiment import find_part, recipe_path, run_training
from nadam_suite.experiment.preview import preview
from nadam_suite.schedules import TrainingPlan

pytestmark = pytest.mark.once

RATE = {"peak": 0.1, "warmup": "10%"}


def digits(*changes):
    return load_config(recipe_path("digits"), list(changes))


def table(seen):
    return [(row.key, row.typed, row.steps, row.epochs) for row in seen.durations()]


def test_the_plan_is_that_of_the_data():
    """The data are loaded and counted, as the run does it."""
    seen = preview(digits("data_options.train_examples=130", "epochs=3"))
    assert seen.plan == TrainingPlan(3, 3, batch_size=64, examples=130)
    assert table(seen) == [("schedule.warmup", "10%", 1, 1 / 3), ("schedule.total", None, 9, 3.0)]


def test_what_a_run_resolves_is_what_is_previewed(tmp_path):
    """The config that a run keeps in its folder is the one that was shown."""
    own = "tests.experiment.parts_of_a_user"
    config = TrainConfig(
        model=f"{own}:line", data=f"{own}:points", schedule={"warmup": "1ep"}, epochs=2
    )
    seen = preview(config)
    run_training(config, output=tmp_path / "run")
    assert load_config(tmp_path / "run" / "config.toml") == seen.resolved


def test_lengths_that_are_given_come_before_the_config():
    """With a number of examples the data are not even looked for."""
    config = TrainConfig(model="digits", data="no_such_module:data", schedule={"warmup": "3ep"})
    seen = preview(config, examples=1000, batch_size=100, epochs=6)
    assert seen.plan == TrainingPlan(10, 6, batch_size=100, examples=1000)
    assert table(seen)[0] == ("schedule.warmup", "3ep", 30, 3.0)
    with pytest.raises(ConfigError, match="no_such_module"):
        preview(config)


def test_durations_of_schedules_that_count_updates_are_shown_in_batches():
    """An update takes a window of batches."""
    config = digits(
        "optimizer.gradient_accumulation_steps=4",
        "optimizer.schedule_step=update",
        "schedule.warmup=2ep",
        "epochs=4",
    )
    seen = preview(config, examples=1280)
    assert seen.resolved.schedule.warmup == 10
    assert table(seen) == [("schedule.warmup", "2ep", 40, 2.0), ("schedule.total", None, 80, 4.0)]


def test_durations_of_every_kind_and_table():
    """Of the rate, the decay and beta_1; points, boundaries, and parts in parts."""
    config = NadamConfig(
        learning_rate={
            "kind": "joined",
            "parts": [
                {"kind": "constant", "peak": 0.1, "warmup": "50%"},
                {"kind": "piecewise", "points": [[0, 0.1], ["1ep", 0.0]]},
            ],
            "boundaries": ["2ep"],
        },
        weight_decay={"kind": "wsd", "peak": 0.1, "cooldown": "20%"},
        beta_1={"kind": "one_cycle_momentum"},
    )
    seen = preview(config, steps=100, epochs=5)
    assert {key: (typed, steps) for key, typed, steps, _ in table(seen)} == {
        "learning_rate.boundaries.0": ("2ep", 40),
        "learning_rate.parts.0.warmup": ("50%", 20),
        "learning_rate.parts.1.points.1.0": ("1ep", 20),
        "weight_decay.total": (None, 100),
        "weight_decay.cooldown": ("20%", 20),
        "beta_1.total": (None, 100),
        "beta_1.warmup": ("30%", 30),
    }


@pytest.mark.parametrize(
    ("lengths", "plan"),
    [
        ({"steps": 500}, TrainingPlan(500, 1)),
        ({"steps": 500, "epochs": 5, "batch_size": 8}, TrainingPlan(100, 5, batch_size=8)),
        ({"examples": 90, "batch_size": 8}, TrainingPlan(12, 1, batch_size=8, examples=90)),
        (
            {"examples": 90, "batch_size": 8, "epochs": 3},
            TrainingPlan(12, 3, batch_size=8, examples=90),
        ),
    ],
)
def test_the_length_of_an_optimizers_config(lengths, plan):
    """Steps, or examples and batch size, make a plan."""
    seen = preview(NadamConfig(learning_rate=RATE), **lengths)
    assert seen.plan == plan
    assert seen.resolved.learning_rate.total == plan.total_steps


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({}, r"must be given.*Received: none.*--steps 10000.*--examples"),
        ({"epochs": 3}, r"must be given.*epochs=3"),
        ({"examples": 90}, r"must be given.*examples=90"),
        ({"examples": 90, "batch_size": 8, "steps": 5}, r"examples=90, batch_size=8, steps=5"),
        ({"steps": 7, "epochs": 2}, r"multiple of epochs=2.*steps=7. Pass 8"),
        ({"steps": 0}, r"`steps\w*` must be an integer >= 1"),
        ({"steps": 6, "epochs": 0}, r"`epochs` must be an integer >= 1.*epochs=0"),
        ({"examples": 0, "batch_size": 8}, r"`examples` must be an integer >= 1"),
        ({"examples": 9, "batch_size": 0}, r"`batch_size` must be an integer >= 1"),
        ({"examples": 9, "batch_size": 3, "epochs": 0}, r"`epochs` must be an integer >= 1"),
    ],
)
def test_lengths_that_are_missing_or_wrong(lengths, message):
    """The message has what was given, and what to pass."""
    with pytest.raises(ArgumentError, match=message):
        preview(NadamConfig(learning_rate=RATE), **lengths)


def test_wrong_lengths_of_a_training():
    """Steps follow from the data there; other numbers are checked like the config's."""
    with pytest.raises(ArgumentError, match=r"`steps` must be left out.*steps=5.*Pass examples"):
        preview(digits(), steps=5)
    with pytest.raises(ConfigError, match="epochs=0"):
        preview(digits(), epochs=0)
    with pytest.raises(ArgumentError, match="examples=0"):
        preview(digits(), examples=0)


def test_the_scaled_rate_is_shown():
    """With a base batch size, or a number of devices, the factor is known."""
    base = ["distribution.scale_learning_rate=sqrt", "distribution.base_batch_size=16"]
    seen = preview(digits(*base), examples=1280)
    assert seen.resolved.optimizer.learning_rate == pytest.approx(6e-3)
    assert seen.notes == ()
    devices = ["distribution.scale_learning_rate=linear", "distribution.devices=2"]
    seen = preview(digits(*devices), examples=1280)
    assert seen.resolved.optimizer.learning_rate == pytest.approx(6e-3)
    seen = preview(digits("distribution.scale_learning_rate=sqrt"), examples=1280)
    assert seen.resolved.optimizer.learning_rate == 3e-3
    assert "multiplied by the root of their number" in seen.notes[0]


def test_devices_that_share_out_an_epoch_leave_out_a_rest():
    """The examples are those that so many replicas train on."""
    changes = ["distribution.devices=2", "data_options.train_examples=129"]
    assert preview(digits(*changes)).plan.examples == 128


def test_the_optimizer_is_that_of_the_training():
    """It has the schedule, resolved."""
    seen = preview(digits(), examples=1280)
    assert seen.optimizer().get_config() == digits().build_optimizer(seen.plan).get_config()
    assert find_part("data", "digits", {})().examples == 1280


def test_one_line_tells_length_and_relative_durations():
    """What `train` prints first: epochs, steps, updates, and what was typed relative to them."""
    config = TrainConfig(
        model="digits",
        data="digits",
        epochs=2,
        batch_size=32,
        optimizer={"gradient_accumulation_steps": 2},
        schedule={"warmup": "25%", "total": 8},
    )
    line = preview(config, examples=128).describe()
    assert line == "2 epochs of 4 steps: 8 in all, 4 updates; schedule.warmup=25% is 2 steps"


def test_averages_are_told_in_real_updates():
    """Durations in batches, as of schedules; name, length, start and interval in the line."""
    config = digits(
        "optimizer.use_ema=false",
        "optimizer.gradient_accumulation_steps=2",
        "optimizer.averaging.fast.half_life=1ep",
        "optimizer.averaging.tail.kind=swa",
        "optimizer.averaging.p.kind=power_ema",
        "epochs=4",
    )
    seen = preview(config, examples=640)
    rows = [row for row in table(seen) if "averaging" in row[0]]
    assert rows == [
        ("optimizer.averaging.fast.half_life", "1ep", 10, 1.0),
        ("optimizer.averaging.tail.start", "75%", 30, 3.0),
        ("optimizer.averaging.tail.every", "1ep", 10, 1.0),
    ]
    line = seen.describe()
    for text in (
        "optimizer.averaging.tail.start=75% is 30 steps",
        "average fast: half-life 5 updates",
        "average tail: all alike, after 15 updates, every 5 updates",
        "average p_0.1: sigma_rel 0.1",
    ):
        assert text in line
    own = NadamConfig(averaging={"half_life": "10%"})
    assert table(preview(own, steps=100)) == [("averaging.half_life", "10%", 10, 0.1)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["schedule.total=4"], "(schedule.total=4): nothing is trained then. Leave"),
        (["schedule.total=10%", "schedule.end=1e-4"], "it keeps its last value then"),
        (["schedule.total=20"], None),
        ([], None),
        (["~schedule", 'optimizer.learning_rate={peak=0.1,total="1ep"}'], "rate.total=1ep"),
        (["~schedule", 'optimizer.beta_1={kind="one_cycle_momentum",total=4}'], None),
    ],
)
def test_a_schedule_that_ends_before_the_training_is_told(changes, said):
    """As when the config of a run, whose lengths are steps, is trained for more epochs."""
    config = load_config(recipe_path("digits"), ["epochs=4", "schedule.warmup=1", *changes])
    notes = preview(config, examples=64 * 5).notes
    assert len(notes) == (said is not None)
    if said is not None:
        assert "of the learning rate ends after" in notes[0]
        assert said in notes[0]
