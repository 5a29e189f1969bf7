"""Lazy embeddings in `fit()`, and what a step of them costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.errors import NadamSuiteWarning
from tests.optimizers.driver import BACKEND, make_variables
from tests.optimizers.sparse import tensors
from tests.reference.nadam import Rows

RATE = 0.05


def fitted(optimizer, **compiling):
    """The embeddings of a small model after `fit()`, and those before it."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,), dtype="int32"), keras.layers.Embedding(40, 4)]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **compiling)
    (before, *_) = model.get_weights()
    tokens = np.random.default_rng(0).integers(0, 12, (10, 3)).astype("int32")
    tokens[:4] += 20  # in the first batch of an epoch alone
    y = np.arange(10.0, dtype="float32")
    model.fit(tokens, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    return before, model.get_weights()[0], np.unique(tokens)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras' embeddings are sparse there alone")
def test_fit_means_the_same_with_and_without_xla():
    """Compiled by XLA, which `fit()` asks for by default, as a graph and eagerly."""
    paths = {}
    for name, compiling in {
        "default": {},
        "graph": {"jit_compile": False},
        "XLA": {"jit_compile": True},
        "eager": {"run_eagerly": True},
    }.items():
        optimizer = Nadam(0.01, weight_decay=0.1, lazy_embeddings=True)
        before, paths[name], seen = fitted(optimizer, **compiling)
        unseen = np.setdiff1d(np.arange(40), seen)
        np.testing.assert_array_equal(paths[name][unseen], before[unseen])
        assert (paths[name][seen] != before[seen]).all()
    for name, path in paths.items():
        np.testing.assert_allclose(path, paths["eager"], rtol=1e-4, atol=1e-6, err_msg=name)
    dense = fitted(Nadam(0.01, weight_decay=0.1), jit_compile=False)[1]
    assert np.abs(dense - paths["graph"]).max() > 1e-3


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras' embeddings are sparse there")
def test_fit_says_that_embeddings_have_dense_gradients():
    """On the other backends `fit()` with Keras' layers trains as without it, and warns."""
    with pytest.warns(NadamSuiteWarning, match="no gradient of this step is sparse"):
        lazy = fitted(Nadam(0.01, lazy_embeddings=True))[1]
    np.testing.assert_array_equal(lazy, fitted(Nadam(0.01))[1])


def test_a_step_computes_with_nothing_as_large_as_the_table():
    """D64: what it costs depends on the rows that are seen, not on those that there are."""
    rows = 1_000_003
    gradient = Rows([7, 3, 7, rows - 1], np.ones((4, 1)), (rows, 1))
    sizes = {}
    for lazy in (False, True):
        optimizer = Nadam(RATE, weight_decay=0.1, global_clipnorm=1.0, lazy_embeddings=lazy)
        variables = make_variables([np.zeros((rows, 1))])
        optimizer.build(variables)
        sizes[lazy] = large_results(optimizer, variables, tensors([[gradient]])[0], rows)
    assert sizes[True] == 0
    assert sizes[False] > 2


def large_results(optimizer, variables, gradients, size):
    """How many operations of a step have results as large as the table, but for in-place ones."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        step = tf.function(
            lambda values, indices: optimizer.apply(
                [tf.IndexedSlices(values, indices, tf.constant([size, 1]))], variables
            )
        )
        graph = step.get_concrete_function(gradients[0].values, gradients[0].indices).graph
        nested = (
            [f.graph for f in graph._functions.values()] if hasattr(graph, "_functions") else []
        )
        outputs = [o for g in (graph, *nested) for op in g.get_operations() for o in op.outputs]
        return sum(size in tuple(o.shape.as_list() if o.shape.rank else ()) for o in outputs)
    if BACKEND == "jax":
        import jax

        state = [v.value for v in optimizer.variables]
        closed = jax.make_jaxpr(optimizer.stateless_apply)(state, gradients, [variables[0].value])
        found = 0
        for equation in every_equation(closed.jaxpr):
            in_place = equation.primitive.name in ("scatter", "jit", "pjit")
            found += not in_place and any(
                size in getattr(o.aval, "shape", ()) for o in equation.outvars
            )
        return found
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Recorder(TorchDispatchMode):
        """Notes results that are as large as the table and new."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            held = {
                v.value.untyped_storage().data_ptr() for v in (*variables, *optimizer.variables)
            }
            for one in result if isinstance(result, (list, tuple)) else [result]:
                if isinstance(one, torch.Tensor) and not one.is_sparse and one.numel() >= size:
                    name = str(func)
                    touches = name.split(".")[1].endswith("_") and "index_copy" not in name
                    if touches or one.untyped_storage().data_ptr() not in held:
                        found.append(name)
            if str(func).startswith("aten._foreach") or "fused" in str(func):
                found.extend([str(func)] * any(t.numel() >= size for t in args[0]))
            return result

    with Recorder():
        optimizer.apply(gradients, variables)
    return len(found)


def every_equation(jaxpr):
    """All equations, those of inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            inner = getattr(parameter, "jaxpr", None)
            if inner is not None:
                yield from every_equation(inner)
