"""Examples on one device or on many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, PyTree

from fnn import checks
from fnn.row_weights import cycle_rows
from fnn.sharding import layout as layouts
from fnn.sharding import placement
from fnn.sharding.layout import Layout, num_batch_shards
from fnn.sharding.process_rows import global_rows, local_rows, min_rows
from fnn.types import Batch, Params


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["size", "layout", "split"])
@dataclass(frozen=True)
class Rows:
    """Examples on the devices of a mesh.

    Attributes:
      arrays: x, y and optionally weight, each of shape (at least `size`, …). Rows after the first `size` pad the last
        shards and are never read.
      size: the number of examples.
      layout: the layout, with Auto axes.
      split: True if the rows are sharded over the axis "data", False if they are replicated.
    """

    arrays: Batch
    size: int
    layout: Layout
    split: bool = True


_MAX_REPLICATED_BYTES = 2**30
"""Examples of at most this many bytes are replicated on every device."""


Examples: TypeAlias = Batch | Rows
"""All examples: arrays on one device, or rows on the devices of a mesh."""


def place(layout: Layout, arrays: Sequence[ArrayLike]) -> Rows:
    """Put training examples onto the devices of a mesh.

    Up to one GiB of examples is replicated: each device takes its share of a shuffled batch from its own copy, and no
    rows are communicated. More examples are sharded, and so are those of several processes. Then the rows of each
    batch are communicated. The mesh's axis "data" need not divide the number of examples.

    Args:
      layout: the layout to train with.
      arrays: (x, y) or (x, y, weight), with one row per example. Each of several processes passes its own rows
        (`rows_of_process`).

    Returns:
      Rows, which `make_epoch(…, sharding=layout)` takes in place of arrays.

    Raises:
      ValueError: if the arrays differ in length, or the processes pass other rows than `rows_of_process` says.

    >>> import fnn
    >>> mesh = jax.make_mesh((1,), ("data",))
    >>> place(fnn.sharding.data_parallel(mesh), (jnp.zeros((5, 3)), jnp.zeros(5))).size
    5
    """
    layout, arrays, size = _check_arrays(layout, arrays)
    if not is_replicated(layout, sum(map(_num_bytes, arrays))):
        return shard_rows(layout, arrays)
    replicated = layouts.replicated(layout)
    return Rows(tuple(jax.device_put(array, replicated) for array in arrays), size, layout, split=False)


def is_replicated(layout: Layout, num_bytes: int) -> bool:
    """Return whether `place` replicates examples of so many bytes."""
    return num_bytes <= _MAX_REPLICATED_BYTES and layouts.replicated(layout).is_fully_addressable


def _num_bytes(array: ArrayLike) -> int:
    """Return the size of an array without copying it from its device."""
    return array.nbytes if isinstance(array, jax.Array | np.ndarray) else np.asarray(array).nbytes


def shard_rows(layout: Layout, arrays: Sequence[ArrayLike]) -> Rows:
    """Shard examples over the axis "data", for a pass in their order."""
    layout, arrays, size = _check_arrays(layout, arrays)
    sharding = layouts.batch_sharding(layout)
    if not sharding.is_fully_addressable:
        return Rows(*global_rows(layout, arrays), layout)
    missing = -size % num_batch_shards(layout)
    pad = lambda array: np.pad(np.asarray(array), [(0, missing)] + [(0, 0)] * (np.ndim(array) - 1))
    return Rows(tuple(jax.device_put(pad(a) if missing else a, sharding) for a in arrays), size, layout)


def _check_arrays(layout: Layout, arrays: Sequence[ArrayLike]) -> tuple[Layout, list[Array | np.ndarray], int]:
    """Return the layout with Auto axes, the arrays in dtypes that JAX has, and the number of examples.

    One of several processes may have none.
    """
    layout = layouts.with_auto_axes(layouts.check_layout("place", layout))
    given = list(enumerate(arrays))
    arrays = [a if isinstance(a, jax.Array) else checks.on_host("place", f"arrays[{i}]", a) for i, a in given]
    sizes = {np.shape(array)[0] if np.ndim(array) else -1 for array in arrays}
    minimum = min_rows(layout)
    if len(sizes) != 1 or min(sizes) < minimum:
        came = f"shapes {[np.shape(array) for array in arrays]}"
        raise checks.fail("place", "arrays", f"of the same length, at least {minimum}", came=came)
    return layout, arrays, sizes.pop()


def num_examples(data: Examples) -> int:
    """Return the number of examples."""
    return data.size if isinstance(data, Rows) else data[0].shape[0]


def all_rows(data: Examples) -> Batch:
    """Return all examples as arrays.

    Inside jit, those of a mesh are sharded without communication.
    """
    if not isinstance(data, Rows):
        return data
    arrays = tuple(array[: data.size] for array in data.arrays)
    return arrays if data.split else placement.constrain(arrays, layouts.batch_sharding(data.layout))


def inputs_with_weight(data: Examples) -> Array:
    """Return x of all examples, with other rows in place of those of weight 0; see `cycle_rows`."""
    x, *others = all_rows(data)
    return cycle_rows(x, others[1]) if len(others) == 2 else x


def constrain_rows(data: Rows, array: Array) -> Array:
    """Shard an array inside jit over the axis "data"."""
    return placement.constrain(array, layouts.batch_sharding(data.layout))


def split_by_device(data: Rows) -> Batch:
    """Return arrays (rows, devices, …), each device's rows along the first axis."""
    n = num_batch_shards(data.layout)
    return tuple(jnp.moveaxis(array.reshape(n, -1, *array.shape[1:]), 0, 1) for array in data.arrays)


