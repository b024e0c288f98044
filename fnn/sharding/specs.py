"""The PartitionSpec of each parameter of a layout, and of each leaf of a state."""

import re
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from fnn import checks
from fnn.sharding.layout import DATA, Layout, auto_mesh, axes_of
from fnn.types import Params


def _path_name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def param_specs(layout: Layout, params: Params) -> dict[str, PartitionSpec]:
    """Return the PartitionSpec of each parameter by its path.

    This is that of the first rule, plus "data" if the parameters are split over it.

    Raises:
      ValueError: if a rule matches no parameter, or does not fit the shape of one.
    """
    function = "fully_sharded" if layout.split_params else "tensor_parallel"
    specs, names = {}, [_path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    unused = next((rule for rule, _ in layout.rules if not any(re.fullmatch(rule, name) for name in names)), None)
    if unused is not None:
        expected = f"patterns that each match one of the parameters {names}"
        raise checks.fail(function, "rules", expected, came=repr(unused))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = _path_name(path)
        spec = next((spec for rule, spec in layout.rules if re.fullmatch(rule, name)), PartitionSpec())
        if len(spec) > leaf.ndim:
            expected = f"specs of at most {leaf.ndim} entries for the parameter {name!r} of shape {tuple(leaf.shape)}"
            raise checks.fail(function, "rules", expected, came=str(spec))
        for size, entry in zip(leaf.shape, spec, strict=False):
            shards = _num_shards(layout, entry)
            if size % shards:
                expected = f"specs whose axes divide the parameter {name!r} of shape {tuple(leaf.shape)}"
                raise checks.fail(function, "rules", expected, came=f"size {size} over {shards} devices")
        specs[name] = _split_over_data(layout, spec, leaf.shape) if layout.split_params else spec
    return specs


def _num_shards(layout: Layout, entry: Any) -> int:
    """Return the number of shards that this entry of a spec makes."""
    shards = 1
    for axis in axes_of(PartitionSpec(entry)):
        shards *= layout.mesh.shape[axis]
    return shards


def _divisible(layout: Layout, spec: PartitionSpec, shape: tuple[int, ...]) -> list[int]:
    """Return the dimensions that "data" divides further.

    Dimensions that are not sharded yet come first; a spec with "data" has none.
    """
    if DATA in axes_of(spec):
        return []
    entries, devices = entries_of(spec, len(shape)), layout.mesh.shape[DATA]
    fits = [i for i, size in enumerate(shape) if size and size % (_num_shards(layout, entries[i]) * devices) == 0]
    return sorted(fits, key=lambda i: entries[i] is not None)


def entries_of(spec: PartitionSpec, ndim: int) -> list[Any]:
    """Return the entries of a spec, one for each axis of an array."""
    return [*spec, *[None] * (ndim - len(spec))]


def _add_data(spec: PartitionSpec, shape: tuple[int, ...], dimension: int) -> PartitionSpec:
    entries = entries_of(spec, len(shape))
    entries[dimension] = (*axes_of(PartitionSpec(entries[dimension])), DATA)
    return PartitionSpec(*entries)


def _shard_over_data(layout: Layout, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
    """Add "data" to a spec at the first dimension that it divides."""
    fits = _divisible(layout, spec, shape)
    return _add_data(spec, shape, fits[0]) if fits else spec


def _split_over_data(layout: Layout, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
    """Add "data" to the spec of a parameter at the largest dimension that it divides.

    Of equal ones it is the last. The first of three or more comes last, since it may count the copies of `repeat`.
    """
    entries = entries_of(spec, len(shape))
    preference = lambda i: (entries[i] is None, i > 0 or len(shape) < 3, shape[i], i)
    fits = _divisible(layout, spec, shape)
    return _add_data(spec, shape, max(fits, key=preference)) if fits else spec


def shardings(layout: Layout, tree: PyTree, params: Params) -> PyTree:
    """Return the NamedSharding, over Auto axes, of each leaf of a tree.

    The tree is a TrainState, or any tree that contains one. A leaf gets the sharding of a parameter if its
    path ends with the parameter's path and it has the parameter's shape. Examples are parameters, gradients, the
    moments of an optimizer and the best parameters so far. Every other leaf is replicated.

    Args:
      layout: the layout.
      tree: the tree, of arrays or of `jax.ShapeDtypeStruct`s.
      params: the network's parameters, whose paths and shapes the rules refer to.

    Raises:
      ValueError: if a rule matches no parameter, or does not fit the shape of one.

    >>> import fnn
    >>> params = fnn.dense(3, 2).init(jax.random.key(0))
    >>> tuple(shardings(fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",))), params, params).w.spec)
    ()
    """
    mesh, specs = auto_mesh(layout.mesh), param_specs(layout, params)
    shapes = {_path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def leaf_sharding(path: tuple, leaf: Any) -> NamedSharding:
        suffixes = (_path_name(path[i:]) for i in range(len(path) + 1))
        name = next((suffix for suffix in suffixes if shapes.get(suffix) == leaf.shape), None)
        spec = PartitionSpec() if name is None else specs[name]
        if layout.split_optimizer and name is not None and "opt_state" in _path_name(path).split("."):
            spec = _shard_over_data(layout, spec, leaf.shape)
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(leaf_sharding, tree)
