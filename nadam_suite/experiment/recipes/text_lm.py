"""Language modelling: a small Transformer reads the source text of Python's own library.

`text_lm.toml` trains it in one to two minutes, to about 3.3 bits per byte on unseen files.
"""

from __future__ import annotations

import hashlib
import math
import sysconfig
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from nadam_suite.errors import ArgumentError, DataFileError
from nadam_suite.experiment.parts import Task
from nadam_suite.experiment.splits import Splits

__all__ = ["bits_per_byte", "data", "model"]


@keras.saving.register_keras_serializable(package="nadam_suite")
def bits_per_byte(y_true: Any, y_pred: Any) -> Any:
    """Return the entropy of the next byte in bits, one value per position.

    Args:
        y_true: Bytes, integers of shape (batch, context).
        y_pred: Logits of shape (batch, context, 256).
    """
    loss = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    return loss / math.log(2.0)


def model(
    context: int = 128, width: int = 96, depth: int = 2, heads: int = 4, dropout: float = 0.0
) -> Task:
    """Return a causal Transformer over bytes, made of Keras' own layers.

    Args:
        context: Bytes in a window.
        width: Features of a position; a multiple of `heads`.
        depth: Number of blocks.
        heads: Heads of attention.
        dropout: Share of features dropped behind each half of a block.

    Raises:
        ArgumentError: `width` is no multiple of `heads`.

    Example:

    >>> from nadam_suite.experiment.recipes import text_lm
    >>> text_lm.model(context=16, width=32).model.output_shape
    (None, 16, 256)
    """
    if heads < 1 or width % heads:
        raise ArgumentError(
            f"Argument `width` must be a multiple of heads={heads}. Received: width={width}. "
            f"Choose for instance width={max(heads, 1) * 24}."
        )
    layers = keras.layers
    tokens = keras.Input((context,), dtype="int32", name="bytes")
    positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(256, width, name="embedding")(tokens)
    x = x + layers.Embedding(context, width, name="positions")(positions)
    for block in range(depth):
        x = _block(x, f"block_{block}", width, heads, dropout)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    dtype = "float32" if keras.config.dtype_policy().name.startswith("mixed") else None
    logits = layers.Dense(256, dtype=dtype, name="logits")(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Task(keras.Model(tokens, logits, name="text_lm"), loss, (bits_per_byte,))


def _block(x: Any, name: str, width: int, heads: int, dropout: float) -> Any:
    """Add attention and a feed-forward network, each behind a norm and beside a shortcut."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm_1")(x)
    attention = layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")
    # JAX on a CPU cannot multiply float16 in fused attention; asking for scores leaves that out.
    half = keras.config.dtype_policy().compute_dtype == "float16"
    y = attention(y, y, use_causal_mask=True, return_attention_scores=half)
    y = y[0] if half else y
    x = x + layers.Dropout(dropout, name=f"{name}_dropout_1")(y)
    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm_2")(x)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_dense_1")(y)
    y = layers.Dense(width, name=f"{name}_dense_2")(y)
    return x + layers.Dropout(dropout, name=f"{name}_dropout_2")(y)


def data(context: int = 128, train_windows: int = 1536, validation_windows: int = 128) -> Splits:
    """Return windows of the modules of Python's standard library, split by file.

    A tenth of the files is for validation and a tenth for the test, chosen by a digest of their
    names. The text, and with it the figures, differ between versions of Python.

    Args:
        context: Bytes in a window.
        train_windows: Windows to train on, spread evenly over the text.
        validation_windows: Windows for validation, and as many for the test.

    Raises:
        DataFileError: The library has no source text here, or too little.

    Example:

    >>> from nadam_suite.experiment.recipes import text_lm
    >>> splits = text_lm.data(context=16, train_windows=8, validation_windows=4)
    >>> splits.train[0].shape, bool((splits.train[0][:, 1:] == splits.train[1][:, :-1]).all())
    ((8, 16), True)
    """
    texts: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for path in _modules():
        tenth = hashlib.sha256(path.name.encode()).digest()[0] % 10
        texts[{0: "validation", 1: "test"}.get(tenth, "train")].append(path.read_bytes())
    numbers = {
        "train": train_windows,
        "validation": validation_windows,
        "test": validation_windows,
    }
    parts = {name: _windows(texts[name], context, n) for name, n in numbers.items()}
    return Splits(parts["train"], parts["validation"], parts["test"])


def _modules() -> list[Path]:
    """Return the top-level modules of the standard library, sorted by name."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in folder.glob("*.py") if path.is_file())
    if not paths:
        raise DataFileError(
            f"Python's standard library must have its source text. Received: folder "
            f"{str(folder)!r} without modules. Use a Python that was installed with it."
        )
    return paths


def _windows(texts: list[bytes], context: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return so many windows and, as targets, the same moved on by one byte."""
    text = np.frombuffer(b"\n".join(texts), np.uint8)
    last = len(text) - context - 1
    if last < 0 or number < 1:
        raise DataFileError(
            f"A split must hold at least one window of context + 1 bytes. Received: {len(text)} "
            f"bytes, context={context}, windows={number}. Lower the context."
        )
    starts = np.linspace(0, last, number).astype(int)
    windows = text[starts[:, None] + np.arange(context + 1)].astype("int32")
    return windows[:, :-1], windows[:, 1:]
