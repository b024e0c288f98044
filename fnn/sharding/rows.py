"""Data on the device or on many: how many examples there are, all of them, and some of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, PyTree

from fnn import checks
from fnn.sharding import layout as layouts
from fnn.sharding import placement
from fnn.sharding.layout import Layout, num_batch_shards
from fnn.sharding.process_rows import global_rows, local_rows, min_rows
from fnn.types import Batch, Params


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["size", "layout", "split"])
@dataclass(frozen=True)
class Rows:
    """Examples on the devices of a mesh.

    arrays   x, y and, if there is one, weight: (size or more, …); what follows the first `size` rows fills up the
             devices and is never looked at
    split    each device has its part of them; False: all of them
    """

    arrays: Batch
    size: int
    layout: Layout
    split: bool = True


_EVERYWHERE = 2**30
"""Bytes of examples up to which every device of a process has them all."""


Examples: TypeAlias = Batch | Rows
"""All examples: arrays of one device, or rows over many."""


def place(layout: Layout, arrays: Sequence[ArrayLike]) -> Rows:
    """Examples to train on over a mesh, whether or not its axis "data" divides them.

    Up to a GiB lies on every device: each takes its share of a shuffled batch from there, and no example is sent.
    More is split over the devices, as it is over several processes, of which each passes its own (`rows_of_process`):
    then the rows of each batch are sent.

    >>> import fnn
    >>> mesh = jax.make_mesh((1,), ("data",))
    >>> place(fnn.sharding.data_parallel(mesh), (jnp.zeros((5, 3)), jnp.zeros(5))).size
    5
    """
    layout, size = _checked(layout, arrays)
    here, room = layouts.replicated(layout), sum(map(_bytes, arrays))
    if room > _EVERYWHERE or not here.is_fully_addressable:
        return shard_rows(layout, arrays)
    return Rows(tuple(jax.device_put(array, here) for array in arrays), size, layout, split=False)


def _bytes(array: ArrayLike) -> int:
    """Without fetching it from its device."""
    return array.nbytes if isinstance(array, jax.Array | np.ndarray) else np.asarray(array).nbytes


def shard_rows(layout: Layout, arrays: Sequence[ArrayLike]) -> Rows:
    """Examples to go through in their order, once: split over the mesh's axis "data"."""
    layout, size = _checked(layout, arrays)
    if not layouts.batch_sharding(layout).is_fully_addressable:
        return Rows(*global_rows(layout, arrays), layout)
    short = -size % num_batch_shards(layout)
    fill = lambda array: np.pad(np.asarray(array), [(0, short)] + [(0, 0)] * (np.ndim(array) - 1)) if short else array
    return Rows(tuple(jax.device_put(fill(array), layouts.batch_sharding(layout)) for array in arrays), size, layout)


def _checked(layout: Layout, arrays: Sequence[ArrayLike]) -> tuple[Layout, int]:
    """The layout as programs have it, and how many examples these are; in one of several processes it may be none."""
    layout = layouts.with_auto_axes(layouts.check_layout("place", layout))
    sizes = {np.shape(array)[0] if np.ndim(array) else -1 for array in arrays}
    least = min_rows(layout)
    if len(sizes) != 1 or min(sizes) < least:
        came = f"shapes {[np.shape(array) for array in arrays]}"
        raise checks.fail("place", "arrays", f"of the same length, at least {least}", came=came)
    return layout, sizes.pop()


def num_examples(data: Examples) -> int:
    """The number of examples."""
    return data.size if isinstance(data, Rows) else data[0].shape[0]


def all_rows(data: Examples) -> Batch:
    """All of them as arrays: inside jit those of a mesh too, each device with its part, and nothing is sent for it."""
    if not isinstance(data, Rows):
        return data
    arrays = tuple(array[: data.size] for array in data.arrays)
    return arrays if data.split else placement.constrain(arrays, layouts.batch_sharding(data.layout))


def split_by_device(data: Rows) -> Batch:
    """The rows with each device's own along the first axis, and the devices along the second: (rows, devices, …)."""
    n = num_batch_shards(data.layout)
    return tuple(jnp.moveaxis(array.reshape(n, -1, *array.shape[1:]), 0, 1) for array in data.arrays)


def merge_devices(data: Rows, array: Array) -> Array:
    """(rows, devices, …) as (rows, …), split as the rows of `data` are."""
    array = jnp.moveaxis(array, 1, 0)
    return placement.constrain(array.reshape(-1, *array.shape[2:]), layouts.batch_sharding(data.layout))


def map_by_device(function: Callable[..., PyTree], data: Rows) -> Callable[..., PyTree]:
    """A function of rows as one of arrays (rows, devices, …)."""
    n = num_batch_shards(data.layout)
    apart = lambda out: jnp.moveaxis(out.reshape(n, -1, *out.shape[1:]), 0, 1)
    return lambda *arrays: jax.tree.map(apart, function(*(merge_devices(data, array) for array in arrays)))


def fetch_rows(data: Rows, out: Array) -> Array:
    """Results, a row per example, on one device; of several processes each gets its own rows."""
    if out.is_fully_addressable:
        return jnp.asarray(jax.device_get(out)[: data.size])
    return jnp.asarray(local_rows(data.layout, out, data.size))


def layout_of(data: Examples) -> Layout | None:
    """Where they lie, if over a mesh."""
    return data.layout if isinstance(data, Rows) else None


def constrain_tree(data: Examples, tree: PyTree, params: Params) -> PyTree:
    """Inside jit: the tree, with parameters such as these in it, where the examples' layout wants its leaves."""
    layout = layout_of(data)
    return tree if layout is None else placement.constrain_like(layout, tree, params)


def take(data: Examples, index: Int[Array, " batch"]) -> Batch:
    """The examples at these indices, which must be valid; from a mesh, each device gets its share of them."""
    if not isinstance(data, Rows):
        return _take(data, index)
    everywhere, split = layouts.replicated(data.layout), layouts.batch_sharding(data.layout)
    index = placement.constrain(index, everywhere)  # the split of what is taken would reach the shuffle
    index = index if data.split else placement.constrain(index, split)
    return placement.constrain(tuple(_gathered(array, index) for array in data.arrays), split)


_FEW_ROWS, _LONG_ROW = 16, 256


def _gathered(array: Array, index: Array) -> Array:
    return array.at[index].get(mode="promise_in_bounds")


def _take(arrays: Batch, index: Array) -> Batch:
    def one_by_one(array: Array, index: Array) -> Array:
        return jax.lax.map(lambda i: jax.lax.dynamic_index_in_dim(array, i, keepdims=False), index)

    def rows(array: Array) -> Array:
        # XLA splits a gather over the CPU's cores, and for a few long rows waiting for them costs more than the copy
        if index.size > _FEW_ROWS or array.size < _LONG_ROW * array.shape[0]:
            return _gathered(array, index)
        return jax.lax.platform_dependent(array, index, cpu=one_by_one, default=_gathered)

    return tuple(map(rows, arrays))
