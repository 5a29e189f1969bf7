"""What PyTorch keeps from one update to the next never shows: replaced tensors, files, subsets."""

from __future__ import annotations

import pickle

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.averaging import EMA
from tests.optimizers.driver import BACKEND, assert_paths_close, make_variables, to_float64
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="about the memory of PyTorch")

STEPS = 12
SHAPES = ((3, 4), (), (5,), (0, 3), (9, 11), (2, 2), (7, 7))
OPTIONS = {"learning_rate": 0.01, "weight_decay": 0.1, "global_clipnorm": 1.0}


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """Limits so low that there are several packs, and variables that are cut."""
    from nadam_suite.backends import torch_blocks

    monkeypatch.setattr(torch_blocks, "SINGLE", 16)
    monkeypatch.setattr(torch_blocks, "CACHED", 20)


class Training:
    """An optimizer that is compared with the twin at every step."""

    def __init__(self, **options):
        self.options = OPTIONS | options
        self.start, self.rows = start_values(SHAPES), gradient_list(STEPS, SHAPES)
        self.expected = trajectory(self.start, self.rows, **self.options)
        self.variables = make_variables(self.start)
        self.optimizer = Nadam(**self.options)
        self.optimizer.build(self.variables)

    @property
    def slots(self):
        return self.optimizer._layout.slots

    @property
    def plan(self):
        return self.slots[0].plan

    def run(self, first, last):
        """Take the steps from number `first` to number `last`, which is not taken."""
        for number in range(first, last):
            row = self.rows[number]
            gradients = [keras.ops.convert_to_tensor(g, dtype="float32") for g in row]
            self.optimizer.apply(gradients, self.variables)
            values = [to_float64(variable) for variable in self.variables]
            assert_paths_close([values], [self.expected[number]], rtol=1e-5, atol=1e-6)


def storage(variable):
    """Where the memory lies in which the variable's values are."""
    return variable._value.untyped_storage().data_ptr()


def test_small_moments_lie_together_and_stay_the_variables_own():
    """Else the tests below would prove less than they say."""
    training = Training()
    own = [(slot.momentum._value, slot.velocity._value) for slot in training.slots]
    training.run(0, STEPS)
    assert storage(training.slots[0].momentum) == storage(training.slots[1].momentum)
    assert storage(training.slots[0].momentum) != storage(training.slots[0].velocity)
    assert storage(training.slots[4].momentum) != storage(training.slots[0].momentum)
    for slot, (momentum, velocity) in zip(training.slots, own, strict=True):
        assert slot.momentum._value is momentum
        assert slot.velocity._value is velocity
        assert tuple(momentum.shape) == SHAPES[slot.index]
    assert training.plan.number == 1


