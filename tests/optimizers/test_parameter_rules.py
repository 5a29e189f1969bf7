"""Parameter rules: which variable gets which rate and decay, as data that a file keeps."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from nadam_suite import Nadam, ParameterRule, layerwise_decay, no_decay
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, record
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

NAMES = ["body_kernel", "body_bias", "scale", "head_kernel"]


@pytest.mark.parametrize("accumulation", [None, 2])
def test_rules_multiply_rate_and_decay(accumulation):
    """All matching rules multiply, and each variable follows the twin with its own product."""
    rules = [
        ParameterRule("body", learning_rate=0.5),
        ParameterRule("kernel$", learning_rate=0.5, weight_decay=2.0),
        ParameterRule(max_ndim=1, weight_decay=0.0),
    ]
    multipliers = [(0.25, 2.0), (0.5, 0.0), (1.0, 0.0), (0.5, 2.0)]
    options = {
        "weight_decay": 0.2,
        "learning_rate": 0.01,
        "gradient_accumulation_steps": accumulation,
    }
    start, gradients = start_values(), gradient_list(100)
    path = record(Nadam(parameter_rules=rules, **options), start, gradients, names=NAMES)
    twin = trajectory(start, gradients, multipliers=multipliers, **options)
    assert_paths_close(path, twin, rtol=1e-5, atol=1e-5)


def test_multiplier_zero_freezes():
    """A learning-rate multiplier of 0 keeps the variable bit for bit, weight decay included."""
    rules = [ParameterRule("body", learning_rate=0.0)]
    start, gradients = start_values(), gradient_list(10)
    optimizer = Nadam(0.1, weight_decay=0.5, parameter_rules=rules)
    end = record(optimizer, start, gradients, names=NAMES)[-1]
    np.testing.assert_array_equal(end[0], start[0])
    np.testing.assert_array_equal(end[1], start[1])
    assert np.all(end[3] != start[3])


@pytest.mark.parametrize("excluded", ["every variable", "none"])
def test_excluding_every_variable_trains_without_decay(excluded):
    """K34: with nothing left to decay the step runs, and equals one without weight decay."""
    rules = [ParameterRule(weight_decay=0.0)] if excluded == "every variable" else []
    start, gradients = start_values(), gradient_list(10)
    path = record(Nadam(weight_decay=0.5, parameter_rules=rules), start, gradients)
    decay = None if rules else 0.5
    assert_paths_close(path, trajectory(start, gradients, weight_decay=decay), rtol=1e-5, atol=1e-5)


def small_model():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, name="body"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Dense(1, name="head"),
        ],
        name="net",
    )


def test_explain_has_one_row_a_variable_before_training():
    """explain() says path, shape, multipliers and the rules at work, on an unbuilt optimizer."""
    model = small_model()
    optimizer = Nadam(
        weight_decay=0.1, parameter_rules=[*no_decay(), ParameterRule("head/", learning_rate=3.0)]
    )
    rows = optimizer.explain(model.trainable_variables)
    assert [row.path for row in rows] == [v.path for v in model.trainable_variables]
    assert [row.shape for row in rows] == [tuple(v.shape) for v in model.trainable_variables]
    assert [row.weight_decay for row in rows] == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert [row.learning_rate for row in rows] == [1.0, 1.0, 1.0, 1.0, 3.0, 3.0]
    assert [len(row.rules) for row in rows] == [0, 1, 1, 1, 1, 2]
    assert not optimizer.built


def test_rules_survive_json_and_a_saved_model(tmp_path):
    """K22, K24: rules search the path, so they match after reload without the model's name."""
    model = small_model()
    rules = [*no_decay("norm"), ParameterRule("body/kernel", learning_rate=0.0)]
    model.compile(Nadam(0.1, weight_decay=0.5, parameter_rules=rules), "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x[:, :1], verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    before = model.optimizer.explain(model.trainable_variables)
    after = loaded.optimizer.explain(loaded.trainable_variables)
    assert [(r.learning_rate, r.weight_decay, r.rules) for r in after] == [
        (r.learning_rate, r.weight_decay, r.rules) for r in before
    ]
    for one in (model, loaded):
        one.fit(x, x[:, :1], verbose=0)
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_rules_are_plain_data_in_the_config():
    """The config holds dictionaries with the fields of ParameterRule, and they come back equal."""
    rules = (*no_decay(), ParameterRule("head", None, 2.0, 0.5))
    config = json.loads(json.dumps(Nadam(parameter_rules=rules).get_config()))
    for rule in config["parameter_rules"]:
        assert set(rule) >= {"match", "max_ndim", "learning_rate", "weight_decay"}
    assert tuple(Nadam.from_config(config).parameter_rules) == rules
    assert tuple(Nadam(parameter_rules=[rules[:1], [rules[1:]]]).parameter_rules) == rules


def test_layerwise_decay_lowers_the_rate_towards_the_input():
    """The last layer trains at the full rate, each one before at decay times the next."""
    model = small_model()
    optimizer = Nadam(parameter_rules=layerwise_decay(model, 0.75))
    rates = [row.learning_rate for row in optimizer.explain(model.trainable_variables)]
    np.testing.assert_allclose(rates, [0.5625, 0.5625, 0.75, 0.75, 1.0, 1.0])


def test_exclude_from_weight_decay_is_kept_in_the_config():
    """K22, K23: the stock method excludes by variable and by name, and a copy excludes the same."""
    variables = make_variables(start_values(), names=NAMES)
    optimizer = Nadam(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[variables[3]], var_names=["bias"])
    zero = [[np.zeros_like(v) for v in start_values()]]
    end = Loop(optimizer, variables).run(zero)[-1]
    copy = Nadam.from_config(json.loads(json.dumps(optimizer.get_config())))
    again = record(copy, start_values(), zero, names=NAMES)[-1]
    kept = [np.array_equal(a, b) for a, b in zip(end, start_values(), strict=True)]
    assert kept == [False, True, False, True]
    for a, b in zip(again, end, strict=True):
        np.testing.assert_array_equal(a, b)


def test_excluding_after_build_is_refused():
    """K23: the call that would come too late raises and says what to do."""
    optimizer = Nadam(weight_decay=0.1)
    optimizer.build(make_variables([np.ones(2)]))
    with pytest.raises(AttributeError, match="before the optimizer is built"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5, "0.75", None, float("nan")])
def test_layerwise_decay_refuses_a_factor_out_of_range(decay):
    """The factor must be a number in (0, 1]."""
    with pytest.raises((ValueError, TypeError), match="`decay` must be"):
        layerwise_decay(small_model(), decay)
