"""A training with checkpoints in several processes, for tests/checkpoint/test_background_processes.py: FOLDER WORD.

All leaves are replicated, so process 0 writes them in the background. The first checkpoint is that of epoch 3, the next
one that of epoch 6. `held`: the first is held up until process 1 has ended epoch 5. `raises`: and the callback of
process 1 fails in epoch 4. `fails`: the first cannot be written.
"""

import json
import os
import sys
import time
from pathlib import Path

import jax

import fnn
from fnn import sharding
from fnn.checkpoint import atomic
from tests.support.distributed import LOSS, NETWORK, OPTIMIZER, examples, message, over_all, part, to_lists

FIRST = "step-00000021"


def hold(go: Path, word: str) -> None:
    """Hold up the first checkpoint until the file `go` is there, or let it fail."""
    finish = atomic.finish_folder

    def held(temporary, path, check):
        if path.name == FIRST and word == "fails":
            raise OSError(28, os.strerror(28), str(path))
        limit = time.monotonic() + 120
        while path.name == FIRST and not go.exists() and time.monotonic() < limit:
            time.sleep(0.01)
        finish(temporary, path, check)

    setattr(atomic, "finish_folder", held)  # noqa: B010


def main(folder: Path, word: str) -> None:
    """Train, and print the parameters or the error, and how many checkpoints were there in each epoch."""
    layout, go, seen, kept = over_all(), folder / "go", [], []
    if jax.process_index() == 0:
        hold(go, word)

    def callback(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> None:
        seen.append([epoch, len(list((folder / "run").glob("step-*")))])
        if jax.process_index() == 1 and epoch == (4 if word == "raises" else 5):
            go.touch()
            if word == "raises":
                raise ArithmeticError("only here")

    options = {"epochs": 6, "batch_size": 32, "key": jax.random.key(1), "progress": False, "sharding": layout}
    options |= {"checkpoint_dir": folder / "run", "checkpoint_every": 3}
    data = part(layout, examples())
    error = message(lambda: kept.append(fnn.fit(NETWORK, LOSS, OPTIMIZER, data, callback=callback, **options)))
    params = to_lists(kept[0].state.params) if kept else []
    print(json.dumps({"error": error, "seen": seen, "params": params}), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)
    sharding.initialize(heartbeat_timeout_seconds=300)
    main(Path(sys.argv[1]), sys.argv[2])
