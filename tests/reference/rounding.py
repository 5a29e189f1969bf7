"""Stochastic rounding to bfloat16 in NumPy, as `nadam_suite.backends.rounding` tells it."""

from __future__ import annotations

import ml_dtypes
import numpy as np

WORD = np.uint64(0xFFFFFFFF)


def lowbias32(x):
    """The hash of Wellons' article, of an array of uint64 below 2 ** 32."""
    x = np.asarray(x, "uint64")
    x = x ^ (x >> np.uint64(16))
    x = (x * np.uint64(0x7FEB352D)) & WORD
    x = x ^ (x >> np.uint64(15))
    x = (x * np.uint64(0x846CA68B)) & WORD
    return x ^ (x >> np.uint64(16))


def random_bits(iteration: int, index: int, elements):
    """Sixteen bits for the momentum and sixteen for the velocity of each element."""
    step = lowbias32((iteration + 0x9E3779B9) & 0xFFFFFFFF)
    bits = lowbias32((np.asarray(elements, "uint64") + (step ^ lowbias32(index + 1))) & WORD)
    return bits & np.uint64(0xFFFF), bits >> np.uint64(16)


def rounded(values, bits):
    """The neighbours in bfloat16 that the bits choose; NaN and infinity stay as they are."""
    values = np.asarray(values, "float32")
    words = (values.view("uint32").astype("uint64") + bits) & np.uint64(0xFFFF0000)
    cut = words.astype("uint32").view("float32")
    return np.where(np.isfinite(values), cut, values).astype(ml_dtypes.bfloat16)


def rounded_moments(m, v, iteration: int, index: int, elements=None):
    """Momentum and velocity of a variable in bfloat16; `elements` are the positions of these."""
    shape = np.shape(m)
    elements = np.arange(np.size(m)).reshape(shape) if elements is None else elements
    bits = random_bits(iteration, index, elements)
    return rounded(m, bits[0]), rounded(v, bits[1])