def merge_devices(data: Rows, array: Array) -> Array:
    """Reshape (rows, devices, …) to (rows, …), sharded as the rows of `data` are."""
    array = jnp.moveaxis(array, 1, 0)
    return placement.constrain(array.reshape(-1, *array.shape[2:]), layouts.batch_sharding(data.layout))


def map_by_device(function: Callable[..., PyTree], data: Rows) -> Callable[..., PyTree]:
    """Turn a function of rows (rows, …) into one of arrays (rows, devices, …)."""
    n = num_batch_shards(data.layout)
    split = lambda out: jnp.moveaxis(out.reshape(n, -1, *out.shape[1:]), 0, 1)
    return lambda *arrays: jax.tree.map(split, function(*(merge_devices(data, array) for array in arrays)))


def fetch_rows(data: Rows, out: Array) -> Array:
    """Return results with one row per example on one device.

    Each of several processes gets its own rows.
    """
    if out.is_fully_addressable:
        return jax.device_put(jax.device_get(out)[: data.size])  # `jnp.asarray` would compile a program for each size
    return jax.device_put(local_rows(data.layout, out, data.size))


def layout_of(data: Examples) -> Layout | None:
    """Return the layout of examples on a mesh, otherwise None."""
    return data.layout if isinstance(data, Rows) else None


def constrain_tree(data: Examples, tree: PyTree, params: Params) -> PyTree:
    """Constrain a tree inside jit to the shardings of the examples' layout."""
    layout = layout_of(data)
    return tree if layout is None else placement.constrain_like(layout, tree, params)


def split_params(data: Examples, params: Params) -> Params:
    """Return the parameters for the network inside jit, as the examples' layout splits them."""
    layout = layout_of(data)
    return params if layout is None else placement.split_params(layout, params)


def take(data: Examples, index: Int[Array, " batch"]) -> Batch:
    """Return the examples at valid indices; on a mesh, sharded over "data"."""
    if not isinstance(data, Rows):
        return _take(data, index)
    replicated, sharded = layouts.replicated(data.layout), layouts.batch_sharding(data.layout)
    index = placement.constrain(index, replicated)  # otherwise XLA would shard the shuffle, too
    index = index if data.split else placement.constrain(index, sharded)
    return placement.constrain(tuple(_gather(array, index) for array in data.arrays), sharded)


_FEW_ROWS, _LONG_ROW = 16, 256


def _gather(array: Array, index: Array) -> Array:
    return array.at[index].get(mode="promise_in_bounds")


def _take(arrays: Batch, index: Array) -> Batch:
    def one_by_one(array: Array, index: Array) -> Array:
        return jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(array, i, keepdims=False), index)

    def rows(array: Array) -> Array:
        # XLA splits a gather over the CPU's cores; for a few long rows, synchronising them costs more than the copy
        if index.size > _FEW_ROWS or array.size < _LONG_ROW * array.shape[0]:
            return _gather(array, index)
        return jax.lax.platform_dependent(array, index, cpu=one_by_one, default=_gather)

    return tuple(map(rows, arrays))
