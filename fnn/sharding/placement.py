"""Arrays put where a layout says, and programs that keep them there.

Inside, all runs on a copy of the mesh with Auto axes, and what comes back is on the mesh that was given: meshes with
Explicit axes, as `jax.make_mesh` makes them, work alike.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.sharding import AxisType, NamedSharding
from jaxtyping import PyTree

from fnn.sharding import agreement
from fnn.sharding.layout import Layout, auto_mesh, batch_sharding, replicated, shardings
from fnn.types import Params, TrainState

P = ParamSpec("P")
R = TypeVar("R")


def on_auto_mesh(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run on the inner mesh of its keyword `sharding`: what `jax.set_mesh` set outside stays outside."""

    @functools.wraps(function)
    def there(*args: P.args, **kwargs: P.kwargs) -> R:
        layout = kwargs.get("sharding")
        if not isinstance(layout, Layout):
            return function(*args, **kwargs)
        with jax.set_mesh(auto_mesh(layout.mesh)):
            return function(*args, **kwargs)

    return there


def constrain(tree: PyTree, places: PyTree) -> PyTree:
    """Inside jit: `tree` where `places`, one NamedSharding or a tree of them, says."""
    context = jax.sharding.get_abstract_mesh()
    if not context.empty and all(kind == AxisType.Auto for kind in context.axis_types):  # inside auto_axes
        places = jax.tree.map(lambda place: NamedSharding(context, place.spec), places)
    return jax.lax.with_sharding_constraint(tree, places)


def constrain_like(layout: Layout, tree: PyTree, params: Params) -> PyTree:
    """Inside jit: `tree` as `shardings` has it."""
    return constrain(tree, shardings(layout, tree, params))


def constrained(layout: Layout, step: Callable) -> Callable:
    """step(state, batch) with the batch split over the devices and the new state laid out as the old one.

    `jax.jit` it to train step by step, on a mesh of any axes; `make_epoch(…, sharding=layout)` and
    `fit(…, sharding=layout)` do it inside. Over virtual CPU devices call `jax.block_until_ready` every few steps: where
    hundreds of them wait in line, XLA takes those that sum for stuck, and aborts.
    """

    def placed(state: TrainState, batch: PyTree) -> tuple[TrainState, PyTree]:
        state, out = step(state, constrain(batch, batch_sharding(layout)))
        return constrain_like(layout, state, state.params), constrain(out, replicated(layout))

    def on_any_axes(state: TrainState, batch: PyTree) -> tuple[TrainState, PyTree]:
        meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves((state, batch))]
        explicit = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
        if explicit is None:
            with jax.sharding.use_abstract_mesh(auto_mesh(layout.mesh).abstract_mesh):  # so that layers see it
                return placed(state, batch)
        places = shardings(layout, state, state.params), replicated(layout)
        out = jax.tree.map(lambda place: NamedSharding(explicit, place.spec), places)
        run: Callable = jax.sharding.auto_axes(placed, axes=explicit.axis_names, out_sharding=out)
        return run(state, batch)

    return on_any_axes


def place_params(layout: Layout, params: Params) -> Params:
    """The parameters on the devices of the mesh, as the rules say, with Auto axes."""
    return agreement.device_put(params, shardings(layout, params, params), "place_params", "params")


def place_state(layout: Layout, state: TrainState) -> TrainState:
    """The state on the devices of the mesh: where `shardings` says, with Auto axes."""
    return agreement.device_put(state, shardings(layout, state, state.params), "place_state", "state")


def to_user_mesh(layout: Layout, tree: PyTree) -> PyTree:
    """Arrays on the mesh that the layout was made with, whatever its axes are; nothing is moved."""
    outer = lambda leaf: NamedSharding(layout.mesh, leaf.sharding.spec)
    return agreement.device_put(tree, jax.tree.map(outer, tree))
