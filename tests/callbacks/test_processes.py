"""Callbacks in two processes: one of them writes, and all of them hear of a failure."""

import json

import jax
import numpy as np
import pytest

import fnn
from tests.support.distributed import NETWORK
from tests.support.processes import run

COMMAND = ["-m", "tests.support.callbacks_in_processes"]


@pytest.mark.slow
def test_one_process_writes_the_whole_parameters(tmp_path):
    ended = run([*COMMAND, str(tmp_path)], 2, tmp_path / "logs", tmp_path / "compiled")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    found = json.loads(ended[0].out.splitlines()[-1])
    assert found["own"] == [1, 2, 3]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 4
    best = fnn.checkpoint.import_params(tmp_path / "best", NETWORK.init(jax.random.key(0)))
    for leaf, expected in zip(jax.tree.leaves(best), found["params"], strict=True):
        np.testing.assert_array_equal(leaf, np.asarray(expected, np.float32))


@pytest.mark.slow
def test_a_file_that_process_0_cannot_write_ends_the_training_in_both(tmp_path):
    (tmp_path / "file").write_text("")
    ended = run([*COMMAND, str(tmp_path), "bad"], 2, tmp_path / "logs", tmp_path / "compiled")
    first, second = (json.loads(end.out.splitlines()[-1]) for end in ended)
    assert "file" in first["error"]
    assert second["error"].startswith("RuntimeError: fit: process 0 of 2 failed:")
    assert first["own"] == second["own"] == []
