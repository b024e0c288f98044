"""Training over the devices of a mesh: which array lies where. What is computed stays the same.

A `Layout` says it: examples are split over the mesh's axis "data", a parameter over the axes that the first rule
matching its path names, and what no rule names is on every device. XLA's partitioner adds the communication, so a
program means what it means on one device: the same shuffles, the same batches, costs and gradients to rounding.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from fnn import checks
from fnn.layers.dense import Dense
from fnn.types import Layer, Params

DATA = "data"
"""The name of the axis that examples are split over."""


class Layout(NamedTuple):
    """Where arrays lie: a value to pass as `sharding`.

    mesh             examples are split over its axis "data", if it has one
    rules            pairs (regular expression, PartitionSpec): the first that matches a parameter's whole path, such
                     as "0.w", holds for it and for what the optimizer keeps of its shape
    split_optimizer  that part of the optimizer's state is split over "data" too (ZeRO-1; Rajbhandari et al. 2020)
    """

    mesh: Mesh
    rules: tuple[tuple[str, PartitionSpec], ...] = ()
    split_optimizer: bool = False


def data_parallel(mesh: Mesh, split_optimizer: bool = False) -> Layout:
    """Parameters on every device, examples split over the axis "data".

    Each device computes the gradient of its share of a batch; their sum, and the cost's, is all that is sent in a
    step. (Of examples that are split over devices, a GiB or more or those of several processes, the rows of each
    shuffled batch are sent, too.) With `split_optimizer` each device also keeps, and updates, only its share of the
    optimizer's state.

    >>> layout = data_parallel(jax.make_mesh((1,), ("data",)))
    >>> layout.rules
    ()
    """
    return _checked("data_parallel", mesh, (), split_optimizer, needs_data=True)


def tensor_parallel(mesh: Mesh, rules: Sequence[tuple[str, PartitionSpec]], split_optimizer: bool = False) -> Layout:
    """Parameters split by rules, pairs (regular expression over the path, PartitionSpec); the first that matches holds.

    W of one dense layer by columns and of the next by rows needs one sum between them (Shoeybi et al. 2019):
    `dense_pairs` makes such rules. With an axis "data" in the mesh examples are split too.

    >>> from jax.sharding import PartitionSpec as P
    >>> rules = [(r"0\\.w", P(None, "model")), (r"0\\.b", P("model")), (r"2\\.w", P("model", None))]
    >>> tensor_parallel(jax.make_mesh((1, 1), ("data", "model")), rules).mesh.axis_names
    ('data', 'model')
    """
    return _checked("tensor_parallel", mesh, rules, split_optimizer, needs_data=False)


def dense_pairs(network: Layer, axis: str = "model") -> tuple[tuple[str, PartitionSpec], ...]:
    """Rules that split the dense layers of a `serial` in pairs: the first by columns, the second by rows.

    Z₁ = X W₁ then needs nothing from other devices, and Z₂ = A₁ W₂ is a sum over them. A layer without a partner, and
    whatever is not dense, stays whole.

    >>> import fnn
    >>> [(path, tuple(spec)) for path, spec in dense_pairs(fnn.mlp([4, 8, 8, 3]))]
    [('0\\\\.w', (None, 'model')), ('0\\\\.b', ('model',)), ('2\\\\.w', ('model', None))]
    """
    checks.layer("dense_pairs", "network", network)
    dense = [i for i, layer in enumerate(network.layers) if _is_dense(layer)]
    if len(dense) < 2:
        came = f"{len(dense)} of them among {[layer.name for layer in network.layers]}"
        raise checks.fail("dense_pairs", "network", "a `serial` of at least two dense layers", came=came)
    rules = []
    for first, second in zip(dense[::2], dense[1::2], strict=False):
        rules += [(rf"{first}\.w", PartitionSpec(None, axis)), (rf"{first}\.b", PartitionSpec(axis))]
        rules += [(rf"{second}\.w", PartitionSpec(axis, None))]
    return tuple(rules)


def _is_dense(layer: Layer) -> bool:
    """Return True if the parameters of a layer are those of one dense layer (not of several, as in `repeat`)."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    return isinstance(params, Dense) and params.w.ndim == 2


def _checked(function: str, mesh: Any, rules: Any, split_optimizer: bool, needs_data: bool) -> Layout:
    if not isinstance(mesh, Mesh):
        raise checks.fail(function, "mesh", "a jax.sharding.Mesh", mesh, TypeError)
    names = mesh.axis_names
    if (needs_data or split_optimizer) and DATA not in names:
        raise checks.fail(function, "mesh", f"one with an axis named {DATA!r}", came=f"axes {names}")
    if isinstance(rules, str) or not isinstance(rules, Sequence):
        raise checks.fail(function, "rules", "pairs (regular expression, PartitionSpec)", rules, TypeError)
    for rule in rules:
        pair = isinstance(rule, tuple | list) and len(rule) == 2
        if not pair or not isinstance(rule[0], str) or not isinstance(rule[1], PartitionSpec):
            raise checks.fail(function, "rules", "pairs (regular expression, PartitionSpec)", rule, TypeError)
        try:
            re.compile(rule[0])
        except re.error as error:
            raise checks.fail(function, "rules", "regular expressions", came=f"{rule[0]!r}: {error}") from None
        unknown = [axis for axis in _axes(rule[1]) if axis not in names]
        if unknown:
            raise checks.fail(function, "rules", f"of the mesh's axes {names}", came=f"{unknown[0]!r} in {rule}")
    return Layout(mesh, tuple((path, spec) for path, spec in rules), bool(split_optimizer))


