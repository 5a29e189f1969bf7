"""The twin is checked first: by hand, and with two independent implementations in float64."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.processes import run_python
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import initial_state, nadam_step, trajectory

pytestmark = pytest.mark.once


def test_first_two_steps_equal_hand_computed_numbers():
    """Steps 1 and 2 of x=1, g=0.5, g=-1 with beta_1=0.5, beta_2=0.75, epsilon=0, psi=1 by hand."""
    options = {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 0.0}
    x, state = nadam_step(
        [np.array(1.0)], [np.array(0.5)], initial_state([np.array(1.0)]), **options
    )
    # u_1 = .5 (1 - .48) = .26, u_2 = .5 (1 - .4608) = .2696, m = .25, v = .0625, v^ = .25
    # m^ = .2696 * .25 / (1 - .26 * .2696) + .74 * .5 / .74 = .07248061... + .5
    m_hat = 0.2696 * 0.25 / (1 - 0.070096) + 0.5
    np.testing.assert_allclose(x[0], 1 - 0.1 * m_hat / 0.5, rtol=1e-15)
    np.testing.assert_allclose(x[0], 0.88550387997040554724, rtol=1e-15)
    before = float(x[0])
    x, state = nadam_step(x, [np.array(-1.0)], state, **options)
    # u_3 = .5 (1 - .442368) = .278816, m = .125 - .5 = -.375, v = .046875 + .25 = .296875
    # v^ = .296875 / (1 - .5625) = .6785714..., U_2 = .070096, U_3 = .019543886336
    m_hat = 0.278816 * -0.375 / (1 - 0.070096 * 0.278816) + (1 - 0.2696) * -1 / (1 - 0.070096)
    np.testing.assert_allclose(x[0], before - 0.1 * m_hat / np.sqrt(0.296875 / 0.4375), rtol=1e-14)
    np.testing.assert_allclose(state.U, 0.070096, rtol=1e-14)
    np.testing.assert_allclose(state.beta_2_product, 0.5625, rtol=1e-15)


@pytest.mark.parametrize("weight_decay", [None, 0.03])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
@pytest.mark.parametrize("momentum_decay", [1.0, 0.004])
def test_twin_equals_torch_nadam_in_float64(momentum_decay, epsilon, weight_decay):
    """PyTorch's NAdam and the twin agree to 1e-9 at each of 300 steps."""
    start = start_values()
    gradients = gradient_list(300)
    parameters = [torch.nn.Parameter(torch.tensor(a, dtype=torch.float64)) for a in start]
    other = torch.optim.NAdam(
        parameters,
        lr=0.01,
        eps=epsilon,
        momentum_decay=momentum_decay,
        weight_decay=weight_decay or 0.0,
        decoupled_weight_decay=True,
    )
    path = trajectory(
        start,
        gradients,
        learning_rate=0.01,
        epsilon=epsilon,
        momentum_decay=momentum_decay,
        weight_decay=weight_decay,
    )
    for g, expected in zip(gradients, path, strict=True):
        for parameter, gradient in zip(parameters, g, strict=True):
            parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        other.step()
        for parameter, a in zip(parameters, expected, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), a, rtol=1e-9, atol=1e-9)


_OPTAX = """
import json
import jax; jax.config.update("jax_enable_x64", True); jax.config.update("jax_platforms", "cpu")
import numpy as np, optax
from tests.reference.gradients import gradient_list, start_values
params, paths = start_values(), []
rule = optax.nadam(0.01, eps=1e-7)
if DECAY:
    rule = optax.nadamw(0.01, eps=1e-7, weight_decay=DECAY)
@jax.jit
def step(g, state, params):
    change, state = rule.update(g, state, params)
    return state, optax.apply_updates(params, change)
state = rule.init(params)
for g in gradient_list(200):
    state, params = step(g, state, params)
    paths.append([np.asarray(a).ravel().tolist() for a in params])
print(json.dumps(paths))
"""


@pytest.mark.parametrize("weight_decay", [None, 0.03])
def test_twin_without_momentum_decay_equals_optax_in_float64(weight_decay):
    """With momentum_decay=None the twin is optax.nadam (nadamw), to 1e-9 at each of 200 steps."""
    code = _OPTAX.replace("DECAY", repr(weight_decay or 0))
    other = json.loads(run_python(code).stdout.splitlines()[-1])
    path = trajectory(
        start_values(),
        gradient_list(200),
        learning_rate=0.01,
        momentum_decay=None,
        weight_decay=weight_decay,
    )
    assert len(other) == len(path)
    for theirs, ours in zip(other, path, strict=True):
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(a, b.ravel(), rtol=1e-9, atol=1e-9)


def test_accumulation_equals_one_step_with_the_mean():
    """Three micro-batches are one step with their mean, and change nothing before it."""
    start, gradients = start_values(), gradient_list(6)
    path = trajectory(start, gradients, gradient_accumulation_steps=3)
    means = [
        [np.mean(parts, axis=0) for parts in zip(*gradients[i : i + 3], strict=True)]
        for i in (0, 3)
    ]
    whole = trajectory(start, means)
    np.testing.assert_array_equal(path[1][0], start[0])
    for ours, expected in ((path[2], whole[0]), (path[5], whole[1])):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)


def test_first_average_copies_and_overwrite_puts_it_into_the_variables():
    """The first update copies the weights; every second one the weights become the average."""
    start, gradients = start_values(), gradient_list(2)
    plain = trajectory(start, gradients)
    ours = trajectory(start, gradients, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=2)
    np.testing.assert_array_equal(ours[0][0], plain[0][0])
    np.testing.assert_allclose(ours[1][0], 0.75 * plain[0][0] + 0.25 * plain[1][0], rtol=1e-14)
