"""Readers of foreign files return the content of valid files, and raise a typed error for all others.

They do so quickly and with little memory.
"""

import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.data.hdf5 import read_hdf5
from experiments.data.mnist import read_idx
from experiments.data.npz import read_npz
from experiments.data.tables import read_table
from experiments.errors import DataError
from tests.support.foreign_files import BAD, GOOD

pd.DataFrame({"the first use imports more": ["text"]})["the first use imports more"].str.strip()
READERS = {"idx": read_idx, "npz": read_npz, "csv": read_table, "hdf5": read_hdf5}


def measured(reader, path: Path):
    """Return what the reader returns or raises; fail if it takes a second or 256 MiB."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        outcome = reader(path)
    except DataError as error:
        outcome = error
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1, f"{seconds:.2f} s"
    assert peak < 2**28, f"{peak:,} bytes"
    return outcome


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in GOOD for name in GOOD[kind]])
def test_good_files(kind, name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(GOOD[kind][name])
    got = measured(READERS[kind], path)
    assert not isinstance(got, Exception), got
    if kind == "npz":
        with np.load(path) as expected:
            assert set(got) == set(expected)
            for array in expected:
                np.testing.assert_array_equal(got[array], expected[array])
                assert got[array].dtype == expected[array].dtype
    if kind == "hdf5":
        assert set(got) == {"x", "y"}
        np.testing.assert_array_equal(got["x"], np.arange(24).reshape(2, 3, 4))
        np.testing.assert_array_equal(got["y"], np.arange(100.0))
    if kind == "csv":
        assert [*got.columns] == (["a", "b", "c"] if name == "plain" else ["a", "b, c", "d"])
        expected = [["1", "4"], ["2.5", ".5"], ["-3e2", "6."]]
        assert [list(values) for values in got.columns.values()] == (
            expected if name == "plain" else [["1", "4"], ["2", "5"], ["3", "6"]]
        )
    if kind == "idx" and name != "nothing in it":
        np.testing.assert_array_equal(got, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BAD for name in BAD[kind]])
def test_bad_files(kind, name, tmp_path):
    path = tmp_path / "file"
    data, text = BAD[kind][name]
    path.write_bytes(data)
    error = measured(READERS[kind], path)
    assert isinstance(error, DataError), f"read without an error: {error}"
    assert text in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file(kind, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            READERS[kind](path)


def test_there_are_enough_cases():
    assert sum(map(len, BAD.values())) >= 40


def mutant(random_: random.Random, kind: str) -> bytes:
    """Return a damaged file of this kind, or random bytes."""
    if random_.random() < 0.1:
        start = random_.choice([b"", b"\0\0\x08\x02", b"\x1f\x8b\x08", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"a,b\n"])
        return start + random_.randbytes(random_.randrange(200))
    data = bytearray(
        random_.choice(list(GOOD[kind].values()) + [bad for bad, _ in BAD[kind].values() if len(bad) < 10_000])
    )
    for _ in range(random_.choice([1, 1, 1, 2, 5])):
        index, choice = random_.randrange(len(data) + 1), random_.random()
        if choice < 0.4 and index < len(data):
            data[index] ^= 1 << random_.randrange(8)
        elif choice < 0.6:
            data[index : index + random_.randrange(9)] = random_.choice([b"\xff" * 8, bytes(8), random_.randbytes(8)])
        elif choice < 0.8:
            del data[index : index + random_.randrange(20)]
        elif choice < 0.9:
            data[index:index] = random_.randbytes(random_.randrange(9))
        else:
            data[index:index] = data[random_.randrange(len(data) + 1) :][:50]
    return bytes(data)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.exhaustive)])
def test_generated_files(kind, count, tmp_path):
    """Whatever a file contains, the reader raises typed errors only."""
    path, outcomes = tmp_path / "file", []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64 - 1))
    def check(seed):
        path.write_bytes(mutant(random.Random(seed), kind))
        outcomes.append(isinstance(measured(READERS[kind], path), DataError))

    check()
    assert len(outcomes) >= 0.9 * count
    assert 0.1 < np.mean(outcomes) < 1
