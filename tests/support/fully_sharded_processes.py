"""One of several processes over which parameters are split; tests/sharding/test_fully_sharded_processes.py starts them.

    python -m tests.support.fully_sharded_processes DEVICES FOLDER

It prints its result as JSON in its last line.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from fnn import sharding
from fnn.checkpoint.split import is_split
from fnn.sharding import Layout
from tests.support.distributed import BATCH, LOSS, NETWORK, examples, part, to_lists, trajectory

OPTIMIZER = fnn.adam(0.01)


def train(layout: Layout | None, folder: Path, epochs: int, resume: bool = False) -> fnn.FitResult:
    """Train with checkpoints inside epochs."""
    options: dict[str, Any] = {
        "batch_size": BATCH,
        "key": jax.random.key(1),
        "progress": False,
        "checkpoint_every_steps": 5,
    }
    options |= {"checkpoint_dir": folder, "resume": resume, "sharding": layout}
    return fnn.fit(NETWORK, LOSS, OPTIMIZER, part(layout, examples()), epochs=epochs, **options)


def main(folder: Path) -> dict[str, Any]:
    layout = sharding.fully_sharded(jax.make_mesh((jax.device_count(),), ("data",)))
    found: dict[str, Any] = {name: trajectory(layout, np.dtype(name).type) for name in ("float32", "float64")}
    state = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(1), sharding=layout)
    leaves = jax.tree.leaves((state.params, state.opt_state))
    found["split"] = sum(map(is_split, leaves)), len(leaves)
    found["share"] = sum(s.data.size for s in state.params[0].w.addressable_shards) / state.params[0].w.size
    whole = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(1))
    found["drawn"] = to_lists(state.params) == to_lists(whole.params)
    result = train(layout, folder, 2)
    back = fnn.checkpoint.restore(folder, state)
    found["restored"] = to_lists(back.params) == to_lists(result.state.params)
    found["placed"] = all(jax.tree.leaves(jax.tree.map(lambda a, b: a.sharding == b.sharding, back, state)))
    found["params"] = to_lists(result.state.params)
    x, y = part(layout, examples())
    found["evaluated"] = fnn.evaluate(NETWORK, LOSS, result.state.params, (x, y), sharding=layout)
    found["predicted"] = np.asarray(fnn.predict(NETWORK, result.state.params, x, sharding=layout)).tolist()
    return found


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    sharding.initialize(heartbeat_timeout_seconds=300)
    print(json.dumps(main(Path(sys.argv[2]))), flush=True)
