"""What the step writes down is what it used: values, momentum and the norm of the gradients."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.optimizers.monitor import last_update, restart
from nadam_suite.schedules import WarmupLinear
from tests.optimizers.driver import Loop, make_variables
from tests.reference.nadam import momentum


def trained(optimizer, gradients, monitored="norm", **options):
    """Give the optimizer after these gradients, one vector a step."""
    optimizer.monitored = monitored
    loop = Loop(optimizer, make_variables([np.ones(2)]), **options)
    for row in gradients:
        loop.step([np.asarray(row, "float32")])
    loop.write_back()
    return optimizer


GRADIENTS = [[3.0, 4.0], [0.6, 0.8], [6.0, 8.0], [0.0, 2.0], [1.0, 0.0]]


@pytest.mark.parametrize("compiled", [True, False])
def test_the_last_update_is_written_down(compiled):
    """Rate, decay, beta_1 and u_t are those of the last of five steps; the norm is the mean."""
    optimizer = Nadam(
        WarmupLinear(0.1, 10, 2),
        beta_1=WarmupLinear(0.9, 10),
        weight_decay=WarmupLinear(0.5, 10),
    )
    used = last_update(trained(optimizer, GRADIENTS, compiled=compiled))
    expected = {
        "learning_rate": 0.1 * 6 / 8,
        "weight_decay": 0.3,
        "beta_1": 0.54,
        "momentum": momentum(0.54, 5, 1.0),
        "gradient_norm": (5 + 1 + 10 + 2 + 1) / 5,
    }
    assert list(used) == list(expected)
    np.testing.assert_allclose(list(used.values()), list(expected.values()), rtol=1e-6)


def test_under_accumulation_real_updates_count():
    """Of five batches in windows of two the second update is the last; its norm is the mean's."""
    schedule = WarmupLinear(0.1, 10, 2)
    optimizer = trained(Nadam(schedule, gradient_accumulation_steps=2), GRADIENTS)
    used = last_update(optimizer)
    np.testing.assert_allclose(used["learning_rate"], float(schedule(3)), rtol=1e-6)
    norms = [np.hypot(1.8, 2.4), np.hypot(3.0, 5.0)]
    np.testing.assert_allclose(used["gradient_norm"], np.mean(norms), rtol=1e-6)


def test_the_norm_is_taken_before_clipping_and_after_unscaling():
    """global_clipnorm changes what is applied, not what is written down; loss scales are undone."""
    optimizer = Nadam(0.1, global_clipnorm=1.0, loss_scale_factor=4.0)
    used = last_update(trained(optimizer, [[12.0, 16.0]]))
    assert used["gradient_norm"] == pytest.approx(5.0, rel=1e-6)


def test_restart_forgets_the_updates_so_far():
    """After a restart there is nothing, and then the mean of what follows."""
    optimizer = Nadam(0.1)
    optimizer.monitored = "norm"
    loop = Loop(optimizer, make_variables([np.ones(2)]), compiled=False)
    loop.run([[np.asarray(g)] for g in GRADIENTS])
    restart(optimizer)
    assert last_update(optimizer) is None
    loop.run([[np.asarray(g)] for g in GRADIENTS[:2]])
    assert last_update(optimizer)["gradient_norm"] == pytest.approx(3.0, rel=1e-6)


def test_nothing_is_written_down_unless_asked():
    """An optimizer that is not monitored computes no norm and knows of no update."""
    assert last_update(trained(Nadam(0.1), GRADIENTS, monitored=False)) is None
    assert last_update(Nadam(0.1)) is None


def test_monitoring_changes_no_bit_of_the_training():
    """Weights and state with it and without it are the same."""
    paths = []
    for monitored in ("norm", "values", False):
        optimizer = Nadam(0.1, global_clipnorm=1.0, gradient_accumulation_steps=2)
        optimizer.monitored = monitored
        variables = make_variables([np.ones(2)])
        paths.append(Loop(optimizer, variables).run([[np.asarray(g)] for g in GRADIENTS]))
    for a, b, c in zip(*paths, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)


def test_a_constant_rate_and_no_decay():
    """A settable number is written down; without weight decay there is no such entry."""
    optimizer = trained(Nadam(0.25), GRADIENTS)
    used = last_update(optimizer)
    assert used["learning_rate"] == 0.25
    assert "weight_decay" not in used
    state = {}
    optimizer.save_own_variables(state)
    assert "monitor" not in state
