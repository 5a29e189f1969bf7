"""A training that is cut and resumed by `TrainingState` is the training that was not cut."""

from __future__ import annotations

import contextlib
import functools

import keras
import numpy as np
import pytest

from nadam_suite import Nadam
from nadam_suite.callbacks import TrainingState
from nadam_suite.callbacks import training_state as module
from nadam_suite.errors import ArgumentError, DataFileError, StateError

pytestmark = pytest.mark.slow  # each test compiles several trainings

STEPS, EPOCHS, ACCUMULATION = 4, 4, 3


class PowerCutError(Exception):
    pass


class PowerCut(keras.callbacks.Callback):
    """Raises before a batch, counted over all epochs."""

    def __init__(self, before: int | None) -> None:
        super().__init__()
        self.before, self.seen = before, 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.seen == self.before:
            raise PowerCutError
        self.seen += 1


def _once(*cases):
    return [pytest.param(case, marks=pytest.mark.once) for case in cases]


def _model(optimizer=None, units=3):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    optimizer = optimizer or Nadam(0.05, use_ema=True, gradient_accumulation_steps=ACCUMULATION)
    model.compile(optimizer, loss="mse", metrics=["mae"])
    return model


def _data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(STEPS * 8, 5)).astype("float32")
    return x, (x[:, :1] ** 2).astype("float32")


def _stream(epoch, batch):
    x, y = _data()
    while True:
        order = np.random.default_rng([7, epoch]).permutation(len(x))
        for start in range(batch * 8, len(x), 8):
            yield x[order[start : start + 8]], y[order[start : start + 8]]
        epoch, batch = epoch + 1, 0


def _fit(folder, cut=None, others=(), epochs=EPOCHS, model=None, **options):
    """Train, or go on; return the model, the state and the number of batches trained here."""
    model = model or _model()
    state = TrainingState(folder, **options)
    start = state.restore(model)
    power = PowerCut(cut)
    if options.get("save_every_batches"):
        # TensorFlow builds metrics at the first batch, too late for a restore within an epoch.
        model.evaluate(*_data(), verbose=0)
    with contextlib.suppress(PowerCutError):
        model.fit(
            _stream(start, state.skip_batches),
            steps_per_epoch=STEPS,
            validation_data=_data(),
            epochs=epochs if not state.stopped else start,
            initial_epoch=start,
            shuffle=False,
            verbose=0,
            callbacks=[power, *state.around(*others)],
        )
    return model, state, power.seen


