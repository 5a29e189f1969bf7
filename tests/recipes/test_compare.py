"""The comparison is fair: the same points, weights and batches, and the lowest loss is chosen."""

from __future__ import annotations

import math
import re
import types

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from recipes import compare

pytestmark = pytest.mark.once

BACKEND = keras.backend.backend()
NAMES = [*compare.OPTIMIZERS, *([compare.TORCH] if BACKEND == "torch" else [])]
POINT = compare.Point(learning_rate=3e-3, weight_decay=0.3, warmup=0.1)


@pytest.fixture
def small(monkeypatch):
    """The digits, with a narrower network, no dropout and less to learn from."""
    digits = compare.digits
    problem = compare.Problem(
        lambda: digits.model(width=4, dropout=0.0), lambda: digits.data(256), 64, 2
    )
    monkeypatch.setitem(compare.PROBLEMS, "digits", problem)
    return problem


def weights(name, problem):
    """The weights after two epochs at a point."""
    return compare.trained(name, problem, POINT, 0, 2).model.get_weights()


def test_the_table_has_a_row_for_each_optimizer(small, capsys):
    """Its losses are finite, and better than a guess, which costs the logarithm of ten."""
    compare.main(["--problem", "digits", "--points", "1", "--seeds", "1", "--epochs", "2"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "digits: 1 points and 1 seeds an optimizer, 2 epochs each"
    assert [line.split("  ")[0].strip() for line in lines[:-2]] == NAMES
    tests = {}
    for name, line in zip(NAMES, lines, strict=False):
        numbers = [float(number) for number in re.findall(r"\d+\.\d{4}", line)]
        assert np.isfinite(numbers).all()
        tests[name] = numbers[1]
        assert numbers[0] < math.log(10)
    assert lines[-2] == f"lowest mean test loss: {min(tests, key=tests.get)}"


def test_text_is_compared_as_well(monkeypatch, capsys):
    """The other problem runs too, here with one optimizer and few bytes."""
    lm = compare.text_lm
    problem = compare.Problem(
        lambda: lm.model(context=8, width=8, heads=2, depth=1),
        lambda: lm.data(context=8, train_windows=64, validation_windows=8),
        32,
        1,
    )
    monkeypatch.setitem(compare.PROBLEMS, "text_lm", problem)
    only = "nadam_suite.Nadam"
    monkeypatch.setattr(compare, "OPTIMIZERS", {only: compare.OPTIMIZERS[only]})
    compare.main(["--problem", "text_lm", "--points", "1", "--seeds", "1"])
    row = capsys.readouterr().out.splitlines()[1]
    loss = float(re.search(r"test (\d+\.\d+)", row)[1])
    assert 1.0 < loss < 1.2 * math.log(256)


def test_ours_trains_as_the_stock_optimizer_does(small):
    """The two rows of Nadam have the same start, batches and decay: their weights agree."""
    ours, stock = (weights(name, small) for name in ("nadam_suite.Nadam", "keras.optimizers.Nadam"))
    for a, b in zip(ours, stock, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.optim.NAdam trains models on PyTorch")
def test_the_loop_of_pytorch_trains_as_fit_does(small, monkeypatch):
    """With the momentum of torch.optim.NAdam, ours in fit() ends with the weights of the loop."""
    monkeypatch.setitem(
        compare.OPTIMIZERS,
        "twin",
        lambda rate, **options: Nadam(rate, momentum_decay=0.004, epsilon=1e-8, **options),
    )
    for a, b in zip(weights("twin", small), weights(compare.TORCH, small), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_points_lie_in_their_ranges_and_do_not_depend_on_their_number():
    """More points are these and others."""
    points = compare.drawn(200)
    assert points[:16] == compare.drawn(16)
    for values, low, high in (
        ([point.learning_rate for point in points], 3e-4, 3e-2),
        ([point.weight_decay for point in points], 1e-3, 1.0),
        ([point.warmup for point in points], 0.0, 0.25),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.2 * (high - low) < max(values) <= high


def test_the_lowest_validation_loss_is_chosen_and_nan_is_the_highest(monkeypatch, capsys):
    """Other seeds than that of the search test it, and ranges that touch are said to overlap."""
    points = compare.drawn(3)
    seen = []

    class Model:
        def __init__(self, values):
            self.values = values

        def evaluate(self, *pair, **options):
            return self.values

    def trained(name, problem, point, seed, epochs):
        seen.append((name, point, seed))
        loss = {0: math.nan, 1: 0.2, 2: 0.5}[points.index(point)]
        shift = 0.01 * seed + (0.025 if name == "b" else 0.0) + (1.0 if name == "c" else 0.0)
        return types.SimpleNamespace(model=Model([loss + shift, 0.9]))

    monkeypatch.setattr(compare, "OPTIMIZERS", dict.fromkeys("abc"))
    monkeypatch.setattr(compare, "trained", trained)
    compare.compare("digits", points, 5, None)
    lines = capsys.readouterr().out.splitlines()
    assert {point for _, point, seed in seen if seed} == {points[1]}
    assert {seed for _, _, seed in seen} == {0, 1, 2, 3, 4, 5}
    assert "validation 0.2000  test 0.2300 (0.2100 to 0.2500)" in lines[1]
    assert lines[-2] == "lowest mean test loss: a"
    alike = lines[-1].removeprefix("with seeds that overlap with it: ").split(", ")
    assert alike == ["b", *([compare.TORCH] if BACKEND == "torch" else [])]