def test_moments_in_packs_are_those_of_variables_alone():
    """Each at its place: no other test looks at the moments one by one."""
    together = Training()
    together.run(0, STEPS)
    for index, slot in enumerate(together.slots):
        m, v = np.zeros(SHAPES[index]), np.zeros(SHAPES[index])
        for row in together.rows:
            norm = np.sqrt(sum((g**2).sum() for g in row))
            g = row[index] / max(norm, 1.0)
            m, v = m + (g - m) * 0.1, v + (g**2 - v) * 0.001
        np.testing.assert_allclose(to_float64(slot.momentum), m, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(to_float64(slot.velocity), v, rtol=1e-5, atol=1e-9)


def replace_value(variable):
    """Give a variable another tensor."""
    import torch

    variable._value = torch.nn.Parameter(variable._value.detach().clone(), requires_grad=False)


def replace_data(variable):
    """Give a variable's tensor other memory."""
    variable._value.data = variable._value.data.clone()


def turn_data(variable):
    """Give a variable's tensor other memory, in another order."""
    data = variable._value.data
    variable._value.data = data.t().contiguous().t() if data.dim() == 2 else data.clone()


@pytest.mark.parametrize("how", [replace_value, replace_data, turn_data])
@pytest.mark.parametrize("kind", ["variable", "momentum", "velocity"])
@pytest.mark.parametrize("index", [0, 4])
def test_tensors_that_were_replaced_are_the_ones_that_move(how, kind, index):
    """A small variable's and a large one's; loading with `assign`, or moving a model, does so."""
    training = Training()
    training.run(0, 3)
    how(getattr(training.slots[index], kind))
    training.run(3, 6)
    how(getattr(training.slots[index], kind))
    training.run(6, STEPS)


def test_tensors_that_change_at_every_step_end_the_planning():
    """Making plans would take longer than a step."""
    from nadam_suite.backends import torch_plan

    training = Training()
    for number in range(STEPS):
        replace_data(training.slots[0].momentum)
        training.run(number, number + 1)
    assert training.plan.number == torch_plan.MOST < STEPS


def test_optimizers_and_subsets_take_turns():
    """Two sets of variables that overlap, as of a model that is trained in parts."""
    shapes = ((3, 4), (5,), (9, 11), (2, 2))
    start, rows = start_values(shapes), gradient_list(STEPS, shapes)
    variables, optimizer = make_variables(start), Nadam(0.01, beta_2=0.99)
    optimizer.build(variables)
    alone = make_variables(start)
    singles = [Nadam(0.01, beta_2=0.99) for _ in alone]
    for number, row in enumerate(rows):
        gradients = [keras.ops.convert_to_tensor(g, dtype="float32") for g in row]
        places = ((0, 1, 2), (0, 3), (1, 2, 3))[number % 3]
        optimizer.apply([gradients[i] for i in places], [variables[i] for i in places])
        for index, single in enumerate(singles):
            single.iterations.assign(number)
            if number == 0 or index in places:
                single.build([alone[index]])
        for index in places:
            singles[index]._layout.state.u_product.assign(product := before(optimizer, number))
            singles[index].apply([gradients[index]], [alone[index]])
        assert product > 0.0
        for a, b in zip(variables, alone, strict=True):
            np.testing.assert_allclose(to_float64(a), to_float64(b), rtol=2e-6, atol=1e-7)


def before(optimizer, number):
    """The product of u_1 ... u_t before step `number` + 1, with the defaults of Nadam."""
    steps = np.arange(1, number + 1)
    return float(np.prod(optimizer.beta_1 * (1.0 - 0.5 * 0.96**steps)))


def test_a_loaded_state_goes_on_as_the_saved_one(tmp_path):
    """The file has each variable's own values, and loading writes into packs."""
    training, other = Training(use_ema=True), Training(use_ema=True)
    training.run(0, 5)
    store = {}
    training.optimizer.save_own_variables(store)
    assert store["momentum_0"].shape == (3, 4)
    assert store["velocity_4"].shape == (9, 11)
    store = {name: np.array(array) for name, array in store.items()}
    other.run(0, 8)
    other.optimizer.load_own_variables(store)
    for a, b in zip(other.variables, training.variables, strict=True):
        a.assign(b)
    other.run(5, STEPS)
    training.run(5, STEPS)
    for a, b in zip(other.optimizer.variables, training.optimizer.variables, strict=True):
        np.testing.assert_array_equal(to_float64(a), to_float64(b))


def test_a_pickled_optimizer_is_no_larger_than_its_state():
    """A view that is pickled brings along all the memory that it is a view of."""
    variables = make_variables([np.ones(4)] * 64)
    sizes = []
    for steps in (0, 2):
        optimizer = Nadam()
        optimizer.build(variables)
        for _ in range(steps):
            optimizer.apply([keras.ops.ones((4,))] * 64, variables)
        sizes.append(len(pickle.dumps(optimizer)))
    assert sizes[1] < 1.1 * sizes[0]


def test_all_kinds_of_variables_in_one_optimizer():
    """Constraints, master copies, other types and turned weights find their own way and place."""

    def make():
        values = start_values(((3, 4), (5,), (4, 4), (9, 11), (6, 3)))
        types = ("float32", "bfloat16", "float32", "float32", "float64")
        made = [keras.Variable(v, dtype=t) for v, t in zip(values, types, strict=True)]
        made[2]._value.data = made[2]._value.data.t().contiguous().t()
        made[0].constraint = made[3].constraint = keras.constraints.NonNeg()
        return made

    rows = gradient_list(STEPS, [tuple(v.shape) for v in make()])
    together, alone = make(), make()
    optimizer, singles = Nadam(0.05, weight_decay=0.1), []
    for variable in alone:
        singles.append(Nadam(0.05, weight_decay=0.1))
        singles[-1].build([variable])
    for row in rows:
        gradients = [
            keras.ops.convert_to_tensor(g, dtype=keras.backend.standardize_dtype(v.value.dtype))
            for g, v in zip(row, together, strict=True)
        ]
        optimizer.apply(gradients, together)
        for single, gradient, variable in zip(singles, gradients, alone, strict=True):
            single.apply([gradient], [variable])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(to_float64(a), to_float64(b), rtol=2e-6, atol=1e-7)
    assert to_float64(together[0]).min() >= 0.0
    assert to_float64(together[3]).min() >= 0.0


def test_a_scope_has_values_of_its_own_also_after_a_step():
    """The moments' memory is known by then, and is not what the scope means."""
    training = Training()
    training.run(0, 2)
    kept = [to_float64(v) for v in training.optimizer.variables]
    state = [keras.ops.copy(v.value) for v in training.optimizer.variables]
    weights = [keras.ops.copy(v.value) for v in training.variables]
    gradients = [keras.ops.ones(shape) for shape in SHAPES]
    new, _ = training.optimizer.stateless_apply(state, gradients, weights)
    assert not np.array_equal(to_float64(new[0]), to_float64(training.variables[0]))
    for variable, value in zip(training.optimizer.variables, kept, strict=True):
        np.testing.assert_array_equal(to_float64(variable), value)
    training.run(2, STEPS)


def test_an_average_leaves_out_only_the_elements_that_are_not_finite():
    """In a block that is cut, in one of small variables, and beside them."""
    training = Training(use_ema=True, ema_momentum=0.5)
    training.run(0, 2)
    before = [to_float64(slot.averages[0]) for slot in training.slots]
    weights = [to_float64(variable) for variable in training.variables]
    weights[0][1, 2], weights[4][8, 10], weights[5][0, 0] = np.inf, np.nan, -np.inf
    for variable, weight in zip(training.variables, weights, strict=True):
        variable.assign(weight)
    zeros = [keras.ops.zeros(shape) for shape in SHAPES]
    training.optimizer.learning_rate = 0.0
    training.optimizer.apply(zeros, training.variables)
    for slot, old, weight in zip(training.slots, before, weights, strict=True):
        expected = np.where(np.isfinite(weight), 0.5 * old + 0.5 * weight, old)
        np.testing.assert_allclose(to_float64(slot.averages[0]), expected, rtol=1e-5, atol=1e-7)


def averaged(monkeypatch, together, constrained=False, steps=5, **options):
    """Train with two averages, taken in with the update or after it; return all that is kept."""
    from nadam_suite.backends.torch import TorchBackend

    constraint = keras.constraints.MaxNorm(0.7, axis=None) if constrained else None
    rules = {"fast": EMA(0.5, warmup=None), "slow": EMA(0.9)}
    start, rows = start_values(SHAPES), gradient_list(steps, SHAPES)
    constraints = [constraint if index == 4 else None for index in range(len(SHAPES))]
    variables = make_variables(start, constraints=constraints)
    with monkeypatch.context() as patch:
        patch.setattr(TorchBackend, "averages_in_update", lambda _: together)
        optimizer = Nadam(0.01, averaging=rules, **options)
        optimizer.build(variables)
        for row in rows:
            optimizer.apply([keras.ops.convert_to_tensor(g, dtype="float32") for g in row])
    pairs = [optimizer.average_tensors(name) for name in rules]
    return [to_float64(v) for v in [*variables, *(a for rows in pairs for _, a in rows)]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_clipnorm": 0.5, "weight_decay": 0.1},
        {"gradient_accumulation_steps": 2},
        {"constrained": True},
    ],
    ids=["plain", "clip and decay", "accumulation", "constraint"],
)
def test_averages_that_are_taken_in_with_the_update_are_the_same(monkeypatch, options):
    """To the bit: what changes is when, within a step, a block's average is computed."""
    found = averaged(monkeypatch, True, **options)
    expected = averaged(monkeypatch, False, **options)
    for own, wanted in zip(found, expected, strict=True):
        assert np.array_equal(own, wanted)


