"""Long trainings: counters beyond 2^24 and states resumed at step 10^6 stay finite and right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nadam_suite import Nadam
from tests.optimizers.driver import Loop, assert_paths_close, make_variables, state_by_name
from tests.optimizers.test_twin import linear
from tests.reference.gradients import gradient_list, start_values
from tests.reference.nadam import initial_state, momentum, trajectory

FAR = [10**6, 2**24 - 3, 2**24 + 3, 2**30]


def log_product(updates: int, beta_1: float, psi: float | None) -> float:
    """U after many updates, from logarithms in closed form once 0.96^t has died away."""
    if psi is None:
        return math.exp(updates * math.log(beta_1)) if updates * math.log(beta_1) > -700 else 0.0
    live = min(updates, 20_000)
    total = sum(math.log(momentum(beta_1, t, psi)) for t in range(1, live + 1))
    total += (updates - live) * math.log(beta_1)
    return math.exp(total) if total > -700 else 0.0


def resumed(updates: int, start, **options):
    """An optimizer and a twin's state that both stand at `updates` with nonzero m and v."""
    optimizer = Nadam(**options)
    variables = make_variables(start)
    optimizer.build(variables)
    beta_1, beta_2 = options.get("beta_1", 0.9), options.get("beta_2", 0.999)
    product = log_product(updates, beta_1, options.get("momentum_decay", 1.0))
    store = state_by_name(optimizer)
    store["iteration"] = np.array(updates)
    store["u_product"] = np.array(product)
    m = [0.1 * np.cos(a) for a in start]
    v = [0.05 + a * a for a in start]
    for i in range(len(start)):
        store[f"momentum_{i}"], store[f"velocity_{i}"] = m[i], v[i]
    optimizer.load_own_variables(store)
    state = initial_state(
        start,
        m=m,
        v=v,
        batch=updates,
        update=updates,
        U=product,
        beta_2_product=beta_2**updates if updates * math.log(beta_2) > -700 else 0.0,
    )
    return Loop(optimizer, variables), state


@pytest.mark.parametrize("momentum_decay", [1.0, 0.004, None])
@pytest.mark.parametrize("updates", FAR)
def test_resumed_far_out_follows_the_twin(updates, momentum_decay):
    """A state at step 10^6, round 2^24 or at 2^30 goes on as the float64 twin does."""
    start, gradients = start_values(), gradient_list(20)
    loop, state = resumed(updates, start, momentum_decay=momentum_decay)
    expected = trajectory(start, gradients, state, momentum_decay=momentum_decay)
    assert_paths_close(loop.run(gradients), expected, rtol=2e-6, atol=2e-6)
    assert int(loop.optimizer.iterations) == updates + 20


@pytest.mark.parametrize("beta_2", [0.9999999, 1 - 2**-24])
def test_beta_2_next_to_one_is_corrected_right(beta_2):
    """1 - beta_2^t does not lose its digits where beta_2 rounds to one in float32."""
    start, gradients = start_values(), gradient_list(50)
    loop = Loop(Nadam(beta_2=beta_2), make_variables(start))
    expected = trajectory(start, gradients, beta_2=beta_2)
    assert_paths_close(loop.run(gradients), expected, rtol=1e-5, atol=1e-5)


def test_schedule_far_out_reads_the_exact_step():
    """At 2^24 + 3 a schedule still sees that step (float32 keeps no odd integer there)."""
    start, gradients, here = start_values(), gradient_list(4), 2**24 + 3
    schedule, twin = linear(0.0, 1.0, steps=2**25)
    loop, state = resumed(here, start, learning_rate=schedule)
    expected = trajectory(start, gradients, state, learning_rate=twin)
    assert_paths_close(loop.run(gradients), expected, rtol=2e-6, atol=2e-6)


def test_the_product_of_u_reaches_zero_without_harm():
    """Over 3,000 updates the product underflows; weights stay finite and the state is not NaN."""
    loop = Loop(Nadam(), make_variables([np.ones(2)]))
    end = loop.run([[np.ones(2)]] * 3000)[-1][0]
    assert np.isfinite(end).all()
    state = state_by_name(loop.optimizer)
    assert all(np.isfinite(value).all() for value in state.values())
    assert abs(state["u_product"]) < 1e-30
