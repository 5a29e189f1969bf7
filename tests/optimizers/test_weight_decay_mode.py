"""Weight decay times the rate, apart from its peak, or corrected: each follows its equation."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam, ParameterRule
from nadam_suite.errors import ArgumentError
from nadam_suite.schedules import WarmupCosine
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, record
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

MODES = ["lr", "independent", "corrected"]
PEAK, DECAY, STEPS = 0.02, 0.04, 60


def rate(step):
    """The cosine below, in Python floats."""
    if step < 10:
        return PEAK * step / 10
    return PEAK * 0.5 * (1 + np.cos(np.pi * min(step - 10, 50) / 50))


def schedule():
    return WarmupCosine(PEAK, 60, 10)


@pytest.mark.parametrize("accumulation", [None, 3])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_follows_the_twin_under_a_schedule(mode, accumulation):
    """Weights with and without multipliers agree with the float64 twin at every step."""
    start, gradients = start_values(), gradient_list(STEPS)
    rules = [ParameterRule("w0", learning_rate=0.5, weight_decay=0.25)]
    common = {"weight_decay": DECAY, "weight_decay_mode": mode}
    common["gradient_accumulation_steps"] = accumulation
    path = record(Nadam(schedule(), parameter_rules=rules, **common), start, gradients)
    multipliers = [(0.5, 0.25)] + [(1.0, 1.0)] * (len(start) - 1)
    expected = trajectory(
        start,
        gradients,
        learning_rate=rate,
        max_learning_rate=PEAK,
        multipliers=multipliers,
        **common,
    )
    assert_paths_close(path, expected, rtol=1e-5, atol=1e-5)


def test_the_modes_equal_torch_with_a_decay_set_by_hand():
    """PyTorch's NAdam with weight_decay = w / max or w rate / max gives the same weights."""
    import torch

    gradients = gradient_list(40)
    for mode in ("independent", "corrected"):
        start = start_values()
        weights = [torch.nn.Parameter(torch.tensor(a, dtype=torch.float64)) for a in start]
        other = torch.optim.NAdam(
            weights, eps=1e-7, momentum_decay=1.0, decoupled_weight_decay=True
        )
        path = []
        for step, row in enumerate(gradients):
            group = other.param_groups[0]
            group["lr"] = max(rate(step), 1e-300)  # PyTorch asks for more than nothing
            own = DECAY / PEAK
            group["weight_decay"] = own if mode == "independent" else own * group["lr"]
            for weight, g in zip(weights, row, strict=True):
                weight.grad = torch.tensor(g, dtype=torch.float64)
            other.step()
            path.append([w.detach().numpy().copy() for w in weights])
        ours = Nadam(schedule(), weight_decay=DECAY, weight_decay_mode=mode)
        assert_paths_close(record(ours, start, gradients), path, rtol=1e-5, atol=1e-5)


def test_independent_decay_does_not_move_with_the_peak():
    """At ten times the rate "lr" decays ten times as much, "independent" as much as before."""

    def kept(mode, peak):
        optimizer = Nadam(peak, weight_decay=0.1, weight_decay_mode=mode)
        return record(optimizer, [np.ones(2)], [[np.zeros(2)]])[-1][0][0]

    np.testing.assert_allclose([kept("lr", 0.01), kept("lr", 0.1)], [0.999, 0.99], rtol=1e-6)
    np.testing.assert_allclose(
        [kept("independent", 0.01), kept("independent", 0.1)], [0.9, 0.9], rtol=1e-6
    )


def test_a_frozen_variable_does_not_decay_in_any_mode():
    """A learning-rate multiplier of zero keeps a variable as it is, to the bit."""
    for mode in MODES:
        frozen = ParameterRule("", learning_rate=0.0)
        optimizer = Nadam(0.1, weight_decay=0.5, weight_decay_mode=mode, parameter_rules=[frozen])
        path = record(optimizer, [np.ones(2)], [[np.ones(2)]])
        np.testing.assert_array_equal(path[-1][0], np.ones(2))


@pytest.mark.parametrize("mode", ["independent", "corrected"])
def test_a_lowered_number_keeps_the_rate_that_was_typed_as_the_highest(mode):
    """Assigned a tenth of its rate, saved and reloaded, the decay is a tenth (or a hundredth)."""
    optimizer = Nadam(0.1, weight_decay=0.2, weight_decay_mode=mode)
    variables = make_variables([np.ones(2)])
    optimizer.build(variables)
    optimizer.learning_rate = 0.01
    config = optimizer.get_config()
    assert config["max_learning_rate"] == 0.1
    share = 0.2 * 0.1 * (1.0 if mode == "independent" else 0.01)
    for one in (optimizer, Nadam.from_config(config)):
        variables[0].assign(np.ones(2))
        if not one.built:
            one.build(variables)
        loop = Loop(one, variables)
        loop.step([np.zeros(2)])
        np.testing.assert_allclose(loop.values()[0], 1.0 - share, rtol=1e-6)


def test_the_highest_rate_is_not_in_the_config_unless_it_is_needed():
    """A number or a schedule that tells it comes back as it was typed."""
    for learning_rate in (0.1, schedule()):
        config = Nadam(learning_rate, weight_decay_mode="corrected").get_config()
        assert config["max_learning_rate"] is None
        assert Nadam.from_config(config).get_config() == config


def test_a_rate_that_does_not_tell_its_highest_value_is_refused_before_training():
    """Callables, foreign schedules and a rate of zero need max_learning_rate."""
    foreign = keras.optimizers.schedules.CosineDecay(0.1, 10)
    for learning_rate in (lambda: 0.1, foreign, 0.0):
        with pytest.raises(ArgumentError, match="max_learning_rate"):
            Nadam(learning_rate, weight_decay_mode="independent")
        Nadam(learning_rate, weight_decay_mode="independent", max_learning_rate=0.1)


def test_replace_goes_from_one_mode_to_the_other():
    """The mode is a setting like others: changed by `replace`, fixed once built."""
    optimizer = Nadam(0.1, weight_decay=0.1, weight_decay_mode="independent")
    optimizer.build(make_variables([np.ones(2)]))
    optimizer.learning_rate = 0.05
    later = optimizer.replace(weight_decay_mode="lr")
    assert (later.weight_decay_mode, later.max_learning_rate) == ("lr", None)
    with pytest.raises(AttributeError, match="weight_decay_mode"):
        optimizer.weight_decay_mode = "lr"
