"""`recalibrate_batch_norm` gives the exact pooled statistics, and changes nothing else."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.callbacks import recalibrate_batch_norm
from nadam_suite.callbacks.batch_norm import Moments, normalization_layers, statistics_of
from nadam_suite.callbacks.batches import batches_of
from nadam_suite.errors import ArgumentError, StateError

BN = keras.layers.BatchNormalization


def numbers(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) * 3 + generator.normal(size=shape[-1])).astype("float32")


def sequential(shape, *layers):
    model = keras.Sequential([keras.Input(shape), *layers])
    for variable in model.variables:  # starting values would hide that nothing was assigned
        if "moving" in variable.path:
            variable.assign(variable + 0.5)
    return model


def array(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype="float64")


def assert_statistics(layer, values, rtol=1e-6):
    """The layer's statistics are those of a float64 array of shape (n, channels)."""
    values = np.asarray(values, dtype="float64")
    np.testing.assert_allclose(array(layer.moving_mean), values.mean(0), rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(array(layer.moving_variance), values.var(0), rtol=rtol)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 100])
def test_statistics_are_those_of_all_inputs_together(batch_size):
    """Exact mean and variance, whatever the cut: an uneven last batch weighs what it holds."""
    x = numbers(53, 4)
    x[40:] += 100.0  # batches with means of their own: a mean of their variances would be wrong
    layer = BN(momentum=0.9)
    recalibrate_batch_norm(sequential((4,), layer), x, batch_size=batch_size)
    assert_statistics(layer, x)
    assert layer.momentum == 0.9


def test_a_large_offset_costs_no_digits():
    """Mean 1e4 and deviation 1: the variance has six digits, which E[x^2] - E[x]^2 has not."""
    x = (np.random.default_rng(1).normal(size=(64, 2)) + 1e4).astype("float32")
    layer = BN()
    recalibrate_batch_norm(sequential((2,), layer), x, batch_size=5)
    assert_statistics(layer, x)


@pytest.mark.parametrize("axis", [1, -1])
def test_any_axis(axis):
    """Channels first or last: each has the statistics of its own elements."""
    x = numbers(10, 3, 5)
    layer = BN(axis=axis)
    recalibrate_batch_norm(sequential((3, 5), layer), x, batch_size=4)
    assert_statistics(layer, np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]))


def test_masked_elements_do_not_count():
    """Time steps that a mask leaves out change nothing, whatever they hold."""
    x = numbers(9, 4, 3)
    x[:, 2:] = np.where(np.arange(9)[:, None, None] % 2, 0.0, x[:, 2:])
    layer = BN()
    model = sequential((4, 3), keras.layers.Masking(0.0), layer)
    recalibrate_batch_norm(model, x, batch_size=4)
    assert_statistics(layer, x[(x != 0).any(-1)])


def test_layers_behind_a_normalization_see_its_training_output():
    """The second of two layers is fed what training feeds it, batch by batch."""
    x = numbers(20, 3)
    first, second = BN(epsilon=1e-3), BN()
    recalibrate_batch_norm(sequential((3,), first, second), x, batch_size=8)
    seen = [
        (part - part.mean(0)) / np.sqrt(part.var(0) + 1e-3)
        for part in (x[s : s + 8].astype("float64") for s in range(0, 20, 8))
    ]
    assert_statistics(first, x)
    assert_statistics(second, np.concatenate(seen), rtol=1e-5)


class Inside(keras.layers.Layer):
    """Keeps its layers in a dict and a list, applies one twice and one in inference mode."""

    def __init__(self):
        super().__init__()
        self.parts = {"twice": BN(name="twice"), "frozen": BN(name="frozen", trainable=False)}
        self.more = [BN(name="still"), BN(name="unused")]

    def build(self, shape):
        for layer in (*self.parts.values(), *self.more):
            layer.build(shape)

    def call(self, x, training=None):
        twice = self.parts["twice"]
        y = keras.ops.concatenate([twice(x, training=training), twice(10 * x, training=training)])
        return self.more[0](self.parts["frozen"](y), training=False)


