"""The course of the hyperparameters is what each update uses, thinned without losing its shape."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest
from matplotlib import image

from nadam_suite import Nadam
from nadam_suite.callbacks import HyperparameterLogger
from nadam_suite.errors import ArgumentError
from nadam_suite.experiment.course import course
from nadam_suite.experiment.course_plot import plot_course
from nadam_suite.experiment.landmarks import landmarks
from nadam_suite.schedules import (
    Constant,
    Cyclical,
    Joined,
    Linear,
    OneCycleMomentum,
    Piecewise,
    TrainingPlan,
    WarmupCosine,
    WarmupLinear,
    WarmupStableDecay,
    WithCooldown,
)

pytestmark = pytest.mark.once

NAMES = ("learning_rate", "weight_decay", "decay_per_update", "beta_1", "momentum")


def scheduled(**options):
    """An optimizer whose rate, decay and beta_1 all follow schedules of 24 steps."""
    return Nadam(
        WarmupLinear(0.1, 24, 8),
        weight_decay=Linear(0.2, 0.05, 24),
        beta_1=Linear(0.95, 0.85, 24),
        **options,
    )


def by_hand(steps, window, counts_updates, momentum_decay, mode):
    """The same in a loop over batches, from the formulas, in float64."""
    rows, updates = [], 0
    for batch in range(steps):
        if (batch + 1) % window:
            continue
        n = min(updates if counts_updates else batch, 24)
        updates += 1
        rate = 0.1 * n / 8 if n < 8 else 0.1 * (24 - n) / 16
        decay = 0.2 - 0.15 * n / 24
        beta = 0.95 - 0.1 * n / 24
        taken = {
            "lr": rate * decay,
            "independent": decay * rate / 0.1,
            "corrected": decay * rate * rate / 0.1,
        }[mode]
        factor = 1.0 if momentum_decay is None else 1 - 0.5 * 0.96 ** (updates * momentum_decay)
        rows.append((batch, batch // 10, updates, rate, decay, taken, beta, beta * factor))
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("mode", ["lr", "independent", "corrected"])
@pytest.mark.parametrize("momentum_decay", [1.0, 0.004, None])
@pytest.mark.parametrize("schedule_step", ["batch", "update"])
@pytest.mark.parametrize("window", [None, 3])
def test_every_update_is_what_a_loop_says(window, schedule_step, momentum_decay, mode):
    """Steps, epochs, numbers and all values, also after the end of the schedules."""
    optimizer = scheduled(
        gradient_accumulation_steps=window,
        schedule_step=schedule_step,
        momentum_decay=momentum_decay,
        weight_decay_mode=mode,
    )
    used = course(optimizer, TrainingPlan(steps_per_epoch=10, epochs=10))
    counts = schedule_step == "update"
    step, epoch, update, *values = by_hand(100, window or 1, counts, momentum_decay, mode)
    np.testing.assert_array_equal(used.step, step)
    np.testing.assert_array_equal(used.epoch, epoch)
    np.testing.assert_array_equal(used.update, update)
    assert used.complete
    assert tuple(used.values) == NAMES
    for name, expected in zip(NAMES, values, strict=True):
        np.testing.assert_allclose(used.values[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("window", "schedule_step"), [(None, "batch"), (3, "batch"), (3, "update")]
)
def test_a_real_training_uses_the_same(window, schedule_step):
    """The last update of each epoch is what HyperparameterLogger finds in the optimizer."""
    optimizer = scheduled(gradient_accumulation_steps=window, schedule_step=schedule_step)
    plan = TrainingPlan(steps_per_epoch=8, epochs=4)
    used = course(optimizer, plan)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    x = np.ones((16, 2), "float32")
    logger = HyperparameterLogger(gradient_norm=False)
    options = {"batch_size": 2, "epochs": 4, "verbose": 0, "callbacks": [logger]}
    history = model.fit(x, x[:, :1], **options).history
    last = [int(np.flatnonzero(used.epoch == epoch)[-1]) for epoch in range(4)]
    for name in ("learning_rate", "weight_decay", "beta_1", "momentum"):
        np.testing.assert_allclose(history[name], used.values[name][last], rtol=1e-6, err_msg=name)


def test_the_optimizer_is_left_as_it_is():
    """Looking ahead neither builds it nor counts a step."""
    optimizer = scheduled()
    course(optimizer, TrainingPlan(10, 1))
    assert not optimizer.built
    assert int(optimizer.iterations) == 0


def test_numbers_are_constant():
    """Of plain settings only u_t varies; without weight decay there is no line for it."""
    used = course(Nadam(3e-4), TrainingPlan(50, 2))
    assert tuple(used.values) == ("learning_rate", "beta_1", "momentum")
    assert used.constants() == {"learning_rate": 3e-4, "beta_1": 0.9}
    assert used.varies("momentum")


def test_a_training_without_a_single_update_is_refused():
    """A window longer than the training never ends."""
    with pytest.raises(ArgumentError, match=r"7 batches of one .*total_steps=6. Train longer"):
        course(Nadam(gradient_accumulation_steps=7), TrainingPlan(3, 2))


def test_a_callable_is_refused():
    """What a callable will return is not known before."""

    @keras.saving.register_keras_serializable(package="tests")
    def halved():
        return 0.5

    with pytest.raises(ArgumentError, match=r"`beta_1` must be a number or a schedule.*Received"):
        course(Nadam(beta_1=halved), TrainingPlan(3, 2))


SHAPES = {
    "cosine": WarmupCosine(1e-3, 10_000_000, 123_457),
    "stable": WarmupStableDecay(1e-3, 10_000_000, 1_234_567, warmup_steps=100),
    "stairs": Piecewise([(0, 1.0), (333_333, 0.5), (7_777_777, 0.2)], "constant"),
    "waves": Cyclical(1e-4, 1e-3, step_size=100),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_ten_million_steps_keep_their_shape(shape):
    """A bounded number of points has first, last, extremes, and both sides of every corner."""
    schedule = SHAPES[shape]
    plan = TrainingPlan(steps_per_epoch=10_000, epochs=1000)
    whole = course(Nadam(schedule), plan, largest=50_000)
    assert not whole.complete
    assert 50_000 <= len(whole.update) <= 50_100
    thin = whole.thinned(2000)
    assert len(thin.update) <= 2100
    for used in (whole, thin):
        assert used.step[0] == 0
        assert used.step[-1] == 9_999_999
        assert np.all(np.diff(used.step) > 0)
        np.testing.assert_array_equal(used.update, used.step + 1)
        corners = [step for step, _ in landmarks(schedule) if step < 10_000_000]
        assert {at for step in corners for at in (step - 1, step)} <= {*used.step.tolist()}
    for name in ("learning_rate", "momentum"):
        assert thin.values[name].max() == whole.values[name].max()
        assert thin.values[name].min() == whole.values[name].min()


def test_waves_keep_their_height_everywhere():
    """Where a point stands for many periods, both ends of them are there in each stretch."""
    plan = TrainingPlan(steps_per_epoch=1000, epochs=100)
    thin = course(Nadam(SHAPES["waves"]), plan).thinned(500)
    for part in np.array_split(thin.values["learning_rate"], 20):
        assert part.max() > 0.95e-3
        assert part.min() < 0.15e-3


def test_a_short_course_is_not_thinned():
    """All its points can be drawn."""
    used = course(scheduled(), TrainingPlan(10, 10))
    assert used.thinned(100) is used


@pytest.mark.parametrize("window", [None, 4])
def test_csv_has_every_digit(tmp_path, window):
    """Read back, the columns are the arrays, bit for bit."""
    used = course(scheduled(gradient_accumulation_steps=window), TrainingPlan(9, 5))
    used.write_csv(tmp_path / "course.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["course.csv"]
    with (tmp_path / "course.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "epoch", "update", *NAMES]
    assert len(rows) == 45 // (window or 1)
    for name, expected in (("step", used.step), ("epoch", used.epoch), ("update", used.update)):
        assert [int(row[name]) for row in rows] == expected.tolist()
    for name in NAMES:
        assert [float(row[name]) for row in rows] == used.values[name].tolist()


def test_landmarks_of_combined_schedules():
    """Parts count from where they begin, and nothing is said beyond their end."""
    stable = Constant(0.1, warmup_steps=10)
    assert landmarks(WithCooldown(stable, 100, 20)) == [
        (10, "warm-up ends"),
        (80, "cool-down begins"),
        (100, "schedule ends"),
    ]
    joined = Joined([WarmupCosine(0.1, 500, 5), WarmupLinear(0.1, 60, 30)], [200])
    assert landmarks(joined) == [
        (5, "warm-up ends"),
        (200, "next schedule"),
        (230, "warm-up ends"),
        (260, "schedule ends"),
    ]
    assert landmarks(keras.optimizers.schedules.CosineDecay(0.1, 100, warmup_steps=5)) == []


@pytest.mark.parametrize(("schedule_step", "corner"), [("batch", 5), ("update", 20)])
def test_marks_stand_where_the_optimizer_gets_there(schedule_step, corner):
    """In batches, also of schedules that count updates: the window that begins there is at 1."""
    options = {"gradient_accumulation_steps": 4, "schedule_step": schedule_step}
    used = course(Nadam(Constant(1.0, 5), **options), TrainingPlan(60, 1))
    assert used.marks["learning_rate"] == ((corner, "warm-up ends"),)
    rate = used.values["learning_rate"]
    assert np.all(rate[used.step >= corner] == 1.0)
    assert np.all(rate[used.step < corner] < 1.0)


def picture(tmp_path, optimizer, plan, name="a"):
    path = tmp_path / f"{name}.png"
    plot_course(course(optimizer, plan), path, "title")
    return image.imread(path)


def test_the_picture_has_a_panel_for_each_quantity_that_varies(tmp_path):
    """More panels make it higher; it is a PNG with something in each part of it."""
    plan = TrainingPlan(20, 30)
    one = picture(tmp_path, Nadam(1e-3), plan, "one")
    five = picture(tmp_path, scheduled(), plan, "five")
    assert one.shape[1] == five.shape[1] == 880
    assert one.shape[0] < 400
    assert 1000 < five.shape[0] < 1400
    for pixels in (one, *np.array_split(five, 5)):
        grey = pixels[..., :3].mean(axis=2)
        assert 0.005 < (grey < 0.7).mean() < 0.3
        colour = pixels[..., :3].max(axis=2) - pixels[..., :3].min(axis=2)
        assert (colour > 0.25).mean() > 0.001


def test_the_picture_shows_the_course(tmp_path):
    """Another warm-up is another picture; the same course is the same one."""
    plan = TrainingPlan(100, 1)
    first = picture(tmp_path, Nadam(WarmupLinear(1.0, 100, 5)), plan)
    again = picture(tmp_path, Nadam(WarmupLinear(1.0, 100, 5)), plan)
    other = picture(tmp_path, Nadam(WarmupLinear(1.0, 100, 50)), plan)
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert np.any(first != other)


def test_pictures_of_extreme_plans(tmp_path):
    """One step, nothing that varies, and a schedule with many corners can all be drawn."""
    steady = Nadam(0.0, momentum_decay=None)
    stairs = Piecewise([(index * 10, float(index % 2)) for index in range(100)], "constant")
    one_cycle = Nadam(stairs, beta_1=OneCycleMomentum(1000))
    for optimizer, plan in ((steady, TrainingPlan(1, 1)), (one_cycle, TrainingPlan(1, 1000))):
        assert picture(tmp_path, optimizer, plan).shape[1] == 880
