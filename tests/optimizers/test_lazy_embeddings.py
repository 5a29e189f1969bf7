"""`lazy_embeddings=True` updates the rows that a batch has seen, and nothing else of a table."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from nadam_suite import Nadam, ParameterRule
from nadam_suite.errors import ArgumentError, NadamSuiteWarning
from nadam_suite.optimizers.monitor import last_update
from nadam_suite.precision import DynamicLossScaleOptimizer, skip_nonfinite
from tests.optimizers.driver import (
    BACKEND,
    Loop,
    assert_paths_close,
    make_variables,
    state_by_name,
    to_float64,
)
from tests.optimizers.sparse import sparse_gradients, tensors
from tests.reference.nadam import Rows, initial_state, nadam_step, trajectory
from tests.reference.rounding import rounded_moments

WAYS = {"compiled": {}, "eager": {"compiled": False}}
if BACKEND == "tensorflow":
    WAYS["XLA"] = {"jit_compile": True}

OPTIONS = {
    "defaults": {},
    "decay": {"weight_decay": 0.3, "learning_rate": 0.1},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 0.3},
    "loss_scale_factor": {"loss_scale_factor": 8.0},
    "average": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 4},
    "momentum": {"momentum_decay": None, "beta_1": 0.7, "beta_2": 0.9},
}
RATE = 0.05
TABLE, KERNEL = (9, 3), (3, 2)


def problem(steps=14, seed=0):
    """Start values of a table and a kernel, and their gradients: `Rows` and an array a step."""
    generator = np.random.default_rng(seed)
    start = [generator.normal(size=shape).astype("float32") for shape in (TABLE, KERNEL)]
    rows = sparse_gradients(steps, TABLE, seed=seed)
    return start, [[g, generator.normal(size=KERNEL).astype("float32")] for g in rows]


def trained(optimizer, start, gradients, way="compiled", **variables):
    """The path of an optimizer."""
    loop = Loop(optimizer, make_variables(start, **variables), **WAYS[way])
    return loop.run(tensors(gradients))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIONS)
def test_every_step_is_that_of_the_twin(name, way):
    """Seen rows move as the twin's, to float32 rounding; the others are as if without a step."""
    options = {"learning_rate": RATE} | OPTIONS[name]
    start, gradients = problem()
    path = trained(Nadam(lazy_embeddings=True, **options), start, gradients, way)
    twin = trajectory(start, gradients, lazy_embeddings=True, **options)
    assert_paths_close(path, twin, rtol=2e-5, atol=2e-6)


def test_rows_that_are_not_seen_keep_every_bit():
    """No decay of momentum, no step and no weight decay for them."""
    start, gradients = problem(8)
    optimizer = Nadam(RATE, weight_decay=0.5, lazy_embeddings=True)
    before, moments = start[0], None
    loop = Loop(optimizer, make_variables(start), compiled=False)
    for row, ready in zip(gradients, tensors(gradients), strict=True):
        loop.step(ready)
        slot = optimizer._layout.slots[0]
        now = [loop.values()[0], to_float64(slot.momentum), to_float64(slot.velocity)]
        unseen = ~row[0].seen()[:, 0]
        assert unseen.any()
        if moments is not None:
            for a, b in zip(now, (before, *moments), strict=True):
                np.testing.assert_array_equal(a[unseen], b[unseen])
        assert (now[0] != before)[~unseen].all()
        before, *moments = now


def test_it_is_another_algorithm_than_the_default():
    """The default updates all rows, with momenta that decay, to the same sparse gradients."""
    start, gradients = problem()
    dense = trained(Nadam(RATE), start, gradients)
    assert_paths_close(
        dense, trajectory(start, gradients, learning_rate=RATE), rtol=2e-5, atol=2e-6
    )
    lazy = trained(Nadam(RATE, lazy_embeddings=True), start, gradients)
    assert np.abs(dense[-1][0] - lazy[-1][0]).max() > 0.01
    np.testing.assert_allclose(dense[-1][1], lazy[-1][1], rtol=1e-6)  # the kernel does not care


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_tables_of_other_types_train_as_float32(dtype):
    """Half-precision tables have master copies, whose rows are written too; float64 is exact."""
    start, gradients = problem()
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("needs 64-bit mode, which a process has or has not")
    start = [a.astype(dtype).astype("float64") for a in start]
    cut = [
        [Rows(r.indices, r.values.astype(dtype).astype("float64"), r.shape), g]
        for r, g in gradients
    ]
    loop = Loop(Nadam(RATE, lazy_embeddings=True), make_variables(start, [dtype, "float32"]))
    ready = [[s, g] for (s, _), (_, g) in zip(tensors(cut, dtype), gradients, strict=True)]
    path = loop.run(ready)
    twin = trajectory(start, cut, learning_rate=RATE, lazy_embeddings=True)
    rtol = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 0.0}[dtype] + 2e-5
    assert_paths_close(path, twin, rtol=rtol, atol=2e-5)


