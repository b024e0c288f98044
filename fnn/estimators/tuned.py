"""An optimizer whose learning rate and penalty are part of its state, so that no program depends on their values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fnn.training.step import as_transformation
from fnn.types import GradientTransformation, Params, TrainState
from fnn.weights import add_scaled_weights, squared_norm


class Tuned(NamedTuple):
    """The state of `tuned`: the numbers of the user, and the state of the optimizer itself."""

    learning_rate: Float[Array, ""]
    l2: Float[Array, ""]
    inner: Any


def tuned(function: str, make_optimizer: Callable[[Any], Any]) -> GradientTransformation:
    """An optimizer that takes its learning rate α and the strength λ of an L2 penalty from its state.

    dW ← dW + λ W for weights, then the update of make_optimizer(α)

    Args:
      function: the name for error messages.
      make_optimizer: learning rate -> optimizer, called with traced values.
    """
    make = lambda learning_rate: as_transformation(function, make_optimizer(learning_rate))

    def init(params: Params) -> Tuned:
        zero = jnp.zeros(())
        return Tuned(zero, zero, make(zero).init(params))

    def update(gradients: Params, state: Tuned, params: Params | None = None, **extra: Any) -> tuple[Params, Tuned]:
        """dW ← dW + λ W, then the update of make_optimizer(α); J ← J + λ/2 ‖W‖² for optimizers that read the cost"""
        penalty = lambda params: 0.5 * state.l2 * squared_norm(params).astype(state.l2.dtype)
        gradients = add_scaled_weights(gradients, params, state.l2)
        if "value_fn" in extra:
            cost, value = extra["value_fn"], extra["value"]
            penalised = lambda params: cost(params) + penalty(params).astype(value.dtype)
            extra |= {"value": value + penalty(params).astype(value.dtype), "grad": gradients, "value_fn": penalised}
        updates, inner = make(state.learning_rate).update(gradients, state.inner, params, **extra)
        return updates, Tuned(state.learning_rate, state.l2, inner)

    return GradientTransformation(init, update)


def set_numbers(state: TrainState, learning_rate: float, l2: float) -> TrainState:
    """Return a state of `tuned` with these numbers."""
    numbers: Tuned = state.opt_state
    dtype = numbers.learning_rate.dtype
    return state._replace(
        opt_state=numbers._replace(learning_rate=np.asarray(learning_rate, dtype), l2=np.asarray(l2, dtype))
    )
