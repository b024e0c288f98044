"""Trainings on data larger than the devices, which tests/sharding/test_streams_in_processes.py runs in processes.

python -m tests.support.streams_over_processes NAME DEVICES FOLDER [WORD]
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.sharding import Layout
from tests.support.distributed import happens, message, over_all, part, to_lists
from tests.support.over_processes import run_named
from tests.support.shared_streams import BATCH, SHARES, SIZE, Numbers, dataset, files, shared_stream

DTYPES = {"float32": np.float32, "float64": np.float64}
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(0.5)
NETWORK = fnn.serial(fnn.dense(8, 16), fnn.tanh, fnn.dropout(0.3), fnn.dense(16, 3))
NORMALIZED = fnn.serial(fnn.dense(8, 6), fnn.batch_norm(6), fnn.relu, fnn.dense(6, 3))


def held_out(dtype: Any, layout: Layout | None) -> tuple[np.ndarray, ...]:
    """This process's rows of the validation data."""
    x, y = files(dtype)
    return part(layout, (x[:50] + 0.1, y[:50]))


def budget(dtype: Any) -> int:
    """Bytes for two chunks of two batches."""
    return 2 * 2 * BATCH * (9 * np.dtype(dtype).itemsize + 4 + 4)


CASES: dict[str, dict[str, Any]] = {
    "windows": {"window": 60},
    "all rows": {"window": SIZE},
    "weights": {"weighted": True, "window": 45},
    "few rows": {"size": 63},  # the last batch has three rows, all of them on the first device
    "calibrated": {"network": NORMALIZED, "weighted": True, "patience": None},
    "in memory": {"device_memory": 2**30},
}
"""name -> options; `size` and `weighted` say which rows of the files are used."""


def trained(layout: Layout | None, dtype: Any, data: Any = None, **options: Any) -> dict[str, Any]:
    """Train three epochs with momentum, dropout and early stopping."""
    size, weighted = options.pop("size", SIZE), options.pop("weighted", False)
    network = options.pop("network", NETWORK)
    with jax.enable_x64(dtype == np.float64):
        state = fnn.init_state(network, OPTIMIZER, jax.random.key(1))
        cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        result = fnn.fit(
            network,
            LOSS,
            OPTIMIZER,
            files(dtype, size, weighted) if data is None else data,
            sharding=layout,
            **{
                "epochs": 3,
                "batch_size": BATCH,
                "state": jax.tree.map(cast, state),
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


def datasets(folder: Path, word: str) -> dict[str, Any]:
    """Datasets of Grain: one of which each process has its share, and those of `from_files`."""
    layout, process, count = over_all(), jax.process_index(), jax.process_count()
    found: dict[str, Any] = {"shares": trained(layout, np.float32, dataset(np.float32, process, count), window=None)}
    files_ = fnn.data.from_files(*files(np.float32), window=60)
    found["from_files"] = trained(layout, np.float32, files_)
    found["mapped"] = trained(layout, np.float32, files_.map(lambda rows: (rows[0] * 2, rows[1])))
    found["few"] = trained(layout, np.float32, dataset(np.float32, process, count, 1), patience=None)
    found["sliced"] = message(trained, layout, np.float32, files_[process::count])
    return found


def shares(folder: Path, word: str) -> dict[str, Any]:
    """Streams of which each process yields its share."""
    layout, process, count = over_all(), jax.process_index(), jax.process_count()
    run = lambda kind: trained(layout, np.float64, shared_stream(kind, np.float64, process, count))
    return {kind: run(kind) for kind in ([word] if word else SHARES)}


def two_and_refused(folder: Path, word: str) -> dict[str, Any]:
    """One case, and the errors of wrong calls."""
    return {"files": trained(over_all(), np.float32, **CASES["windows"]), "refused": refused(folder, word)}


def streams(folder: Path, word: str) -> dict[str, Any]:
    """Every case in float64, the first one in float32 as well."""
    layout = over_all()
    run = lambda name, key: trained(layout, DTYPES[key], **CASES[name])
    return {name: {key: run(name, key) for key in DTYPES if name == "windows" or key == "float64"} for name in CASES}


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
            yield (x[1:], y[1:]) if step == 2 and not first else (x, y)

    rows = tuple(part(layout, (x, y)))
    tiles = lambda dtype, **options: shared_stream("tiles", dtype, process, 2, **options)
    cases = {
        "short": {"data": short},
        "stops": {"data": stops},
        "poisoned": {"data": tiles(np.float32, poison=3)},
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
    return {name: message(trained, layout, np.float32, **options) for name, options in cases.items()}


def resumes(folder: Path, word: str) -> dict[str, Any]:
    """Train with checkpoints inside epochs. `word` is what is read and what then happens to one process, or to all."""
    kind, _, event = word.partition(" ")
    layout, process, count, read = over_all(), jax.process_index(), jax.process_count(), []

    def watch(step: int) -> None:
        read.append(step)
        if event and event != "resume" and len(read) == 11 and (event == "all" or process == count - 1):
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
    data = (Watched(x), y) if kind == "files" else stream
    options = {"checkpoint_dir": folder, "checkpoint_every_steps": 2, "resume": event == "resume", "keep": 100}
    network = NORMALIZED if kind == "calibrated" else NETWORK
    return trained(layout, np.float32, data, network=network, patience=None, **options) | {"read": read}


TASKS: tuple[Callable[[Path, str], dict[str, Any]], ...] = (streams, shares, two_and_refused, datasets, resumes)

if __name__ == "__main__":
    run_named(TASKS, sys.argv[1:])
