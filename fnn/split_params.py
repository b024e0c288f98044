"""Parameters that are split over devices, as the layers of a network see them.

A step that trains with split parameters (`fnn.sharding.fully_sharded`) is traced within `splitting`. In it:

1. `value_and_grad` gives the network parameters whose leaves are `Split`: an array and its shardings.
2. `fnn.checks.protocol`, through which every layer is called, gathers them for a layer (`for_layer`) and splits its
   gradient again (`split_like`). So each layer, and each one that a user writes, sees plain, whole arrays.
3. A combinator or a wrapper only passes its parameters on. It says so with `passes_params(Layer(…))` and gets `Split`
   leaves. It matters for `repeat`: what its loop does not receive split, XLA would gather for all copies at once.

So XLA has the whole parameters of one layer at a time, and sends parameters rather than the outputs of layers. Without
`splitting`, no leaf is `Split`, and all functions here return what they are given.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from fnn.types import Layer, Params

_PASSES_PARAMS = "__passes_params__"  # descriptions of a training leave out attributes that begin with "__"


@partial(jax.tree_util.register_dataclass, data_fields=["array"], meta_fields=["split", "whole"])
@dataclass(frozen=True)
class Split:
    """A parameter or its gradient, of which each device holds a shard.

    Attributes:
      array: the parameter. Inside `repeat` it is that of one copy, without the leading axis.
      split: its sharding; the spec has an entry for each axis, also for the leading one.
      whole: the sharding that layers compute with.
    """

    array: Array
    split: NamedSharding
    whole: NamedSharding


_split: ContextVar[Callable[[Params], Params]] = ContextVar("split", default=lambda params: params)


@contextlib.contextmanager
def splitting(split: Callable[[Params], Params]) -> Iterator[None]:
    """Let `split_params` return split(params) while a step is traced."""
    token = _split.set(split)
    try:
        yield
    finally:
        _split.reset(token)


def split_params(params: Params) -> Params:
    """Return the parameters for the network of the step that is being traced: with `Split` leaves if they are split."""
    return _split.get()(params)


def before_backward(params: Params, dy: Array) -> tuple[Params, Array]:
    """Return the parameters and the gradient with which the backward pass begins.

    What is gathered of split parameters for the forward pass is not kept: without the barrier, XLA would merge it with
    what is gathered for the backward pass.
    """
    return jax.lax.optimization_barrier((params, dy)) if _has_split(params) else (params, dy)


def passes_params(layer: Layer) -> Layer:
    """Mark a layer that does not compute with its parameters, but passes them to others: it gets `Split` leaves.

    The mark is on its functions: a layer in which a user replaces or wraps one of them gets whole parameters.
    """
    for function in (layer.forward, layer.backward):
        vars(function)[_PASSES_PARAMS] = True
    return layer


def for_layer(layer: Layer, params: Params) -> Params:
    """Return the parameters that the functions of a layer take: whole, unless the layer passes them on."""
    return params if _passes(layer.forward) and _passes(layer.backward) else gathered(params)


def _passes(function: Callable) -> bool:
    attributes = getattr(function, "__dict__", {})
    return _PASSES_PARAMS in attributes and "__wrapped__" not in attributes  # functools.wraps copies attributes


def gathered(params: Params) -> Params:
    """Return the parameters, whole on each device.

    >>> import jax.numpy as jnp
    >>> gathered((jnp.ones(2),))
    (Array([1., 1.], dtype=float32),)
    """
    return _map(lambda leaf: _constrain(leaf.array, leaf.whole), params)


def split_like(tree: PyTree, params: Params) -> PyTree:
    """Return a gradient, or other parameters, of a layer split as its parameters are."""
    if jax.tree.structure(tree) == jax.tree.structure(params):
        return tree

    def split(param: Any, leaf: Any) -> Any:
        return Split(_constrain(leaf, param.split), param.split, param.whole) if _is_split(param) else leaf

    return jax.tree.map(split, params, tree, is_leaf=_is_split)


def arrays(tree: PyTree) -> PyTree:
    """Return the arrays of `Split` leaves, each device with its shards.

    >>> import jax.numpy as jnp
    >>> arrays((jnp.ones(2),))
    (Array([1., 1.], dtype=float32),)
    """
    return _map(lambda leaf: leaf.array, tree)


def _map(function: Callable[[Split], Array], tree: PyTree) -> PyTree:
    """Apply a function to the `Split` leaves of a tree. A tree without any is returned as it is."""
    if not _has_split(tree):
        return tree
    return jax.tree.map(lambda leaf: function(leaf) if _is_split(leaf) else leaf, tree, is_leaf=_is_split)


def _has_split(tree: PyTree) -> bool:
    return any(map(_is_split, jax.tree.leaves(tree, is_leaf=_is_split)))


def _is_split(leaf: Any) -> bool:
    return isinstance(leaf, Split)


def _constrain(array: Array, sharding: NamedSharding) -> Array:
    """Constrain an array, which may lack the first axes of the spec."""
    spec = PartitionSpec(*sharding.spec[len(sharding.spec) - array.ndim :])
    return jax.lax.with_sharding_constraint(array, NamedSharding(sharding.mesh, spec))
