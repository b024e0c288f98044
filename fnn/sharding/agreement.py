"""Communication and agreement between the processes of one training.

Every process runs the same script. A collective operation waits for all processes, so all of them must call the same
functions in the same order. An event that only one process sees (a signal, a full disk, a bad file) goes through
`all_max` or `fail_together`, after which all processes know of it. `initialize` starts and ends the processes.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, PyTree

from fnn import checks, hashing

RESTART_ADVICE = "restart all processes"
"""The advice in a LostProcessError."""

_LOST = re.compile(r"[A-Z_]+: .*(Gloo|NCCL|peer|heartbeat|coordination)|UNAVAILABLE: ", re.DOTALL)


class LostProcessError(RuntimeError):
    """Another process has ended or no longer answers, so this one cannot continue."""


exit_codes: list[int] = []
"""The exit code of this process, if it is to exit without waiting for the others; otherwise empty."""


def mark_failed(code: int = 1) -> None:
    """Let this process exit with this code without waiting for the others.

    The others then notice its exit. Call it in a process that failed alone and handles its own exception. It has no
    effect unless `fnn.sharding.initialize` was called.
    """
    exit_codes[:] = [code]


def is_multiprocess() -> bool:
    """Return True if there is more than one process."""
    return jax.process_count() > 1


def is_main_process() -> bool:
    """Return True in process 0, which reports and writes files.

    >>> is_main_process()
    True
    """
    return jax.process_index() == 0


def _all_gather(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes, stacked."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array)


def all_max(*numbers: int | bool) -> tuple[int, ...]:
    """Return the maximum of each number over all processes.

    Every process must call it.

    >>> all_max(3, True)
    (3, 1)
    """
    if not is_multiprocess():
        return tuple(map(int, numbers))
    rows = all_gather_numbers(np.asarray(numbers, np.int32))
    return tuple(int(number) for number in np.max(rows, axis=0))


def all_gather_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return the int32 numbers (n,) of all processes, (processes, n). Every process must call it.

    >>> all_gather_numbers(np.array([3, 4], np.int32))
    array([[3, 4]], dtype=int32)
    """
    return _all_gather(numbers) if is_multiprocess() else numbers[None]


def all_gather(text: str) -> list[str]:
    """Return the texts of all processes, in the order of their indices.

    Every process must call it.

    >>> all_gather("ready")
    ['ready']
    """
    if not is_multiprocess():
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = _all_gather(np.asarray(data.size, np.int32))
    if not sizes.any():
        return [""] * sizes.size
    padded_size = 1 << int(sizes.max() - 1).bit_length()  # powers of two: few shapes, so few compilations
    rows = _all_gather(np.pad(data, (0, padded_size - data.size)))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def all_gather_json(value: Any) -> list[Any]:
    """Return what all processes pass, numbers, texts, lists and dictionaries of these, in the order of their indices.

    Every process must call it.

    >>> all_gather_json({"rows": 5})
    [{'rows': 5}]
    """
    return [json.loads(text) for text in all_gather(json.dumps(value))]


def device_put(tree: PyTree, shardings: PyTree, function: str = "put", argument: str = "the values") -> PyTree:
    """Apply `jax.device_put`, also onto devices of other processes.

    Args:
      tree: arrays; every process must pass the same values.
      shardings: one Sharding, or a tree of them.
      function: the name of the public function, for the error.
      argument: the name of its argument, for the error.

    Raises:
      ValueError: in every process, if the processes pass different values.
    """
    if not is_multiprocess():
        return jax.device_put(tree, shardings)
    if isinstance(shardings, Sharding):
        shardings = jax.tree.map(lambda leaf: shardings, tree)
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    local = [leaf for leaf, sharding in pairs if not sharding.is_fully_addressable and _is_local(leaf)]
    if local:
        assert_same(function, **{argument: hashing.hash_tree(local)})
    return jax.tree.map(_put, tree, shardings)


def device_put_same(tree: PyTree, sharding: Sharding) -> PyTree:
    """`device_put` of values that are known to be the same in every process: nothing is compared or communicated."""
    return jax.tree.map(lambda leaf: _put(np.asarray(leaf), sharding), tree)


def local_key(key: Array) -> Array:
    """A copy of a replicated PRNG key in this process alone, for draws on the host."""
    if not is_multiprocess():
        return key
    return jax.random.wrap_key_data(jax.device_get(jax.random.key_data(key)), impl=jax.random.key_impl(key))


def _is_local(leaf: Any) -> bool:
    """Return True if all of the leaf is in this process."""
    return getattr(leaf, "is_fully_addressable", True)


def _put(leaf: Any, sharding: Sharding) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    if sharding.is_fully_addressable or not _is_local(leaf):
        return jax.device_put(leaf, sharding)
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def assert_same(function: str, advice: str = "", **options: Any) -> None:
    """Check that all processes pass the same options.

    Options are numbers, flags, texts or lists. Every process must call it.

    Raises:
      ValueError: in every process, if they differ; the message names the first option that does.
    """
    if not is_multiprocess():
        return
    gathered = [json.loads(text) for text in all_gather(json.dumps(options, default=str))]
    for name in options:
        values = [given[name] for given in gathered]
        if values.count(values[0]) < len(values):
            raise checks.fail(function, name, "the same in every process", came=str(values), advice=advice or None)


@contextlib.contextmanager
def fail_together(function: str, enabled: bool = True) -> Iterator[None]:
    """Raise in every process if the block raises in one of them.

    Every process must enter it. Use it around work that each process does alone, such as reading a file. The process
    that failed raises its own error. The other processes raise a RuntimeError that quotes it.

    Args:
      function: the name that begins the message of the RuntimeError.
      enabled: False runs the block without communication.

    >>> with fail_together("load"):
    ...     text = str(1 + 1)
    >>> text
    '2'
    """
    if not (enabled and is_multiprocess()):
        yield
        return
    failure = None
    try:
        yield
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        failure = error
        if isinstance(error, SystemExit):  # this process exits, and must not wait for the others
            mark_failed(error.code if isinstance(error.code, int) else int(error.code is not None))
    texts = all_gather("" if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
    failures = [f"process {i} of {len(texts)} failed: {text}" for i, text in enumerate(texts) if text]
    if failures:
        raise RuntimeError(f"{function}: {'; '.join(failures)}")


@contextlib.contextmanager
def raise_if_process_lost(function: str, advice: str) -> Iterator[None]:
    """Turn JAX's error about a lost process into a LostProcessError."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX raises either of them
        if not (is_multiprocess() and _LOST.match(str(error))):
            raise
        first_line = str(error).partition("\n")[0]
        mark_failed()
        process = f"process {jax.process_index()} of {jax.process_count()}"
        message = f"{function}: {process} has lost another process ({first_line}); {advice}"
        raise LostProcessError(message) from error
