"""`recalibrate_batch_norm` on PyTorch: modules are in training mode, and record no gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from nadam_suite.callbacks import recalibrate_batch_norm


class Noticing(keras.layers.Layer):
    """Notes its module's mode, and whether gradients are recorded."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        import torch

        self.seen.append((self.training, torch.is_grad_enabled()))
        return x


class Holding(keras.Model):
    """Holds its layers in attributes, where PyTorch finds them as modules."""

    def __init__(self):
        super().__init__()
        self.norm, self.noticing = keras.layers.BatchNormalization(), Noticing()
        self.dense = keras.layers.Dense(2)

    def call(self, x, training=None):
        return self.dense(self.noticing(self.norm(x, training=training)))


def test_modules_train_without_gradients_and_get_their_modes_back(backend):
    """Each module has the mode that it had before, also where two of them differ."""
    if backend != "torch":
        pytest.skip("modules have modes on torch only")
    model = Holding()
    model(np.ones((1, 2), "float32"))
    model.eval()
    model.dense.train()
    before = [module.training for module in model.modules()]
    assert {True, False} == set(before)
    model.noticing.seen.clear()
    recalibrate_batch_norm(model, np.ones((4, 2), "float32"))
    assert model.noticing.seen == [(True, False)]
    assert [module.training for module in model.modules()] == before
