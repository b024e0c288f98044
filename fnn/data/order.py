"""Keys and shuffles: the PRNG keys of a training run, and the order of its examples.

`state.key` never changes. The parameters, the shuffle of each epoch, and the draws of each step (dropout) come from
keys obtained from it by folding in a tag (parameters, epoch, step or seed) and a number. A training can therefore
resume at any step.
"""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Int

from fnn.types import PRNGKey

_INIT, _EPOCH, _STEP, _SEED = 0, 1, 2, 3

_BLOCK_BYTES = 2**18  # bytes of adjacent rows that are read together
_BLOCKS = 16  # minimum number of blocks per window


def _fold(key: PRNGKey, tag: int, number: int | Array) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(key, tag), number)


def init_key(key: PRNGKey) -> PRNGKey:
    """The key from which the initial parameters are drawn."""
    return _fold(key, _INIT, 0)


def epoch_key(key: PRNGKey, epoch: int | Array) -> PRNGKey:
    """The key from which the shuffle of this epoch (from 0) is drawn."""
    return _fold(key, _EPOCH, epoch)


def step_key(key: PRNGKey, step: int | Array) -> PRNGKey:
    """The key from which this step (from 0) draws, for example its dropout masks."""
    return _fold(key, _STEP, step)


def seeded_key(key: PRNGKey, seed: int | Array) -> PRNGKey:
    """The key in place of `key` for the parameters and the steps of a run with a seed of its own."""
    return _fold(key, _SEED, seed)


def shuffled_batches(
    key: PRNGKey, size: int, batch_size: int
) -> tuple[Int[Array, "n batch_size"], Int[Array, " rest"]]:
    """A permutation of 0..size-1 as n full batches of indices, and the remainder, which is shorter or empty.

    >>> full, rest = shuffled_batches(jax.random.key(0), 10, 4)
    >>> full.shape, rest.shape
    ((2, 4), (2,))
    """
    order = jax.random.permutation(key, size)
    n = size // batch_size
    return order[: n * batch_size].reshape(n, batch_size), order[n * batch_size :]


def epoch_order(key: PRNGKey, step: Array, size: int, batch_size: int) -> tuple[Array, Array]:
    """The indices of the epoch that starts at this step: its full batches (n, batch_size), and the remainder."""
    return shuffled_batches(epoch_key(key, step // -(-size // batch_size)), size, batch_size)


def shuffled_windows(key: PRNGKey, epoch: int, size: int, window: int, row_bytes: int) -> Iterator[np.ndarray]:
    """Yield every row of an epoch once, in the order of training, one window at a time.

    If the window holds all rows, the order is that of data on the device. If it does not, blocks of neighbouring rows
    come in random order, and the rows of each window of blocks are shuffled. Files are thus read in long stretches.

    >>> order = np.concatenate(list(shuffled_windows(jax.random.key(0), 0, 100, 32, 4)))
    >>> sorted(order.tolist()) == list(range(100))
    True
    """
    if window >= size:
        yield np.asarray(jax.random.permutation(_epoch_key_on_host(key, epoch), size))
        return
    block = max(1, min(_BLOCK_BYTES // max(row_bytes, 1), window // _BLOCKS))
    rng = host_generator(key, epoch)
    blocks = rng.permutation(-(-size // block))
    for begin in range(0, len(blocks), window // block):
        index = (blocks[begin : begin + window // block, None] * block + np.arange(block)[None]).ravel()
        yield rng.permutation(index[index < size])


def host_generator(key: PRNGKey, epoch: int) -> np.random.Generator:
    """NumPy's generator for the draws of this epoch on the host."""
    return np.random.default_rng(np.ravel(jax.random.key_data(_epoch_key_on_host(key, epoch))).tolist())


def _epoch_key_on_host(key: PRNGKey, epoch: int) -> PRNGKey:
    """`epoch_key` computed on JAX's CPU device where there is one: the training device is busy."""
    with contextlib.suppress(RuntimeError):
        key = jax.device_put(key, jax.local_devices(backend="cpu")[0])
    return epoch_key(key, epoch)


def rechunk(parts: Iterator[np.ndarray], skip: int, count: int) -> Iterator[np.ndarray]:
    """Drop the first `skip` entries of these parts, and yield the others `count` at a time; the last has the rest.

    >>> list(rechunk(iter([np.arange(4), np.arange(4, 9)]), 2, 3))
    [array([2, 3, 4]), array([5, 6, 7]), array([8])]
    """
    held = np.empty(0, np.int64)
    for part in parts:
        skipped = min(skip, len(part))
        skip, held = skip - skipped, np.concatenate([held, part[skipped:]])
        while len(held) >= count:
            yield held[:count]
            held = held[count:]
    if len(held):
        yield held
