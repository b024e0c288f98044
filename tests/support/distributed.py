"""What the processes of tests/support/over_processes.py train, on which rows, and what each of them says of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

import fnn
from fnn import sharding
from fnn.sharding import Layout

SIZE, BATCH = 203, 32  # neither the batches nor the devices divide it
NETWORK = fnn.mlp([8, 16, 3])
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(0.5)
ADAM = optax.adam(0.01)  # of fit: its state has moments to split, and a count


def examples(dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """x and y, all of them."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(SIZE, 8)).astype(dtype), rng.integers(0, 3, SIZE).astype(np.int32)


def part(layout: Layout | None, arrays: Any) -> tuple[np.ndarray, ...]:
    """This process's rows."""
    return arrays if layout is None else tuple(a[sharding.rows_of_process(layout, len(a))] for a in arrays)


def over_all(split_optimizer: bool = False) -> Layout:
    """Data-parallel over every device there is."""
    return sharding.data_parallel(jax.make_mesh((jax.device_count(),), ("data",)), split_optimizer)


def listed(tree: Any) -> list[Any]:
    """The leaves, wherever they lie, as lists of numbers with all their digits."""
    split = lambda leaf: split.is_split(leaf) and not leaf.is_fully_addressable
    fetched = lambda leaf: multihost_utils.process_allgather(leaf, tiled=True) if split(leaf) else leaf
    return [np.asarray(fetched(leaf)).tolist() for leaf in jax.tree.leaves(tree)]


def trajectory(layout: Layout | None, dtype: Any) -> dict[str, Any]:
    """Three epochs, 21 steps, the last of each epoch on 11 examples: every cost, and the parameters at the end."""
    with jax.enable_x64(dtype == np.float64):
        key = jax.random.key(1)
        state = fnn.init_state(NETWORK, OPTIMIZER, key)
        cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        state = jax.tree.map(cast, state)
        step = fnn.make_step(NETWORK, LOSS, OPTIMIZER, l2=1e-3)
        epoch = fnn.make_epoch(step, BATCH, sharding=layout)
        data, costs = part(layout, examples(dtype)), []
        for _ in range(3):
            state, more = epoch(state, data)
            costs += np.asarray(more).tolist()
        return {"costs": costs, "params": listed(state.params), "dtype": str(jax.tree.leaves(state.params)[0].dtype)}


def message(function: Any, *args: Any, **options: Any) -> str:
    """What it raises."""
    try:
        function(*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"
