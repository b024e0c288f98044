"""Tasks that tests/sharding/test_processes.py runs in several processes.

    python -m tests.support.over_processes NAME DEVICES FOLDER [WORD]

Each process prints its result as JSON in its last line. The environment says which process it is: see
`fnn.sharding.initialize`.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from fnn import sharding
from fnn.checkpoint.split import is_split
from fnn.sharding import Layout, agreement
from tests.support.distributed import (
    ADAM,
    BATCH,
    LOSS,
    NETWORK,
    OPTIMIZER,
    examples,
    happens,
    message,
    over_all,
    part,
    to_lists,
    trajectory,
)


def trains(folder: Path, word: str) -> dict[str, Any]:
    """Trajectories, and the rows that this process holds."""
    layout = over_all()
    x, y = part(layout, examples())
    found: dict[str, Any] = {"float32": trajectory(layout, np.float32), "float64": trajectory(layout, np.float64)}
    rows = sharding.place(layout, (x, y))
    found["shards"] = [np.asarray(shard.data).tolist() for shard in rows.arrays[0].addressable_shards]
    found["size"], found["shape"] = rows.size, list(rows.arrays[0].shape)
    return found if word == "only" else found | results_and_errors(layout, x, y) | {"saved": saves(folder / "saved")}


def saves(folder: Path) -> dict[str, Any]:
    """Save and restore a state whose optimizer state is sharded over the processes, in a script's own loop."""
    state = fnn.init_state(NETWORK, ADAM, jax.random.key(1), sharding=over_all(split_optimizer=True))
    path, restored = fnn.checkpoint.save(folder, state), fnn.checkpoint.restore(folder, state)
    return {
        "latest": fnn.checkpoint.latest(folder) == path,
        "orbax": (path / "state.orbax").is_dir(),
        "same": to_lists((restored.params, restored.opt_state)) == to_lists((state.params, state.opt_state)),
    }


def results_and_errors(layout: Layout, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """A trajectory with sharded parameters, an evaluation, predictions, and the errors of bad calls."""
    mesh = jax.make_mesh((2, 2), ("model", "data"))  # parameters sharded over the processes, all rows in each
    found = {"tensor": trajectory(sharding.tensor_parallel(mesh, sharding.dense_pairs(NETWORK)), np.float32)}
    params = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(1), sharding=layout).params
    found["evaluated"] = fnn.evaluate(NETWORK, LOSS, params, (x, y), sharding=layout)
    found["predicted"] = np.asarray(fnn.predict(NETWORK, params, x, sharding=layout)).tolist()
    first, late, bad = jax.process_index() == 0, jax.process_index() == jax.process_count() - 1, x.copy()
    bad[-1, 0] = np.nan
    options = {"epochs": 1, "batch_size": BATCH, "key": jax.random.key(1), "progress": False, "sharding": layout}
    found["refused"] = {
        "few": message(sharding.place, layout, (x[first:], y[first:])),
        "kind": message(sharding.place, layout, (x, y.astype(np.float32) if late else y)),
        "nan": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, (bad if late else x, y), **options),
        "alone": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"sharding": None}),
        "layout": message(
            fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"sharding": over_all(split_optimizer=first)}
        ),
        "placed": message(sharding.place, over_all(split_optimizer=late), (x, y)),
        "metrics": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"metrics": {} if first else None}),
        "evaluated": message(
            fnn.evaluate, NETWORK, LOSS, params, (x, y), sharding=layout, metrics={} if first else None
        ),
        "unlike": message(fnn.evaluate, NETWORK, LOSS, params, (bad if late else x, y), sharding=layout),
        "state": message(
            fnn.fit,
            NETWORK,
            LOSS,
            OPTIMIZER,
            (x, y),
            **options | {"key": None, "state": fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(late))},
        ),
        "sweep": message(
            fnn.sweep,
            fnn.make_run(NETWORK, LOSS, fnn.sgd, (x, y), epochs=1, batch_size=9),
            np.ones(2, np.float32),
            jax.random.key(0),
            mesh=layout.mesh,
        ),
        "callback": message(
            fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"callback": print if first else None}
        ),
        "key": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"key": jax.random.key(first)}),
        "stream": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, lambda epoch: iter([(x[:BATCH], y[:BATCH])]), **options),
        "memory": message(
            fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"device_memory": 102 * 52 - 1 if first else None}
        ),
        "streamed": message(fnn.fit, NETWORK, LOSS, OPTIMIZER, (x, y), **options | {"device_memory": 102 * 52 - 1}),
        "drawn": message(fnn.init_state, NETWORK, OPTIMIZER, jax.random.key(first), sharding=layout),
        "params": message(
            fnn.evaluate,
            NETWORK,
            LOSS,
            jax.tree.map(lambda leaf: np.asarray(leaf) + first, params),
            (x, y),
            sharding=layout,
        ),
        "again": message(sharding.initialize),
        "other": message(sharding.initialize, num_processes=7),
    }
    return found


