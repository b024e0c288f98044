"""The inputs of the first chunk of an epoch, on which a network with `batch_norm` is calibrated at the end of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from fnn.data.prefetch import HostChunk
from fnn.row_weights import cycle_rows, cycle_rows_on_host
from fnn.sharding import agreement, rows, tiles
from fnn.sharding.layout import Layout, num_batch_shards, replicated
from fnn.sharding.rows import Examples, Rows
from fnn.sharding.tiles import Tiles
from fnn.training.compiled import compiled


class Inputs(NamedTuple):
    """x and perhaps weight, in host memory.

    Attributes:
      arrays: over a mesh, this process's part of the batches (steps, rows, …); otherwise the rows of the chunk.
      columns: over a mesh, for each row of the chunk in all processes, the column of its batch that holds it.
      steps: the number of batches that there is room for.
    """

    arrays: tuple[np.ndarray, ...]
    columns: Int[np.ndarray, " rows"]
    steps: int


def inputs_of(chunk: HostChunk, shared: Tiles, steps: int) -> Inputs:
    """Return the inputs of a chunk with room for so many batches; they share its memory."""
    columns = np.arange(chunk.rows, dtype=np.int32) % shared.batch_size if chunk.columns is None else chunk.columns
    return Inputs(chunk.arrays[::2], columns, steps)


def put_inputs(inputs: Inputs, shared: Tiles, layout: Layout | None) -> Examples:
    """Put inputs onto the device, or over the devices of a mesh, as `cycle_rows` has them with weights.

    Over a mesh the rows are communicated: they are sharded evenly, in the order of training.
    """
    size = len(inputs.columns)
    if layout is None:
        x, *weight = (array[:size] for array in inputs.arrays)
        return (jax.device_put(cycle_rows_on_host(x, weight[0]) if weight else x),)
    missing = -size % num_batch_shards(layout)
    step, column = np.pad(np.arange(size) // shared.batch_size, (0, missing)), np.pad(inputs.columns, (0, missing))
    table = agreement.device_put_same(np.stack([step, column]).astype(np.int32), replicated(layout))
    parts = [array.reshape(inputs.steps, -1, *array.shape[1:]) for array in inputs.arrays]
    return Rows((_gather(size, tiles.send(layout, parts, shared), table),), size, layout)


@compiled(static=1)
def _gather(size: int, data: Rows, table: Array) -> Array:
    """x at these steps and columns, of which the first `size` count."""
    x, *weight = (array.at[table[0], table[1]].get(mode="promise_in_bounds") for array in data.arrays)
    if weight:
        cycled = cycle_rows(x[:size], weight[0][:size])
        x = jnp.concatenate([cycled, jnp.broadcast_to(cycled[:1], (len(x) - size, *x.shape[1:]))])
    return rows.constrain_rows(data, x)
