"""Trainings on data larger than the devices, which tests/sharding/test_streams_in_processes.py runs in processes.

python -m tests.support.streams_over_processes NAME DEVICES FOLDER [WORD]
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.checkpoint import atomic
from fnn.sharding import Layout
from tests.support.distributed import happens, message, over_all, part, to_lists
from tests.support.over_processes import run_named
from tests.support.shared_streams import BATCH, SHARES, SIZE, Numbers, dataset, files, shared_stream

DTYPES = {"float32": np.float32, "float64": np.float64}
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(0.5)
NETWORK = fnn.serial(fnn.dense(8, 16), fnn.tanh, fnn.dropout(0.3), fnn.dense(16, 3))
NORMALIZED = fnn.serial(fnn.dense(8, 6), fnn.batch_norm(6), fnn.relu, fnn.dropout(0.3), fnn.dense(6, 3))
PLAIN = {"network": fnn.mlp([8, 16, 3]), "patience": None, "validation": None}  # compiles in half the time


def held_out(dtype: Any, layout: Layout | None) -> tuple[np.ndarray, ...]:
    """This process's rows of the validation data."""
    x, y = files(dtype)
    return part(layout, (x[:50] + 0.1, y[:50]))


def budget(dtype: Any) -> int:
    """Bytes for two chunks of two batches."""
    return 2 * 2 * BATCH * (9 * np.dtype(dtype).itemsize + 4 + 4)


CASES: dict[str, dict[str, Any]] = {
    "plain": {"window": 60, **PLAIN},
    "windows": {"window": 60},
    "all rows": {"window": SIZE},
    "weights": {"weighted": True, "window": 45},
    "few rows": {"size": 63},  # the last batch has three rows, all of them on the first device
    "calibrated": {"network": NORMALIZED, "weighted": True, "patience": None},
    "in memory": {"device_memory": 2**30},
}
"""name -> options; `size` and `weighted` say which rows of the files are used."""

DATASETS = "dataset", "dataset of one row", "from_files", "from_files, small windows", "from_files, mapped"
NAMES = ["windows float32", *(f"{name} float64" for name in (*CASES, *SHARES, *DATASETS))]


@functools.lru_cache
def start(network: fnn.Layer, dtype: Any) -> fnn.TrainState:
    """The state to start from."""
    cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    return jax.tree.map(cast, fnn.init_state(network, OPTIMIZER, jax.random.key(1)))


def trained(layout: Layout | None, dtype: Any, data: Any = None, **options: Any) -> dict[str, Any]:
    """Train three epochs with momentum, dropout and early stopping."""
    size, weighted = options.pop("size", SIZE), options.pop("weighted", False)
    network = options.pop("network", NETWORK)
    with jax.enable_x64(dtype == np.float64):
        result = fnn.fit(
            network,
            LOSS,
            OPTIMIZER,
            files(dtype, size, weighted) if data is None else data,
            sharding=layout,
            **{
                "epochs": 3,
                "batch_size": BATCH,
                "state": start(network, dtype),
                "l2": 1e-3,
                "validation": held_out(dtype, layout),
                "patience": 2,
                "progress": False,
                "device_memory": budget(dtype),
            }
            | options,
        )
        history = {name: column.tolist() for name, column in result.history.items()}
        return {"params": to_lists(result.state.params), "history": history}


def two_and_refused(folder: Path, word: str) -> dict[str, Any]:
    """One case, and the errors of wrong calls."""
    return {"files": trained(over_all(), np.float32, **CASES["plain"]), "refused": refused(folder, word)}


def one_of(name: str, layout: Layout | None, process: int | None, count: int) -> dict[str, Any]:
    """Train one of NAMES: from all rows, or from the shares of the processes (whole batches if the process is None)."""
    name, dtype = name.rsplit(" ", 1)
    dtype = DTYPES[dtype]
    if name in CASES:
        return trained(layout, dtype, **CASES[name])
    if name in SHARES:
        return trained(layout, dtype, shared_stream(name, dtype, process, count), **PLAIN)
    if name == "dataset":
        return trained(layout, dtype, dataset(dtype, process, count), **PLAIN)
    if name == "dataset of one row":
        return trained(layout, dtype, dataset(dtype, process, count, 1), **PLAIN)
    from_files = fnn.data.from_files(*files(dtype), window=6 if name.endswith("small windows") else 60)
    twice = lambda rows: (rows[0] * 2, rows[1])
    return trained(layout, dtype, from_files.map(twice) if name == "from_files, mapped" else from_files)


def several(folder: Path, word: str) -> dict[str, Any]:
    """Train some of NAMES, which `word` lists, one after another; and the errors of datasets of `from_files`."""
    layout, process, count = over_all(), jax.process_index(), jax.process_count()
    found = {name: one_of(name, layout, process, count) for name in word.split(";")}
    if "dataset" not in word:
        return found
    x, y = files(np.float32)
    last = process * (np.arange(SIZE) == SIZE - 1)[:, None].astype(np.float32)
    cases = {
        "sliced": fnn.data.from_files(x, y, window=60)[process::count],
        "other window": fnn.data.from_files(x, y, window=60 + process),
        "other last row": fnn.data.from_files(x + last, y, window=60),
    }
    return found | {"refused": {name: message(trained, layout, np.float32, data) for name, data in cases.items()}}


