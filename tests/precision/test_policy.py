"""Which precision gets a loss scale."""

from __future__ import annotations

import keras
import pytest

from nadam_suite import Nadam
from nadam_suite.backends import get_backend
from nadam_suite.errors import ArgumentError, ArgumentTypeError
from nadam_suite.precision import DynamicLossScaleOptimizer, needs_loss_scale, wrap_for_policy

WANTED = {
    "float32": False,
    "bfloat16": False,
    "mixed_bfloat16": False,
    "float64": False,
    "mixed_float16": True,
    "float16": True,
}


@pytest.mark.parametrize("name", WANTED)
def test_policies_by_name_by_object_and_globally(name):
    """float16 alone is narrow enough to need one."""
    assert needs_loss_scale(name) is WANTED[name]
    assert needs_loss_scale(keras.dtype_policies.DTypePolicy(name)) is WANTED[name]
    keras.config.set_dtype_policy(name)
    optimizer = wrap_for_policy(Nadam())
    assert isinstance(optimizer, DynamicLossScaleOptimizer) is WANTED[name]


def test_one_layer_of_a_model_is_enough():
    """D57: also a layer inside of another layer."""
    half = keras.layers.TimeDistributed(keras.layers.Dense(1, dtype="mixed_float16"))
    layers = [keras.Input((2, 2)), keras.layers.Dense(2)]
    assert not needs_loss_scale(keras.Sequential(layers))
    model = keras.Sequential([*layers, half])
    assert needs_loss_scale(model)
    assert isinstance(wrap_for_policy(Nadam(), model), DynamicLossScaleOptimizer)


def test_policies_of_a_map():
    """Each of them counts, and the default one."""
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="float32")
    assert not needs_loss_scale(policies)
    policies["encoder"] = keras.dtype_policies.DTypePolicy("mixed_float16")
    assert needs_loss_scale(policies)


def test_options_reach_the_wrapper_and_a_wrapper_stays():
    """What is wrapped already is not wrapped again."""
    wrapped = wrap_for_policy(Nadam(), "mixed_float16", initial_scale=4.0, hysteresis=2)
    assert (wrapped.initial_scale, wrapped.get_config()["hysteresis"]) == (4.0, 2)
    assert wrap_for_policy(wrapped, "mixed_float16") is wrapped


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_skipping_without_scaling_where_asked_for(name):
    """A scale of one that never changes."""
    optimizer = wrap_for_policy(Nadam(), name, skip_nonfinite=True)
    assert (optimizer.initial_scale, optimizer.get_config()["dynamic"]) == (1.0, False)
    scaled = wrap_for_policy(Nadam(), "mixed_float16", skip_nonfinite=True)
    assert scaled.initial_scale == 2.0**15


def test_float16_on_a_tpu_is_refused_with_advice(monkeypatch):
    """A TPU computes in bfloat16."""
    monkeypatch.setattr(type(get_backend()), "trains_on_tpu", lambda self: True)
    with pytest.raises(ArgumentError, match="mixed_bfloat16"):
        wrap_for_policy(Nadam(), "mixed_float16")
    assert isinstance(wrap_for_policy(Nadam(), "mixed_bfloat16"), Nadam)


def test_the_question_is_asked_of_the_framework():
    """There is no TPU here."""
    assert get_backend().trains_on_tpu() is False


def test_what_is_no_policy():
    """Each refusal says what would be one."""
    with pytest.raises(ArgumentError, match="policy='half'"):
        needs_loss_scale("half")
    with pytest.raises(ArgumentTypeError, match="of type int"):
        needs_loss_scale(16)
    with pytest.raises(ArgumentError, match="stock loss scale"):
        wrap_for_policy(keras.optimizers.LossScaleOptimizer(Nadam()))
