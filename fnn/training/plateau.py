"""A learning rate that falls when a value of the history stops improving."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from fnn import checks, metrics
from fnn.dtypes import wide
from fnn.types import GradientTransformation, Params


class Reported(NamedTuple):
    """What an optimizer knows of the epochs that ended: their number, and values of the last one.

    `fit` writes it at the end of each epoch, and `report_epoch` in a loop of your own.
    """

    epoch: Int[Array, ""]
    values: dict[str, Float[Array, ""]]


class Plateau(NamedTuple):
    """The state of `reduce_on_plateau`: the scale of the updates, and what it follows from."""

    scale: Float[Array, ""]
    best: Float[Array, ""]
    waited: Int[Array, ""]
    cooling: Int[Array, ""]
    seen: Int[Array, ""]  # the epochs that the fields above take into account
    reported: Reported


def reduce_on_plateau(
    name: str = "validation_cost",
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_scale: float = 0.0,
    lower_is_better: bool | None = None,
) -> GradientTransformation:
    """Reduce the learning rate when a value of the history stops improving.

    An epoch improves if its value v is better than the best before by more than a part of it: v < v* - θ |v*|, or
    v > v* + θ |v*| where higher is better. After `patience` epochs without an improvement the updates are multiplied by
    `factor`, and again after the next `patience` epochs. In the `cooldown` epochs after a reduction none is counted.

    Chain it after an optimizer: `optax.chain(fnn.adam(1e-3), fnn.reduce_on_plateau())`. `fit` reports each epoch to it,
    whose steps and epochs stay one compiled program. All that it remembers is in the optimizer's state, so that a
    training that resumes computes the same bits. In a loop of your own, call `report_epoch` after each epoch. It is not
    for `make_run` and `sweep`, which report no epochs to optimizers. `optax.contrib.reduce_on_plateau` follows the cost
    of batches instead of a value of the history.

    Args:
      name: the value to follow, a name in the history of `fit`.
      factor: what the scale is multiplied by, between 0 and 1.
      patience: number of epochs without an improvement before a reduction, at least 1.
      threshold: θ >= 0, the part of the best value by which an improvement must exceed it.
      cooldown: number of epochs after a reduction that do not count.
      min_scale: the smallest scale, 0 or more.
      lower_is_better: whether lower values are better. Default: True for names that end in "cost", "loss" or "error".

    Returns:
      A GradientTransformation whose state is a `Plateau`; its `scale` is what the updates are multiplied by.

    Raises:
      ValueError: if an argument is invalid; from `fit`, if the history has no such name.

    >>> import fnn
    >>> optimizer = reduce_on_plateau("cost", factor=0.5, patience=1)
    >>> params = {"w": jnp.ones(())}
    >>> state = optimizer.init(params)
    >>> for cost in (3.0, 2.0, 2.0):
    ...     updates, state = optimizer.update({"w": jnp.ones(())}, state, params)
    ...     state = report_epoch(state, {"cost": jnp.asarray(cost)})
    ...     print(float(updates["w"]), end=" ")
    1.0 1.0 1.0
    >>> float(optimizer.update({"w": jnp.ones(())}, state, params)[0]["w"])
    0.5
    """
    if not isinstance(name, str) or not name:
        raise checks.fail("reduce_on_plateau", "name", "a name in the history, such as 'cost'", name, TypeError)
    checks.number("reduce_on_plateau", "factor", factor)
    if not 0 < factor < 1:
        raise checks.fail("reduce_on_plateau", "factor", "between 0 and 1", factor)
    checks.number("reduce_on_plateau", "min_scale", min_scale, minimum=0.0)
    checks.number("reduce_on_plateau", "threshold", threshold, minimum=0.0)
    checks.positive_int("reduce_on_plateau", "patience", patience)
    if checks.integer("reduce_on_plateau", "cooldown", cooldown) < 0:
        raise checks.fail("reduce_on_plateau", "cooldown", "0 or more", cooldown)
    lower = metrics.lower_is_better(name) if lower_is_better is None else lower_is_better
    if not isinstance(lower, bool):
        raise checks.fail("reduce_on_plateau", "lower_is_better", "True or False", lower, TypeError)

    def init(params: Params) -> Plateau:
        number, count = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return Plateau(number + 1, number, count, count, count, Reported(count, {name: number}))

    def improves(state: Plateau, value: Array) -> Bool[Array, ""]:
        margin = threshold * jnp.abs(state.best)
        better = value < state.best - margin if lower else value > state.best + margin
        return better | (state.seen == 0) | jnp.isnan(state.best)

    def after_epoch(state: Plateau) -> Plateau:
        value = state.reported.values[name]
        improved, cools = improves(state, value), state.cooling > 0
        waited = jnp.where(improved | cools, 0, state.waited + 1)
        reduces = waited >= patience
        return state._replace(
            scale=jnp.where(reduces, jnp.maximum(state.scale * factor, min_scale), state.scale),
            best=jnp.where(improved, value, state.best),
            waited=jnp.where(reduces, 0, waited),
            cooling=jnp.where(reduces, cooldown, jnp.maximum(state.cooling - 1, 0)).astype(jnp.int32),
            seen=state.reported.epoch,
        )

    def update(gradients: Params, state: Plateau, params: Params | None = None, **extra: Any):
        """dW ← s dW with the scale s, which falls on a plateau"""
        new = after_epoch(state)
        ended = state.reported.epoch > state.seen
        state = jax.tree.map(lambda new, old: jnp.where(ended, new, old), new, state)
        scaled = lambda leaf: (leaf.astype(wide(leaf)) * state.scale.astype(wide(leaf))).astype(leaf.dtype)
        return jax.tree.map(scaled, gradients), state

    return GradientTransformation(init, update)


def report_epoch(opt_state: PyTree, logs: Mapping[str, Any]) -> PyTree:
    """Report the values of an epoch to the optimizer, for transformations such as `reduce_on_plateau`.

    `fit` calls it at the end of each epoch. In a loop of your own:
    `state = state._replace(opt_state=fnn.report_epoch(state.opt_state, {"validation_cost": cost}))`.

    Args:
      opt_state: the state of any optimizer.
      logs: names and scalars, which may be traced.

    Returns:
      The state, in which every `Reported` has the values of this epoch.

    Raises:
      ValueError: if the optimizer needs a value that `logs` does not have.
    """
    is_reported = lambda node: isinstance(node, Reported)

    def report(node: Any) -> Any:
        if not is_reported(node):
            return node
        for name in node.values:
            if name not in logs:
                advice = "Names that begin with `validation_` need the argument `validation`."
                expected, got = f"one of {', '.join(sorted(logs))}", repr(name)
                raise checks.fail("reduce_on_plateau", "name", expected, came=got, advice=advice)
        return Reported(node.epoch + 1, {name: jnp.asarray(logs[name], old.dtype) for name, old in node.values.items()})

    return jax.tree.map(report, opt_state, is_leaf=is_reported)
