"""Reading files of other people: what is right comes back, all else is one typed error, soon and in little memory."""

import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.data.csv import read_csv
from experiments.data.hdf5 import read_hdf5
from experiments.data.mnist import read_idx
from experiments.data.npz import read_npz
from experiments.errors import DataError
from tests.support.foreign_files import BAD, GOOD

READERS = {"idx": read_idx, "npz": read_npz, "csv": read_csv, "hdf5": read_hdf5}


def measured(reader, path: Path):
    """What the reader returns or raises, after less than a second and with less than 256 MiB."""
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
        names, values = got
        assert names == (("a", "b", "c") if name == "plain" else ("a", "b, c", "d"))
        expected = [[1, 2.5, -300], [4, 0.5, 6]] if name == "plain" else [[1, 2, 3], [4, 5, 6]]
        np.testing.assert_array_equal(values, expected)
    if kind == "idx" and name != "nothing in it":
        np.testing.assert_array_equal(got, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BAD for name in BAD[kind]])
def test_bad_files(kind, name, tmp_path):
    path = tmp_path / "file"
    data, says = BAD[kind][name]
    path.write_bytes(data)
    error = measured(READERS[kind], path)
    assert isinstance(error, DataError), f"read without a word: {error}"
    assert says in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize("kind", READERS)
def test_no_file_at_all(kind, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            READERS[kind](path)


def test_there_are_enough_of_them():
    assert sum(map(len, BAD.values())) >= 40


def test_a_table_without_names(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("1\t2\n3\t4\n")
    table = read_csv(path, header=False, delimiter="\t")
    assert table.names == ()
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4]])


def mutant(random_: random.Random, kind: str) -> bytes:
    """A file of this kind with something wrong in it, or bytes that never were one."""
    if random_.random() < 0.1:
        start = random_.choice([b"", b"\0\0\x08\x02", b"\x1f\x8b\x08", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"a,b\n"])
        return start + random_.randbytes(random_.randrange(200))
    data = bytearray(
        random_.choice(list(GOOD[kind].values()) + [bad for bad, _ in BAD[kind].values() if len(bad) < 10_000])
    )
    for _ in range(random_.choice([1, 1, 1, 2, 5])):
        at, how = random_.randrange(len(data) + 1), random_.random()
        if how < 0.4 and at < len(data):
            data[at] ^= 1 << random_.randrange(8)
        elif how < 0.6:
            data[at : at + random_.randrange(9)] = random_.choice([b"\xff" * 8, bytes(8), random_.randbytes(8)])
        elif how < 0.8:
            del data[at : at + random_.randrange(20)]
        else:
            data[at:at] = (
                random_.randbytes(random_.randrange(9)) if how < 0.9 else data[random_.randrange(len(data) + 1) :][:50]
            )
    return bytes(data)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.exhaustive)])
def test_generated_files(kind, count, tmp_path):
    """Only typed errors, whatever is in the file."""
    path, outcomes = tmp_path / "file", []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64 - 1))
    def check(seed):
        path.write_bytes(mutant(random.Random(seed), kind))
        outcomes.append(isinstance(measured(READERS[kind], path), DataError))

    check()
    assert len(outcomes) >= 0.9 * count
    assert 0.1 < np.mean(outcomes) < 1
