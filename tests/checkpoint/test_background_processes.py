"""Saves in the background in two processes: process 0 writes, both go on, and both hear of an error."""

import json

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import store
from tests.support.checkpoint_files import names
from tests.support.distributed import LOSS, NETWORK, OPTIMIZER, examples
from tests.support.processes import run
from tests.support.saves_in_processes import FIRST


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A function that trains in two processes and returns what each printed."""
    folder = tmp_path_factory.mktemp("compiled")

    def train(path, word):
        ended = run(["-m", "tests.support.saves_in_processes", str(path), word], 2, path / "logs", folder)
        assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
        return [json.loads(end.out.splitlines()[-1]) for end in ended]

    return train


@pytest.mark.slow
def test_both_go_on_while_process_0_writes(train, tmp_path):
    options = {"epochs": 6, "batch_size": 32, "key": jax.random.key(1), "progress": False}
    alone = fnn.fit(NETWORK, LOSS, OPTIMIZER, examples(), **options).state.params
    for found in train(tmp_path, "held"):
        assert found["error"] == "nothing was raised"
        assert found["seen"][:5] == [[1, 0], [2, 0], [3, 0], [4, 0], [5, 0]], "no checkpoint until epoch 5 has ended"
        for ours, theirs in zip(found["params"], jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert names(tmp_path / "run") == [FIRST, "step-00000042"]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["fails", "raises"])
def test_both_hear_of_an_error(word, train, tmp_path):
    """A failing save is raised at the next one; an error of a callback does not lose the save under way."""
    first, second = train(tmp_path, word)
    if word == "fails":
        assert first["error"].startswith("OSError: [Errno 28] No space left on device")
        assert FIRST in first["error"]
        assert second["error"].startswith("RuntimeError: save: process 0 of 2 failed: OSError: [Errno 28]")
    else:
        assert first["error"] == "RuntimeError: fit: process 1 of 2 failed: ArithmeticError: only here"
        assert second["error"] == "ArithmeticError: only here"
    assert len(first["seen"]) == len(second["seen"]) == (5 if word == "fails" else 4)
    found = store.latest(tmp_path / "run")
    assert (found and found.name) == (None if word == "fails" else FIRST)
