"""Several real processes over loopback, one of which is interrupted: all of them end, with the same checkpoint."""

import pytest

from fnn.checkpoint import store
from tests.support.processes import run_task


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder of the compilation cache that the runs share."""
    return tmp_path_factory.mktemp("compiled")


@pytest.mark.slow
def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path, cache):
    ended, _ = run_task("fits", 2, 4, tmp_path / "run", cache, "terminate", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [143, 143], ended[0].err[-2000:]
    assert "stopped by SIGTERM after epoch 3, step 21" in ended[0].err
    assert "stopped by" not in ended[1].err
    assert store.list_checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000021"


@pytest.mark.slow
@pytest.mark.parametrize("word", ["interrupt", "catch"])
def test_an_interrupt_in_the_callback_of_one_stops_all(word, tmp_path, cache):
    """The callback of one process raises KeyboardInterrupt, or gets two and catches the second one."""
    ended, _ = run_task("fits", 2, 4, tmp_path / "run", cache, word, checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [130, 130], ended[0].err[-2000:]
    assert "stopped by SIGINT after epoch 3, step 21" in ended[0].err
    assert all("KeyboardInterrupt: fit: stopped by SIGINT after epoch 3" in end.err for end in ended)
    assert store.list_checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000021"
    ended, results = run_task("fits", 2, 4, tmp_path / "again", cache, "resume", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert len(results[0]["cost"]) == 4
