"""Fine-tuning by layers: a network that knows the digits 0 to 4 learns 5 to 9 from a few images.

    python recipes/layerwise.py

A convolutional network is trained on the digits 0 to 4, gets a new last layer, and goes on with
five images of each of 5 to 9: all layers at one rate, the last layer alone, the last layer for half
of the time and then all, or with a rate that falls from layer to layer. The ways differ in their
parameter rules alone, which are data and travel with a saved optimizer. Each way has the best of
the same three rates, by the mean validation loss of all seeds.

Hardware: two shared CPU cores, one of them used. Seconds: 150 of computing, on PyTorch.
Expected: with 5 seeds a test accuracy of 0.781 (0.738 to 0.856) by layer-wise decay, 0.779 (0.738
to 0.818) by the head alone, 0.745 (0.711 to 0.813) by all layers at one rate and 0.772 (0.674 to
0.861) from scratch: on so few images the ways differ less than the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import time

import keras
import numpy as np

from nadam_suite import Nadam, ParameterRule, layerwise_decay, no_decay
from nadam_suite.experiment.recipes import digits
from nadam_suite.schedules import WarmupCosine

Pair = tuple[np.ndarray, np.ndarray]

WAYS = ("from scratch", "one rate", "head only", "head, then all", "layer-wise decay")
RATES = (1e-3, 3e-3, 1e-2)
HEAD = "logits"
BATCH = 8
# A pattern that is searched in the path of a variable, and what multiplies its rate.
FROZEN = ParameterRule("conv_", learning_rate=0.0)


def part(pair: Pair, classes: range, each: int | None = None) -> Pair:
    """Return the images of some digits: all of them, or the first so many of each."""
    images, labels = pair
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:each] for digit in classes])
    return images[chosen], labels[chosen]


def fit(model: keras.Model, optimizer: Nadam, pair: Pair, epochs: int, batch: int = BATCH) -> None:
    """Train a model by an optimizer, which may have trained it before."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(*pair, batch_size=batch, epochs=epochs, verbose=0)


def pretrained(seed: int, width: int, epochs: int) -> keras.Model:
    """Return a network that tells 0 to 4 apart."""
    keras.utils.set_random_seed(seed)
    model = digits.model(width=width).model
    pair = part(digits.data().train, range(5))
    steps = -(-len(pair[0]) // 32) * epochs
    optimizer = Nadam(WarmupCosine(3e-3, steps, steps // 10), weight_decay=0.05)
    fit(model, optimizer, pair, epochs, batch=32)
    return model


def begun(way: str, source: keras.Model, seed: int, width: int) -> keras.Model:
    """Return a new network with the weights of another one, but for those of the head."""
    keras.utils.set_random_seed(seed)
    model = digits.model(width=width).model
    if way != "from scratch":
        for layer in source.layers:
            if layer.name != HEAD:
                model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def tune(way: str, model: keras.Model, rate: float, pair: Pair, epochs: int, decay: float) -> None:
    """Fine-tune a model in one of the ways."""
    steps = -(-len(pair[0]) // BATCH) * epochs
    rules = {
        "head only": FROZEN,
        "head, then all": FROZEN,
        "layer-wise decay": layerwise_decay(model, decay),
    }
    optimizer = Nadam(
        WarmupCosine(rate, steps, steps // 10),
        weight_decay=0.05,
        parameter_rules=[no_decay(), rules.get(way, ())],
    )
    first = epochs // 2 if way == "head, then all" else epochs
    fit(model, optimizer, pair, first)
    if first < epochs:  # moments, counters and schedule go on; only the rules are others
        fit(model, optimizer.replace(parameter_rules=no_decay()), pair, epochs - first)


def main(arguments: list[str] | None = None) -> None:
    """Print a row for each way: test accuracy on 5 to 9, mean and range over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="of fine-tuning")
    parser.add_argument("--pretraining", type=int, default=10, help="epochs on the digits 0 to 4")
    parser.add_argument("--each", type=int, default=5, help="images of each new digit")
    parser.add_argument("--width", type=int, default=8, help="channels of the network")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="to choose from")
    parser.add_argument("--decay", type=float, default=0.5, help="from a layer to the one below")
    chosen = parser.parse_args(arguments)
    splits = digits.data()
    few = part(splits.train, range(5, 10), chosen.each)
    validation, test = (part(p, range(5, 10)) for p in (splits.validation, splits.test))
    sources = [pretrained(s, chosen.width, chosen.pretraining) for s in range(chosen.seeds)]
    print(
        f"{len(few[0])} images to learn from, {len(validation[0])} to choose the rate by",
        flush=True,
    )
    for way in WAYS:
        begin, found = time.monotonic(), {}
        for rate in chosen.rates:
            losses, accuracies = [], []
            for seed, source in enumerate(sources):
                model = begun(way, source, seed, chosen.width)
                tune(way, model, rate, few, chosen.epochs, chosen.decay)
                losses.append(model.evaluate(*validation, verbose=0)[0])
                accuracies.append(model.evaluate(*test, verbose=0)[1])
            found[rate] = (statistics.mean(losses), accuracies)
        rate = min(found, key=lambda rate: found[rate][0])
        loss, accuracies = found[rate]
        print(
            f"{way:16}  test accuracy {statistics.mean(accuracies):.3f} ({min(accuracies):.3f} to "
            f"{max(accuracies):.3f})  validation loss {loss:.3f}  rate {rate}  "
            f"{time.monotonic() - begin:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
