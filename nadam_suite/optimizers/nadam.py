"""Nadam whose every documented argument means the same thing everywhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nadam_suite.backends import as_written, get_backend
from nadam_suite.backends.slot import dtype_of, path_of
from nadam_suite.optimizers import hyperparameters, settings
from nadam_suite.optimizers.averages import Averages
from nadam_suite.optimizers.guard import Guard
from nadam_suite.optimizers.layout import Layout, state_dtype
from nadam_suite.optimizers.parameter_rules import (
    ParameterRow,
    ParameterRule,
    exclusion_rules,
    explain,
)
from nadam_suite.optimizers.persistence import Persistence
from nadam_suite.optimizers.rate import LearningRate
from nadam_suite.optimizers.restore import replaced, restore_state
from nadam_suite.optimizers.step import take_step
from nadam_suite.optimizers.subset import Subset

__all__ = ["Nadam"]


@keras.saving.register_keras_serializable(package="nadam_suite")
class Nadam(Averages, LearningRate, Persistence, Subset, keras.optimizers.Nadam):
    """Nadam: Adam with Nesterov momentum.

    Follows `keras.optimizers.Nadam` step for step with its default arguments. Where the stock
    optimizer departs from its own documentation (half-precision variables, accumulation, averages,
    exclusions, saved states), the documentation is what this one does.

    One step does, in this order: unscale the gradients; accumulate them, or take the mean of the
    window; clip; decay the weights; update, in float32 for half-precision variables; apply the
    constraints; average. A step that only accumulates changes nothing else.

    Args:
        learning_rate: A number, a `keras.optimizers.schedules.LearningRateSchedule`, or a callable
            without arguments, which is read again at every step. Defaults to 0.001. A number can
            be assigned later, also by callbacks.
        beta_1: Decay rate of the first moment, in [0, 1); a number, a constant tensor, a schedule
            or a callable. Defaults to 0.9.
        beta_2: Decay rate of the second moment, likewise. Defaults to 0.999.
        epsilon: Added to the root of the second moment, > 0. Defaults to 1e-7.
        weight_decay: Decoupled decay w: each update first multiplies the weights by
            `1 - learning_rate * w`. A number >= 0, a schedule, a callable or None.
        clipnorm: Largest norm of a single variable's gradient, > 0, or None.
        clipvalue: Largest absolute value of a gradient's elements, > 0, or None.
        global_clipnorm: Largest norm of all gradients together, > 0, or None. Only one of the
            three may be set; the mean of the window is what is clipped.
        use_ema: Keep an exponential moving average of the weights, in float32.
        ema_momentum: Weight of the old average, in [0, 1]. Defaults to 0.99.
        ema_overwrite_frequency: Overwrite the weights by their average every so many updates, or
            None to do it at the end of `fit()` alone.
        loss_scale_factor: Factor by which the loss is multiplied and the gradients are divided,
            > 0, or None.
        gradient_accumulation_steps: Number of batches, >= 2, whose mean gradient makes one update,
            or None. A window that an epoch's end cuts is continued in the next epoch.
        name: Name of the optimizer.
        momentum_decay: Exponent factor of the momentum schedule
            `u_t = beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))`. 1.0 is Keras, 0.004 is
            Dozat's report and `torch.optim.NAdam`, None keeps `u_t = beta_1` as `optax.nadam` does.
        parameter_rules: `ParameterRule`s, or nested sequences of them: multipliers of learning
            rate and weight decay by variable.
        schedule_step: What schedules count: "batch" (every call, as Keras does) or "update" (real
            updates). The two differ under gradient accumulation only.
        slot_dtype: Type of the moments: "float32", "bfloat16", "float16", or None for float32, and
            float64 for float64 variables. Half-precision variables also get a float32 copy, unless
            the moments are half precision too. "bfloat16" is rounded at random, up or down by what
            is nearer, since to nearest the second moment would stand still (Zamirai et al.,
            "Revisiting BFloat16 Training", 2020); the same step always rounds alike.
        weight_decay_mode: What the weights are multiplied by, with r = learning_rate /
            max_learning_rate: `1 - learning_rate * w` ("lr", the default, as in Keras), `1 - r * w`
            ("independent" of the peak) or `1 - r * learning_rate * w` ("corrected", as in AdamC).
        max_learning_rate: Highest learning rate of the training, > 0. Defaults to the number that
            was typed, or what a schedule of `nadam_suite` says. Not with mode "lr".
        averaging: An average of `nadam_suite.averaging`, a dict of averages by name, or None. They
            are float32 variables that each real update brings up to date; the weights are never
            overwritten by themselves. Not together with `use_ema`.
        lazy_embeddings: Of a variable whose gradient is sparse, update only the rows that the
            batch has seen on any replica. Another algorithm, as LazyAdam and `torch.optim.
            SparseAdam`: for the other rows neither moments nor weights decay or move. See
            `nadam_suite.backends.rows`. Averages and constraints are of whole variables. Not
            together with `gradient_accumulation_steps`.

    Raises:
        ArgumentError: An argument lies out of its range.
        ArgumentTypeError: An argument has the wrong type.

    Example:

    >>> import keras, numpy as np
    >>> from nadam_suite import Nadam, no_decay
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> optimizer = Nadam(1e-2, weight_decay=1e-2, parameter_rules=no_decay(), use_ema=True)
    >>> model.compile(optimizer=optimizer, loss="mse")
    >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    >>> int(optimizer.iterations)
    1

    Reference: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop, 2016.
    """

    parameter_rules: tuple[ParameterRule, ...]

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: float = 1e-7,
        weight_decay: Any = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        *,
        momentum_decay: float | None = 1.0,
        parameter_rules: Any = (),
        schedule_step: str = "batch",
        slot_dtype: str | None = None,
        weight_decay_mode: str = "lr",
        max_learning_rate: float | None = None,
        averaging: Any = None,
        lazy_embeddings: bool = False,
    ) -> None:
        typed = dict(locals())
        values = settings.checked({argument: typed[argument] for argument in _ARGUMENTS})
        rate = values.pop("learning_rate")
        extras = {argument: values.pop(argument) for argument in _EXTRAS}
        # A number is held below: the stock constructor would do it in a half-precision floatx.
        super().__init__(learning_rate=rate if callable(rate) else lambda: 0.0, **values)
        for argument, value in extras.items():
            setattr(self, argument, value)
        self.average_rules = settings.average_rules(self)
        self.has_seen_rows = False  # whether a step was asked for its sparse gradients
        self.monitored: bool | str = False  # see `nadam_suite.optimizers.monitor.last_update`
        self._typed_rate: float | None = None
        self._note_highest(rate)
        self._excluded: frozenset[Any] = frozenset()
        self._pending_state: dict[str, np.ndarray] | None = None
        if not callable(rate):
            self._set_rate_variable(rate)

    def build(self, var_list: Sequence[Any]) -> None:
        """Create the optimizer's variables for the model's; a state loaded before is restored."""
        if self.built:
            return
        variables = list(var_list)
        get_backend().check_devices(self, variables)
        get_backend().eagerly(functools.partial(self._build, variables), variables)

    def _build(self, variables: list[Any]) -> None:
        keys = [self._var_key(variable) for variable in variables]
        late_rules = exclusion_rules(variables, [key in self._excluded for key in keys])
        self.parameter_rules = (*self.parameter_rules, *late_rules)
        layout = Layout(variables, keys, self.parameter_rules, self.weight_decay_mode)
        # The stock build of Nadam would type the product of u after the first variable, and lose
        # track of it under a wrapper; the one below it is used as it is.
        super(keras.optimizers.Nadam, self).build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )
        layout.fill(self)
        if not self.lazy_embeddings:  # rows are written into variables of their own
            get_backend().arrange(layout.state)
        self._layout = layout
        if self._pending_state is not None:
            state, self._pending_state = self._pending_state, None
            restore_state(self, state)

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Any:
        """Add an optimizer variable in the type that suits its purpose, not always the model's."""
        wanted = state_dtype(reference_variable, name, self.slot_dtype)
        if wanted == dtype_of(reference_variable):
            return super().add_variable_from_reference(reference_variable, name, initializer)
        return self.add_variable(
            shape=reference_variable.shape,
            initializer=initializer,
            dtype=wanted,
            name=f"{path_of(reference_variable).replace('/', '_').replace(':', '_')}_{name}",
            layout=getattr(reference_variable, "_layout", None),
        )

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Exclude variables from weight decay, as parameter rules that a config keeps.

        Args:
            var_list: Variables to exclude.
            var_names: Regular expressions, searched in the paths of the variables.

        Raises:
            SettingError: The optimizer is built, so that the call would come too late.
        """
        if self.built:
            settings.refuse_late_exclusion()
        rules = [ParameterRule(match=pattern, weight_decay=0.0) for pattern in var_names or ()]
        self.parameter_rules = (*self.parameter_rules, *rules)
        self._excluded |= {self._var_key(variable) for variable in var_list or ()}

    def explain(self, variables: Iterable[Any]) -> list[ParameterRow]:
        """Return what the parameter rules decide, one row per variable, before any training."""
        return explain(self.parameter_rules, variables)

    @as_written
    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the variables, or add the gradients to the running accumulation window.

        Args:
            grads: One gradient per variable; None leaves a variable, and all that belongs to it,
                as it is.
            trainable_variables: The variables, in the order of the gradients. The first call
                builds the optimizer on them; later calls may leave them out or pass some of them.

        Raises:
            ArgumentError: There are no gradients at all, their number is not that of the
                variables, or a variable is unknown.
        """
        self.apply_guarded(grads, trainable_variables, None)

    def apply_guarded(
        self,
        grads: Sequence[Any],
        trainable_variables: Sequence[Any] | None,
        guard: Guard | None,
    ) -> None:
        """Do as `apply` does, if a guard (see `optimizers.guard`) lets the step through."""
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        elif self.built:
            trainable_variables = self._trainable_variables
        pairs = settings.matched(grads, trainable_variables)
        places = self._places([variable for _, variable in pairs])
        take_step(self, places, [g for g, _ in pairs], guard)

    def _places(self, variables: list[Any]) -> list[int]:
        """Return the positions of variables among all; mostly they are those of the last step."""
        places: list[int] | None = self._layout.repeated(variables)
        if places is None:
            self._check_variables_are_known(variables)
            places = self._layout.places(variables, map(self._var_key, variables))
        return places

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Overwrite variables by their averages, as `fit()` does after its last epoch.

        Nothing happens without `use_ema`, before the first update (there is no average yet), and
        where a callback has taken over (`finalizes` is False).
        """
        if not (self.use_ema and self.finalizes and self.built and self._layout.has_begun(0)):
            return
        for slot in self._layout.select(self._var_key(variable) for variable in var_list):
            if slot.averages:
                slot.write(get_backend().copy(slot.averages[0]))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, as they were typed.

        Raises:
            SerializationError: A callable or schedule is not registered with Keras.
        """
        config = settings.current_arguments(self, _ARGUMENTS)
        for name in hyperparameters.RANGES:
            config[name] = hyperparameters.serialize(name, config[name])
        config["parameter_rules"] = [rule.get_config() for rule in self.parameter_rules]
        config["averaging"] = settings.serialized_averaging(self.averaging)
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Nadam:
        """Create an optimizer from its config, which is left as it is."""
        with keras.saving.custom_object_scope(dict(custom_objects or {})):
            return cls(**config)

    def replace(self, **changes: Any) -> Nadam:
        """Return a new optimizer with some arguments changed and the whole state carried over.

        A compiled training step has the settings of a built optimizer fixed in it, which is why
        they cannot be assigned. Compile the model with the new optimizer.

        Args:
            **changes: Constructor arguments.

        Example:

        >>> import keras, numpy as np
        >>> from nadam_suite import Nadam
        >>> weight = keras.Variable(np.ones(3, "float32"))
        >>> optimizer = Nadam(1e-3)
        >>> optimizer.apply([np.ones(3, "float32")], [weight])
        >>> later = optimizer.replace(weight_decay=1e-2, use_ema=True)
        >>> later.weight_decay, int(later.iterations)
        (0.01, 1)
        """
        return replaced(self, settings.current_arguments(self, _ARGUMENTS), changes)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a setting that a compiled step would not see."""
        if name in _FIXED and getattr(self, "built", False):
            settings.guard(self, name, value)
        if name == "loss_scale_factor":
            settings.refuse_second_scale(vars(self).get(name), value)
        super().__setattr__(name, value)


_ARGUMENTS = tuple(inspect.signature(Nadam.__init__).parameters)[1:]
_EXTRAS = (
    "momentum_decay",
    "parameter_rules",
    "schedule_step",
    "slot_dtype",
    "weight_decay_mode",
    "max_learning_rate",
    "averaging",
    "lazy_embeddings",
)
_FIXED = frozenset(_ARGUMENTS) - {"name", "learning_rate"}
