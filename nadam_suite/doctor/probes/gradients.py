"""Cells about sparse gradients and about gradients that are accumulated."""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
import numpy as np

from nadam_suite.doctor.cell import Cell, Observation, Subject
from nadam_suite.doctor.probes.harness import (
    FAR,
    compare,
    line_model,
    nadam,
    scratch,
    train,
    value,
)

__all__ = ["CELLS"]


def _embedded(optimizer: Any, batches: list[list[int]]) -> np.ndarray:
    """Train an embedding of four tokens; every occurrence of one has the gradient 1/4."""
    layers = [
        keras.Input((4,), dtype="int32"),
        keras.layers.Embedding(4, 1, embeddings_initializer="ones"),
        keras.layers.Flatten(),
    ]
    model = keras.Sequential(layers)
    jit = keras.backend.backend() == "jax"
    model.compile(optimizer=optimizer, loss="mean_absolute_error", jit_compile=jit)
    for tokens in batches:
        model.train_on_batch(np.array([tokens], "int32"), np.full((1, 4), FAR, "float32"))
    return value(model.trainable_variables[0]).ravel()


def _repeated_tokens(subject: Subject) -> Observation:
    batches = [[0, 0, 0, 1], [0, 1, 1, 2], [0, 0, 2, 2]]
    dense = [np.bincount(tokens, minlength=4) / 4.0 for tokens in batches]
    expected = nadam(np.ones(4), dense, 0.1)[-1]
    return compare(_embedded(subject.optimizer(0.1), batches), expected, 1e-5, "embeddings")


def _repeated_tokens_clipped(subject: Subject) -> Observation:
    batches = [[0, 0, 0, 0], [0, 1, 2, 3]]
    clipped = [np.array([0.5, 0.0, 0.0, 0.0]), np.full(4, 0.25)]  # norms 1, clipped, and 0.5
    expected = nadam(np.ones(4), clipped, 0.1)[-1]
    optimizer = subject.optimizer(0.1, global_clipnorm=0.5)
    return compare(_embedded(optimizer, batches), expected, 1e-5, "embeddings")


def _seen_rows(subject: Subject) -> Observation:
    batches = [[0, 0, 0, 1], [0, 1, 1, 2], [0, 0, 2, 2], [1, 1, 1, 1]]
    counts = [np.bincount(tokens, minlength=4) for tokens in batches]
    optimizer = subject.optimizer(0.1, weight_decay=0.5, lazy_embeddings=True)
    seen = [count > 0 for count in counts]
    gradients = [count / 4.0 for count in counts]
    path = nadam(np.ones(4), gradients, 0.1, weight_decay=0.5, seen=seen)
    return compare(_embedded(optimizer, batches), path[-1], 1e-5, "embeddings")


def _seen_rows_clipped(subject: Subject) -> Observation:
    batches = [[0, 0, 0, 0], [0, 1, 1, 2], [2, 2, 2, 3]]
    counts = [np.bincount(tokens, minlength=4) for tokens in batches]
    clipped = [count / max(4.0, 2.0 * float(np.linalg.norm(count))) for count in counts]
    optimizer = subject.optimizer(0.1, global_clipnorm=0.5, lazy_embeddings=True)
    path = nadam(np.ones(4), clipped, 0.1, seen=[count > 0 for count in counts])
    return compare(_embedded(optimizer, batches), path[-1], 1e-5, "embeddings")


def _left_over(subject: Subject) -> Observation:
    text = inspect.getdoc(subject.optimizer) or ""
    entry = re.search(r"gradient_accumulation_steps:.*?(?=\n\s*\w+: )", text, re.DOTALL)
    said = entry is not None and "epoch" in entry.group()
    x, y = np.array([[1.0], [0.5], [0.25]], "float32"), np.full((3, 1), FAR, "float32")
    model = line_model(subject.optimizer(0.1, gradient_accumulation_steps=2), width=1)
    model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0)
    with scratch() as folder:
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
    train(model, x)
    means = [np.array([0.75]), np.array([0.625]), np.array([0.375])]
    kernel = value(model.layers[0].kernel).ravel()
    seen = compare(kernel, nadam([1.0], means, 0.1)[-1], 1e-5, "carried over")
    return Observation(seen.holds and said, seen.detail + ("" if said else "; not documented"))


CELLS = (
    Cell(
        "D05/repeated",
        "Tokens that repeat within a batch train as a dense gradient would.",
        "Embedding, tokens up to three times in a batch, 3 batches",
        _repeated_tokens,
        backends=("tensorflow",),
    ),
    Cell(
        "D05/clipped",
        "Gradients of repeated tokens are clipped by their true norm.",
        "Embedding, one token four times, global_clipnorm=0.5",
        _repeated_tokens_clipped,
        backends=("tensorflow",),
    ),
    Cell(
        "D64/rows",
        "Embeddings can be trained on the rows alone that a batch has seen.",
        "lazy_embeddings=True, weight_decay=0.5, 4 batches with 1 to 3 of 4 tokens",
        _seen_rows,
        backends=("tensorflow",),
    ),
    Cell(
        "D64/clipped",
        "What is clipped is the norm of the seen rows, each with the sum of its entries.",
        "lazy_embeddings=True, global_clipnorm=0.5, tokens up to four times in a batch",
        _seen_rows_clipped,
        backends=("tensorflow",),
    ),
    Cell(
        "D63/left-over",
        "Batches left over at an epoch's end count in the next one, and the docs say so.",
        "gradient_accumulation_steps=2, epochs of 3 batches, saved in between",
        _left_over,
    ),
)
