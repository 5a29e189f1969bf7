"""What is not supported on several devices is refused early, with words."""

from __future__ import annotations

import pytest

from tests.processes import installed, run_python

_PROGRAM = """
import keras
import numpy as np
import tensorflow as tf
from nadam_suite import Nadam

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(Nadam(), "mse")
try:
    model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
except Exception as error:
    print("REFUSED", error)
"""


@pytest.mark.multi_device
@pytest.mark.once
def test_several_replicas_of_tensorflow_are_refused_before_any_step():
    """MirroredStrategy with two replicas: an error that names it, instead of wrong numbers."""
    if not installed("tensorflow"):
        pytest.skip("tensorflow is not installed: pip install tensorflow")
    printed = run_python(_PROGRAM, backend="tensorflow").stdout
    assert "REFUSED nadam_suite.Nadam trains on one TensorFlow replica" in printed
    assert "MirroredStrategy with 2 replicas" in printed
