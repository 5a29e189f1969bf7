"""TensorFlow: what is kept for small variables lies in packs, and nobody can tell from outside."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, Window
from nadam_suite.optimizers import ParameterRule
from tests.optimizers.driver import (
    BACKEND,
    Loop,
    assert_paths_close,
    make_variables,
    record,
    state_by_name,
    to_float64,
)
from tests.reference.nadam import trajectory

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="packs are TensorFlow's")
# Those of one shape do not stand side by side, one is alone, and one has no elements.
SHAPES = [(3, 2), (4,), (3, 2), (), (4,), (3, 2), (0,), (5,)]
SMALL = [(3, 2), (4,), (3, 2), (), (4,), (3, 2), (5,)]
STEPS = 5
RULES = [ParameterRule("w[04]$", weight_decay=0.0), ParameterRule("w7$", learning_rate=0.0)]
CASES = {
    "plain": {},
    "all": {"weight_decay": 0.1, "averaging": EMA(0.9), "global_clipnorm": 0.5},
    "two averages": {"averaging": {"a": EMA(0.9), "b": EMA(0.5, update_every=2)}, "clipnorm": 0.3},
    "rules": {"weight_decay": 0.1, "parameter_rules": RULES, "loss_scale_factor": 4.0},
    "overwriting": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 2},
    "copies": {"averaging": Window(2, every=1)},
}


@pytest.fixture
def packs():
    """The module under test."""
    from nadam_suite.backends import tensorflow_packs

    return tensorflow_packs


def gradients(shapes, missing=()):
    """Random gradients; those of `missing` are left out at every second step."""
    generator = np.random.default_rng(0)
    rows = [[generator.normal(size=s).astype("float32") for s in shapes] for _ in range(STEPS)]
    for row in rows[1::2]:
        for index in missing:
            row[index] = None
    return rows


def start(shapes):
    """First values of the variables."""
    generator = np.random.default_rng(1)
    return [generator.normal(size=shape).astype("float32") for shape in shapes]


def built(settings, constrained=False):
    """An optimizer with the variables that it is built on."""
    constraint = keras.constraints.MaxNorm(0.7, axis=None) if constrained else None
    constraints = [constraint if i % 3 == 0 else None for i in range(len(SHAPES))]
    variables = make_variables(start(SHAPES), constraints=constraints)
    optimizer = Nadam(0.01, **settings)
    optimizer.build(variables)
    return optimizer, variables


def number_of_parts(packs, optimizer):
    """How many of an optimizer's variables are parts of packs."""
    return sum(isinstance(variable.value, packs.Part) for variable in optimizer.variables)


def trained(settings, rows, constrained=False, **options):
    """Train; return, for every step, the weights and all that the optimizer keeps."""
    optimizer, variables = built(settings, constrained)
    loop, path = Loop(optimizer, variables, **options), []
    for row in rows:
        loop.step(row)
        path.append([to_float64(v) for v in [*variables, *optimizer.variables]])
    return path


def without_packs(packs, monkeypatch, *arguments, **options):
    """Train with a variable of its own for everything, eagerly."""
    with monkeypatch.context() as patch:
        patch.setattr(packs, "SMALL", -1)
        return trained(*arguments, compiled=False, **options)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("how", ["graph", "eager", "XLA"])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_without_packs(packs, monkeypatch, case, how):
    """Weights and state are the same at every step, also where some gradients are missing."""
    rows = gradients(SHAPES, missing=(1, 2))
    options = {"compiled": how != "eager", "jit_compile": how == "XLA"}
    found = trained(CASES[case], rows, **options)
    expected = without_packs(packs, monkeypatch, CASES[case], rows)
    assert_paths_close(found, expected, rtol=1e-5, atol=1e-6)
    assert number_of_parts(packs, built(CASES[case])[0]) >= 8


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "use_ema": True}], ids=str)
def test_every_step_is_the_twins(packs, settings):
    """Small variables follow the float64 twin."""
    rows = gradients(SMALL)
    path = record(Nadam(0.01, **settings), start(SMALL), rows)
    expected = trajectory(start(SMALL), rows, learning_rate=0.01, **settings)
    assert_paths_close(path, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [None, 0.1])
