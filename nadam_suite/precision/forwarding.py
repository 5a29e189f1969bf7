"""What belongs to the inner optimizer can be asked of its wrapper, which is no optimizer itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nadam_suite.errors import ArgumentError

__all__ = ["Forwarding"]

# Settings that every Keras optimizer has, whose defaults the wrapper would show.
_SETTINGS = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "gradient_accumulation_steps",
)


def _forwarded(name: str) -> property:
    """Return a property that is the inner optimizer's attribute, once there is one."""

    def get(self: Forwarding) -> Any:
        inner = vars(self).get("inner_optimizer")
        return None if inner is None or self._is_building else getattr(inner, name)

    def put(self: Forwarding, value: Any) -> None:
        if (inner := vars(self).get("inner_optimizer")) is not None:
            setattr(inner, name, value)

    return property(get, put, doc=f"`{name}` of the inner optimizer.")


class Forwarding:
    """The part of a loss scale that hands on what is meant for its inner optimizer."""

    inner_optimizer: Any
    model_variables: Any
    built: bool
    _is_building = False

    locals().update({name: _forwarded(name) for name in _SETTINGS})

    def __getattr__(self, name: str) -> Any:
        """Return a public attribute that only the inner optimizer has, such as `beta_1`."""
        inner = vars(self).get("inner_optimizer")
        if inner is None or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(inner, name)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the inner optimizer; of several inside of it the one they share."""
        several = getattr(self.inner_optimizer, "optimizers", None)
        if several is None:
            return self.inner_optimizer.learning_rate
        rates = [float(optimizer.learning_rate) for optimizer in several]
        if len(set(rates)) != 1:
            # No AttributeError: callbacks would say that there is no such attribute.
            raise ArgumentError(
                "Argument `learning_rate` of several optimizers can be read and assigned where "
                f"they have the same one. Received: optimizers with {rates}. Read and assign "
                "those of `optimizer.inner_optimizer.optimizers`."
            )
        return several[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        several = getattr(self.inner_optimizer, "optimizers", None)
        if several is None:
            self.inner_optimizer.learning_rate = value
            return
        _ = self.learning_rate  # refuses where there are several
        for optimizer in several:
            optimizer.learning_rate = value

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Exclude variables from the weight decay of the inner optimizer."""
        self.inner_optimizer.exclude_from_weight_decay(var_list=var_list, var_names=var_names)

    def replace(self, **changes: Any) -> Any:
        """Return the same loss scale around `inner_optimizer.replace(**changes)`, with its state.

        Args:
            **changes: Arguments of the inner optimizer, a `nadam_suite.Nadam`.
        """
        new: Any = type(self)(
            **{**self.get_config(), "inner_optimizer": self.inner_optimizer.replace(**changes)}
        )
        if self.built:
            new.build(self.model_variables)
            state: dict[str, Any] = {}
            self.save_own_variables(state)
            new.load_own_variables(state)
        return new
