"""A callback that writes the values of each epoch to a CSV file."""

import csv as csv_module
import dataclasses
import io
import os
from pathlib import Path

from fnn import checks
from fnn.checkpoint import atomic
from fnn.display.lines import ordered
from fnn.sharding import agreement
from fnn.types import TrainState

_TAIL = 1 << 16  # bytes at the end of a file that are read to find its last row


@dataclasses.dataclass(frozen=True)
class CsvFile:
    """The callback that `csv` returns."""

    path: Path

    def __call__(self, epoch: int, logs: dict[str, float], state: TrainState) -> None:
        if not agreement.is_main_process():
            return
        names = ["epoch", "step", *(name for name, _ in ordered(logs))]
        row = [epoch, int(state.step), *(repr(float(logs[name])) for name in names[2:])]
        header, line = _line(names), _line(row)
        if not os.path.exists(self.path) or os.path.getsize(self.path) == 0:
            atomic.make_folder(self.path.parent)
            atomic.write_file(self.path, header + line)
            return
        with open(self.path, "rb") as file:
            first = file.readline()
        if first != header:
            expected = f"a new file, or one with the columns {', '.join(names)}"
            advice = "Each training with other metrics needs a file of its own."
            raise checks.fail("csv", "path", expected, came=f"{self.path}, which begins {first[:80]!r}", advice=advice)
        if _last_epoch(self.path, len(header)) not in range(epoch):
            _keep_before(self.path, epoch)
        with atomic.name_errors(self.path), open(self.path, "ab", buffering=0) as file:
            written = file.write(line)
            if written != len(line):
                raise OSError(f"{self.path}: only {written} of the {len(line)} bytes of a row could be written")


def csv(path: str | Path) -> CsvFile:
    """Return a callback that writes a row per epoch to a CSV file.

    The columns are `epoch`, `step`, and the names in the history of `fit`, training before validation. Each number has
    all of its digits. A row reaches the system when its epoch is reported, so that a killed training leaves the rows
    of all epochs before.

    The file may exist. Rows of epochs that are reported again are replaced: a training that resumes goes on with its
    file, also if it was killed while it wrote, and a new training begins the file anew.

    Args:
      path: the file to write. Missing folders are created.

    Returns:
      A callback for `fnn.fit`. It can be pickled. If there are several processes, process 0 writes.

    Raises:
      ValueError: from the callback, if the file begins with another header than this training's.
      OSError: from the callback, if the file cannot be written.

    >>> import fnn, jax, numpy as np, tempfile
    >>> x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = fnn.fit(fnn.dense(1, 1), fnn.squared_error, fnn.sgd(0.1), (x, 2 * x), epochs=3, batch_size=10,
    ...                      key=jax.random.key(0), progress=False, callback=csv(f"{folder}/history.csv"))
    ...     with open(f"{folder}/history.csv") as file:
    ...         print([line.split(",")[:2] for line in file])
    [['epoch', 'step'], ['1', '2'], ['2', '4'], ['3', '6']]
    """
    return CsvFile(checks.path("csv", "path", path).absolute())


def _line(cells: list) -> bytes:
    text = io.StringIO()
    csv_module.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _epoch(line: bytes) -> int | None:
    """Return the epoch of a whole row; None for a row that was not written to its end."""
    number = line.partition(b",")[0]
    return int(number) if line.endswith(b"\n") and number.isdigit() else None


def _last_epoch(path: Path, start: int) -> int | None:
    """Return the epoch of the last row; 0 without rows, None if the last row is torn."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL))
        lines = file.read().splitlines(keepends=True)
    return _epoch(lines[-1]) if lines else 0


def _keep_before(path: Path, epoch: int) -> None:
    """Replace the file by one with its header and the whole rows of the epochs before this one."""
    header, *rows = path.read_bytes().splitlines(keepends=True)
    epochs = [_epoch(row) for row in rows]
    kept = [row for row, number in zip(rows, epochs, strict=True) if number is not None and number < epoch]
    atomic.write_file(path, b"".join([header, *kept]))
