"""What the adapters report as the operations of a step, which the cells about cost count."""

from __future__ import annotations

import keras
import pytest

from nadam_suite.backends import get_backend

BACKEND = keras.backend.backend()


@pytest.mark.skipif(BACKEND != "jax", reason="traced branches are JAX's")
def test_what_only_a_branch_does_is_left_out():
    """A root inside a conditional is not counted, one inside a jitted function is."""
    import jax

    def branched(x):
        return jax.lax.cond(x[0] > 0, keras.ops.sqrt, lambda v: v * 2.0, x)

    def nested(x):
        return jax.jit(lambda v: keras.ops.sqrt(v) + 1.0)(x)

    ones = keras.ops.ones((2,))
    assert "sqrt" not in get_backend().operations(branched, ones)
    assert "cond" in get_backend().operations(branched, ones)
    assert get_backend().operations(nested, ones).count("sqrt") == 1


@pytest.mark.skipif(BACKEND != "torch", reason="foreach kernels are PyTorch's")
def test_a_call_for_many_tensors_counts_once():
    """A foreach call is one operation, a loop is as many as it makes."""
    import torch

    tensors = [torch.ones(2) for _ in range(5)]
    together = get_backend().operations(torch._foreach_add_, tensors, 1.0)
    alone = get_backend().operations(lambda: [t.add_(1.0) for t in tensors])
    assert len(together) == 1
    assert len(alone) == 5


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other two adapters count")
def test_tensorflow_has_no_count():
    """No cell needs the count on TensorFlow, so there is none to trust by mistake."""
    with pytest.raises(NotImplementedError):
        get_backend().operations(lambda: None)
