"""A training with callbacks in several processes, for tests/callbacks/test_processes.py: FOLDER [bad]."""

import json
import sys
from pathlib import Path

import jax

import fnn
from fnn import sharding
from tests.support.distributed import LOSS, NETWORK, OPTIMIZER, examples, over_all, part, to_lists


def main(folder: Path, bad: bool) -> None:
    """Train with parameters that are sharded over the processes, or with a file that process 0 cannot write."""
    if bad:
        layout = over_all()
        data = part(layout, examples())
    else:
        layout = sharding.tensor_parallel(jax.make_mesh((2, 1), ("model", "data")), sharding.dense_pairs(NETWORK))
        data = examples()
    own = []
    callbacks = [
        fnn.callbacks.csv(folder / ("file/history.csv" if bad else "history.csv")),
        fnn.callbacks.best_model(folder / "best", "cost"),
        lambda epoch, *_: own.append(epoch),
    ]
    options = {"epochs": 3, "batch_size": 32, "key": jax.random.key(1), "progress": False, "sharding": layout}
    try:
        result = fnn.fit(NETWORK, LOSS, OPTIMIZER, data, callback=callbacks, **options)
    except (OSError, RuntimeError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}", "own": own}), flush=True)
        return
    print(json.dumps({"params": to_lists(result.state.params), "own": own}), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)
    sharding.initialize(heartbeat_timeout_seconds=300)
    main(Path(sys.argv[1]), sys.argv[2:] == ["bad"])
