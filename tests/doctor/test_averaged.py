"""What the cells about averages take for granted of their model."""

from __future__ import annotations

import numpy as np
import pytest

from nadam_suite.doctor import ours, stock
from nadam_suite.doctor.probes.averaged import (
    BEST,
    ROWS,
    TARGET,
    Interrupt,
    averaged_model,
    bits,
    closed_form,
    fit,
    kernel_is,
    step,
)


@pytest.mark.once
@pytest.mark.parametrize("series", [0, 1], ids=["raw", "averaged"])
def test_the_second_epoch_is_the_best_of_both(series):
    """Losses fall to it and rise after it, so that stopping early stops one epoch later."""
    ends = closed_form(4)[series][len(ROWS) - 1 :: len(ROWS)]
    losses = [abs(end.sum() - TARGET) for end in ends]
    assert int(np.argmin(losses)) == BEST - 1
    assert losses[BEST] < losses[BEST + 1]


@pytest.mark.once
def test_the_best_raw_weights_have_another_score():
    """A file of the wrong weights is told by what it evaluates to."""
    raw, averaged = (abs(s[-1].sum() - TARGET) for s in closed_form(BEST))
    assert raw > 2.0 * averaged > 0.02


@pytest.mark.parametrize("subject", [stock, ours], ids=["stock", "ours"])
def test_steps_follow_the_closed_form(subject):
    """Without `fit()` neither side puts averages into the model."""
    model = averaged_model(subject())
    step(model)
    assert kernel_is(model, closed_form(1)[0][-1], "weights").holds
    assert not kernel_is(model, closed_form(1)[1][-1], "averages").holds


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_the_interrupt_comes_after_so_many_batches(batches):
    """Ctrl-C at 0 leaves the model untouched, else after that batch."""
    model = averaged_model(ours())
    before = bits(model)
    with pytest.raises(KeyboardInterrupt):
        fit(model, 1, Interrupt(batches))
    assert (bits(model) == before) == (batches == 0)
    if batches:
        assert kernel_is(model, closed_form(1)[0][batches - 1], "weights").holds
