"""The network, the data and the trajectories of the processes of tests/support/over_processes.py."""

import contextlib
import os
import signal
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

import fnn
from fnn import sharding
from fnn.checkpoint.split import is_split
from fnn.sharding import Layout

SIZE, BATCH = 203, 32  # divided neither by the batches nor by the devices
NETWORK = fnn.mlp([8, 16, 3])
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(0.5)
ADAM = optax.adam(0.01)  # for `fit`: its state has moments, which are sharded, and a counter


def examples(dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of all examples."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(SIZE, 8)).astype(dtype), rng.integers(0, 3, SIZE).astype(np.int32)


def part(layout: Layout | None, arrays: Any) -> tuple[np.ndarray, ...]:
    """Return this process's rows."""
    return arrays if layout is None else tuple(a[sharding.rows_of_process(layout, len(a))] for a in arrays)


def over_all(split_optimizer: bool = False) -> Layout:
    """Return a data-parallel layout over all devices."""
    return sharding.data_parallel(jax.make_mesh((jax.device_count(),), ("data",)), split_optimizer)


def to_lists(tree: Any) -> list[Any]:
    """Return the leaves as lists of numbers, gathered from all processes."""
    is_remote = lambda leaf: is_split(leaf) and not leaf.is_fully_addressable
    fetch = lambda leaf: multihost_utils.process_allgather(leaf, tiled=True) if is_remote(leaf) else leaf
    return [np.asarray(fetch(leaf)).tolist() for leaf in jax.tree.leaves(tree)]


def trajectory(layout: Layout | None, dtype: Any) -> dict[str, Any]:
    """Train three epochs of seven steps, the last one on 11 examples: every cost, and the final parameters."""
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
        return {"costs": costs, "params": to_lists(state.params), "dtype": str(jax.tree.leaves(state.params)[0].dtype)}


def message(function: Any, *args: Any, **options: Any) -> str:
    """Call the function and return the error that it raises as text."""
    try:
        function(*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def happens(word: str) -> None:
    """End or interrupt this process as `word` says."""
    if word.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
    if word == "exit":
        sys.exit("the quota is used up")
    if word == "raise":
        raise ArithmeticError("only here")
    if word == "interrupt":
        raise KeyboardInterrupt
    if word == "catch":
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)  # recorded
            signal.raise_signal(signal.SIGINT)  # a second one is raised
