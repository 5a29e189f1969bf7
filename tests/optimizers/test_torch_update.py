"""The update on PyTorch: in cached blocks and fused kernels it is the same Nadam."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.backends import get_backend
from tests.optimizers.driver import (
    BACKEND,
    Loop,
    assert_paths_close,
    make_variables,
    record,
    to_float64,
)
from tests.optimizers.test_twin import OPTIONS
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import trajectory

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="about the kernels of PyTorch")

STEPS = 120
SHAPES = ((9, 11), (3, 4), (), (64,), (130,), (0, 3))


@pytest.fixture
def update(monkeypatch):
    """The module, with limits so low that small variables go every way that large ones go."""
    from nadam_suite.backends import torch_blocks, torch_update

    monkeypatch.setattr(torch_blocks, "SINGLE", 16)
    monkeypatch.setattr(torch_blocks, "CACHED", 48)
    return torch_update


def kernels(function):
    """The kernels that a function launches, each with the elements of what it returns."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            made = result if isinstance(result, (list, tuple)) else [result]
            sizes = [t.numel() for t in made if isinstance(t, torch.Tensor)]
            found.append((str(func), sum(sizes)))
            return result

    with Recorder():
        function()
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_follows_the_twin_in_blocks(name, update):
    """Large, small, cut and gathered variables, at every step."""
    options, start = OPTIONS[name], start_values(SHAPES)
    gradients = gradient_list(STEPS, SHAPES)
    path = record(Nadam(**options), start, gradients)
    assert_paths_close(path, trajectory(start, gradients, **options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta_1", [0.001, 0.3, 0.6, 0.99, 0.9999])
@pytest.mark.parametrize("momentum_decay", [1.0, None])
def test_momentum_and_velocity_follow_the_twin(beta_1, momentum_decay, update):
    """They are recovered from what the fused kernel leaves, which rounds the more the lower beta_1.

    A step of zeros in between lets what was rounded off be seen.
    """
    start, gradients = start_values(SHAPES), gradient_list(STEPS, SHAPES)
    optimizer = Nadam(beta_1=beta_1, momentum_decay=momentum_decay, beta_2=0.999)
    Loop(optimizer, make_variables(start)).run(gradients)
    for index, slot in enumerate(optimizer._layout.slots):
        m, v = np.zeros(SHAPES[index]), np.zeros(SHAPES[index])
        for row in gradients:
            m += (row[index] - m) * (1.0 - beta_1)
            v += (row[index] ** 2 - v) * (1.0 - 0.999)
        scale = max((np.abs(row[index]).max(initial=0.0) for row in gradients), default=0.0)
        np.testing.assert_allclose(to_float64(slot.momentum), m, rtol=1e-5, atol=2e-7 * scale)
        np.testing.assert_allclose(to_float64(slot.velocity), v, rtol=2e-6)


def test_large_variables_use_the_fused_kernel_and_small_ones_do_not(update):
    """Else the tests above would prove less than they say."""
    for shape, expected in (((40,), True), ((8,), False)):
        variables, optimizer = make_variables([np.ones(shape)]), Nadam()
        optimizer.build(variables)
        gradients = [keras.ops.ones(shape)]
        step = kernels(lambda: optimizer.apply(gradients, variables))  # noqa: B023
        assert any("_fused_adamw_" in name for name, _ in step) is expected


def test_variables_and_gradients_in_any_order_of_memory(update):
    """A transposed variable or gradient is not read as if it lay in a row."""
    import torch

    shape = (12, 9)
    start, rows = start_values([shape] * 3), gradient_list(20, [shape] * 3)
    variables = make_variables(start)
    for index in (0, 2):
        turned = variables[index].value.data.t().contiguous().t()
        variables[index].value.data = turned
    optimizer = Nadam(0.01, weight_decay=0.1, global_clipnorm=1.0, averaging=None)
    optimizer.build(variables)
    assert not variables[0].value.is_contiguous()
    for row in rows:
        gradients = [torch.tensor(g, dtype=torch.float32) for g in row]
        gradients[1:] = [g.t().contiguous().t() for g in gradients[1:]]
        optimizer.apply(gradients, variables)
    expected = trajectory(start, rows, learning_rate=0.01, weight_decay=0.1, global_clipnorm=1.0)
    assert_paths_close([[to_float64(v) for v in variables]], [expected[-1]], rtol=1e-5, atol=1e-6)


def test_gradients_are_left_alone(update):
    """Whoever passed them may read them afterwards: clipping happens on copies."""
    rows = gradient_list(1, SHAPES)[0]
    gradients = [keras.ops.convert_to_tensor(g, dtype="float32") for g in rows]
    kept = [keras.ops.copy(g) for g in gradients]
    variables = make_variables(start_values(SHAPES))
    optimizer = Nadam(global_clipnorm=0.01, weight_decay=0.1, use_ema=True, loss_scale_factor=4.0)
    optimizer.apply(gradients, variables)
    for a, b in zip(gradients, kept, strict=True):
        np.testing.assert_array_equal(to_float64(a), to_float64(b))


def test_no_temporary_is_larger_than_a_block(update, monkeypatch):
    """With every option of a plain training; a kernel in place makes nothing."""
    monkeypatch.setattr(update.torch_blocks, "CACHED", 400)
    shape = (50, 40)
    variables = make_variables(start_values([shape] * 3))
    options = {"weight_decay": 0.1, "global_clipnorm": 0.1, "use_ema": True}
    optimizer = Nadam(gradient_accumulation_steps=2, **options)
    gradients = [keras.ops.ones(shape) for _ in variables]
    optimizer.apply(gradients, variables)
    for _ in range(3):
        found = kernels(lambda: optimizer.apply(gradients, variables))
        views = ("view", "split", "detach", "alias", "reshape", "_foreach_norm")
        large = [
            (name, size)
            for name, size in found
            if size > update.torch_blocks.CACHED and not any(view in name for view in views)
            if "_." not in name
        ]
        assert large == []


def test_the_number_of_kernels_does_not_grow_with_the_number_of_small_variables():
    """All options; what is launched is counted, a foreach call as one."""
    options = {"weight_decay": 0.1, "global_clipnorm": 0.1, "use_ema": True}
    counts = []
    for number in (4, 400):
        variables = make_variables([np.ones(3)] * number)
        optimizer, gradients = Nadam(**options), [keras.ops.ones((3,))] * number
        optimizer.apply(gradients, variables)
        found = get_backend().operations(lambda: optimizer.apply(gradients, variables))  # noqa: B023
        counts.append(len([name for name in found if "view" not in name]))
    assert counts[0] == counts[1] <= 60


def test_the_common_norm_of_millions_of_equal_elements():
    """Added up one by one in float32 they would be off by 3e-3."""
    gradient = keras.ops.full((3_000_000,), 0.01)
    norm = float(get_backend().norm([gradient, gradient, gradient[:7]], "float32"))
    assert norm == pytest.approx(float(np.float32(0.01)) * 6_000_007**0.5, rel=1e-6)


def test_a_stateless_step_reads_and_writes_the_values_of_its_scope():
    """The variables themselves stay as they are."""
    variables = make_variables([np.ones(3)])
    optimizer = Nadam(0.1)
    optimizer.build(variables)
    state = [keras.ops.copy(v.value) for v in optimizer.variables]
    given = [keras.ops.full((3,), 5.0)]
    new, _ = optimizer.stateless_apply(state, [keras.ops.ones((3,))], given)
    assert to_float64(new[0]).max() < 5.0
    np.testing.assert_array_equal(to_float64(variables[0]), np.ones(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
@pytest.mark.parametrize("place", range(6))
def test_one_element_tells_that_not_all_are_finite(update, place, value):
    """In large and small tensors, of other types and layouts; squares that overflow are fine."""
    import torch

    def tensors():
        large, wide = torch.ones(9, 9), torch.ones(40, dtype=torch.float64)
        small = [torch.ones(2, 3), torch.ones(()), torch.ones(5, dtype=torch.bfloat16)]
        return [large, wide, *small, torch.ones(9, 4).T]

    together, finite = tensors(), bool(np.isfinite(value))
    assert get_backend().finite(together)
    together[place][(-1,) * together[place].ndim] = value
    assert get_backend().finite(together) is finite
    assert get_backend().finite([together[place]]) is finite
    assert get_backend().finite(tensors()[:place]) is True
