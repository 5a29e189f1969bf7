"""Rows of a table that several replicas have seen; run in a process of its own per worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nadam_suite import Nadam
from nadam_suite.backends.tensorflow_scope import process, split_cpu
from tests.distribution.lazy_problem import OPTIONS, REPLICAS, STEPS, TABLE, entries, start
from tests.distribution.tensorflow_worker import begun, strategy_of


def train(folder: Path, setup: str) -> None:
    """Take the steps on all replicas, and write the copies of table and moments after each."""
    strategy = strategy_of(setup)
    with begun(strategy):
        table = keras.Variable(start(), name="table")
        optimizer = Nadam(lazy_embeddings=True, **OPTIONS)
        optimizer.build([table])

    def step(values: Any, indices: Any) -> None:
        optimizer.apply([tf.IndexedSlices(values, indices, tf.constant(TABLE))], [table])

    compiled = tf.function(lambda *parts: strategy.run(step, args=parts), reduce_retracing=True)
    copies = []
    for number in range(STEPS):

        def own(kind: str, dtype: str, number: int = number) -> Any:
            def of_replica(context: Any) -> Any:
                part = entries(number, context.replica_id_in_sync_group)
                return tf.constant(np.asarray(getattr(part, kind), dtype))

            return strategy.experimental_distribute_values_from_function(of_replica)

        compiled(own("values", "float32"), own("indices", "int64"))
        slot = optimizer._layout.slots[0]
        held = [v.value for v in (table, slot.momentum, slot.velocity)]
        rows = zip(*(strategy.experimental_local_results(v) for v in held), strict=True)
        copies.append([[part.numpy() for part in row] for row in rows])
    np.save(folder / f"lazy-{setup}-{process()[0]}.npy", np.array(copies))


if __name__ == "__main__":
    where, wanted = Path(sys.argv[1]), sys.argv[2]
    if wanted != "workers":
        split_cpu(REPLICAS)
    train(where, wanted)
