"""What tests/sharding/test_processes.py asks of several processes.

    python -m tests.support.over_processes NAME DEVICES FOLDER [WORD]

Each prints, as its last line, what it found as JSON. Who it is, is in the environment: see `fnn.sharding.initialize`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from fnn import sharding
from fnn.checkpoint import split as sharded_checkpoint
from fnn.checkpoint import store
from fnn.sharding import Layout, agreement
from tests.support.distributed import (
    ADAM,
    BATCH,
    LOSS,
    NETWORK,
    OPTIMIZER,
    examples,
    listed,
    message,
    over_all,
    part,
    trajectory,
)


def trains(folder: Path, word: str) -> dict[str, Any]:
    """Trajectories, and the rows that lie here."""
    layout = over_all()
    x, y = part(layout, examples())
    found: dict[str, Any] = {"float32": trajectory(layout, np.float32), "float64": trajectory(layout, np.float64)}
    rows = sharding.place(layout, (x, y))
    found["shards"] = [np.asarray(shard.data).tolist() for shard in rows.arrays[0].addressable_shards]
    found["size"], found["shape"] = rows.size, list(rows.arrays[0].shape)
    return found if word == "only" else found | says(layout, x, y)


def says(layout: Layout, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """A trajectory of split parameters, what is evaluated and predicted, and what all processes alike refuse."""
    mesh = jax.make_mesh((2, 2), ("model", "data"))  # the parameters split over the processes, all rows in each
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
    """`fit` of 28 steps, checkpoints inside epochs; `word` says what happens to one of the processes on the way."""
    layout, steps = over_all(split_optimizer=True), []
    victim = jax.process_index() == (0 if word.endswith("first") else jax.process_count() - 1)

    def callback(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> None:
        steps.append(int(state.step))
        if victim and epoch == 3 and word.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if victim and epoch == 3 and word == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
        if victim and epoch == 3 and word == "exit":
            sys.exit("the quota is used up")
        if victim and epoch == 3 and word == "raise":
            raise ArithmeticError("only here")

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
    split = [leaf for leaf in jax.tree.leaves(result.state.opt_state) if sharded_checkpoint.is_split(leaf)]
    return {
        "params": listed(result.state.params),
        "moments": listed(result.state.opt_state),
        "cost": result.history["validation_cost"].tolist(),
        "split": len(split),
        "steps": steps,
    }


def few(folder: Path, word: str) -> dict[str, Any]:
    """All of it on five examples, validated on one: where there are four processes the last has none."""
    layout = None if word == "alone" else over_all()
    x, y = (array[:5] for array in examples())
    own, held_out = part(layout, (x, y)), part(layout, (x[:1], y[:1]))
    options: dict[str, Any] = {"epochs": 3, "batch_size": 2, "progress": False, "key": jax.random.key(1)}
    result = fnn.fit(NETWORK, LOSS, OPTIMIZER, own, validation=held_out, sharding=layout, **options)
    params = result.state.params
    return {
        "rows": len(own[0]),
        "params": listed(params),
        "history": [column.tolist() for _, column in sorted(result.history.items())],
        "evaluated": fnn.evaluate(NETWORK, LOSS, params, own, sharding=layout),
        "predicted": np.asarray(fnn.predict(NETWORK, params, own[0], sharding=layout)).tolist(),
        "none": message(fnn.predict, NETWORK, params, x[:0], sharding=layout),
    }


def loses(folder: Path, word: str) -> dict[str, Any]:
    """The last one dies before all of them evaluate."""
    layout = over_all()
    params = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(1), sharding=layout).params
    data = part(layout, examples())
    agreement.all_max(1)
    if jax.process_index() == jax.process_count() - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return fnn.evaluate(NETWORK, LOSS, params, data, sharding=layout)


def late(folder: Path, word: str) -> dict[str, Any]:
    """The last one needs longer to read its rows than gloo waits for a first connection."""
    layout = over_all()
    if jax.process_index() == jax.process_count() - 1:
        time.sleep(40)
    return fnn.evaluate(NETWORK, LOSS, NETWORK.init(jax.random.key(0)), part(layout, examples()), sharding=layout)


def restores(folder: Path, word: str) -> dict[str, Any]:
    """What lies in the folder, on the devices that there are."""
    state = fnn.init_state(NETWORK, ADAM, jax.random.key(9), sharding=over_all(split_optimizer=True))
    back = (sharded_checkpoint if agreement.is_multiprocess() else store).restore(folder, state)
    split = [leaf for leaf in jax.tree.leaves(back.opt_state) if sharded_checkpoint.is_split(leaf)]
    same = jax.tree.map(lambda a, b: a.sharding == b.sharding, back, state)
    return {
        "params": listed(back.params),
        "split": len(split),
        "step": int(back.step),
        "placed": all(jax.tree.leaves(same)),
    }


def goes_on(folder: Path, word: str) -> dict[str, Any]:
    """What lies in the folder, and what a training makes of it."""
    return {"restored": restores(folder, word), "trained": fits(folder, "resume")}


def sleeps(folder: Path, word: str) -> dict[str, Any]:
    """One dies, the other waits for nothing of it."""
    agreement.all_max(1)
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(100)
    return {}


def waits(folder: Path, word: str) -> dict[str, Any]:
    """Two that start where three should; process 0 waits longer."""
    patience = 3 if os.environ.get("FNN_PROCESS_ID") == "1" else 6
    return {"message": message(sharding.initialize, initialization_timeout=patience)}


ASKED = {function.__name__: function for function in (trains, few, fits, loses, late, restores, goes_on, sleeps, waits)}

if __name__ == "__main__":
    name, devices, folder, *words = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.config.update("jax_numpy_dtype_promotion", "strict" if name == "trains" else "standard")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if name != "waits" and "FNN_PROCESSES" in os.environ:
        # a machine that pauses is not to end the tests, but for the one of silence
        sharding.initialize(heartbeat_timeout_seconds=20 if name == "sleeps" else 300)
    print(json.dumps(ASKED[name](Path(folder), "".join(words))), flush=True)
