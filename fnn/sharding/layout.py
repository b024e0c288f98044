"""Layouts: how arrays are sharded over a mesh of devices.

A `Layout` shards examples over the mesh's axis "data". It shards a parameter over the axes that the first rule
matching its path names. Everything else is replicated. XLA's partitioner adds the communication, so a program
computes the same as on one device, up to rounding: the same shuffles, the same batches, the same costs and gradients.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fnn import checks

DATA = "data"
"""The name of the mesh axis that examples are sharded over."""


class Layout(NamedTuple):
    """How arrays are sharded over a mesh: the argument `sharding` of `fit`.

    Attributes:
      mesh: the devices. Examples are sharded over its axis "data", if it has one.
      rules: pairs (regular expression, PartitionSpec). The first expression that matches the whole path of a
        parameter, such as "0.w", applies to it, and to the optimizer state of its shape.
      split_optimizer: shard that optimizer state over "data", too (ZeRO-1; Rajbhandari et al. 2020).
      split_params: shard parameters, gradients and optimizer state over "data"; see `fully_sharded`.
    """

    mesh: Mesh
    rules: tuple[tuple[str, PartitionSpec], ...] = ()
    split_optimizer: bool = False
    split_params: bool = False


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

    >>> import jax
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

    >>> import jax
    >>> from jax.sharding import PartitionSpec as P
    >>> rules = [(r"0\\.w", P(None, "model")), (r"0\\.b", P("model")), (r"2\\.w", P("model", None))]
    >>> tensor_parallel(jax.make_mesh((1, 1), ("data", "model")), rules).mesh.axis_names
    ('data', 'model')
    """
    return _make_layout("tensor_parallel", mesh, rules, split_optimizer, needs_data=False)


def fully_sharded(mesh: Mesh, rules: Sequence[tuple[str, PartitionSpec]] = ()) -> Layout:
    """Return a layout that shards examples, parameters, gradients and optimizer state over "data".

    This is ZeRO-3 (Rajbhandari et al. 2020), also called FSDP (Zhao et al. 2023). Each parameter is split along its
    largest axis that the number of devices n divides, its gradient and its optimizer state likewise. XLA gathers the
    parameters of one layer at a time, once for forward and once for backward, and sums each gradient into its shards.
    Let P, G and O be the bytes of parameters, gradients and optimizer state, and W those of the largest layer:

    memory of a device = (P + G + O) / n + 2 W + its share of the activations

    sent by a device in each step = (n - 1) / n · (2 P + G) bytes; data-parallel: (n - 1) / n · 2 G

    With micro-batches, a step sends this for each of them.

    - If n divides no axis of a parameter, each device holds it whole, and so it does what an optimizer keeps in another
      shape than the parameter's (`optax.adafactor`). `fnn.sharding.shardings` shows the choice.
    - Build deep networks with `repeat(remat(block), copies)`: its loop gathers one copy at a time, W is one copy. In a
      `serial`, XLA may gather layers early, and sum many gradients at once. On virtual CPU devices it sums all of
      them at once, with an all-reduce in place of a reduce-scatter, which sends (n - 1) / n · 2 G.
    - Of three or more axes, the first is split only if no other can be: it may count the copies of `repeat`, and XLA
      then gathers all copies before the loop.
    - `mixed_precision` casts parameters before forward gathers them, and with `round_gradients=True` also those and the
      gradients of backward. (On virtual CPU devices XLA sends them in float32.)
    - `autodiff(layer)` keeps what forward gathered until backward. A combinator of your own is gathered as one layer,
      and so is a whole network that reads a sequence in pieces.
    - A step of your own gathers layer by layer if its gradient comes from `fnn.value_and_grad`. Otherwise XLA chooses.

    Args:
      mesh: a mesh with an axis named "data".
      rules: pairs (regular expression, PartitionSpec) for the other axes, as in `tensor_parallel`. Parameters are
        split over "data" in addition.

    Raises:
      ValueError: if the mesh has no axis "data", or a rule names no axis of the mesh or is not a regular expression.
      TypeError: if `mesh` is not a mesh, or `rules` are not such pairs.

    >>> import fnn, jax
    >>> layout = fully_sharded(jax.make_mesh((1,), ("data",)))
    >>> params = fnn.dense(3, 2).init(jax.random.key(0))
    >>> [tuple(leaf.spec) for leaf in fnn.sharding.shardings(layout, params, params)]
    [('data', None), ('data',)]
    """
    layout = _make_layout("fully_sharded", mesh, rules, split_optimizer=False, needs_data=True)
    return layout._replace(split_params=True)


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
        unknown = [axis for axis in axes_of(rule[1]) if axis not in names]
        if unknown:
            expected = f"PartitionSpecs over the mesh's axes {names}"
            raise checks.fail(function, "rules", expected, came=f"{unknown[0]!r} in {rule}")
    return Layout(mesh, tuple((path, spec) for path, spec in rules), bool(split_optimizer))


def axes_of(spec: PartitionSpec) -> list[str]:
    """Return the mesh axes that a spec names."""
    return [axis for entry in spec if entry for axis in (entry if isinstance(entry, tuple) else (entry,))]


def check_layout(function: str, layout: Any) -> Layout:
    """Return the argument `sharding` of a function if it is a valid Layout."""
    if not isinstance(layout, Layout):
        raise checks.fail(function, "sharding", "a Layout (see fnn.sharding.data_parallel)", layout, TypeError)
    if (layout.split_optimizer or layout.split_params) and DATA not in layout.mesh.axis_names:
        split = "parameters" if layout.split_params else "optimizer state"
        expected = f"a layout with an axis {DATA!r} to shard the {split} over"
        raise checks.fail(function, "sharding", expected, came=f"axes {layout.mesh.axis_names}")
    return layout


def describe(layout: Layout) -> str:
    """Describe a layout; the text is the same in every process.

    >>> import jax
    >>> describe(data_parallel(jax.make_mesh((1,), ("data",))))
    "{'data': 1} of devices [0]"
    """
    mesh = layout.mesh
    text = f"{dict(mesh.shape)} of devices {[device.id for device in mesh.devices.flat]}"
    text += "".join(f", {path!r}: {spec}" for path, spec in layout.rules)
    return text + "".join(f", {name}" for name in ("split_optimizer", "split_params") if getattr(layout, name))


@functools.cache
def auto_mesh(mesh: Mesh) -> Mesh:
    """Return the mesh with Auto axes: XLA chooses the intermediate shardings.

    >>> import jax
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
