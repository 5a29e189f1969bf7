"""`NormLogger`: how large gradients and updates are, together and layer by layer."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import keras

from nadam_suite.callbacks.event_file import append_scalars, event_path
from nadam_suite.callbacks.hyperparameters import innermost
from nadam_suite.callbacks.layer_norms import Look, Norms, look, norms_between, steps_of
from nadam_suite.errors import NadamSuiteWarning
from nadam_suite.optimizers import Nadam
from nadam_suite.optimizers.arguments import check_choice, check_integer
from nadam_suite.optimizers.monitor import last_update, restart

__all__ = ["NormLogger", "norm_tags"]


class NormLogger(keras.callbacks.Callback):
    """Logs norms of gradients and updates, and how large updates are against the weights.

    The logs of an epoch, and so History, CSV files and TensorBoard, get of its last look

    * "update_norm", of what the update added to all weights together, decay and constraints
      included; 0 if the step was skipped, its gradients not being finite,
    * "update_ratio", that over the norm of the weights before it,
    * "gradient_norm", as `HyperparameterLogger` has it, unless that logs it already.

    `norms` has them layer by layer, one `Norms` for each look, and `log_dir` gets them for
    TensorBoard: "update_norm/<layer>", "update_ratio/<layer>", and of `nadam_suite.Nadam`
    "gradient_norm/<layer>", whose gradients are those that the update followed: of all replicas,
    unscaled, the mean of the window, after clipping.

    The step is not touched. A look copies the weights and first moments to the host before the
    update and after it, and all other steps run as they would. With accumulation it waits for the
    step that updates. An epoch without an update, or whose length is not known beforehand because
    it is the first one of a generator, adds nothing. Under `steps_per_execution` a callback does
    not see single steps: it warns, and logs nothing. The first moment of another optimizer, or one
    in half precision, does not tell the gradient, which then is left out.

    Put this one before callbacks that should see the logs.

    Args:
        every: Updates between two looks, an integer >= 1, or None, the default, for the last
            update of each epoch.
        per: "layer" (the default) or "variable".
        log_dir: Folder for TensorBoard's event file, such as "logs/train", or None, the default,
            for none. Its steps are epochs, or with `every` the optimizer's steps.

    Raises:
        ArgumentError: `every` is less than one, or `per` is another word.
        ArgumentTypeError: `every` is no integer.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam
    >>> from nadam_suite.callbacks import NormLogger
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
    >>> model.compile(Nadam(0.1), loss="mse")
    >>> x, norms = np.ones((8, 2), "float32"), NormLogger()
    >>> history = model.fit(x, x[:, :1] + 9.0, batch_size=4, epochs=2, verbose=0, callbacks=[norms])
    >>> len(history.history["update_ratio"]), list(norms.norms[0].layers)
    (2, ['out'])
    """

    def __init__(
        self,
        every: int | None = None,
        per: str = "layer",
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.every = check_integer("every", every, 1)
        self.per = check_choice("per", per, ("layer", "variable"))
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.norms: list[Norms] = []
        self._file: Path | None = None
        self._forget()

    def _forget(self) -> None:
        """Count from the beginning of a training on."""
        self._window = 1
        self._steps: int | None = None
        self._seen = self._first = self._epoch = self._began = 0
        self._due: int | None = None
        self._armed: int | None = None
        self._before: Look | None = None
        self._reported = 0
        self._active = True

    def set_model(self, model: keras.Model) -> None:
        """Have the step of the model's optimizer written down; called by `fit()` at its start."""
        super().set_model(model)
        optimizer = innermost(model)
        if isinstance(optimizer, Nadam) and optimizer.monitored is False:
            optimizer.monitored = "norm"
            model.train_function = None  # compiled without it; `fit()` compiles it anew

    def on_train_begin(self, logs: Any = None) -> None:
        """Find out when to look."""
        self._forget()
        self.norms = []
        optimizer = innermost(self.model)
        self._window = getattr(optimizer, "gradient_accumulation_steps", None) or 1
        self._first = steps_of(optimizer)
        self._steps = self.params.get("steps")
        if (executions := self.model.steps_per_execution) > 1:
            self._active = False
            warnings.warn(
                "NormLogger needs steps_per_execution=1, because between the steps of one "
                f"execution no callback is called. Received: steps_per_execution={executions}. It "
                "logs nothing.",
                NadamSuiteWarning,
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the last epoch's updates, and find out which one is this epoch's last."""
        self._epoch, self._began = epoch, self._seen
        if isinstance(optimizer := innermost(self.model), Nadam):
            restart(optimizer)
        if self.every is None:
            self._armed, self._before = None, None
            known = None if self._steps is None else self._steps - self._window
            self._due = None if known is None else self._seen + max(known, 0)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Look before the update, if it is time."""
        if self._active and self._is_due():
            # The optimizer's own count: steps that were skipped have moved the window.
            step = steps_of(innermost(self.model))
            self._armed = self._seen + self._window - 1 - step % self._window
        if self._armed == self._seen:
            self._before = look(self.model, innermost(self.model))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look after the update, if there was a look before it."""
        self._seen += 1
        if self._before is None:
            return
        before, self._before, self._armed = self._before, None, None
        optimizer, prefix = innermost(self.model), f"{self.model.name}/"
        after = look(self.model, optimizer)
        layers = norms_between(before, after, optimizer, by_layer=self.per == "layer")
        layers = {name.removeprefix(prefix): row for name, row in layers.items()}
        self.norms.append(Norms(self._epoch, after.step, layers))
        if self.log_dir is not None:
            self._file = self._file or event_path(self.log_dir)
            step = self._epoch if self.every is None else after.step
            append_scalars(self._file, norm_tags(self.norms[-1]), step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the norms of the last look into the logs that all callbacks share."""
        self._steps = self._seen - self._began
        if logs is None:
            return
        optimizer = innermost(self.model)
        if isinstance(optimizer, Nadam) and "gradient_norm" not in logs:
            used = last_update(optimizer) or {}
            logs.update({n: value for n, value in used.items() if n == "gradient_norm"})
        if len(self.norms) > self._reported:
            total = self.norms[-1].total
            logs["update_norm"] = total.update
            if total.ratio is not None:
                logs["update_ratio"] = total.ratio
        self._reported = len(self.norms)

    def _is_due(self) -> bool:
        """Return whether the window that is to be looked at begins with the next batch."""
        if self.every is None:
            return self._seen == self._due
        period = self.every * self._window
        return (self._first + self._seen) % period == period - self._window


def norm_tags(norms: Norms) -> dict[str, float]:
    """Return the norms of one update as scalars for TensorBoard, by tag.

    Args:
        norms: The norms.

    Example:

    >>> from nadam_suite.callbacks.layer_norms import LayerNorms, Norms
    >>> from nadam_suite.callbacks.norms import norm_tags
    >>> norm_tags(Norms(0, 8, {"out": LayerNorms(weight=2.0, update=0.5)}))
    {'update_norm/out': 0.5, 'update_ratio/out': 0.25}
    """
    tags: dict[str, float] = {}
    for layer, row in norms.layers.items():
        found = {"gradient_norm": row.gradient, "update_norm": row.update}
        for name, value in {**found, "update_ratio": row.ratio}.items():
            if value is not None:
                tags[f"{name}/{layer}"] = value
    return tags
