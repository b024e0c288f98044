"""Optimizers in optax's protocol.

An optimizer has init(params) -> state and update(gradients, state, params) -> updates, state. The updates are added to
the parameters. W is a parameter, dW the gradient of the cost, and α the learning rate: a number, a traced scalar, or a
schedule, which is a function of the number of updates made so far. These optimizers chain with optax's own.

States and coefficients are kept in float32 at least, also for parameters in half precision. Updates are computed so,
and returned in the dtypes of the parameters (of the gradients where `params` is not given).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from fnn import checks
from fnn.descent import LearningRate, blend, check_coefficients, descend, rest, start, updates_like, zeros
from fnn.descent import Schedule as Schedule
from fnn.dtypes import wide, widened
from fnn.types import GradientTransformation, Params
from fnn.weights import IsWeight, add_scaled_weights, check_is_weight, check_weights, is_weight


class Steps(NamedTuple):
    """The state of `sgd`: the number of updates made so far."""

    step: Int[Array, ""]


class Velocity(NamedTuple):
    """The state of the momentum methods."""

    step: Int[Array, ""]
    v: Params


class Moments(NamedTuple):
    """The state of `adam`: the averages of the gradient and of its square."""

    step: Int[Array, ""]
    m: Params
    v: Params


def sgd(learning_rate: LearningRate) -> GradientTransformation:
    """(Stochastic) gradient descent: W ← W - α dW (Robbins and Monro 1951).

    Args:
      learning_rate: α, a number, a traced scalar, or a schedule step -> α.

    >>> optimizer = sgd(0.5)
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init({"w": jnp.array(1.0)}))
    >>> float(updates["w"])
    -1.0
    """
    check_coefficients("sgd", learning_rate)

    def update(gradients: Params, state: Steps, params: Params | None = None, **extra: Any) -> tuple[Params, Steps]:
        """W ← W - α dW"""
        like = updates_like(gradients, params)
        return descend(learning_rate, state.step, gradients, like), Steps(state.step + 1)

    return GradientTransformation(lambda params: Steps(start()), update)


def momentum(learning_rate: LearningRate, beta: float | Array = 0.9) -> GradientTransformation:
    """Momentum as an EMA; `heavy_ball` is what PyTorch and optax call momentum.

    V ← β V + (1 - β) dW, W ← W - α V, starting at V = 0

    V is the exponential moving average (EMA) of the gradients. The steps are (1 - β) times those of `heavy_ball`: the
    same speed needs a learning rate that is 1/(1 - β) times larger.

    Args:
      learning_rate: α, a number, a traced scalar, or a schedule step -> α.
      beta: β in [0, 1); may be traced.

    >>> optimizer = momentum(1.0, beta=0.75)
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init({"w": jnp.array(1.0)}))
    >>> float(updates["w"])
    -0.5
    """
    check_coefficients("momentum", learning_rate, beta=beta)

    def update(gradients: Params, state: Velocity, params: Params | None = None, **extra: Any):
        """V ← β V + (1 - β) dW, W ← W - α V"""
        v = blend(beta, state.v, rest(beta), gradients)
        return descend(learning_rate, state.step, v, updates_like(gradients, params)), Velocity(state.step + 1, v)

    return GradientTransformation(lambda params: Velocity(start(), zeros(params)), update)


def heavy_ball(learning_rate: LearningRate, beta: float | Array = 0.9) -> GradientTransformation:
    """Heavy-ball momentum (Polyak 1964), the "momentum" of PyTorch and optax.

    V ← β V + dW, W ← W - α V, starting at V = 0

    Args:
      learning_rate: α, a number, a traced scalar, or a schedule step -> α.
      beta: β in [0, 1); may be traced.

    >>> optimizer = heavy_ball(1.0, beta=0.75)
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init({"w": jnp.array(1.0)}))
    >>> float(updates["w"])
    -2.0
    """
    check_coefficients("heavy_ball", learning_rate, beta=beta)

    def update(gradients: Params, state: Velocity, params: Params | None = None, **extra: Any):
        """V ← β V + dW, W ← W - α V"""
        v = blend(beta, state.v, 1.0, gradients)
        return descend(learning_rate, state.step, v, updates_like(gradients, params)), Velocity(state.step + 1, v)

    return GradientTransformation(lambda params: Velocity(start(), zeros(params)), update)


def nesterov(learning_rate: LearningRate, beta: float | Array = 0.9) -> GradientTransformation:
    """Nesterov's accelerated gradient (Nesterov 1983; Sutskever et al. 2013).

    V ← β V + dW, W ← W - α (dW + β V), starting at V = 0

    Args:
      learning_rate: α, a number, a traced scalar, or a schedule step -> α.
      beta: β in [0, 1); may be traced.

    >>> optimizer = nesterov(1.0, beta=0.75)
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init({"w": jnp.array(1.0)}))
    >>> float(updates["w"])
    -3.5
    """
    check_coefficients("nesterov", learning_rate, beta=beta)

    def update(gradients: Params, state: Velocity, params: Params | None = None, **extra: Any):
        """V ← β V + dW, W ← W - α (dW + β V)"""
        v = blend(beta, state.v, 1.0, gradients)
        direction = blend(1.0, widened(gradients), beta, v)
        return descend(learning_rate, state.step, direction, updates_like(gradients, params)), Velocity(
            state.step + 1, v
        )

    return GradientTransformation(lambda params: Velocity(start(), zeros(params)), update)


def adam(
    learning_rate: LearningRate,
    beta1: float | Array = 0.9,
    beta2: float | Array = 0.999,
    epsilon: float | Array = 1e-8,
) -> GradientTransformation:
    """Adam (Kingma and Ba 2015).

    M ← β₁ M + (1 - β₁) dW, V ← β₂ V + (1 - β₂) dW², M̂ = M / (1 - β₁ᵗ), V̂ = V / (1 - β₂ᵗ), W ← W - α M̂ / (√V̂ + ε)

    M and V start at 0; t counts the updates, from 1.

    Args:
      learning_rate: α, a number, a traced scalar, or a schedule step -> α.
      beta1: β₁ in [0, 1), for the average of the gradient; may be traced.
      beta2: β₂ in [0, 1), for the average of its square; may be traced.
      epsilon: ε >= 0; may be traced.

    >>> optimizer = adam(0.5)
    >>> updates, state = optimizer.update({"w": jnp.array(2.0)}, optimizer.init({"w": jnp.array(1.0)}))
    >>> round(float(updates["w"]), 5)
    -0.5
    """
    check_coefficients("adam", learning_rate, beta1=beta1, beta2=beta2)
    checks.number("adam", "epsilon", epsilon, minimum=0.0)

    def update(gradients: Params, state: Moments, params: Params | None = None, **extra: Any):
        """M ← β₁ M + (1 - β₁) dW, V ← β₂ V + (1 - β₂) dW², W ← W - α M̂ / (√V̂ + ε)"""
        m = blend(beta1, state.m, rest(beta1), gradients)
        v = blend(beta2, state.v, rest(beta2), jax.tree.map(jnp.square, widened(gradients)))

        def direction(m: Array, v: Array) -> Array:
            b1, b2, eps = (jnp.asarray(value, m.dtype) for value in (beta1, beta2, epsilon))
            t = (state.step + 1).astype(m.dtype)
            return (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + eps)

        updates = descend(learning_rate, state.step, jax.tree.map(direction, m, v), updates_like(gradients, params))
        return updates, Moments(state.step + 1, m, v)

    return GradientTransformation(lambda params: Moments(start(), zeros(params), zeros(params)), update)


def add_l2(strength: float | Array, *, is_weight: IsWeight = is_weight) -> GradientTransformation:
    """Add the gradient of an L2 penalty λ/2 ‖W‖² to the gradients of weights.

    dW ← dW + λ W for weights; biases are left alone

    Chain it before an optimizer, `optax.chain(fnn.add_l2(1e-4), fnn.momentum(0.1))`, or pass `l2` to the cost, but not
    both. Before `adam` it gives Adam with L2, not AdamW (Loshchilov and Hutter 2019).

    Args:
      strength: λ >= 0; may be traced.
      is_weight: (path, leaf) -> bool, selects the parameters that are weights. Default: `fnn.is_weight`.

    Returns:
      A GradientTransformation without state. Its update needs `params`, and returns gradients in float32 at least.

    Raises:
      ValueError: from init and update, if λ is positive and no parameter is a weight.

    >>> params = {"w": jnp.array(3.0), "b": jnp.array(3.0)}
    >>> gradients, state = add_l2(0.5).update(params, (), params)
    >>> float(gradients["w"]), float(gradients["b"])
    (4.5, 3.0)
    """
    checks.number("add_l2", "strength", strength, minimum=0.0)
    check_is_weight("add_l2", is_weight)

    def update(gradients: Params, state: tuple, params: Params | None = None, **extra: Any) -> tuple[Params, tuple]:
        """dW ← dW + λ W"""
        if params is None:
            raise checks.fail("add_l2", "params", "given to update: the penalty depends on them", came="None")
        check_weights("add_l2", "strength", strength, params, is_weight)
        return add_scaled_weights(widened(gradients), params, strength, is_weight), state

    def init(params: Params) -> tuple:
        check_weights("add_l2", "strength", strength, params, is_weight)
        return ()

    return GradientTransformation(init, update)


def apply_updates(params: Params, updates: Params) -> Params:
    """Return the parameters plus their updates, summed in float32 at least, in the dtypes of the parameters."""
    return jax.tree.map(lambda p, u: (p.astype(wide(p)) + u.astype(wide(p))).astype(p.dtype), params, updates)
