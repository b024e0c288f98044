"""The persistent compilation cache of the experiments: its folder, and that results stay bitwise equal."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import cache
from experiments.errors import ExperimentError
from tests.experiments.test_main import COMMAND, ENVIRONMENT, ROOT


def test_fnn_cache_names_the_folder_or_turns_it_off(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("FNN_CACHE", str(tmp_path))
    assert cache.folder() == tmp_path / "compiled"
    monkeypatch.setenv("FNN_CACHE", "")
    assert cache.folder() is None
    monkeypatch.delenv("FNN_CACHE")
    assert cache.folder() is not None
    assert ROOT not in cache.folder().parents


def test_a_folder_that_cannot_be_created_is_named(monkeypatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ExperimentError, match=r"FNN_CACHE: cannot create the folder .*file/compiled"):
        cache.enable()


@pytest.mark.slow
def test_a_warm_cache_compiles_nothing_and_gives_equal_results(tmp_path: Path):
    environment = ENVIRONMENT | {"FNN_CACHE": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    histories, programs = [], []
    for run in ("cold", "warm"):
        flags = ["--epochs", "2", "--hidden", "16", "--results", str(tmp_path / run)]
        done = subprocess.run(
            [*COMMAND, "digits", *flags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        histories.append((tmp_path / run / "digits" / "history.csv").read_bytes())
        programs.append({path.name for path in (tmp_path / "cache" / "compiled").iterdir() if "-cache" in path.name})
    assert histories[0] == histories[1]
    assert len(programs[0]) > 5
    assert programs[0] == programs[1]


def test_nothing_is_cached_without_an_experiment(tmp_path: Path):
    """`import fnn` does not change JAX's configuration."""
    code = (
        "import jax, fnn; fnn.dense(1, 1).init(jax.random.key(0)); assert jax.config.jax_compilation_cache_dir is None"
    )
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
