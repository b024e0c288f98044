"""Layouts: how arrays are sharded over a mesh of devices.

A `Layout` shards examples over the mesh's axis "data". It shards a parameter over the axes that the first rule
matching its path names. Everything else is replicated. XLA's partitioner adds the communication, so a program
computes the same as on one device, up to rounding: the same shuffles, the same batches, the same costs and gradients.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from fnn import checks
from fnn.types import Params

DATA = "data"
"""The name of the mesh axis that examples are sharded over."""


class Layout(NamedTuple):
    """How arrays are sharded over a mesh: the argument `sharding` of `fit`.

    Attributes:
      mesh: the devices. Examples are sharded over its axis "data", if it has one.
      rules: pairs (regular expression, PartitionSpec). The first expression that matches the whole path of a
        parameter, such as "0.w", applies to it, and to the optimizer state of its shape.
      split_optimizer: shard that optimizer state over "data", too (ZeRO-1; Rajbhandari et al. 2020).
    """

    mesh: Mesh
    rules: tuple[tuple[str, PartitionSpec], ...] = ()
    split_optimizer: bool = False


def data_parallel(mesh: Mesh, split_optimizer: bool = False) -> Layout:
    """Return a layout that shards examples and replicates parameters.

    Each device computes the gradient of its share of a batch. A step communicates only the sums of the gradient and
    of the cost. If the examples themselves are sharded (more than a GiB, or several processes), it also communicates
    the rows of each shuffled batch.

    Args:
      mesh: a mesh with an axis named "data".
      split_optimizer: each device keeps and updates only its shard of the optimizer state.

    Raises:
      ValueError: if the mesh has no axis "data".

    >>> layout = data_parallel(jax.make_mesh((1,), ("data",)))
    >>> layout.rules
    ()
    """
    return _make_layout("data_parallel", mesh, (), split_optimizer, needs_data=True)


def tensor_parallel(mesh: Mesh, rules: Sequence[tuple[str, PartitionSpec]], split_optimizer: bool = False) -> Layout:
    """Return a layout with parameters sharded by rules.

    If W of one dense layer is sharded by columns and W of the next one by rows, the two need one sum between them
    (Shoeybi et al. 2019). `dense_pairs` makes such rules.

    Args:
      mesh: a mesh with the axes that the rules name. If it has an axis "data", examples are sharded over it.
      rules: pairs (regular expression, PartitionSpec). The first expression that matches the whole path of a
        parameter applies to it. A parameter without a rule is replicated.
      split_optimizer: shard the optimizer state over "data", too; needs that axis.

    Raises:
      ValueError: if a rule names no axis of the mesh or is not a regular expression.
      TypeError: if `rules` are not such pairs.

    >>> from jax.sharding import PartitionSpec as P
    >>> rules = [(r"0\\.w", P(None, "model")), (r"0\\.b", P("model")), (r"2\\.w", P("model", None))]
    >>> tensor_parallel(jax.make_mesh((1, 1), ("data", "model")), rules).mesh.axis_names
    ('data', 'model')
    """
    return _make_layout("tensor_parallel", mesh, rules, split_optimizer, needs_data=False)


def _make_layout(function: str, mesh: Any, rules: Any, split_optimizer: bool, needs_data: bool) -> Layout:
    if not isinstance(mesh, Mesh):
        raise checks.fail(function, "mesh", "a jax.sharding.Mesh", mesh, TypeError)
    names = mesh.axis_names
    if (needs_data or split_optimizer) and DATA not in names:
        raise checks.fail(function, "mesh", f"a mesh with an axis named {DATA!r}", came=f"axes {names}")
    if isinstance(rules, str) or not isinstance(rules, Sequence):
        raise checks.fail(function, "rules", "pairs (regular expression, PartitionSpec)", rules, TypeError)
    for rule in rules:
        is_pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not is_pair or not isinstance(rule[0], str) or not isinstance(rule[1], PartitionSpec):
            raise checks.fail(function, "rules", "pairs (regular expression, PartitionSpec)", rule, TypeError)
        try:
            re.compile(rule[0])
        except re.error as error:
            raise checks.fail(function, "rules", "regular expressions", came=f"{rule[0]!r}: {error}") from None
        unknown = [axis for axis in _axes(rule[1]) if axis not in names]
        if unknown:
            expected = f"PartitionSpecs over the mesh's axes {names}"
            raise checks.fail(function, "rules", expected, came=f"{unknown[0]!r} in {rule}")
    return Layout(mesh, tuple((path, spec) for path, spec in rules), bool(split_optimizer))


def _axes(spec: PartitionSpec) -> list[str]:
    """Return the mesh axes that a spec names."""
    return [axis for entry in spec if entry for axis in (entry if isinstance(entry, tuple) else (entry,))]


def check_layout(function: str, layout: Any) -> Layout:
    """Return the argument `sharding` of a function if it is a valid Layout."""
    if not isinstance(layout, Layout):
        raise checks.fail(function, "sharding", "a Layout (see fnn.sharding.data_parallel)", layout, TypeError)
    if layout.split_optimizer and DATA not in layout.mesh.axis_names:
        expected = f"a layout with an axis {DATA!r} to shard the optimizer state over"
        raise checks.fail(function, "sharding", expected, came=f"axes {layout.mesh.axis_names}")
    return layout


def describe(layout: Layout) -> str:
    """Describe a layout; the text is the same in every process.

    >>> describe(data_parallel(jax.make_mesh((1,), ("data",))))
    "{'data': 1} of devices [0]"
    """
    mesh = layout.mesh
    text = f"{dict(mesh.shape)} of devices {[device.id for device in mesh.devices.flat]}"
    text += "".join(f", {path!r}: {spec}" for path, spec in layout.rules)
    return text + (", split_optimizer" if layout.split_optimizer else "")


@functools.cache
def auto_mesh(mesh: Mesh) -> Mesh:
    """Return the mesh with Auto axes: XLA chooses the intermediate shardings.

    >>> auto_mesh(jax.make_mesh((1,), ("data",))).axis_types == (AxisType.Auto,)
    True
    """
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def with_auto_axes(layout: Layout) -> Layout:
    """Return the layout over `auto_mesh`, which compiled programs use."""
    return layout._replace(mesh=auto_mesh(layout.mesh))


def batch_sharding(layout: Layout) -> NamedSharding:
    """Return the sharding of rows over "data"; replicated without that axis."""
    mesh = auto_mesh(layout.mesh)
    return NamedSharding(mesh, PartitionSpec(DATA) if DATA in mesh.axis_names else PartitionSpec())


def num_batch_shards(layout: Layout) -> int:
    """Return the number of shards of a batch: the size of the axis "data", or 1."""
    return layout.mesh.shape.get(DATA, 1)


def replicated(layout: Layout) -> NamedSharding:
    """Return the sharding of an array that every device of the mesh holds whole."""
    return NamedSharding(auto_mesh(layout.mesh), PartitionSpec())


def _path_name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def param_specs(layout: Layout, params: Params) -> dict[str, PartitionSpec]:
    """Return the PartitionSpec of each parameter by its path.

    Raises:
      ValueError: if a rule matches no parameter, or does not fit the shape of one.
    """
    specs, names = {}, [_path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    unused = next((rule for rule, _ in layout.rules if not any(re.fullmatch(rule, name) for name in names)), None)
    if unused is not None:
        expected = f"patterns that each match one of the parameters {names}"
        raise checks.fail("tensor_parallel", "rules", expected, came=repr(unused))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = _path_name(path)
        spec = next((spec for rule, spec in layout.rules if re.fullmatch(rule, name)), PartitionSpec())
        if len(spec) > leaf.ndim:
            expected = f"specs of at most {leaf.ndim} entries for the parameter {name!r} of shape {tuple(leaf.shape)}"
            raise checks.fail("tensor_parallel", "rules", expected, came=str(spec))
        for size, entry in zip(leaf.shape, spec, strict=False):
            shards = _num_shards(layout, entry)
            if size % shards:
                expected = f"specs whose axes divide the parameter {name!r} of shape {tuple(leaf.shape)}"
                raise checks.fail("tensor_parallel", "rules", expected, came=f"size {size} over {shards} devices")
        specs[name] = spec
    return specs


def _num_shards(layout: Layout, entry: Any) -> int:
    """Return the number of shards that this entry of a spec makes."""
    shards = 1
    for axis in _axes(PartitionSpec(entry)):
        shards *= layout.mesh.shape[axis]
    return shards


def _shard_over_data(layout: Layout, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
    """Add "data" to a spec at the first dimension that it divides.

    Dimensions that are not sharded yet come first.
    """
    entries = [*spec, *[None] * (len(shape) - len(spec))]
    devices = layout.mesh.shape[DATA]
    fits = [i for i, size in enumerate(shape) if size and size % (_num_shards(layout, entries[i]) * devices) == 0]
    if not fits or DATA in _axes(spec):
        return spec
    first = min(fits, key=lambda i: entries[i] is not None)
    entries[first] = (*_axes(PartitionSpec(entries[first])), DATA)
    return PartitionSpec(*entries)


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
    >>> tuple(shardings(data_parallel(jax.make_mesh((1,), ("data",))), params, params).w.spec)
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
