"""The cat images: found, verified, downloaded (also over HTTP) only when needed; damage raises a typed error."""

import functools
import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.data import cats
from experiments.data.cats import find_cats, load_cats
from experiments.errors import DataError
from experiments.wording import GET_DATA

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (7, 64, 64, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])


def hdf5(**arrays) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return out.getvalue()


def expect(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Make the module expect these files."""
    monkeypatch.setattr(cats, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """A small set that the module expects; no data folder, an empty cache, no network."""
    classes = np.array([b"non-cat", b"cat"])
    files = {
        "train_catvnoncat.h5": hdf5(train_set_x=IMAGES[:5], train_set_y=LABELS[:5], list_classes=classes),
        "test_catvnoncat.h5": hdf5(test_set_x=IMAGES[5:], test_set_y=LABELS[5:], list_classes=classes),
    }
    expect(monkeypatch, files)
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(cats, "MIRRORS", ("http://127.0.0.1:9/",))
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("sub", [".", "cats", "catvnoncat"])
def test_the_data_folder(contents, tmp_path, monkeypatch, sub):
    write(tmp_path / sub, contents)
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    for data in (find_cats(), load_cats()):
        assert data.train_x.dtype == data.test_x.dtype == np.float32
        np.testing.assert_array_equal(data.train_x, IMAGES[:5].astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(data.test_x, IMAGES[5:].astype(np.float32) / np.float32(255))
        assert data.train_y.dtype == np.int32
        np.testing.assert_array_equal(data.train_y, LABELS[:5])
        np.testing.assert_array_equal(data.test_y, LABELS[5:])
        assert data.classes == ("non-cat", "cat")


def test_missing_files_give_none(contents, tmp_path, monkeypatch):
    assert find_cats() is None
    write(tmp_path / "half", dict(list(contents.items())[:1]))
    monkeypatch.setenv("FNN_DATA", str(tmp_path / "half"))
    assert find_cats() is None


def test_another_file_of_the_same_name_is_refused(contents, tmp_path, monkeypatch):
    name = "test_catvnoncat.h5"
    write(tmp_path, contents | {name: hdf5(test_set_x=IMAGES[:2], test_set_y=LABELS[:2])})
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{name}: not the {name} of the courses: its SHA-256 is"):
        find_cats()


@pytest.mark.parametrize(
    "arrays",
    [
        {"train_set_x": IMAGES},
        {"train_set_x": IMAGES[..., 0], "train_set_y": LABELS},
        {"train_set_x": IMAGES, "train_set_y": LABELS[:3]},
    ],
    ids=["no labels", "grey", "fewer labels"],
)
def test_files_with_other_arrays(contents, tmp_path, monkeypatch, arrays):
    files = contents | {"train_catvnoncat.h5": hdf5(**arrays)}
    expect(monkeypatch, files)
    write(tmp_path, files)
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"train_catvnoncat.h5: must hold train_set_x \(n, 64, 64, 3\) and"):
        find_cats()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args) -> None:
        """Print nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Start a local file server; yield its address and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()


def test_downloads_once_from_the_first_good_mirror(contents, served, tmp_path, monkeypatch):
    address, folder = served
    damaged = {name: data[:-1] for name, data in contents.items()}
    write(folder / "damaged", damaged)
    write(folder / "good", contents)
    mirrors = tuple(f"{address}{name}/" for name in ("absent", "damaged", "good"))
    monkeypatch.setattr(cats, "MIRRORS", mirrors)
    np.testing.assert_array_equal(load_cats().test_y, LABELS[5:])
    stored = tmp_path / "cache" / "fnn"
    assert sorted(path.name for path in stored.iterdir()) == sorted(contents)
    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: pytest.fail("nothing may be downloaded"))
    np.testing.assert_array_equal(load_cats().train_y, LABELS[:5])


def test_no_mirror_has_the_files(contents, served, tmp_path, monkeypatch):
    address, folder = served
    write(folder, dict.fromkeys(contents, b"<html>sign in</html>"))
    monkeypatch.setattr(cats, "MIRRORS", (address, f"{address}absent/"))
    with pytest.raises(DataError) as caught:
        load_cats()
    message = str(caught.value)
    assert message.startswith("train_catvnoncat.h5: cannot be downloaded (")
    assert "not the train_catvnoncat.h5 of the courses" in message
    assert f"{address}absent/: HTTPError" in message
    names = "(train_catvnoncat.h5, test_catvnoncat.h5) into a folder and set FNN_DATA=folder"
    assert message.endswith(f"put the files of the cat images {names}, or try again later: {GET_DATA}")
    assert not list((tmp_path / "cache" / "fnn").iterdir())
