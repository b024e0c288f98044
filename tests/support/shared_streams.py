"""The data of the trainings of tests/support/streams_over_processes.py: files, and the shares of several processes.

The folder of the files is that of the environment variable FILES.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

SIZE, BATCH = 203, 30  # 203 = 6 · 30 + 23; over four devices a batch has tiles of 8, 8, 8 and 6 rows
SHARES = "tiles", "strided", "skewed", "first alone"


def write_files(folder: Path) -> None:
    """Write x, y and weight as files."""
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(size=(SIZE, 8)))
    np.save(folder / "y.npy", rng.integers(0, 3, SIZE).astype(np.int32))
    np.save(folder / "weight.npy", rng.integers(0, 3, SIZE).astype(np.float64))


def files(dtype: Any, size: int = SIZE, weighted: bool = False) -> tuple[np.ndarray, ...]:
    """The files of the data as arrays: mapped if their dtype is the one asked for."""
    names = ["x", "y", "weight"] if weighted else ["x", "y"]
    arrays = [np.load(Path(os.environ["FILES"]) / f"{name}.npy", mmap_mode="r")[:size] for name in names]
    return tuple(array if array.dtype == np.int32 else array.astype(dtype, copy=False) for array in arrays)


def share(kind: str, step: int, rows: np.ndarray, process: int, count: int) -> np.ndarray:
    """Which rows of a batch a process brings."""
    if kind == "strided":
        return rows[process::count]
    tile = -(-BATCH // 4) * 4 // count
    if kind == "tiles":
        return rows[process * tile : (process + 1) * tile]
    if kind == "first alone":  # of the last batch
        return share("tiles", step, rows, process, count) if len(rows) == BATCH else rows[: len(rows) * (process == 0)]
    cuts = [0, *sorted((7 * step * (i + 1)) % (len(rows) + 1) for i in range(count - 1)), len(rows)]  # "skewed"
    return rows[cuts[process] : cuts[process + 1]]


def shared_stream(kind: str, dtype: Any, process: int | None, count: int, poison: int | None = None) -> Any:
    """A function epoch -> iterator of this process's shares; of whole batches if the process is None."""
    x, y = files(dtype)

    def stream(epoch: int) -> Any:
        order = np.random.default_rng(epoch).permutation(SIZE)
        batches = [order[begin : begin + BATCH] for begin in range(0, SIZE, BATCH)]
        for step, rows in enumerate(batches):
            parts = [share(kind, step, rows, i, count) for i in range(count)]
            index = np.concatenate(parts) if process is None else parts[process]
            if kind == "first alone" and not len(index):
                return
            yield x[index] + (np.nan if (step, process) == (poison, 1) else 0), y[index]

    return stream


def dataset(dtype: Any, process: int | None, count: int, size: int = SIZE) -> Any:
    """A dataset of Grain: this process's rows, in batches of its share; or whole batches in the same order."""
    import grain

    x, y = files(dtype)
    rows = grain.MapDataset.range(size).shuffle(seed=3).map(lambda i: (x[i], y[i]))
    if process is not None:
        return rows[process::count].batch(BATCH // count)
    # batch b has, process after process, the rows that each has of it
    order = [[*range(size)[process::count]] for process in range(count)]
    each = BATCH // count
    index = [row for b in range(-(-size // BATCH)) for own in order for row in own[b * each : (b + 1) * each]]
    return grain.MapDataset.range(size).map_with_index(lambda i, _: rows[i - i % size + index[i % size]]).batch(BATCH)


class Numbers:
    """An iterator of shares that has a state, and counts what it reads."""

    def __init__(self, stream: Any, epoch: int, watch: Any) -> None:
        self.items, self.next, self.watch = list(stream(epoch)), 0, watch

    def __iter__(self) -> "Numbers":
        return self

    def __next__(self) -> Any:
        if self.next == len(self.items):
            raise StopIteration
        self.watch(self.next)
        self.next += 1
        return self.items[self.next - 1]

    def get_state(self) -> dict[str, int]:
        return {"next": self.next}

    def set_state(self, state: dict[str, int]) -> None:
        self.next = state["next"]