def test_rules_multiply_the_rates_of_rows_and_freeze_tables():
    """Multipliers hold for rows as for whole variables; a rate of zero keeps all of them."""
    start, gradients = problem()
    rules = [ParameterRule(match="table", learning_rate=0.5, weight_decay=3.0)]
    options = {"learning_rate": RATE, "weight_decay": 0.1}
    names = ["table", "kernel"]
    optimizer = Nadam(parameter_rules=rules, lazy_embeddings=True, **options)
    path = trained(optimizer, start, gradients, names=names)
    multipliers = [(0.5, 3.0), (1.0, 1.0)]
    twin = trajectory(start, gradients, lazy_embeddings=True, multipliers=multipliers, **options)
    assert_paths_close(path, twin, rtol=2e-5, atol=2e-6)
    frozen = Nadam(RATE, parameter_rules=[ParameterRule(match="table", learning_rate=0.0)])
    path = trained(frozen.replace(lazy_embeddings=True), start, gradients, names=names)
    np.testing.assert_array_equal(path[-1][0], start[0])


def test_a_constraint_holds_for_the_whole_table():
    """A limit of columns concerns rows that were not seen, too: it is applied to the variable."""
    start, gradients = problem()
    limit = keras.constraints.MaxNorm(1.5, axis=0)

    def column_limit(x):
        norms = np.sqrt(np.sum(x * x, 0, keepdims=True))
        return x * np.clip(norms, 0, 1.5) / (1e-7 + norms)

    optimizer = Nadam(RATE, lazy_embeddings=True)
    path = trained(optimizer, start, gradients, constraints=[limit, None])
    twin = trajectory(
        start,
        gradients,
        learning_rate=RATE,
        lazy_embeddings=True,
        constraints=[column_limit, None],
    )
    assert_paths_close(path, twin, rtol=2e-5, atol=2e-6)


def test_moments_in_bfloat16_are_rounded_by_their_places_in_the_table():
    """A row is rounded at random as it would be in an update of the whole table."""
    gradient = Rows(
        [4, 1, 4], np.random.default_rng(0).normal(size=(3, 3)).astype("float32"), TABLE
    )
    optimizer = Nadam(0.0, beta_1=0.0, beta_2=0.0, slot_dtype="bfloat16", lazy_embeddings=True)
    loop = Loop(optimizer, make_variables([np.zeros(TABLE)]))
    loop.run(tensors([[gradient]]))
    g = gradient.dense().astype("float32")
    slot = optimizer._layout.slots[0]
    for held, wanted in zip(
        (slot.momentum, slot.velocity), rounded_moments(g, g * g, 0, 0), strict=True
    ):
        np.testing.assert_array_equal(to_float64(held), wanted.astype("float64"))
    assert np.count_nonzero(to_float64(slot.momentum)) == 6


@pytest.mark.parametrize("way", WAYS)
def test_a_dynamic_loss_scale_divides_rows_and_skips_steps(way):
    """Infinite entries skip the step; scaled rows are unscaled, and the norm is that of rows."""
    start, gradients = problem()
    scale = 2.0**10
    scaled = [[Rows(r.indices, r.values * scale, r.shape), g * scale] for r, g in gradients]
    bad = Rows([1], np.full((1, 3), np.inf), TABLE)
    scaled.insert(5, [bad, np.zeros(KERNEL)])
    inner = Nadam(RATE, global_clipnorm=1.0, lazy_embeddings=True)
    optimizer = DynamicLossScaleOptimizer(inner, initial_scale=scale)
    # The step that overflows halves the scale, so that the following gradients count double.
    scaled[6:] = [[Rows(r.indices, r.values / 2, r.shape), g / 2] for r, g in scaled[6:]]
    path = trained(optimizer, start, scaled, way)
    twin = trajectory(
        start, gradients, learning_rate=RATE, global_clipnorm=1.0, lazy_embeddings=True
    )
    np.testing.assert_array_equal(path[5][0], path[4][0])
    assert_paths_close(path[:5] + path[6:], twin, rtol=2e-5, atol=2e-6)


def test_bad_rows_skip_a_step_without_a_scale():
    """`skip_nonfinite` looks at the rows."""
    start, gradients = problem(6)
    bad = Rows([1, 1], np.array([[np.nan] * 3, [1.0] * 3]), TABLE)
    path = trained(
        skip_nonfinite(Nadam(RATE, lazy_embeddings=True)),
        start,
        [*gradients[:3], [bad, np.zeros(KERNEL)], *gradients[3:]],
    )
    twin = trajectory(start, gradients, learning_rate=RATE, lazy_embeddings=True)
    assert_paths_close(path[:3] + path[4:], twin, rtol=2e-5, atol=2e-6)


