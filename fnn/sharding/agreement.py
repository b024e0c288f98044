"""Several processes as one: what they know of each other, and how they agree.

Each process runs the same script. What they compute together waits for all of them, so all must take the same turns.
What only one of them can know (a signal, a full disk, a wrong file) goes through `largest` or `together`, after which
all of them know it. `fnn.start` is how they begin and end.
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

RESTART_ADVICE = "start all of them again"
"""What to do then."""

_LOST = re.compile(r"[A-Z_]+: .*(Gloo|NCCL|peer|heartbeat|coordination)|UNAVAILABLE: ", re.DOTALL)


class LostProcessError(RuntimeError):
    """Another process has ended or no longer answers: this one cannot go on without it."""


failed: list[int] = []
"""The exit code, where this process is to end without waiting for the others."""


def mark_failed(code: int = 1) -> None:
    """From now on this process, when it ends, does so with this exit code and without waiting for the others.

    They then notice. For a process that failed alone, and catches its own exception. Nothing unless
    `fnn.sharding.initialize` was called.
    """
    failed[:] = [code]


def is_multiprocess() -> bool:
    """Whether there are others."""
    return jax.process_count() > 1


def is_main_process() -> bool:
    """Whether this is the one that reports and writes."""
    return jax.process_index() == 0


def _all_gathered(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, stacked."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array)


def all_max(*numbers: int | bool) -> tuple[int, ...]:
    """Of each of these the largest that any process has, known to all. Every process must call it.

    >>> largest(3, True)
    (3, 1)
    """
    if not is_multiprocess():
        return tuple(map(int, numbers))
    rows = _all_gathered(np.asarray(numbers, np.int32))
    return tuple(int(number) for number in np.max(rows, axis=0))


def all_gather(text: str) -> list[str]:
    """The text of each process, known to all. Every process must call it.

    >>> gathered("all is well")
    ['all is well']
    """
    if not is_multiprocess():
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = _all_gathered(np.asarray(data.size, np.int32))
    if not sizes.any():
        return [""] * sizes.size
    room = 1 << int(sizes.max() - 1).bit_length()  # few sizes, so few compilations
    rows = _all_gathered(np.pad(data, (0, room - data.size)))
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def device_put(tree: PyTree, shardings: PyTree, function: str = "put", argument: str = "the values") -> PyTree:
    """`jax.device_put`, onto devices of other processes too: every process passes the same, ValueError if not."""
    if not is_multiprocess():
        return jax.device_put(tree, shardings)
    if isinstance(shardings, Sharding):
        shardings = jax.tree.map(lambda leaf: shardings, tree)
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    own = [leaf for leaf, there in pairs if not there.is_fully_addressable and _is_own(leaf)]
    if own:
        assert_same(function, **{argument: hashing.hash_tree(own)})
    return jax.tree.map(_put, tree, shardings)


def _is_own(leaf: Any) -> bool:
    """Whether it is this process's alone."""
    return getattr(leaf, "is_fully_addressable", True)


def _put(leaf: Any, sharding: Sharding) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    if sharding.is_fully_addressable or not _is_own(leaf):
        return jax.device_put(leaf, sharding)
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def assert_same(function: str, **options: Any) -> None:
    """ValueError in all processes, naming the first that differs, unless they pass the same numbers, flags or lists."""
    if not is_multiprocess():
        return
    told = [json.loads(text) for text in all_gather(json.dumps(options, default=str))]
    for name in options:
        values = [one[name] for one in told]
        if values.count(values[0]) < len(values):
            raise checks.fail(function, name, "the same in every process", came=str(values))


@contextlib.contextmanager
def fail_together(function: str, also: bool = True) -> Iterator[None]:
    """What each process does alone, such as reading a file: where one fails, all of them do, if `also`.

    The one that failed with its own error, the others with a RuntimeError that quotes it.
    """
    if not (also and is_multiprocess()):
        yield
        return
    failure = None
    try:
        yield
    except (Exception, SystemExit) as error:
        failure = error
        if isinstance(error, SystemExit):  # which ends this process without waiting for those that go on
            mark_failed(error.code if isinstance(error.code, int) else int(error.code is not None))
    texts = all_gather("" if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
    failed = [f"process {i} of {len(texts)} failed: {text}" for i, text in enumerate(texts) if text]
    if failed:
        raise RuntimeError(f"{function}: {'; '.join(failed)}")


@contextlib.contextmanager
def raise_if_process_lost(function: str, advice: str) -> Iterator[None]:
    """JAX's error where another process is gone, as a LostProcessError that says what to do."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX raises the one or the other
        if not (is_multiprocess() and _LOST.match(str(error))):
            raise
        first = str(error).partition("\n")[0]
        mark_failed()
        who = f"process {jax.process_index()} of {jax.process_count()} has lost another one"
        raise LostProcessError(f"{function}: {who} ({first}); {advice}") from error
