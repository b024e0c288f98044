"""fnn.callbacks.csv: rows, resuming, torn rows, other files, failing disks."""

import csv
import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.callbacks import csv_file
from tests.support.training import VALIDATION, small_fit

ROOT = Path(__file__).parents[2]


class State:
    """What the callback reads of a state."""

    def __init__(self, step):
        self.step = step


def rows(path):
    with open(path, newline="") as file:
        return [*csv.reader(file)]


def test_a_row_per_epoch_with_all_digits(tmp_path):
    path = tmp_path / "new" / "folder" / "history.csv"
    history = small_fit(callback=[fnn.callbacks.csv(path)], epochs=3, validation=VALIDATION).history
    header, *body = rows(path)
    assert header == ["epoch", "step", "cost", "accuracy", "validation_cost", "validation_accuracy"]
    assert [row[:2] for row in body] == [["1", "2"], ["2", "4"], ["3", "6"]]
    for column, name in enumerate(header[2:], 2):
        np.testing.assert_array_equal([float(row[column]) for row in body], history[name].astype(float))


def test_rows_that_are_reported_again_are_replaced(tmp_path):
    path = tmp_path / "history.csv"
    call = fnn.callbacks.csv(path)
    for epoch in (1, 2, 3, 4):
        call(epoch, {"cost": epoch / 8}, State(2 * epoch))
    whole = path.read_bytes()
    with open(path, "ab") as file:
        file.write(b"5,1")  # killed while it wrote
    for epoch in (3, 4):  # resumes from a checkpoint after epoch 2
        pickle.loads(pickle.dumps(call))(epoch, {"cost": epoch / 8}, State(2 * epoch))
    assert path.read_bytes() == whole
    call(1, {"cost": 7.0}, State(2))  # a new training
    assert rows(path) == [["epoch", "step", "cost"], ["1", "2", "7.0"]]


def test_resuming_a_fit_leaves_the_rows_of_an_uninterrupted_one(tmp_path):
    paths = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    small_fit(callback=fnn.callbacks.csv(paths[0]), epochs=5)
    stop = lambda epoch, *_: (_ for _ in ()).throw(RuntimeError("mine")) if epoch == 4 else None
    options = {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 3, "epochs": 5}
    with pytest.raises(RuntimeError, match="mine"):
        small_fit(callback=[fnn.callbacks.csv(paths[1]), stop], **options)
    assert len(rows(paths[1])) == 5  # one more than the checkpoint
    small_fit(callback=fnn.callbacks.csv(paths[1]), resume=True, **options)
    assert paths[1].read_bytes() == paths[0].read_bytes()


def test_a_file_with_another_header_is_refused_and_kept(tmp_path):
    path = tmp_path / "mine.csv"
    for content in (b"a,b\n1,2\n", b"epoch,step,cost,accuracy\n1,2,3,4\n", b"no newline"):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"csv: path must be a new file, or one with the columns epoch, step, cost, g"
        ):
            fnn.callbacks.csv(path)(1, {"cost": 1.0}, State(1))
        assert path.read_bytes() == content
    path.write_bytes(b"")
    fnn.callbacks.csv(path)(1, {"cost": 1.0, 'with,"both"': np.float32(2.5)}, State(1))
    assert rows(path) == [["epoch", "step", "cost", 'with,"both"'], ["1", "1", "1.0", "2.5"]]


def test_only_the_end_of_a_long_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    call = fnn.callbacks.csv(path)
    for epoch in range(1, 12):
        call(epoch, {"cost": 1.0}, State(epoch))
    monkeypatch.setattr(csv_file, "_TAIL", 25)
    monkeypatch.setattr(csv_file, "_keep_before", lambda *_: pytest.fail("rewritten"))
    call(12, {"cost": 1.0}, State(12))
    assert [row[0] for row in rows(path)[1:]] == [str(epoch) for epoch in range(1, 13)]


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "history.csv", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            small_fit(callback=fnn.callbacks.csv(path))
    with pytest.raises(TypeError, match="csv: path must be a path"):
        fnn.callbacks.csv(3)


def test_a_full_disk_is_an_error_that_names_the_file_and_the_next_run_repairs(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    call = fnn.callbacks.csv(path)
    call(1, {"cost": 1.0}, State(1))
    real = open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fake = lambda name, mode="r", **options: (lambda f: Full(f) if mode == "ab" else f)(real(name, mode, **options))
    with monkeypatch.context() as patch:
        patch.setattr(csv_file, "open", fake, raising=False)
        with pytest.raises(OSError, match="No space left") as raised:
            call(2, {"cost": 1.0}, State(2))
    assert raised.value.filename == str(path)
    call(2, {"cost": 2.0}, State(2))
    assert rows(path)[1:] == [["1", "1", "1.0"], ["2", "2", "2.0"]]


_KILLED = """
import sys, time, fnn
from tests.support.training import small_fit
small_fit(epochs=10**6, callback=fnn.callbacks.csv(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_training_leaves_whole_rows(tmp_path):
    path = tmp_path / "history.csv"
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_bytes().count(b"\n") > 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, *body = rows(path)
    whole = body if path.read_bytes().endswith(b"\n") else body[:-1]
    assert [int(row[0]) for row in whole] == [*range(1, len(whole) + 1)]
    assert len(whole) >= 20
    small_fit(epochs=3, callback=fnn.callbacks.csv(path))
    assert len(rows(path)) == 4
