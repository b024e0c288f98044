"""MNIST: parsed, bounded, verified, found, and downloaded only when needed; synthetic data sets."""

import gzip
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from experiments.data import generators, mnist
from experiments.data.mnist import find_mnist, load_mnist, read_idx
from experiments.errors import DataError, ExperimentError

IMAGES, LABELS = np.arange(6 * 784).reshape(6, 28, 28) % 256, np.array([5, 0, 4, 1, 9, 2])


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + bytes(array.ravel().tolist())
    )


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """A small MNIST that the module expects; no data folder, an empty cache, no network."""
    arrays = dict(zip(mnist.FILES, (IMAGES, LABELS, IMAGES[:2], LABELS[:2]), strict=True))
    files = {name: idx(array) for name, array in arrays.items()}
    expected = {name: (arrays[name].shape, hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    monkeypatch.setattr(mnist, "FILES", expected)
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: pytest.fail("nothing may be downloaded"))
    return files


def write(folder: Path, files: dict[str, bytes], packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sub", [".", "mnist"])
def test_the_data_folder(contents, tmp_path, monkeypatch, packed, sub):
    write(tmp_path / sub, contents, packed)
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    for data in (find_mnist(), load_mnist()):
        assert data.train_x.shape == (6, 784)
        assert data.train_x.dtype == np.float32
        assert data.train_y.dtype == np.int32
        np.testing.assert_array_equal(data.train_x, IMAGES.reshape(6, -1).astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(data.train_y, LABELS)
        np.testing.assert_array_equal(data.test_y, LABELS[:2])


def test_missing_files_give_none_without_a_download(contents, tmp_path, monkeypatch):
    assert find_mnist() is None
    monkeypatch.setenv("FNN_DATA", str(tmp_path / "absent"))
    assert find_mnist() is None
    write(tmp_path / "some", dict(list(contents.items())[:3]), packed=True)
    monkeypatch.setenv("FNN_DATA", str(tmp_path / "some"))
    assert find_mnist() is None


def test_the_cache(contents, tmp_path):
    write(tmp_path / "cache" / "fnn", contents, packed=True)
    found = find_mnist()
    assert found is not None
    np.testing.assert_array_equal(found.test_x, load_mnist().test_x)


def test_downloads_once_from_the_first_good_mirror(contents, tmp_path, monkeypatch):
    requested = []

    def download(url, path, pooch):
        requested.append(url)
        name = url.rpartition("/")[2].removesuffix(".gz")
        if url.startswith(mnist.MIRRORS[0]):
            if "labels" in name:
                raise ConnectionError("no route")
            Path(path).write_bytes(b"<html>sign in</html>")
            return
        Path(path).write_bytes(gzip.compress(contents[name]))

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: download)
    np.testing.assert_array_equal(load_mnist().train_y, LABELS)
    assert len(requested) == 8
    assert sorted(p.name for p in (tmp_path / "cache" / "fnn").iterdir()) == sorted(f"{n}.gz" for n in contents)
    load_mnist()
    assert len(requested) == 8


def test_no_mirror(contents, tmp_path, monkeypatch):
    def download(url, path, pooch):
        raise ConnectionError("no route")

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: download)
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte.gz: cannot be downloaded .*ConnectionError.*FNN_DATA"
    ):
        load_mnist()
    assert not list((tmp_path / "cache" / "fnn").iterdir())


def test_other_content_of_the_same_shape_is_refused(contents, tmp_path, monkeypatch):
    name = "t10k-labels-idx1-ubyte"
    write(tmp_path, contents | {name: idx(np.array([5, 1]))}, packed=True)
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{name}.gz: not MNIST: its content has the SHA-256"):
        find_mnist()
    write(tmp_path, contents | {name: idx(np.array([5, 0, 4]))}, packed=True)
    with pytest.raises(DataError, match=rf"{name}.gz: must have the shape \(2,\), got \(3,\)"):
        find_mnist()


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # every process must collect the same parameters


GOOD = idx(LABELS)
HUGE = bytes([0, 0, 8, 3]) + 3 * (2**31).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file of bytes: it starts with nothing"),
        (b"<html>", "not an IDX file of bytes: it starts with 3c 68 74 6d"),
        (b"\x00\x00\x0d\x01" + GOOD[4:], "not an IDX file of bytes"),
        (GOOD[:6], "ends within its header"),
        (GOOD[:-1], r"its header \(6,\) declares 6 bytes, got 5"),
        (GOOD + b"!", r"its header \(6,\) declares 6 bytes, got more"),
        (HUGE, "declares .* bytes, more than 134,217,728"),
        (packed(HUGE), "declares .* bytes, more than 134,217,728"),
        (packed(GOOD)[:-9], "cannot be read"),
        (packed(GOOD)[:10] + b"\xff" * 8, "cannot be read"),
        (packed(GOOD)[:-6] + b"\x00" * 6, "cannot be read"),
        (packed(GOOD + bytes(10**7)), "got more"),
    ],
    ids=itertools.count(),
)
def test_damaged_files(tmp_path, data, message):
    path = tmp_path / "labels"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, ExperimentError)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="absent: cannot be read: No such file"):
        read_idx(tmp_path / "absent")


def test_read_idx(tmp_path):
    for data in (idx(IMAGES), gzip.compress(idx(IMAGES))):
        (tmp_path / "images").write_bytes(data)
        np.testing.assert_array_equal(read_idx(tmp_path / "images"), IMAGES)


def test_generated_images_have_mnists_shapes_and_can_be_learnt():
    data = generators.mnist_like(3, train=2000, test=500)
    again, other = (generators.mnist_like(seed, train=2000, test=500) for seed in (3, 4))
    np.testing.assert_array_equal(data.train_x, again.train_x)
    assert not np.array_equal(data.train_y, other.train_y)
    assert data.train_x.shape == (2000, 784)
    assert data.test_y.dtype == np.int32
    assert set(np.unique(data.train_y)) == set(range(10))
    assert data.train_x.min() == 0
    assert 0.9 < data.train_x.max() <= 1
    np.testing.assert_allclose(255 * data.train_x, np.round(255 * data.train_x), atol=1e-4)  # MNIST's 256 grey levels
    means = np.stack([data.train_x[data.train_y == k].mean(axis=0) for k in range(10)])
    squares = (data.test_x**2).sum(1)[:, None] - 2 * data.test_x @ means.T + (means**2).sum(1)[None]
    nearest = (squares.argmin(axis=1) == data.test_y).mean()
    assert 0.4 < nearest < 0.95  # neither noise nor trivial


def test_the_flower_needs_a_hidden_layer():
    points = generators.planar_flower(1)
    x, y = points.x, points.y
    assert x.shape == (400, 2)
    assert np.bincount(y).tolist() == [200, 200]
    design = np.column_stack([x, np.ones(len(x))])
    line = np.linalg.lstsq(design, 2.0 * y - 1, rcond=None)[0]
    assert (((design @ line) > 0) == y).mean() < 0.65
    radius = np.hypot(*x.T)
    assert 3.5 < radius.max() < 5


def test_the_distance_of_two_clouds():
    points = generators.two_clouds(0, 4000, 50, distance=4.0)
    x, y = points.x, points.y
    between = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    assert np.linalg.norm(between) == pytest.approx(4.0, abs=0.2)