def refused(folder: Path, word: str) -> dict[str, str]:
    """The errors of wrong calls in two processes."""
    layout, process = over_all(), jax.process_index()
    x, y = files(np.float32)
    first, other = process == 0, (x + 1, y)

    def stops(epoch: int) -> Any:
        yield from shared_stream("tiles", np.float32, process, 2)(epoch) if first else ()
        raise OSError("the disk is gone")

    def short(epoch: int) -> Any:
        for step, (x, y) in enumerate(shared_stream("tiles", np.float32, process, 2)(epoch)):
            yield (x[1:], y[1:]) if step == 1 and not first else (x, y)

    rows = tuple(part(layout, (x, y)))
    tiles = lambda dtype, **options: shared_stream("tiles", dtype, process, 2, **options)
    cases = {
        "short": {"data": short},
        "stops": {"data": stops},
        "poisoned": {"data": tiles(np.float32, poison=1)},
        "own rows": {"data": rows},
        "other rows": {"data": (x, y) if first else other},
        "kinds": {"data": (x, y) if first else tiles(np.float32)},
        "row": {"data": lambda epoch: iter([(x[:15], y[:15]) if first else (x[:15, :5], y[:15])])},
        "nothing": {"data": lambda epoch: iter(())},
        "memory": {"device_memory": budget(np.float32) + first},
        "window": {"window": 60 + process},
        "shuffled": {"data": tiles(np.float32), "window": 60},
        "row that is not finite": {"data": (np.where(np.arange(SIZE)[:, None] == 7, np.nan, x), y), "epochs": 1},
    }
    return {name: message(trained, layout, np.float32, **PLAIN, **options) for name, options in cases.items()}


def restartable(
    folder: Path | None, kind: str, event: str = "", after: int = 0, resume: bool = False
) -> dict[str, Any]:
    """Train with checkpoints inside epochs, or without any. `kind` is what is read.

    `event` is what happens to one process, or to all, when it has read so many batches.
    """
    layout, process, count, read = over_all(), jax.process_index(), jax.process_count(), []

    def watch(step: int) -> None:
        read.append(step)
        if event and len(read) == after and (event == "all" or process == count - 1):
            if event == "Ctrl-C":
                os.kill(os.getpid(), signal.SIGINT)
            happens({"all": "kill"}.get(event, event))

    def stream(epoch: int) -> Any:
        whole = shared_stream("first alone", np.float32, process, count)
        if kind in ("stateful", "calibrated"):
            return Numbers(whole, epoch, watch)
        return (watch(step) or item for step, item in enumerate(whole(epoch)))

    class Watched:
        """Rows of a file, read one part after another."""

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __getitem__(self, index: Any) -> np.ndarray:
            if not isinstance(index, slice) and len(index) < 60:
                watch(0)
            return self.array[index]

    x, y = files(np.float32)
    stream.__qualname__ = f"stream {process}"  # a checkpoint records what process 0 reads
    options: dict[str, Any] = {"checkpoint_every_steps": 2, "resume": resume, "keep": 100}
    options = {} if folder is None else {"checkpoint_dir": folder, **options}
    options |= {"network": NORMALIZED, "patience": None} if kind == "calibrated" else PLAIN
    return trained(layout, np.float32, (Watched(x), y) if kind == "files" else stream, **options) | {"read": read}


def stops(folder: Path, word: str) -> dict[str, Any]:
    """Train, until what `word` says after the kind of data happens. "twice": Ctrl-C in one process; then a restart, of
    which process 0 is killed while it saves.
    """
    kind, _, event = word.partition(" ")
    if event != "twice":
        return restartable(folder, kind, event, 11)
    try:
        restartable(folder, kind, "Ctrl-C", 11)
    except KeyboardInterrupt:
        kill_while_saving()
        return restartable(folder, kind, resume=True)
    return {}


def kill_while_saving() -> None:
    """Kill this process in its second save, before the checkpoint is renamed. Only process 0 saves."""
    finish, saves = atomic.finish_folder, []

    def finish_or_die(*args: Any) -> None:
        saves.append(args)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        finish(*args)

    setattr(atomic, "finish_folder", finish_or_die)  # noqa: B010


def resumes(folder: Path, word: str) -> dict[str, Any]:
    """Go on from the newest checkpoint; then train without an interruption."""
    return {"again": restartable(folder, word, resume=True), "whole": restartable(None, word)}


TASKS: tuple[Callable[[Path, str], dict[str, Any]], ...] = (several, two_and_refused, stops, resumes)

if __name__ == "__main__":
    run_named(TASKS, sys.argv[1:])