def _values(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def _assert_same(first, second):
    for a, b in zip(_values(first), _values(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """Model and state of a training that nothing cuts, trained once for the same options."""

    @functools.cache
    def trained(**options):
        return _fit(tmp_path_factory.mktemp("whole"), **options)[:2]

    return trained


@pytest.mark.parametrize("cut", [0, 9, *_once(3, 4, 15)])
def test_cut_anywhere_equals_uncut(tmp_path, uncut, cut):
    """Cut before any batch and resumed: every variable and the history are bit for bit the same."""
    whole, expected = uncut()
    _fit(tmp_path / "cut", cut=cut)
    model, state, trained = _fit(tmp_path / "cut")
    _assert_same(model, whole)
    assert state.history == expected.history
    assert [row["epoch"] for row in state.history] == list(range(EPOCHS))
    assert trained == STEPS * EPOCHS - cut // STEPS * STEPS


@pytest.mark.parametrize("cut", [5, *_once(1, 7, 14)])
def test_state_within_an_epoch_repeats_no_batch(tmp_path, uncut, cut):
    """With a state after every batch no batch is trained twice, and the epoch's metrics go on."""
    whole, expected = uncut(save_every_batches=1)
    _fit(tmp_path / "cut", cut=cut, save_every_batches=1)
    model, state, trained = _fit(tmp_path / "cut", save_every_batches=1)
    assert trained == STEPS * EPOCHS - cut
    _assert_same(model, whole)
    assert state.history == expected.history


@pytest.mark.slow
def test_cut_twice_equals_uncut(tmp_path, uncut):
    """A resumed training may be cut again, within the rest of the same epoch too."""
    whole, expected = uncut(save_every_batches=1)
    _fit(tmp_path / "cut", cut=5, save_every_batches=1)
    _fit(tmp_path / "cut", cut=2, save_every_batches=1)
    model, state, trained = _fit(tmp_path / "cut", save_every_batches=1)
    assert trained == STEPS * EPOCHS - 7
    _assert_same(model, whole)
    assert state.history == expected.history


def test_interval_within_an_epoch(tmp_path):
    """States lie as far apart as asked for, and the rest of an epoch keeps the rhythm."""
    _fit(tmp_path, cut=3, save_every_batches=2)
    state = TrainingState(tmp_path)
    assert state.restore(_model()) == 0
    assert state.skip_batches == 2


def test_later_fit_trains_all_its_epochs(tmp_path):
    """Nothing in the model remembers the resumed epoch (D52)."""
    _fit(tmp_path, cut=9)
    model, _, _ = _fit(tmp_path)
    history = model.fit(*_data(), batch_size=8, epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == (STEPS * EPOCHS + STEPS * 2) // ACCUMULATION


def _stopping():
    return keras.callbacks.EarlyStopping("loss", 1e9, patience=2, restore_best_weights=True)


def test_early_stopping_goes_on_where_it_was(tmp_path):
    """Patience, best value and best weights survive: the training stops at the same epoch."""
    whole, expected, _ = _fit(tmp_path / "whole", others=[_stopping()])
    assert len(expected.history) == 3
    _fit(tmp_path / "cut", cut=2 * STEPS + 1, others=[_stopping()])
    model, state, _ = _fit(tmp_path / "cut", others=[_stopping()])
    assert len(state.history) == 3
    _assert_same(model, whole)


def test_stopped_training_is_not_trained_further(tmp_path):
    """Resumed after a callback ended it, a training only finishes: the best weights come back."""
    whole, _, _ = _fit(tmp_path, others=[_stopping()])
    model, state, trained = _fit(tmp_path, others=[_stopping()])
    assert state.stopped
    assert trained == 0
    _assert_same(model, whole)


def test_real_stop_in_the_rest_of_an_epoch_counts(tmp_path):
    """Ending an epoch's rest early does not swallow the stop that another callback wants."""
    _fit(tmp_path, cut=2 * STEPS + 2, others=[_stopping()], save_every_batches=1)
    _, state, _ = _fit(tmp_path, others=[_stopping()], save_every_batches=1)
    assert len(state.history) == 3


class StopAt(keras.callbacks.Callback):
    """Asks for the end at a batch."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == STEPS - 3:
            self.model.stop_training = True


def test_real_stop_at_the_last_batch_of_the_rest_counts(tmp_path):
    """A stop that comes at the very batch at which the rest ends is a stop."""
    _fit(tmp_path, cut=STEPS + 2, save_every_batches=1)
    state = TrainingState(tmp_path)
    model = _model()
    start = state.restore(model)
    model.fit(
        _stream(start, state.skip_batches),
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        initial_epoch=start,
        shuffle=False,
        verbose=0,
        callbacks=[StopAt(), *state.around()],
    )
    assert len(state.history) == 2


def test_plateau_goes_on_where_it_was(tmp_path):
    """The lowered rate and the patience of ReduceLROnPlateau survive."""

    def plateau():
        return keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=2, min_delta=1e9)

    whole, _, _ = _fit(tmp_path / "whole", others=[plateau()])
    _fit(tmp_path / "cut", cut=STEPS * 2, others=[plateau()])
    model, _, _ = _fit(tmp_path / "cut", others=[plateau()])
    assert float(model.optimizer.learning_rate) < 0.05
    _assert_same(model, whole)


def test_stock_optimizer_is_restored_before_its_first_step(tmp_path):
    """An optimizer that is not built yet gets its whole state (D51)."""
    first, _, _ = _fit(tmp_path, model=_model(keras.optimizers.Nadam(0.05)))
    second = _model(keras.optimizers.Nadam(0.05))
    assert not second.optimizer.built
    TrainingState(tmp_path).restore(second)
    _assert_same(second, first)


def test_bfloat16_values_survive(tmp_path):
    """Half-precision variables come back bit for bit, though NumPy files do not know the type."""
    keras.config.set_dtype_policy("bfloat16")
    first, _, _ = _fit(tmp_path, epochs=1)
    second = _model()
    TrainingState(tmp_path).restore(second)
    _assert_same(second, first)


def test_killed_while_writing_leaves_the_previous_state(tmp_path, monkeypatch):
    """If writing a state fails half-way, the one before it is still whole."""
    _fit(tmp_path, epochs=1)
    before = (tmp_path / "training_state.npz").read_bytes()

    def broken(self, path):
        from nadam_suite.callbacks.files import replace_file

        def half(file):
            file.write(b"PK half")
            raise PowerCutError

        replace_file(path, half)

    monkeypatch.setattr(module.Snapshot, "write", broken)
    _fit(tmp_path, epochs=2)
    assert (tmp_path / "training_state.npz").read_bytes() == before


def test_damaged_file_is_refused(tmp_path):
    """A flipped byte in the state is noticed, and named."""
    _fit(tmp_path, epochs=1)
    path = tmp_path / "training_state.npz"
    data = bytearray(path.read_bytes())
    data[data.index(b'"stopped"') + 3] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataFileError, match=r"cannot be read.*Delete it"):
        TrainingState(tmp_path).restore(_model())


def test_truncated_file_is_refused(tmp_path):
    """Half a file is noticed."""
    _fit(tmp_path, epochs=1)
    path = tmp_path / "training_state.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataFileError, match=r"training_state\.npz"):
        TrainingState(tmp_path).restore(_model())


def test_state_of_another_model_is_refused(tmp_path):
    """Shapes that differ are refused, and nothing is assigned."""
    _fit(tmp_path, epochs=1)
    other = _model(units=4)
    before = _values(other)
    with pytest.raises(StateError, match=r"shape \(5, 4\).*Received.*\(5, 3\).*as it was"):
        TrainingState(tmp_path).restore(other)
    for a, b in zip(_values(other)[: len(other.variables)], before, strict=False):
        np.testing.assert_array_equal(a, b)


def test_other_callbacks_are_refused(tmp_path):
    """Callbacks that are not those of the state are refused."""
    _fit(tmp_path, epochs=1, others=[_stopping()])
    with pytest.raises(StateError, match=r"EarlyStopping.*Received: \[\]"):
        _fit(tmp_path)


def test_forgotten_initial_epoch_is_refused(tmp_path):
    """Restored weights at epoch 0 would be a training that nobody asked for."""
    _fit(tmp_path, epochs=2)
    model, state = _model(), TrainingState(tmp_path)
    assert state.restore(model) == 2
    with pytest.raises(StateError, match=r"`initial_epoch` must be 2.*initial_epoch=0"):
        model.fit(*_data(), epochs=3, verbose=0, callbacks=state.around())


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("name", ["save_every_epochs", "save_every_batches"])
def test_wrong_interval_is_refused(tmp_path, name, value):
    """Intervals are integers from one on."""
    with pytest.raises(ArgumentError, match=f"`{name}` must be an integer >= 1. Received"):
        TrainingState(tmp_path, **{name: value})


def test_model_that_is_not_compiled_is_refused(tmp_path):
    """Without an optimizer there is nothing to restore into."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ArgumentError, match="compiled and built"):
        TrainingState(tmp_path).restore(model)


def test_last_epoch_is_always_saved(tmp_path):
    """With an interval of several epochs the end of the training is saved all the same."""
    _fit(tmp_path, epochs=3, save_every_epochs=2)
    assert TrainingState(tmp_path).restore(_model()) == 3