def _axes(spec: PartitionSpec) -> list[str]:
    """The axes that a spec names."""
    return [axis for entry in spec if entry for axis in (entry if isinstance(entry, tuple) else (entry,))]


def check_layout(function: str, layout: Any) -> Layout:
    """`layout` if it is one."""
    if not isinstance(layout, Layout):
        raise checks.fail(function, "sharding", "a Layout (of fnn.sharding.data_parallel …)", layout, TypeError)
    if layout.split_optimizer and DATA not in layout.mesh.axis_names:
        came = f"axes {layout.mesh.axis_names}"
        raise checks.fail(function, "sharding", f"with an axis {DATA!r} to split the optimizer's state over", came=came)
    return layout


def describe(layout: Layout) -> str:
    """Text that is the same for the same layout in any process.

    >>> described(data_parallel(jax.make_mesh((1,), ("data",))))
    "{'data': 1} of devices [0]"
    """
    mesh = layout.mesh
    text = f"{dict(mesh.shape)} of devices {[device.id for device in mesh.devices.flat]}"
    text += "".join(f", {path!r}: {spec}" for path, spec in layout.rules)
    return text + (", the optimizer's state split" if layout.split_optimizer else "")


@functools.cache
def auto_mesh(mesh: Mesh) -> Mesh:
    """The same devices with Auto axes: XLA places what is between."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def with_auto_axes(layout: Layout) -> Layout:
    """The layout as compiled programs have it, the same for any types of axes."""
    return layout._replace(mesh=auto_mesh(layout.mesh))


def batch_sharding(layout: Layout) -> NamedSharding:
    """Rows split over "data"; whole where there is no such axis."""
    mesh = auto_mesh(layout.mesh)
    return NamedSharding(mesh, PartitionSpec(DATA) if DATA in mesh.axis_names else PartitionSpec())


def num_batch_shards(layout: Layout) -> int:
    """Over how many devices rows are split."""
    return layout.mesh.shape.get(DATA, 1)


def replicated(layout: Layout) -> NamedSharding:
    """On every device."""
    return NamedSharding(auto_mesh(layout.mesh), PartitionSpec())


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def param_specs(layout: Layout, params: Params) -> dict[str, PartitionSpec]:
    """The PartitionSpec of each parameter by its path; ValueError where a rule does not fit its shape."""
    specs, names = {}, [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    idle = next((rule for rule, _ in layout.rules if not any(re.fullmatch(rule, name) for name in names)), None)
    if idle is not None:
        raise checks.fail("tensor_parallel", "rules", f"each of a parameter, of {names}", came=repr(idle))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = _name(path)
        spec = next((spec for rule, spec in layout.rules if re.fullmatch(rule, name)), PartitionSpec())
        if len(spec) > leaf.ndim:
            expected = f"of at most {leaf.ndim} entries for the parameter {name!r} of shape {tuple(leaf.shape)}"
            raise checks.fail("tensor_parallel", "rules", expected, came=str(spec))
        for size, entry in zip(leaf.shape, spec, strict=False):
            parts = _parts(layout, entry)
            if size % parts:
                expected = f"such that axes divide the parameter {name!r} of shape {tuple(leaf.shape)}"
                raise checks.fail("tensor_parallel", "rules", expected, came=f"{size} entries over {parts} devices")
        specs[name] = spec
    return specs


def _parts(layout: Layout, entry: Any) -> int:
    """Over how many devices this entry of a spec splits."""
    parts = 1
    for axis in _axes(PartitionSpec(entry)):
        parts *= layout.mesh.shape[axis]
    return parts


def _split_over_data(layout: Layout, spec: PartitionSpec, shape: tuple[int, ...]) -> PartitionSpec:
    """The spec with "data" at the first axis that it divides, one that is still whole before one that is split."""
    entries = [*spec, *[None] * (len(shape) - len(spec))]
    devices = layout.mesh.shape[DATA]
    fits = [i for i, size in enumerate(shape) if size and size % (_parts(layout, entries[i]) * devices) == 0]
    if not fits or DATA in _axes(spec):
        return spec
    first = min(fits, key=lambda i: entries[i] is not None)
    entries[first] = (*_axes(PartitionSpec(entries[first])), DATA)
    return PartitionSpec(*entries)


def shardings(layout: Layout, tree: PyTree, params: Params) -> PyTree:
    """Where each leaf of a TrainState, or of any tree that holds one, lies: a tree of NamedSharding, with Auto axes.

    What has the path of a parameter at the end of its own, and its shape (in parameters, gradients, an optimizer's
    moments, the best parameters so far), lies as that parameter does; everything else on every device.
    """
    mesh, specs = auto_mesh(layout.mesh), param_specs(layout, params)
    shapes = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def place(path: tuple, leaf: Any) -> NamedSharding:
        ends = (_name(path[i:]) for i in range(len(path) + 1))
        name = next((end for end in ends if shapes.get(end) == leaf.shape), None)
        spec = PartitionSpec() if name is None else specs[name]
        if layout.split_optimizer and name is not None and "opt_state" in _name(path).split("."):
            spec = _split_over_data(layout, spec, leaf.shape)
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(place, tree)