def test_constraints_see_the_new_weight(packs, monkeypatch, decay):
    """Constrained and other variables lie in one pack."""
    rows, settings = gradients(SHAPES), {"weight_decay": decay, "averaging": EMA(0.9)}
    found = trained(settings, rows, constrained=True)
    expected = without_packs(packs, monkeypatch, settings, rows, constrained=True)
    assert_paths_close(found, expected, rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(found[-1][0]) <= 0.7 * (1 + 1e-6)
    assert np.linalg.norm(found[-1][1]) > 0.7


@pytest.mark.parametrize(
    ("dtypes", "settings"),
    [
        ("bfloat16", {}),
        ("float32", {"slot_dtype": "bfloat16"}),
        ("float32", {"gradient_accumulation_steps": 2}),
        ("float32", {"lazy_embeddings": True}),
    ],
    ids=str,
)
def test_what_packs_cannot_hold_stays_as_it_is(packs, dtypes, settings):
    """Master copies, narrow moments, windows and rows have variables of their own."""
    optimizer = Nadam(**settings)
    optimizer.build(make_variables(start(SHAPES), dtypes))
    assert number_of_parts(packs, optimizer) == 0


def test_types_lie_in_packs_of_their_own(packs):
    """A pack is of one type."""
    variables = make_variables(start(SMALL * 2), ["float32", "float64"] * len(SMALL))
    optimizer = Nadam()
    optimizer.build(variables)
    parts = [slot.momentum.value for slot in optimizer._layout.slots]
    assert len({id(part.pack) for part in parts}) == 2
    assert [part.dtype for part in parts] == [v.value.dtype for v in variables]


def test_few_and_large_variables_have_none(packs, monkeypatch):
    """Three small variables are not packed, nor are large ones."""
    few, large = Nadam(), Nadam()
    few.build(make_variables([np.ones(2, "float32")] * 3))
    monkeypatch.setattr(packs, "SMALL", 4)
    large.build(make_variables([np.ones(5, "float32")] * 6))
    assert (number_of_parts(packs, few), number_of_parts(packs, large)) == (0, 0)


def test_under_a_strategy_there_are_none(packs):
    """A replica's copies of variables are its own."""
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        optimizer = Nadam()
        optimizer.build(make_variables(start(SMALL)))
    assert number_of_parts(packs, optimizer) == 0


def test_a_step_takes_in_few_variables(packs):
    """A compiled step has the weights, one pack for each kind, and counters for inputs."""
    import tensorflow as tf

    optimizer, variables = built(CASES["all"])
    rows = [tf.constant(g) for g in gradients(SHAPES)[0]]
    step = tf.function(lambda: optimizer.apply(rows, variables)).get_concrete_function()
    handles = [each for each in step.captured_inputs if each.dtype == tf.resource]
    # Momentum, velocity and average of the empty variable are its own.
    assert len(handles) <= len(variables) + 3 + 3 + 5


def test_parts_are_read_and_assigned_one_by_one(packs):
    """An assignment changes one variable and no other, in a graph too."""
    import tensorflow as tf

    optimizer, _ = built({"use_ema": True})
    slot = optimizer._layout.slots[2]
    before = [to_float64(v) for v in optimizer.variables]
    slot.velocity.assign(np.full((3, 2), 2.0))
    tf.function(lambda: slot.momentum.assign(slot.velocity + 1.0))()
    slot.velocity.value.assign_add(tf.ones((3, 2))).assign_sub(2.0 * tf.ones((3, 2)))
    for variable, old in zip(optimizer.variables, before, strict=True):
        changed = {id(slot.momentum): 3.0, id(slot.velocity): 1.0}.get(id(variable), old)
        np.testing.assert_array_equal(np.array(variable), np.broadcast_to(changed, old.shape))
    with pytest.raises(ValueError, match="shape"):
        slot.velocity.value.assign(np.ones(6, "float32"))


def test_values_come_in_the_order_asked_for(packs):
    """What lies in packs and what does not is read into one list."""
    from nadam_suite.backends import get_backend

    optimizer, _ = built({"use_ema": True})
    Loop(optimizer, optimizer._trainable_variables, compiled=False).step(gradients(SHAPES)[0])
    variables = optimizer.variables[::-1]
    found = get_backend().values(variables)
    for variable, value in zip(variables, found, strict=True):
        np.testing.assert_array_equal(np.array(value), np.array(variable))


def test_files_are_those_without_packs(packs, monkeypatch):
    """A state has an array a variable, and is read with packs or without them, both ways."""
    states, rows = {}, gradients(SHAPES)
    for kind, limit in (("packs", packs.SMALL), ("none", -1)):
        monkeypatch.setattr(packs, "SMALL", limit)
        optimizer, variables = built({"use_ema": True})
        Loop(optimizer, variables, compiled=False).run(rows)
        store = {}
        optimizer.save_own_variables(store)
        states[kind] = (limit, store)
    assert list(states["packs"][1]) == list(states["none"][1])
    for _, store in states.values():
        for limit, _ in states.values():
            monkeypatch.setattr(packs, "SMALL", limit)
            again, _ = built({"use_ema": True})
            again.load_own_variables(store)
            found = state_by_name(again)
            for name, array in store.items():
                np.testing.assert_array_equal(found[name], np.float64(array), err_msg=name)


def test_stock_callbacks_swap_averages_that_are_parts(packs):
    """`SwapEMAWeights` puts the averages into the model, and the weights back."""
    optimizer, variables = built({"use_ema": True})
    Loop(optimizer, variables, compiled=False).run(gradients(SHAPES))
    weights = [to_float64(v) for v in variables]
    averages = [to_float64(v) for v in optimizer._model_variables_moving_average]
    for var, average in zip(variables, optimizer._model_variables_moving_average, strict=True):
        # The callback's three lines, on what it takes out of a Keras variable.
        var.value.assign_add(average.value)
        average.value.assign(var.value - average.value)
        var.value.assign(var.value - average.value)
    for index, variable in enumerate(variables):
        np.testing.assert_allclose(to_float64(variable), averages[index], atol=1e-6)
        found = to_float64(optimizer._model_variables_moving_average[index])
        np.testing.assert_allclose(found, weights[index], atol=1e-6)


def test_checkpoints_and_saved_models_hold_each_variable(packs, monkeypatch, tmp_path):
    """TensorFlow's own files do not know of packs."""
    import tensorflow as tf

    optimizer, variables = built({"use_ema": True})
    loop, rows = Loop(optimizer, variables, compiled=False), gradients(SHAPES)
    for number, row in enumerate(rows[:2]):
        loop.step(row)
        path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / f"c{number}"))
    expected = state_by_name(optimizer)
    for limit in (packs.SMALL, -1):
        monkeypatch.setattr(packs, "SMALL", limit)
        again, _ = built({"use_ema": True})
        tf.train.Checkpoint(optimizer=again).restore(path)
        found = state_by_name(again)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    module = tf.Module()
    module.optimizer = optimizer
    tf.saved_model.save(module, str(tmp_path / "saved"))
    reader = tf.train.load_checkpoint(str(tmp_path / "saved" / "variables" / "variables"))
    index = [v is optimizer._momentums[5] for v in optimizer.variables].index(True)
    name = f"optimizer/_variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(reader.get_tensor(name), np.array(optimizer._momentums[5]))


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "global_clipnorm": 0.5}])
def test_an_average_reads_no_weight_again(settings):
    """Decay and average share one reading; what was taken apart is not put together again."""
    import tensorflow as tf

    optimizer, variables = built({"averaging": EMA(0.9)} | settings)
    rows = [tf.constant(gradient) for gradient in gradients(SHAPES)[0]]
    step = tf.function(lambda: optimizer.apply(rows), autograph=False).get_concrete_function()
    handles = {id(variable.value.handle) for variable in variables if tuple(variable.shape) != (0,)}
    inputs = {id(inner) for outer, inner in step.graph.captures if id(outer) in handles}
    operations = step.graph.get_operations()
    reads = [
        operation.inputs[0]
        for operation in operations
        if operation.type == "ReadVariableOp" and id(operation.inputs[0]) in inputs
    ]
    assert len(inputs) == len(SMALL)
    assert len(reads) == len(set(map(id, reads))) == len(SMALL)
    # Gradients are stacked once for their norm, and with the weights once for the update.
    norms = 1 if "global_clipnorm" in settings else 0
    stacks = [operation for operation in operations if operation.type == "Pack"]
    assert len([each for each in stacks if each.outputs[0].shape.rank > 1]) <= 2 * (2 + norms)
