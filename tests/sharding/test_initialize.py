"""How processes start: bad calls, and processes that are missing."""

import jax
import pytest

from fnn import sharding
from fnn.sharding import process_rows
from fnn.sharding.process_rows import ProcessShards
from tests.support.processes import run_task


@pytest.mark.slow
def test_a_missing_process_is_reported(tmp_path):
    ended, results = run_task("waits", 2, 1, tmp_path / "run", tmp_path, expected=3)
    assert [end.code for end in ended] == [0, 0]
    for i, found in enumerate(results):
        assert f"TimeoutError: initialize: process {i} waited {(6, 3)[i]} s for all 3" in found["message"]
    assert "process 0 is listening, another process is missing" in results[1]["message"]


def test_a_cluster_that_nothing_describes_is_refused(tmp_path):
    (ended,), (results,) = run_task("waits", 1, 1, tmp_path / "run", tmp_path)
    assert ended.code == 0
    expected = "given, as an argument or in FNN_COORDINATOR, because JAX detects no cluster, got None"
    assert results["message"] == f"ValueError: initialize: coordinator_address must be {expected}"


def test_initialize_after_jax_is_used():
    with pytest.raises(RuntimeError, match="initialize: it must be called before JAX is first used"):
        sharding.initialize(**GOOD)


GOOD = {"coordinator_address": "localhost:9", "num_processes": 2, "process_id": 0}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"coordinator_address": "localhost"}, "coordinator_address must be 'host:port', got str 'localhost'"),
        ({"coordinator_address": "localhost:no"}, "coordinator_address must be 'host:port'"),
        ({"coordinator_address": "localhost:99999"}, "coordinator_address must be 'host:port'"),
        ({"coordinator_address": 7}, "coordinator_address must be 'host:port', got int 7"),
        ({"num_processes": 0}, "num_processes must be a positive integer, got int 0"),
        ({"num_processes": "2"}, "num_processes must be a positive integer, got str '2'"),
        ({"process_id": 2}, r"process_id must be an integer in 0..1, got int 2"),
        ({"process_id": -1}, r"process_id must be an integer in 0..1, got int -1"),
        ({"process_id": 0.5}, r"process_id must be an integer in 0..1, got float 0.5"),
        ({"heartbeat_timeout_seconds": 0}, "heartbeat_timeout_seconds must be a positive integer"),
        ({"initialization_timeout": 1.5}, "initialization_timeout must be a positive integer"),
    ],
)
def test_bad_calls(changed, says):
    with pytest.raises((ValueError, TypeError), match=f"initialize: {says}"):
        sharding.initialize(**GOOD | changed)


def test_bad_environment(monkeypatch):
    monkeypatch.setenv("FNN_PROCESSES", "two")
    with pytest.raises(ValueError, match=r"initialize: num_processes \(FNN_PROCESSES\) must be a number, got 'two'"):
        sharding.initialize("localhost:9", process_id=0)


def test_a_process_has_the_rows_of_its_own_devices():
    """Two processes with two of four shards each, then two processes that hold the same three shards."""
    for n in (1, 5, 6, 7, 100):
        shards = ProcessShards(4, {0: (0, 2), 1: (2, 4)})
        rows = [i for process in (0, 1) for i in range(n)[process_rows._row_slice(shards, n, process)]]
        assert rows == [*range(n)]
    assert process_rows._row_slice(ProcessShards(3, {0: (0, 3), 1: (0, 3)}), 10, 1) == slice(0, 10)
    layout = sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    assert sharding.rows_of_process(layout, 7) == slice(0, 7)
