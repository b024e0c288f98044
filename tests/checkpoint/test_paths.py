"""Paths: addresses of other machines are refused, `~` is the home folder, a relative path stays the same folder."""

import os
from pathlib import Path

import numpy as np
import pytest

import fnn
from tests.support.checkpoint_files import STATE, names
from tests.support.training import bits
from tests.support.training import small_fit as fit

ADDRESSES = ["gs://bucket/run", "s3://bucket/run", "hdfs://host/run", "file:///tmp/run", "gs:/bucket/run", "gs:"]
ADDRESSES += ["C:\\run", "D:/run", "\\\\server\\share"]

PATHS = {  # function: argument -> a call
    "fit: checkpoint_dir": lambda path: fit(checkpoint_dir=path),
    "save: folder": lambda path: fnn.checkpoint.save(path, STATE),
    "restore: path": lambda path: fnn.checkpoint.restore(path, STATE),
    "latest: folder": fnn.checkpoint.latest,
    "export_params: path": lambda path: fnn.checkpoint.export_params(path, STATE.params),
    "import_params: path": lambda path: fnn.checkpoint.import_params(path, STATE.params),
    "save_csv: path": lambda path: fnn.sweeps.table.Table({"x": np.ones(1)}).save_csv(path),
}


@pytest.mark.parametrize("name", PATHS)
def test_addresses_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ADDRESSES:
        for path in (address, Path(address)):
            with pytest.raises(ValueError, match=f"{name} must be a path of this machine"):
                PATHS[name](path)
    for path in (3, "", b"run", "a\0b"):
        with pytest.raises(TypeError, match=f"{name} must be a path"):
            PATHS[name](path)
    with pytest.raises(ValueError, match="names a user of this machine"):
        PATHS[name]("~no such user/run")
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fit(checkpoint_dir="~/run", epochs=1)
    fit(checkpoint_dir=Path("~/run"), epochs=1, resume=True)
    assert fnn.checkpoint.latest("~/run").parent == home / "run"
    assert fnn.checkpoint.restore("~/run", STATE).step == 2
    fnn.checkpoint.save("~/saved", STATE)
    fnn.checkpoint.export_params("~/params", STATE.params)
    assert bits(fnn.checkpoint.import_params("~/params", STATE.params)) == bits(STATE.params)
    fnn.sweeps.table.Table({"x": np.ones(1)}).save_csv("~/table.csv")
    assert sorted(path.name for path in home.iterdir()) == ["params", "run", "saved", "table.csv"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_callback_may_change_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    fit(checkpoint_dir="run", epochs=4, callback=lambda *_: os.chdir(tmp_path / "elsewhere"))
    assert len(names(tmp_path / "run")) >= 3
    assert names(tmp_path / "elsewhere") == []


def test_something_else_of_the_name_of_the_folder_is_refused_and_stays(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, kind in {
        "file": "a file",
        "file/run": "a file",
        "link": "a symbolic link that leads to no folder",
    }.items():
        for call in (lambda path: fit(checkpoint_dir=path, epochs=1), lambda path: fnn.checkpoint.save(path, STATE)):
            with pytest.raises(NotADirectoryError, match=f"must be a folder, got {kind}: '{tmp_path}"):
                call(tmp_path / name)
    assert (tmp_path / "file").read_text() == "precious"
    assert names(tmp_path) == ["file", "link"]
