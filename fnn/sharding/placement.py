"""Put arrays onto the devices of a layout, and constrain programs to it.

Compiled programs use a copy of the mesh with Auto axes. Results are returned on the user's mesh. So meshes with
Explicit axes, which `jax.make_mesh` makes by default, and meshes with Auto axes work alike.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from fnn.sharding import agreement
from fnn.sharding.layout import Layout, auto_mesh, batch_sharding, replicated
from fnn.sharding.specs import entries_of, shardings
from fnn.split_params import Split, splitting
from fnn.types import Params, TrainState

P = ParamSpec("P")
R = TypeVar("R")


def on_auto_mesh(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: run it under the Auto mesh of its `sharding`.

    This overrides any mesh that the caller set with `jax.set_mesh`.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        layout = kwargs.get("sharding")
        if not isinstance(layout, Layout):
            return function(*args, **kwargs)
        with jax.set_mesh(auto_mesh(layout.mesh)):
            return function(*args, **kwargs)

    return wrapper


def constrain(tree: PyTree, targets: PyTree) -> PyTree:
    """Constrain a tree inside jit to one NamedSharding or a tree of them."""
    return jax.lax.with_sharding_constraint(tree, _in_context(targets))


def _in_context(targets: PyTree) -> PyTree:
    """Return shardings over the mesh that a program is traced for, if there is one."""
    context = jax.sharding.get_abstract_mesh()
    if not context.empty and all(kind == AxisType.Auto for kind in context.axis_types):  # inside auto_axes
        return jax.tree.map(lambda target: NamedSharding(context, target.spec), targets)
    return targets


def constrain_like(layout: Layout, tree: PyTree, params: Params) -> PyTree:
    """Constrain a tree inside jit to `shardings(layout, tree, params)`."""
    return constrain(tree, shardings(layout, tree, params))


def split_params(layout: Layout, params: Params) -> Params:
    """Return parameters for a network inside jit: with `Split` leaves, if the layout splits them over "data"."""
    if not layout.split_params:
        return params
    split, whole = (
        _in_context(shardings(one, params, params)) for one in (layout, layout._replace(split_params=False))
    )

    def of_leaf(leaf: Array, split: NamedSharding, whole: NamedSharding) -> Array | Split:
        if split.spec == whole.spec or not jnp.issubdtype(leaf.dtype, jnp.inexact):  # integers have no gradient
            return leaf
        full = lambda sharding: NamedSharding(sharding.mesh, PartitionSpec(*entries_of(sharding.spec, leaf.ndim)))
        return Split(leaf, full(split), full(whole))

    return jax.tree.map(of_leaf, params, split, whole)


def constrained(layout: Layout, step: Callable) -> Callable:
    """Return a step that shards its batch and keeps the sharding of its state.

    Apply `jax.jit` to the result to train step by step, on a mesh of any axis types. `fit(…, sharding=layout)` and
    `make_epoch(…, sharding=layout)` do this inside.

    On virtual CPU devices, call `jax.block_until_ready` every few steps. If hundreds of steps are queued, XLA's
    rendezvous times out and aborts the process (jax 0.10).

    Args:
      layout: the layout of the state.
      step: a function (state, batch) -> (state, output), such as `fnn.make_step` returns.

    Returns:
      A function of the same form. Its output is replicated.

    >>> import fnn
    >>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    >>> optimizer = fnn.sgd(0.1)
    >>> step = jax.jit(constrained(layout, fnn.make_step(fnn.dense(3, 1), fnn.squared_error, optimizer)))
    >>> state = fnn.init_state(fnn.dense(3, 1), optimizer, jax.random.key(0), sharding=layout)
    >>> state, cost = step(state, (jax.numpy.ones((4, 3)), jax.numpy.ones((4, 1))))
    >>> int(state.step)
    1
    """

    def constrained_step(state: TrainState, batch: PyTree) -> tuple[TrainState, PyTree]:
        with splitting(functools.partial(split_params, layout)):
            state, out = step(state, constrain(batch, batch_sharding(layout)))
        return constrain_like(layout, state, state.params), constrain(out, replicated(layout))

    def on_any_axes(state: TrainState, batch: PyTree) -> tuple[TrainState, PyTree]:
        meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves((state, batch))]
        explicit = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
        if explicit is None:
            # `weight_gradient` reads this mesh to choose its algorithm
            with jax.sharding.use_abstract_mesh(auto_mesh(layout.mesh).abstract_mesh):
                return constrained_step(state, batch)
        targets = shardings(layout, state, state.params), replicated(layout)
        out = jax.tree.map(lambda target: NamedSharding(explicit, target.spec), targets)
        run: Callable = jax.sharding.auto_axes(constrained_step, axes=explicit.axis_names, out_sharding=out)
        return run(state, batch)

    return on_any_axes


def place_params(layout: Layout, params: Params) -> Params:
    """Put parameters onto the devices of the mesh, as the rules say.

    The result has Auto axes.

    Args:
      layout: the layout.
      params: the parameters; every process must pass the same.

    Raises:
      ValueError: if a rule does not fit the parameters, or the processes pass different values.

    >>> import fnn
    >>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    >>> tuple(place_params(layout, fnn.dense(3, 2).init(jax.random.key(0))).w.sharding.spec)
    ()
    """
    return agreement.device_put(params, shardings(layout, params, params), "place_params", "params")


def place_state(layout: Layout, state: TrainState) -> TrainState:
    """Put a state onto the devices of the mesh, as `shardings` says.

    The result has Auto axes.

    Args:
      layout: the layout.
      state: the state; every process must pass the same.

    Raises:
      ValueError: if a rule does not fit the parameters, or the processes pass different values.

    >>> import fnn
    >>> layout = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    >>> state = fnn.init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0))
    >>> tuple(place_state(layout, state).params.w.sharding.spec)
    ()
    """
    return agreement.device_put(state, shardings(layout, state, state.params), "place_state", "state")


def to_user_mesh(layout: Layout, tree: PyTree) -> PyTree:
    """Return the arrays on the user's mesh. No data are moved."""
    on_user_mesh = lambda leaf: NamedSharding(layout.mesh, leaf.sharding.spec)
    return agreement.device_put(tree, jax.tree.map(on_user_mesh, tree))