def test_nested_layers_are_found_and_unused_ones_kept():
    """Only layers that train are assigned; one that is applied twice has all of its inputs."""
    x = numbers(12, 2)
    inner = keras.Sequential([keras.Input((2,)), Inside()])
    model = sequential((2,), inner)
    by_name = {layer.name: layer for layer in inner.layers[0].parts.values()}
    by_name |= {layer.name: layer for layer in inner.layers[0].more}
    before = {name: array(layer.moving_mean) for name, layer in by_name.items()}
    assert {layer.name for layer in normalization_layers(model)} == {"twice", "still", "unused"}
    assert len(statistics_of(model)) == 6
    recalibrate_batch_norm(model, x, batch_size=5)
    assert_statistics(by_name["twice"], np.concatenate([x, 10 * x]))
    for name in ("frozen", "still", "unused"):
        np.testing.assert_array_equal(array(by_name[name].moving_mean), before[name])


class Counting(keras.layers.Layer):
    """Counts its calls in a variable, as some layers keep state."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign(self.calls + 1)
        return x


def test_everything_else_is_as_before():
    """Other state, seeds, the global generator, weights, gradients' switch and methods."""
    layer, frozen = BN(), BN()
    model = sequential((3,), keras.layers.Dropout(0.5), layer, frozen, Counting())
    frozen.trainable = False
    model.compile("sgd", loss="mse")
    x = numbers(20, 3)
    model.fit(x, x, verbose=0)
    own = {id(variable) for variable in statistics_of(model)}
    before = [array(v) for v in model.variables if id(v) not in own]
    recalibrate_batch_norm(model, x)
    first = array(layer.moving_mean)
    for value, variable in zip(
        before, [v for v in model.variables if id(v) not in own], strict=True
    ):
        np.testing.assert_array_equal(array(variable), value)
    recalibrate_batch_norm(model, x)
    np.testing.assert_array_equal(array(layer.moving_mean), first)  # the same numbers were dropped
    assert "call" not in vars(layer)


def test_a_failure_leaves_the_statistics():
    """Data that end in an error change nothing, and the error is theirs."""

    def broken():
        yield numbers(4, 2)
        raise OSError("the disk is gone")

    layer = BN()
    model = sequential((2,), layer)
    before = [array(variable) for variable in model.variables]
    with pytest.raises(OSError, match="disk"):
        recalibrate_batch_norm(model, broken())
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(array(variable), value)
    assert "call" not in vars(layer)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    """One NaN would make NaN of all that the model puts out later."""
    x = numbers(6, 2)
    x[3, 1] = value
    layer = BN()
    model = sequential((2,), layer)
    before = array(layer.moving_mean)
    with pytest.raises(StateError, match=r"batch_normalization.* must be finite"):
        recalibrate_batch_norm(model, x)
    np.testing.assert_array_equal(array(layer.moving_mean), before)


def test_a_model_without_normalization_reads_nothing():
    """No data are needed where there is nothing to do."""
    model = sequential((2,), keras.layers.Dense(1))
    before = model.get_weights()
    recalibrate_batch_norm(model, None)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_renormalization_has_its_deviation_too():
    """A layer with `renorm=True` derives its moving variance from a moving deviation."""
    x = numbers(16, 2)
    layer = BN(renorm=True)
    model = sequential((2,), layer)
    kept = [array(layer.renorm_mean), array(layer.renorm_stddev)]
    recalibrate_batch_norm(model, x)
    assert_statistics(layer, x)
    np.testing.assert_allclose(array(layer.moving_stddev), np.sqrt(x.var(0) + 1e-3), rtol=1e-5)
    for value, variable in zip(kept, (layer.renorm_mean, layer.renorm_stddev), strict=True):
        np.testing.assert_array_equal(array(variable), value)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
def test_half_precision(policy):
    """The inputs are those of the layer, so in half precision; nothing is summed up in it."""
    x = numbers(64, 2)
    layer = BN(dtype=policy)
    recalibrate_batch_norm(sequential((2,), layer), x, batch_size=8)
    np.testing.assert_allclose(array(layer.moving_mean), x.mean(0), rtol=2e-2, atol=2e-2)
    np.testing.assert_allclose(array(layer.moving_variance), x.var(0), rtol=2e-2)


class Dataset(keras.utils.PyDataset):
    """Batches by number; endless if it has no length."""

    def __init__(self, x, count):
        super().__init__()
        self.x, self.count = x, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return self.x[index * 4 : index * 4 + 4], np.zeros(4)


def _tensors(x):
    return keras.ops.convert_to_tensor(x)