def test_large_variables_are_averaged_with_the_update_and_once(monkeypatch):
    """Block by block, so that no weight is read from memory again."""
    from nadam_suite.backends import torch_update

    mixed, alone = [], []
    mix, take_in = torch_update.mix, torch_update.take_in

    def counted_mix(averages, weights, shares):
        if not alone:
            mixed.append(len(averages) * weights[0].numel())
        mix(averages, weights, shares)

    def counted_take_in(averages, weights, share):
        alone.append(len(averages))
        take_in(averages, weights, share)

    monkeypatch.setattr(torch_update, "mix", counted_mix)
    monkeypatch.setattr(torch_update, "take_in", counted_take_in)
    averaged(monkeypatch, True, steps=1)
    assert sum(mixed) == 2 * (9 * 11 + 7 * 7)
    assert alone == [len(SHAPES) - 2] * 2


def test_an_average_that_was_replaced_is_the_one_that_moves():
    """A loaded state may give an average other memory."""
    rows = gradient_list(3, SHAPES)
    variables = make_variables(start_values(SHAPES))
    optimizer = Nadam(0.01, averaging=EMA(0.5, warmup=None))
    optimizer.build(variables)
    for number, row in enumerate(rows):
        if number == 2:
            average = optimizer._layout.slots[4].averages[0]
            replace_value(average)
            before = to_float64(average)
        optimizer.apply([keras.ops.convert_to_tensor(g, dtype="float32") for g in row])
    expected = 0.5 * before + 0.5 * to_float64(variables[4])
    np.testing.assert_allclose(to_float64(average), expected, rtol=1e-5, atol=1e-7)
