"""Parameters split over the devices of real processes: results, checkpoints, and a restart in one process."""

import json

import jax
import numpy as np
import pytest

import fnn
from tests.support import fully_sharded_processes
from tests.support.distributed import LOSS, NETWORK, examples, to_lists, trajectory
from tests.support.processes import run

BOUNDS = {"float32": 1e-5, "float64": 1e-12}


def close(ours, theirs, bound):
    """Check that leaves are equal to within the bound times the largest entry of each."""
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=bound * np.abs(their).max())


@pytest.mark.parametrize(
    ("count", "devices"), [pytest.param(2, 2, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.exhaustive)]
)
def test_parameters_are_split_over_processes(count, devices, tmp_path, tmp_path_factory):
    folder, cache = tmp_path / "checkpoints", tmp_path_factory.mktemp("compiled")
    command = ["-m", "tests.support.fully_sharded_processes", str(devices), str(folder)]
    ended = run(command, count, tmp_path / "run", cache)
    assert [end.code for end in ended] == [0] * count, ended[0].err[-3000:]
    results = [json.loads(end.out.splitlines()[-1]) for end in ended]
    alone = {name: trajectory(None, np.dtype(name).type) for name in BOUNDS}
    for found in results:
        for name, bound in BOUNDS.items():
            close([found[name]["costs"]], [alone[name]["costs"]], bound)
            close(found[name]["params"], alone[name]["params"], bound)
        # of 4 parameters and 8 moments and a counter, the bias of 3 numbers, its moments and the counter are whole
        assert found["split"] == [9, 13]
        assert found["share"] == 1 / count
        assert [found[name] for name in ("drawn", "restored", "placed")] == [True] * 3
    # the checkpoint continues on one device
    like = fnn.init_state(NETWORK, fully_sharded_processes.OPTIMIZER, jax.random.key(9))
    back = fnn.checkpoint.restore(folder, like)
    assert to_lists(back.params) == results[0]["params"]
    x, y = examples()
    predicted = [row for found in results for row in found["predicted"]]
    close([predicted], [np.asarray(fnn.predict(NETWORK, back.params, x))], 1e-5)
    assert results[0]["evaluated"] == pytest.approx(fnn.evaluate(NETWORK, LOSS, back.params, (x, y)), rel=1e-5)
    on = fully_sharded_processes.train(None, folder, 4, resume=True)
    straight = fully_sharded_processes.train(None, tmp_path / "straight", 4)
    close(to_lists(on.state.params), to_lists(straight.state.params), 1e-5)
