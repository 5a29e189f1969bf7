"""A line as a hypermodel: its data, its plan, and its hyperparameters at given values."""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np

from nadam_suite.schedules import TrainingPlan
from nadam_suite.tuner.hypermodel import NadamHyperModel
from nadam_suite.tuner.points import PublishedPoint, projected

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")
PLAN = TrainingPlan.from_data(examples=40, batch_size=8, epochs=4)
AVERAGED = {"averaging": "ema", "averaging_half_life": 0.1}


def line(hp, optimizer):
    """A model of one weight for each input."""
    del hp
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    return model


def hypermodel_of(build_model=line, space="wide", plan=PLAN, **options):
    return NadamHyperModel(build_model, space, plan=plan, **options)


def point(hypermodel, **values):
    """Hyperparameters of a hypermodel, at these values."""
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    hp.values = projected([PublishedPoint("here", values, "test")], hp)[-1].values
    assert hp.values.items() >= values.items()
    return hp