KINDS = {
    "array": lambda x: x,
    "tensor": _tensors,
    "pair": lambda x: (x, np.zeros(len(x))),
    "triple": lambda x: (x, np.zeros(len(x)), np.ones(len(x))),
    "batches": lambda x: [x[:4], x[4:8], x[8:]],
    "pairs": lambda x: [(x[:4], np.zeros(4)), (x[4:8], np.zeros(4)), (x[8:], np.zeros(2))],
    "tensors": lambda x: [(_tensors(x[:4]), 0), (_tensors(x[4:8]), 0), (_tensors(x[8:]), 0)],
    "dataset": lambda x: Dataset(x, 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_data(kind):
    """Whatever `fit()` takes: the inputs arrive, targets and weights do not."""
    x = numbers(10, 2)
    layer = BN()
    recalibrate_batch_norm(sequential((2,), layer), KINDS[kind](x), batch_size=4)
    assert_statistics(layer, x)


def test_data_sets_of_the_frameworks():
    """A `tf.data.Dataset` on any backend, and a PyTorch `DataLoader` there."""
    x = numbers(10, 2)
    if keras.backend.backend() == "torch":
        from torch.utils.data import DataLoader, TensorDataset

        pairs = TensorDataset(_tensors(x).cpu(), _tensors(np.zeros(10)).cpu())
        data = DataLoader(pairs, batch_size=4)
    else:
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, np.zeros(10))).batch(4)
    layer = BN()
    recalibrate_batch_norm(sequential((2,), layer), data)
    assert_statistics(layer, x)


def test_several_inputs_by_name():
    """A dict of arrays is cut alike."""
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    layer = BN()
    model = keras.Model({"a": a, "b": b}, layer(keras.layers.Subtract()([a, b])))
    data = {"a": numbers(7, 2), "b": numbers(7, 2, seed=1)}
    recalibrate_batch_norm(model, data, batch_size=3)
    assert_statistics(layer, data["a"] - data["b"])


def test_only_so_many_steps():
    """`steps` ends data that have no end, and cuts those that have one."""
    x = numbers(10, 2)
    for data in (x, Dataset(x, None), (x[s % 8 : s % 8 + 4] for s in range(0, 999, 4))):
        layer = BN()
        recalibrate_batch_norm(sequential((2,), layer), data, steps=2, batch_size=4)
        assert_statistics(layer, x[:8])


BAD = [
    ({"data": None}, ArgumentError, "`data`.*1 such"),
    ({"data": []}, ArgumentError, "at least one batch"),
    ({"data": 3}, TypeError, "type int"),
    ({"data": Dataset(np.zeros((4, 2)), None)}, ArgumentError, "`steps`"),
    ({"data": np.zeros((4, 2)), "steps": 0}, ArgumentError, "steps=0"),
    ({"data": np.zeros((4, 2)), "batch_size": 0}, ArgumentError, "batch_size=0"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=lambda v: str(v)[:30])
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    """What was passed, and what to pass instead."""
    with pytest.raises(error, match=message):
        recalibrate_batch_norm(sequential((2,), BN()), **arguments)


def test_all_masked_is_refused():
    """Without a single value there is no mean."""
    model = sequential((3, 2), keras.layers.Masking(0.0), BN())
    with pytest.raises(ArgumentError, match="masked"):
        recalibrate_batch_norm(model, np.zeros((4, 3, 2), "float32"))


@pytest.mark.once
def test_moments_of_parts_are_those_of_the_whole(monkeypatch):
    """Merged from parts of any size, also where arrays are too large to convert at once."""
    monkeypatch.setattr("nadam_suite.callbacks.batch_norm._AT_ONCE", 20)
    values = np.random.default_rng(3).normal(size=(50, 3)) + 1e6
    chosen = np.random.default_rng(4).random((50, 3)) < 0.7
    moments, masked = Moments(3), Moments(3)
    for part in np.split(np.arange(50), [3, 4, 30]):
        moments.add(values[part])
        masked.add(np.where(chosen, values, np.nan)[part], chosen[part])
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-9)
    expected = [values[chosen[:, c], c] for c in range(3)]
    np.testing.assert_allclose(masked.mean, [e.mean() for e in expected], rtol=1e-14)
    np.testing.assert_allclose(masked.variance, [e.var() for e in expected], rtol=1e-9)


@pytest.mark.once
def test_batches_keep_what_a_model_takes():
    """Inputs that are None, or of several parts, come out as they went in."""
    (batch,) = batches_of([((np.ones(2), None), np.zeros(2))])
    assert batch[1] is None
    np.testing.assert_array_equal(batch[0], np.ones(2))
