"""How processes begin: bad calls, and who does not come."""

import jax
import pytest

from fnn import sharding
from fnn.sharding import initialize as start
from fnn.sharding import process_rows
from tests.support.processes import asked


def test_who_does_not_come_is_told_of(tmp_path):
    ended, said = asked("waits", 2, 1, tmp_path / "run", tmp_path, told=3)
    assert [end.code for end in ended] == [0, 0]
    for i, found in enumerate(said):
        assert f"TimeoutError: initialize: process {i} has waited {(6, 3)[i]} s for all 3" in found["message"]
    assert "process 0 is there, another one is not" in said[1]["message"]


def test_nobody_said_who_is_there(tmp_path):
    (ended,), (said,) = asked("waits", 1, 1, tmp_path / "run", tmp_path)
    assert ended.code == 0
    expected = "given, here or in FNN_COORDINATOR, where JAX knows no cluster to ask, got None"
    assert said["message"] == f"ValueError: initialize: coordinator_address must be {expected}"


def test_too_late():
    with pytest.raises(RuntimeError, match="initialize: it must be called before JAX is first used"):
        start.initialize(**GOOD)


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
        start.initialize(**GOOD | changed)


def test_bad_environment(monkeypatch):
    monkeypatch.setenv("FNN_PROCESSES", "two")
    with pytest.raises(ValueError, match=r"initialize: num_processes \(FNN_PROCESSES\) must be a number, got 'two'"):
        start.initialize("localhost:9", process_id=0)


def test_rows_are_those_of_the_own_devices():
    """Of a mesh of 2 x 3 devices, axes ("model", "data") or the other way, in two processes."""
    for n in (1, 5, 6, 7, 100):
        whole = [i for process in (0, 1) for i in range(n)[process_rows._rows((4, {0: (0, 2), 1: (2, 4)}), n, process)]]
        assert whole == [*range(n)]
    assert process_rows._rows((3, {0: (0, 3), 1: (0, 3)}), 10, 1) == slice(0, 10)
    layout = sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    assert sharding.rows_of_process(layout, 7) == slice(0, 7)
