"""The data of a training are compared when it resumes, also those that stay on the host or in files."""

import os
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from fnn import hashing
from fnn.checkpoint import store
from tests.support.checkpoint_files import rewrite
from tests.support.streaming import BUDGET
from tests.support.streaming import fit as fit_stream
from tests.support.training import LOSS, NETWORK, bits, fit


def test_arrays_in_memory_are_compared_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1200, 4)).astype("float32"), rng.integers(0, 2, 1200)
    options = {"device_memory": 8000, "validation": None, "patience": None, "network": NETWORK, "loss": LOSS}
    fit(data=(x, y), checkpoint_dir=tmp_path, epochs=1, **options)
    other = x.copy()
    sampled = np.linspace(0, len(x) - 1, 256).astype(int)
    changed = np.setdiff1d(np.arange(len(x)), sampled)[7]
    other[changed] += 1
    with pytest.raises(ValueError, match="data was"):
        fit(data=(other, y), checkpoint_dir=tmp_path, epochs=2, resume=True, **options)
    fortran = np.asfortranarray(x)
    fit(data=(fortran, y), checkpoint_dir=tmp_path, epochs=2, resume=True, **options)


@pytest.mark.parametrize("view", [lambda x: x, lambda x: np.asarray(x)[:]])
def test_files_are_compared_by_size_and_time_too(view, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1200, 4)).astype("float32"), rng.integers(0, 2, 1200)
    np.save(tmp_path / "x.npy", x)
    mapped = lambda: view(np.load(tmp_path / "x.npy", mmap_mode="r"))
    options = {"device_memory": 8000, "validation": None, "patience": None, "checkpoint_dir": tmp_path / "run"}
    fit(data=(mapped(), y), epochs=1, **options)
    status = os.stat(tmp_path / "x.npy")
    rows = np.setdiff1d(np.arange(len(x)), np.linspace(0, len(x) - 1, 256).astype(int))
    other = x.copy()
    other[rows] = 0
    np.save(tmp_path / "x.npy", other)
    os.utime(tmp_path / "x.npy", ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    with pytest.raises(ValueError, match=r"data was .*file of \d+ bytes, changed 20"):
        fit(data=(mapped(), y), epochs=2, resume=True, **options)
    np.save(tmp_path / "x.npy", x)
    os.utime(tmp_path / "x.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
    fit(data=(mapped(), y), epochs=2, resume=True, **options)


def test_checkpoints_without_the_size_of_files_are_resumed(tmp_path):
    """Those of an earlier version record only the sample."""
    options = {"window": 40, "device_memory": BUDGET, "epochs": 3}
    whole = fit_stream(**options)
    fit_stream(checkpoint_dir=tmp_path, **options | {"epochs": 2})
    for path in store.list_checkpoints(tmp_path):

        def earlier(content):
            data = [text.partition("; all ")[0] for text in content["configuration"]["data"]]
            assert data != content["configuration"]["data"]
            return content | {"configuration": content["configuration"] | {"data": data}}

        rewrite(path, earlier)
    assert bits(fit_stream(checkpoint_dir=tmp_path, resume=True, **options)) == bits(whole)


def test_hashing_copies_no_memory(monkeypatch):
    class Watched(np.ndarray):
        def tobytes(self, *args, **options):
            raise AssertionError("a copy of all bytes")

    big = np.arange(3_000_000, dtype="float32").view(Watched)
    assert hashing.hash_array(big) == f"float32 (3000000,) #{hashing.sha256(np.asarray(big).tobytes())[:12]}"

    transposed = np.arange(16_000_000, dtype="float32").reshape(4000, 4000).T
    tracemalloc.start()
    hashing.hash_array(transposed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < transposed.nbytes / 4


def test_arrays_of_every_layout_have_the_hash_of_their_bytes(monkeypatch):
    monkeypatch.setattr(hashing, "_BLOCK", 100)
    values = np.random.default_rng(0).standard_normal((7, 5, 3)).astype("float32")
    for array in (
        values,
        values.T,
        values[::2, :, ::-1],
        values[:0],
        values[0, 0, 0],
        np.broadcast_to(values[0], (50, 5, 3)),
        values.transpose(1, 0, 2)[None],
        values.astype(ml_dtypes.bfloat16).T,
        np.ones((3, 40), ml_dtypes.int4).T,
        values > 0,
        np.array(["a", "bcd"]),
    ):
        assert hashing.sha256_array(array) == hashing.sha256(np.ascontiguousarray(array).tobytes())