def test_the_monitored_norm_is_that_of_summed_rows():
    """Entries of one row add up before they are squared."""
    optimizer = Nadam(RATE, lazy_embeddings=True)
    optimizer.monitored = "norm"
    gradient = Rows([3, 3], np.array([[1.0, 0.0, 0.0], [2.0, 4.0, 0.0]]), TABLE)
    Loop(optimizer, make_variables([np.zeros(TABLE)])).run(tensors([[gradient]]))
    assert last_update(optimizer)["gradient_norm"] == pytest.approx(5.0)


def test_a_batch_without_tokens_steps_nothing_of_the_table():
    """The kernel moves on, the table stands."""
    start, gradients = problem(4)
    gradients[2][0] = Rows([], np.zeros((0, 3)), TABLE)
    path = trained(Nadam(RATE, lazy_embeddings=True), start, gradients)
    twin = trajectory(start, gradients, learning_rate=RATE, lazy_embeddings=True)
    assert_paths_close(path, twin, rtol=2e-5, atol=2e-6)


def test_a_resumed_training_is_as_never_stopped():
    """The state is that of the default: whole moments, saved and loaded by name."""
    start, gradients = problem()
    whole = Nadam(RATE, lazy_embeddings=True, slot_dtype="bfloat16", use_ema=True)
    path = trained(whole, start, gradients)
    first = Nadam.from_config(whole.get_config())
    assert first.lazy_embeddings is True
    variables = make_variables(start)
    Loop(first, variables).run(tensors(gradients[:6]))
    store: dict = {}
    first.save_own_variables(store)
    second = Nadam.from_config(whole.get_config())
    second.load_own_variables(store)
    again = make_variables([to_float64(v) for v in variables])
    resumed = Loop(second, again).run(tensors(gradients[6:]))
    for row, wanted in zip(resumed, path[6:], strict=True):
        for a, b in zip(row, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert set(state_by_name(second)) == set(state_by_name(whole))


def test_it_can_be_switched_on_for_a_built_optimizer():
    """`replace()` keeps the state, and later steps are lazy."""
    start, gradients = problem(10)
    variables = make_variables(start)
    first = Nadam(RATE)
    Loop(first, variables).run(tensors(gradients[:5]))
    with pytest.raises(AttributeError, match="lazy_embeddings"):
        first.lazy_embeddings = True
    later = first.replace(lazy_embeddings=True)
    path = Loop(later, variables).run(tensors(gradients[5:]))
    x, state = start, initial_state(start)
    twin = []
    for step, row in enumerate(gradients):
        x, state = nadam_step(x, row, state, learning_rate=RATE, lazy_embeddings=step >= 5)
        twin.append(x)
    assert_paths_close(path, twin[5:], rtol=2e-5, atol=2e-6)


@pytest.mark.once
def test_accumulation_is_refused():
    """The sums of a window do not tell which rows were seen."""
    with pytest.raises(ArgumentError, match="gradient_accumulation_steps=4"):
        Nadam(lazy_embeddings=True, gradient_accumulation_steps=4)


def test_dense_gradients_alone_bring_a_warning_once():
    """Where nothing is sparse the argument changes nothing, which is said; then steps are dense."""
    start, gradients = problem(3)
    dense = [[g[0].dense(), g[1]] for g in gradients]
    optimizer = Nadam(RATE, lazy_embeddings=True)
    loop = Loop(optimizer, make_variables(start), compiled=False)
    with pytest.warns(NadamSuiteWarning, match="lazy_embeddings=True` changes nothing"):
        loop.step(dense[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", NadamSuiteWarning)
        path = [loop.values(), *loop.run(dense[1:])]
    assert_paths_close(path, trajectory(start, dense, learning_rate=RATE), rtol=2e-5, atol=2e-6)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="IndexedSlices are of rows always")
def test_single_elements_are_taken_for_their_rows():
    """A gradient that is sparse in both directions sees the rows in which it has elements."""
    start, _ = problem(1)
    values = np.array([[0.5, 0.0, 0.0], [0.0, 2.0, -1.0], [0.25, 0.0, 0.0]])
    gradient = Rows([7, 2, 7], values, TABLE)
    at, numbers = [(7, 0), (2, 1), (2, 2), (7, 0)], np.array([0.5, 2.0, -1.0, 0.25], "float32")
    if BACKEND == "torch":
        import torch

        ready = torch.sparse_coo_tensor(
            np.array(at).T, torch.from_numpy(numbers), TABLE, check_invariants=True
        )
    else:
        from jax.experimental import sparse

        ready = sparse.BCOO((numbers, np.array(at)), shape=TABLE)
    optimizer = Nadam(RATE, weight_decay=0.1, lazy_embeddings=True)
    path = Loop(optimizer, make_variables(start[:1])).run([[ready]])
    options = {"learning_rate": RATE, "weight_decay": 0.1, "lazy_embeddings": True}
    twin = trajectory(start[:1], [[gradient]], **options)
    assert_paths_close(path, twin, rtol=2e-5, atol=2e-6)
