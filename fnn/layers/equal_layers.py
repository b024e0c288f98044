"""The initial parameters of many layers: those of equal layers are computed in a loop, which is compiled once.

XLA would compile the random numbers of each layer by themselves. For 60 dense layers that takes ten times as long as to
compute them.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.checks import protocol
from fnn.types import Layer, Params, PRNGKey

_MANY = 4  # equal layers that are worth a loop
_LARGE = 2**20  # numbers of a leaf, above which its copy out of the loop would count


def init_each(layers: tuple[Layer, ...], key: PRNGKey | None) -> tuple[Params, ...]:
    """Return layer.init(fold_in(key, i)) of each layer i, bit for bit.

    Inside `jax.jit`, equal layers share a loop. Without it, or if a mesh is set, so that each device makes its own
    shard, they do not.
    """

    def init(i: int, key: PRNGKey | None) -> Params:
        return protocol.init("serial", f"layers[{i}]", layers[i], key)

    if key is None:  # each layer raises the error, unless it needs no key
        return tuple(init(i, None) for i in range(len(layers)))
    groups = [[i] for i in range(len(layers))]
    if isinstance(key, Tracer) and len(layers) >= _MANY and jax.sharding.get_abstract_mesh().empty:
        groups = _groups(len(layers), init, key)
    params: dict[int, Params] = {}
    for group in groups:
        if len(group) < _MANY:
            for i in group:
                params[i] = init(i, jax.random.fold_in(key, i))
            continue
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.array(group))
        stacked = jax.lax.map(functools.partial(init, group[0]), keys)
        for row, i in enumerate(group):
            params[i] = jax.tree.map(lambda leaf, row=row: leaf[row], stacked)
    return tuple(params[i] for i in range(len(layers)))


def _groups(n: int, init: Callable[[int, PRNGKey], Params], key: PRNGKey) -> list[list[int]]:
    """The indices of n layers, equal ones together."""
    groups: dict[Any, list[int]] = {}
    for i in range(n):
        groups.setdefault(_program(functools.partial(init, i), key) or i, []).append(i)
    return list(groups.values())


def _program(init: Callable[[PRNGKey], Params], key: PRNGKey) -> tuple | None:
    """What `init` computes, to compare it; None if it computes nothing, or depends on arrays or side effects."""
    program, shapes = jax.make_jaxpr(init, return_shape=True)(key)
    literals = list(_literals(program.jaxpr))
    large = any(leaf.size > _LARGE for leaf in jax.tree.leaves(shapes))
    if large or program.consts or program.effects or not program.eqns or any(np.ndim(value) for value in literals):
        return None
    values = tuple((np.asarray(value).dtype, np.asarray(value).tobytes()) for value in literals)
    return str(program.jaxpr), values, jax.tree.structure(shapes)


def _literals(program: Any) -> Iterator[Any]:
    """The constants inside a jaxpr and inside those that it calls."""
    for equation in program.eqns:
        yield from (variable.val for variable in equation.invars if hasattr(variable, "val"))
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from getattr(value, "consts", ())
                yield from _literals(inner)
    yield from (variable.val for variable in program.outvars if hasattr(variable, "val"))
