"""Sums of squares on TensorFlow: right in every way of running, and short chains under XLA."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="sums of the TensorFlow backend"
)

# Several of one shape and few, small and large, divisible by the number of lanes and not.
SHAPES = [(7,)] * 5 + [(200, 300)] * 3 + [(33_333,)] + [(129, 257)] * 2 + [(), (0, 4), (128, 128)]


def ways():
    """How a function may be run."""
    import tensorflow as tf

    return {
        "eager": lambda function: function,
        "graph": tf.function,
        "XLA": lambda function: tf.function(function, jit_compile=True),
    }


def made(dtype="float32", seed=0):
    """Random tensors and the sums of their squares in float64."""
    import tensorflow as tf

    generator = np.random.default_rng(seed)
    tensors = [tf.constant(generator.normal(size=shape), dtype) for shape in SHAPES]
    sums = [np.sum(np.square(np.float64(tf.cast(t, "float64").numpy()))) for t in tensors]
    return tensors, np.array(sums)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", ["eager", "graph", "XLA"])
def test_the_norm_is_that_of_all_tensors(way, dtype):
    """No way of adding up leaves an element out or takes it twice."""
    from nadam_suite.backends import tensorflow_sums

    tensors, sums = made(dtype)
    found = ways()[way](lambda: tensorflow_sums.norm(tensors, dtype))()
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.sqrt(sums.sum()), rtol=3e-7)


@pytest.mark.parametrize("way", ["eager", "graph", "XLA"])
def test_each_tensor_has_its_own_sum(way):
    """What clipping by the norm of one gradient asks for."""
    from nadam_suite.backends import tensorflow_sums

    tensors, sums = made()
    found = ways()[way](lambda: tensorflow_sums.squares(tensors))()
    np.testing.assert_allclose(found, sums, rtol=3e-6)


def test_variables_count_as_tensors():
    """Keras hands over its own where each replica is a program of its own."""
    from nadam_suite.backends import tensorflow_sums

    variables = [keras.Variable(np.full((2, 3), 2.0, "float32")), keras.Variable(3.0)]
    assert float(tensorflow_sums.total(variables, "float32")) == 6 * 4 + 9


@pytest.mark.parametrize("place", [0, 4, 5, 8, 9, 13])
@pytest.mark.parametrize("way", ["graph", "XLA"])
def test_one_bad_element_is_seen(way, place):
    """The last element of a tensor, which no lane may hold, counts as all others."""
    import tensorflow as tf

    from nadam_suite.backends import tensorflow_sums

    tensors, _ = made()
    for bad in (np.nan, np.inf):
        array = tensors[place].numpy()
        array.flat[-1] = bad
        changed = [*tensors[:place], tf.constant(array), *tensors[place + 1 :]]
        found = ways()[way](lambda changed=changed: tensorflow_sums.total(changed, "float32"))()
        assert not np.isfinite(found)


def test_half_precision_does_not_overflow_in_a_sum_for_xla():
    """Squares of numbers above 256 are infinite in float16."""
    import tensorflow as tf

    from nadam_suite.backends import tensorflow_sums

    tensors = [tf.fill((5, 5), tf.constant(1000.0, "float16"))]
    found = ways()["XLA"](lambda: tensorflow_sums.total(tensors, "float32"))()
    np.testing.assert_allclose(found, 25e6, rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.7])
def test_equal_squares_do_not_vanish_in_a_large_sum(value):
    """A chain of a million additions in float32 would lose a two-thousandth of it."""
    import tensorflow as tf

    from nadam_suite.backends import tensorflow_sums

    tensors = [tf.fill((2048, 2048), value)]
    exact = 2048**2 * np.float64(np.float32(value)) ** 2
    found = ways()["XLA"](lambda: tensorflow_sums.total(tensors, "float32"))()
    np.testing.assert_allclose(found, exact, rtol=3e-6)


def test_xla_adds_up_no_long_chain():
    """What is summed is a sixteenth of the elements in rows, then one row of them."""
    import re

    import tensorflow as tf

    from nadam_suite.backends import tensorflow_sums

    tensors = [tf.ones((512, 512))] * 4
    compiled = tf.function(lambda: tensorflow_sums.total(tensors, "float32"), jit_compile=True)
    program = compiled.experimental_get_compiler_ir()(stage="optimized_hlo")
    before = compiled.experimental_get_compiler_ir()(stage="hlo")
    assert re.findall(r" reduce\(f32\[([\d,]+)\]", before) == ["64,1024", "1024"]
    # The optimizer has not made one of them.
    assert len(re.findall(r" reduce\(", program)) >= 2