def fits(folder: Path, word: str) -> dict[str, Any]:
    """Call `fit` for 28 steps with checkpoints inside epochs. `word` says what happens to one of the processes."""
    layout, steps = over_all(split_optimizer=True), []
    victim = jax.process_index() == (0 if word.endswith("first") else jax.process_count() - 1)

    def callback(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> None:
        steps.append(int(state.step))
        if victim and epoch == 3 and word != "resume":
            happens(word)

    result = fnn.fit(
        NETWORK,
        LOSS,
        ADAM,
        part(layout, examples()),
        epochs=4,
        batch_size=BATCH,
        key=jax.random.key(1),
        validation=part(layout, tuple(a[:50] for a in examples())),
        checkpoint_dir=folder,
        checkpoint_every=2,
        checkpoint_every_steps=10,
        resume=word == "resume",
        callback=callback,
        sharding=layout,
    )
    split = [leaf for leaf in jax.tree.leaves(result.state.opt_state) if is_split(leaf)]
    return {
        "params": to_lists(result.state.params),
        "moments": to_lists(result.state.opt_state),
        "cost": result.history["validation_cost"].tolist(),
        "split": len(split),
        "steps": steps,
    }


def few_rows(folder: Path, word: str) -> dict[str, Any]:
    """Train on five examples, validate on one. Of four processes, the last has no rows."""
    layout = None if word == "alone" else over_all()
    x, y = (array[:5] for array in examples())
    own, held_out = part(layout, (x, y)), part(layout, (x[:1], y[:1]))
    options: dict[str, Any] = {"epochs": 3, "batch_size": 2, "progress": False, "key": jax.random.key(1)}
    result = fnn.fit(NETWORK, LOSS, OPTIMIZER, own, validation=held_out, sharding=layout, **options)
    params = result.state.params
    return {
        "rows": len(own[0]),
        "params": to_lists(params),
        "history": [column.tolist() for _, column in sorted(result.history.items())],
        "evaluated": fnn.evaluate(NETWORK, LOSS, params, own, sharding=layout),
        "predicted": np.asarray(fnn.predict(NETWORK, params, own[0], sharding=layout)).tolist(),
        "none": message(fnn.predict, NETWORK, params, x[:0], sharding=layout),
    }


def loses(folder: Path, word: str) -> dict[str, Any]:
    """The last process dies before all of them evaluate."""
    layout = over_all()
    params = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(1), sharding=layout).params
    data = part(layout, examples())
    agreement.all_max(1)
    if jax.process_index() == jax.process_count() - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return fnn.evaluate(NETWORK, LOSS, params, data, sharding=layout)


def reads_slowly(folder: Path, word: str) -> dict[str, Any]:
    """The last process needs longer to read its rows than gloo waits for a first connection."""
    layout = over_all()
    if jax.process_index() == jax.process_count() - 1:
        time.sleep(40)
    return fnn.evaluate(NETWORK, LOSS, NETWORK.init(jax.random.key(0)), part(layout, examples()), sharding=layout)


def restores(folder: Path, word: str) -> dict[str, Any]:
    """Restore the newest checkpoint onto all devices."""
    state = fnn.init_state(NETWORK, ADAM, jax.random.key(9), sharding=over_all(split_optimizer=True))
    back = fnn.checkpoint.restore(folder, state)
    split = [leaf for leaf in jax.tree.leaves(back.opt_state) if is_split(leaf)]
    same = jax.tree.map(lambda a, b: a.sharding == b.sharding, back, state)
    return {
        "params": to_lists(back.params),
        "split": len(split),
        "step": int(back.step),
        "placed": all(jax.tree.leaves(same)),
    }


def restores_and_resumes(folder: Path, word: str) -> dict[str, Any]:
    """Restore the newest checkpoint, then resume the training from it."""
    return {"restored": restores(folder, word), "trained": fits(folder, "resume")}


def sleeps(folder: Path, word: str) -> dict[str, Any]:
    """One process dies; the other does not wait for it."""
    agreement.all_max(1)
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(100)
    return {}


def waits(folder: Path, word: str) -> dict[str, Any]:
    """Two processes start where three are expected; process 0 waits longer."""
    patience = 3 if os.environ.get("FNN_PROCESS_ID") == "1" else 6
    return {"message": message(sharding.initialize, initialization_timeout=patience)}


TASKS: tuple[Callable[[Path, str], dict[str, Any]], ...] = (
    trains,
    few_rows,
    fits,
    loses,
    reads_slowly,
    restores,
    restores_and_resumes,
    sleeps,
    waits,
)


def run_named(tasks: Sequence[Callable[[Path, str], dict[str, Any]]], arguments: list[str]) -> None:
    """Run the task that a command line names, in this process of several, and print its result."""
    name, devices, folder, *word = arguments
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.config.update("jax_numpy_dtype_promotion", "strict" if name == "trains" else "standard")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if name != "waits" and "FNN_PROCESSES" in os.environ:
        # a paused machine must not end a test; only one test waits for missing heartbeats
        sharding.initialize(heartbeat_timeout_seconds=20 if name == "sleeps" else 300)
    (task,) = (task for task in tasks if task.__name__ == name)
    print(json.dumps(task(Path(folder), "".join(word))), flush=True)


if __name__ == "__main__":
    run_named(TASKS, sys.argv[1:])
