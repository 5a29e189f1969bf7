"""TensorFlow: steps that stack small variables and fuse large ones are the steps of one by one."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA, Window
from nadam_suite.optimizers import ParameterRule
from tests.optimizers.driver import BACKEND, Loop, make_variables, to_float64

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="stacks are TensorFlow's")
# Four and more of one shape are stacked; what has more than 60 elements is fused.
SHAPES = [(3, 4)] * 5 + [()] * 4 + [(7,)] * 4 + [(8, 9)] * 2 + [(5, 20)] + [(2, 2)]
SMALL = 60
STEPS = 7
# Two of the four of a shape have another decay, two of another shape another rate alone.
RULES = [ParameterRule("w[56]$", weight_decay=0.0), ParameterRule("w(9|10)$", learning_rate=0.5)]
CASES = {
    "plain": {},
    "all": {"weight_decay": 0.1, "averaging": EMA(0.9), "global_clipnorm": 0.5},
    "rules": {
        "weight_decay": 0.1,
        "weight_decay_mode": "independent",
        "parameter_rules": RULES,
        "loss_scale_factor": 4.0,
    },
    "window": {"gradient_accumulation_steps": 3, "averaging": EMA(0.9), "weight_decay": 0.1},
    "several": {"averaging": {"short": EMA(0.5), "long": EMA(0.99, warmup="power")}},
    "copies": {"averaging": Window(2, every=1), "clipnorm": 0.3},
    "overwriting": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3},
    "half slots": {"slot_dtype": "bfloat16", "averaging": EMA(0.9, update_every=2)},
}
MIXED = ["float32", "float32", "bfloat16", "float64", "float16"]
# Rounding differs where XLA fuses; early steps divide by roots of few squares.
TOLERANCE = {"float32": 3e-6, "bfloat16": 1e-2}


@pytest.fixture
def update(monkeypatch):
    """The module under test, with sizes that make the shapes here take all its ways."""
    from nadam_suite.backends import tensorflow_packs, tensorflow_update

    monkeypatch.setattr(tensorflow_update, "SMALL", SMALL)
    monkeypatch.setattr(tensorflow_update, "FUSED", 1)
    # What packs would take goes the ways that are tested here.
    monkeypatch.setattr(tensorflow_packs, "SMALL", 0)
    return tensorflow_update


@pytest.fixture
def ways(update, monkeypatch):
    """How often a stack was updated, and a function handed to XLA."""
    taken = {"stacks": 0, "fused": 0}
    stack, fused = update._update_stack, update._fused

    def counted_stack(*arguments):
        taken["stacks"] += 1
        return stack(*arguments)

    def counted_fused(body):
        taken["fused"] += 1
        return fused(body)

    monkeypatch.setattr(update, "_update_stack", counted_stack)
    monkeypatch.setattr(update, "_fused", counted_fused)
    return taken


def gradients(seed=0, steps=STEPS, missing=()):
    """Random gradients, those of the indices `missing` left out at every second step."""
    generator = np.random.default_rng(seed)
    rows = [[generator.normal(size=s).astype("float32") for s in SHAPES] for _ in range(steps)]
    for number, row in enumerate(rows):
        if number % 2:
            for index in missing:
                row[index] = None
    return rows


def trained(settings, rows, dtypes="float32", constrained=False, **options):
    """Train; return, for every step, the weights and all that the optimizer keeps."""
    generator = np.random.default_rng(1)
    start = [generator.normal(size=shape).astype("float32") for shape in SHAPES]
    constraint = keras.constraints.MaxNorm(0.7, axis=None) if constrained else None
    constraints = [constraint if i % 2 else None for i in range(len(SHAPES))]
    variables = make_variables(start, dtypes, constraints=constraints)
    optimizer = Nadam(0.01, **settings)
    loop = Loop(optimizer, variables, **options)
    path = []
    for row in rows:
        loop.step(row)
        path.append([to_float64(v) for v in [*variables, *optimizer.variables]])
    return path


def one_by_one(update, monkeypatch, *arguments, **options):
    """Train without stacks and without XLA in between."""
    with monkeypatch.context() as patch:
        nothing = update.Place(stacks=False, fuses=False)
        patch.setattr(update.Place, "here", classmethod(lambda cls: nothing))
        return trained(*arguments, **options)


def assert_same(found, expected, tolerance=TOLERANCE["float32"]):
    """Compare all variables at every step, relative to the largest that each of them has been."""
    scales = [1e-30] * len(expected[0])
    tolerances = np.broadcast_to(tolerance, len(expected[0]))
    for step, (row, wanted) in enumerate(zip(found, expected, strict=True), start=1):
        for place, (a, b) in enumerate(zip(row, wanted, strict=True)):
            scale = scales[place] = max(scales[place], np.max(np.abs(b)))
            np.testing.assert_allclose(
                a / scale,
                b / scale,
                rtol=0,
                atol=tolerances[place],
                err_msg=f"step {step}, {place}",
            )


@pytest.mark.parametrize("compiled", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_one_variable_after_the_other(
    update, ways, monkeypatch, case, compiled
):
    """Stacked and fused steps give the weights and the state of plain ones, at every step."""
    rows = gradients()
    found = trained(CASES[case], rows, compiled=compiled)
    assert (ways["fused"] > 0) is compiled
    assert (ways["stacks"] > 0) is (case != "window")
    expected = one_by_one(update, monkeypatch, CASES[case], rows)
    tolerance = TOLERANCE["bfloat16" if case == "half slots" else "float32"]
    assert_same(found, expected, tolerance)


def test_types_are_stacked_apart_and_keep_their_master_copies(update, ways, monkeypatch):
    """What a stack holds is of one type; half precision is updated by its master copies."""
    dtypes = [MIXED[index % len(MIXED)] for index in range(len(SHAPES))]
    dtypes[:9] = ["float32"] * 4 + ["float64"] + ["bfloat16"] * 4
    rows = gradients()
    found = trained(CASES["all"], rows, dtypes)
    assert ways["stacks"] == 1
    assert ways["fused"] > 0
    expected = one_by_one(update, monkeypatch, CASES["all"], rows, dtypes)
    # The half-precision weights may differ by a rounding, what is kept besides them may not.
    half = [TOLERANCE["bfloat16" if "16" in dtype else "float32"] for dtype in dtypes]
    assert_same(found, expected, half + [TOLERANCE["float32"]] * (len(found[0]) - len(dtypes)))


def test_constraints_are_applied_after_every_way(update, ways, monkeypatch):
    """A constraint sees the new weight in full precision, whichever way it was made."""
    rows = gradients()
    found = trained(CASES["all"], rows, constrained=True)
    assert min(ways.values()) > 0
    expected = one_by_one(update, monkeypatch, CASES["all"], rows, constrained=True)
    assert_same(found, expected)
    norms = [np.linalg.norm(found[-1][place]) for place in range(1, len(SHAPES), 2)]
    assert max(norms) <= 0.7 * (1 + 1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_gradients_that_came_earlier_in_a_window_count_and_absent_ones_do_not(
    update, ways, monkeypatch
):
    """Flags that are known at run time alone decide for each variable by itself."""
    # A large and a small variable get gradients in some micro-batches, another one in none.
    rows = gradients(missing=(0, 13))
    for row in rows:
        row[14] = None
    settings = {"gradient_accumulation_steps": 2, "weight_decay": 0.1}
    found = trained(settings, rows)
    assert ways["fused"] > 0
    expected = one_by_one(update, monkeypatch, settings, rows)
    assert_same(found, expected)
    assert np.array_equal(found[0][14], found[-1][14])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_averages_take_in_no_element_that_is_not_finite(update, ways, bad):
    """A NaN or infinity in a weight leaves its element of the average as it was."""
    rows = gradients(steps=4)
    for index in (0, 13):
        rows[2][index].flat[1] = bad
    generator = np.random.default_rng(1)
    start = [generator.normal(size=shape).astype("float32") for shape in SHAPES]
    variables = make_variables(start)
    optimizer = Nadam(0.01, averaging=EMA(0.9))
    loop = Loop(optimizer, variables)
    for row in rows:
        loop.step(row)
    assert min(ways.values()) > 0
    averages = [to_float64(average) for _, average in optimizer.average_tensors("ema")]
    for index, average in enumerate(averages):
        assert np.all(np.isfinite(average)), index
    for index in (0, 13):
        finite = np.isfinite(to_float64(variables[index]))
        assert not finite.flat[1]
        assert np.sum(~finite) == 1


@pytest.mark.parametrize(
    ("averaging", "more"),
    [(EMA(0.9), 0), ({"a": EMA(0.9), "b": EMA(0.5)}, 0), (EMA(0.9, start=2), 1)],
)
def test_averages_join_the_update_of_large_variables(update, ways, averaging, more):
    """Each share of the large variables is one function for XLA, averages included."""
    trained({}, gradients(steps=1))
    alone, ways["fused"] = ways["fused"], 0
    trained({"averaging": averaging}, gradients(steps=1))
    assert ways["fused"] == (1 + more) * alone > 0


def test_the_first_weights_are_taken_in_to_the_bit(update, ways):
    """An average begins as the weights, exactly, whatever its variable holds."""
    variables = make_variables([np.random.default_rng(1).normal(size=s) for s in SHAPES])
    optimizer = Nadam(0.01, averaging=EMA(0.9, warmup=None))
    loop = Loop(optimizer, variables)
    for slot in optimizer._layout.slots:
        slot.averages[0].assign(np.full(slot.variable.shape, 1e6))
    loop.step(gradients()[0])
    assert min(ways.values()) > 0
    for variable, average in optimizer.average_tensors("ema"):
        assert np.array_equal(to_float64(variable), to_float64(average))


def test_a_step_under_xla_is_traced_as_it_was(update, ways, monkeypatch):
    """A function that XLA compiles holds neither stacks nor functions for XLA."""
    rows = gradients()
    found = trained(CASES["all"], rows, jit_compile=True)
    assert ways == {"stacks": 0, "fused": 0}
    assert_same(found, one_by_one(update, monkeypatch, CASES["all"], rows))


def test_a_function_traced_alone_may_be_compiled_by_xla_later(update, ways, monkeypatch):
    """TensorFlow may use a trace again inside of a function that XLA compiles."""
    import tensorflow as tf

    rows = gradients(steps=4)
    variables = make_variables([np.ones(s, "float32") for s in SHAPES])
    optimizer = Nadam(0.01)
    optimizer.build(variables)
    step = tf.function(lambda g: optimizer.apply(g, variables))
    step([tf.constant(g) for g in rows[0]])
    assert min(ways.values()) > 0
    around = tf.function(lambda g: [step(g)], jit_compile=True)
    for row in rows[1:]:
        around([tf.constant(g) for g in row])
    expected = make_variables([np.ones(s, "float32") for s in SHAPES])
    Loop(Nadam(0.01), expected, compiled=False).run(rows)
    assert_same([[to_float64(v) for v in variables]], [[to_float64(v) for v in expected]])


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_model_is_fitted_again_after_compiling_and_loading(update, ways, tmp_path, jit_compile):
    """Saving, loading and compiling again change nothing, with XLA or without."""
    x, y = np.random.default_rng(0).normal(size=(2, 24, 9)).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((9,)), *(keras.layers.Dense(9, "tanh") for _ in range(5))]
    )
    optimizer = Nadam(0.01, averaging=EMA(0.9))
    model.compile(optimizer, "mse", jit_compile=jit_compile, steps_per_execution=3)
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert (min(ways.values()) > 0) is not jit_compile
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    for each in (model, again):
        each.compile(each.optimizer, "mse", jit_compile=jit_compile)
        each.fit(x, y, batch_size=4, epochs=1, verbose=0, shuffle=False)
    assert len(model.optimizer.variables) == len(again.optimizer.variables)
    pairs = zip(
        [*model.variables, *model.optimizer.variables],
        [*again.variables, *again.optimizer.variables],
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(to_float64(one), to_float64(other), rtol=1e-6, atol=1e-8)


def test_nothing_outlives_the_graph_that_a_fused_step_was_traced_in(update, monkeypatch):
    """Functions made for XLA go with the function that they were traced in."""
    import tensorflow as tf

    bodies, fused = [], update._fused

    def watched(body):
        bodies.append(weakref.ref(body))
        return fused(body)

    monkeypatch.setattr(update, "_fused", watched)
    variables = make_variables([np.ones(s, "float32") for s in SHAPES])
    optimizer = Nadam(0.01, averaging=EMA(0.9))
    optimizer.build(variables)
    row = [tf.constant(g) for g in gradients()[0]]
    for _ in range(3):
        step = tf.function(lambda: optimizer.apply(row, variables))
        step()
    assert len(bodies) >= 3  # one for each trace and thread
    del step
    gc.collect()
    assert [body() for body in bodies] == [None] * len(bodies)
