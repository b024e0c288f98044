"""Keys and shuffles: the PRNG keys of a training run, and the order of its examples.

`state.key` never changes. The parameters, the shuffle of each epoch, and the draws of each step (dropout) come from
keys obtained from it by folding in a tag (parameters, epoch, step or seed) and a number. A training can therefore
resume at any step.
"""

import contextlib
import functools
from collections.abc import Callable

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


def shuffled_windows(
    key: PRNGKey, size: int, window: int, row_bytes: int
) -> tuple[int, Callable[[int, int], Int[np.ndarray, " rows"]]]:
    """Divide the rows of an epoch into windows, in the order of training.

    If the window holds all rows, the order is that of data on the device. If it does not, blocks of neighbouring rows
    come in random order, and the rows of each window of blocks are shuffled. Files are thus read in long stretches.

    Returns:
      The number of windows, and (epoch, number) -> the rows of that window of that epoch. Every row is in one window.

    >>> windows, rows = shuffled_windows(jax.random.key(0), 100, 32, 4)
    >>> windows, sorted(np.concatenate([rows(0, i) for i in range(windows)]).tolist()) == list(range(100))
    (4, True)
    """
    if window >= size:
        return 1, lambda epoch, _: np.asarray(jax.random.permutation(_epoch_key_on_host(key, epoch), size))
    block = max(1, min(_BLOCK_BYTES // max(row_bytes, 1), window // _BLOCKS))
    count, blocks = window // block, -(-size // block)
    order = functools.lru_cache(maxsize=2)(lambda epoch: host_generator(key, epoch).permutation(blocks))

    def rows(epoch: int, number: int) -> np.ndarray:
        first = order(epoch)[number * count : (number + 1) * count, None] * block
        index = (first + np.arange(block)).ravel()
        return host_generator(key, epoch, number + 1).permutation(index[index < size])

    return -(-blocks // count), rows


def host_generator(key: PRNGKey, epoch: int, *number: int) -> np.random.Generator:
    """NumPy's generator for the draws of this epoch on the host, or of a part of it, given its number from 1."""
    words = np.ravel(jax.random.key_data(_epoch_key_on_host(key, epoch))).tolist()
    return np.random.default_rng([*words, *number])


def _epoch_key_on_host(key: PRNGKey, epoch: int) -> PRNGKey:
    """`epoch_key` computed on JAX's CPU device where there is one: the training device is busy."""
    with contextlib.suppress(RuntimeError):
        key = jax.device_put(key, jax.local_devices(backend="cpu")[0])
    return epoch_key(key, epoch)
