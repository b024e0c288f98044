"""Tasks that tests/sharding/test_fully_sharded.py runs on many virtual devices, in a process of their own.

python -m tests.support.fully_sharded NAME N X64
"""

import functools
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType

import fnn
from fnn import sharding
from fnn.sharding.layout import auto_mesh, with_auto_axes
from fnn.training.epoch import _epoch
from fnn.training.evaluation import _predict
from fnn.training.numerics import Numerics
from fnn.training.step import _init_state
from tests.support import over_devices
from tests.support.over_devices import BATCH, LOSS, MLP, NETWORKS, SIZE, distance, examples, mesh, params_of
from tests.support.own_layers import decayed, scaled_dense

COPIES, WIDTH = 5, 16
BLOCK = fnn.residual(fnn.serial(fnn.dense(WIDTH, 2 * WIDTH), fnn.tanh, fnn.dense(2 * WIDTH, WIDTH)))
DEEP = fnn.serial(fnn.dense(12, WIDTH), fnn.repeat(BLOCK, COPIES), fnn.dense(WIDTH, 8))
TRANSFORMER = fnn.remat(fnn.transformer_block(8, 2))
TEXT = fnn.tied_embedding(
    24, 8, fnn.serial(fnn.learned_positions(6, 8), fnn.repeat(TRANSFORMER, 3), fnn.layer_norm(8))
)  # fmt: skip
RECURRENT = fnn.serial(
    fnn.embedding(24, 8), fnn.bidirectional(fnn.lstm(8, 8), fnn.gru(8, 8)), fnn.last(), fnn.dense(16, 8)
)


def token_ids() -> tuple[jax.Array, jax.Array]:
    ids = jax.random.randint(jax.random.key(5), (SIZE, 6), 0, 24)
    return ids, jnp.roll(ids, 1, 1)


def cases() -> dict[str, tuple[fnn.Layer, Any, tuple, dict[str, Any]]]:
    """Return network, optimizer, examples and options of `fit` by name."""
    momentum, l2, data = fnn.momentum(0.1), {"l2": 0.01}, examples("mlp")
    ids, following = token_ids()
    lion = optax.lion(jnp.asarray(1e-3, jnp.result_type(float)))
    chunks = {"device_memory": 70 * (4 + sum(part[:1].nbytes for part in data))}  # two chunks of a batch, not all rows
    own = fnn.serial(fnn.dense(12, 16), scaled_dense(16), fnn.dense(16, 8))
    return {
        "deep": (DEEP, momentum, data, l2),
        "text": (TEXT, momentum, (ids, following), {}),
        "normalised": (NETWORKS["normalised"], momentum, examples("normalised"), l2),
        "mixed": (fnn.mixed_precision(MLP, jnp.bfloat16), momentum, data, l2),
        "repeated": (NETWORKS["repeated"], momentum, examples("repeated"), {"micro_batch_size": 16}),
        "convnet": (NETWORKS["convnet"], fnn.adam(0.01), examples("convnet"), l2),
        "lion": (fnn.remat(MLP), lion, data, {"patience": 2}),
        "recurrent": (RECURRENT, momentum, (ids, jnp.arange(SIZE) % 8), {}),
        "autodiff": (fnn.autodiff(MLP), fnn.nesterov(0.1), data, {}),
        "added": (fnn.add(MLP, fnn.dense(12, 8)), momentum, data, chunks),
        "own": (decayed(own), momentum, data, {}),
        "odd": (fnn.mlp([12, 9, 7, 8]), fnn.adam(0.01), data, l2),
    }


def train(network: fnn.Layer, optimizer: Any, data: tuple, options: dict[str, Any], layout: Any) -> fnn.FitResult:
    """Train for 20 steps, in float64 if x64 is enabled."""
    params = params_of(network, jax.random.key(0))
    state = fnn.TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), jax.random.key(3))
    options = options | {"epochs": 5, "batch_size": BATCH, "progress": False}
    options |= {"validation": tuple(part[:31] for part in data), "state": state}
    return fnn.fit(network, LOSS, optimizer, data, sharding=layout, **options)


def distances(n: int, *names: str) -> dict[str, float]:
    """Return the distance of 20 steps of `fit` to those on one device: parameters, and costs."""
    found = {}
    for i, name in enumerate(names or cases()):
        case, kind = cases()[name], (AxisType.Auto, AxisType.Explicit)[i % 2]
        alone, over = train(*case, None), train(*case, sharding.fully_sharded(mesh((n,), ("data",), kind)))
        costs = [[result.history[name] for name in ("cost", "validation_cost")] for result in (alone, over)]
        found[name] = max(distance(alone.state.params, over.state.params), distance(*costs))
        check_shards(n, over.state)
    return found


def trajectory(n: int) -> dict[str, float]:
    """Return the distance of 20 steps of `make_epoch` to those on one device: parameters, and costs."""
    optimizer, data = fnn.adam(0.01), examples("mlp")
    step, ends = fnn.make_step(DEEP, LOSS, optimizer, l2=0.01), []
    for layout in (None, sharding.fully_sharded(mesh((n,), ("data",), AxisType.Explicit))):
        params = params_of(DEEP, jax.random.key(0))
        state = fnn.TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), jax.random.key(3))
        epoch, costs = fnn.make_epoch(step, BATCH, sharding=layout), []
        for _ in range(5):
            state, more = epoch(state, data)
            costs.append(np.asarray(more))
        ends.append((state.params, costs))
    check_shards(n, state)
    return {"deep": max(map(distance, *ends))}


def some_trajectories(n: int) -> dict[str, float]:
    return distances(n, "text", "normalised")


def trajectories(n: int) -> dict[str, float]:
    return distances(n)


def check_shards(n: int, state: fnn.TrainState) -> None:
    """Check that each array of a parameter's shape, in any state, is in n shards, if n divides one of its axes."""
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        parts = n if any(size % n == 0 for size in leaf.shape) else 1
        assert all(shard.data.size * parts == leaf.size for shard in leaf.addressable_shards), (leaf.shape, parts)


def held(n: int) -> dict[str, Any]:
    """Train in each way, and return the largest live shard of any array of the shape of a parameter, as a share."""
    layout = sharding.fully_sharded(mesh((n,), ("data",), AxisType.Explicit))
    optimizer, (x, y, _) = fnn.adam(0.01), examples("mlp")
    shapes = {leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(MLP.init, jax.random.key(0)))}
    found: dict[str, Any] = {}

    def look(name: str) -> None:
        live = [array for array in jax.live_arrays() if array.shape in shapes]
        shares = [shard.data.size / array.size for array in live for shard in array.addressable_shards]
        found[name] = max(shares) * n, len(live)

    def callback(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> None:
        look("inside fit")

    options = {"epochs": 2, "batch_size": BATCH, "progress": False, "key": jax.random.key(0), "sharding": layout}
    held_out = {"validation": (x[:31], y[:31]), "patience": 2}
    result = fnn.fit(MLP, LOSS, optimizer, (x, y), callback=callback, **held_out, **options)
    look("after fit")
    found["bytes"] = [bytes_on_first(tree) for tree in (result.state.params, result.state.opt_state.m)]
    found["all bytes"] = sum(leaf.nbytes for leaf in jax.tree.leaves(result.state.params))
    values = fnn.evaluate(MLP, LOSS, result.state.params, (x, y), 25, sharding=layout)
    outputs = fnn.predict(MLP, result.state.params, x, 25, sharding=layout)
    look("after evaluate")
    whole = jax.device_get(result.state.params)
    alone = fnn.evaluate(MLP, LOSS, whole, (x, y)), fnn.predict(MLP, whole, x)
    found["evaluated"] = max(distance(alone[0]["cost"], values["cost"]), distance(alone[1], outputs))
    del result, whole, alone
    state = fnn.init_state(MLP, optimizer, jax.random.key(0), sharding=layout)
    look("after init_state")
    state, _ = fnn.make_epoch(fnn.make_step(MLP, LOSS, optimizer), BATCH, sharding=layout)(state, (x, y))
    look("after make_epoch")
    step = jax.jit(sharding.constrained(layout, fnn.make_step(MLP, LOSS, optimizer)), donate_argnums=0)
    state, _ = jax.block_until_ready(step(state, (x[:BATCH], y[:BATCH])))
    look("after make_step")
    return found


def bytes_on_first(tree: Any) -> int:
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def arguments(layout: Any, network: fnn.Layer, optimizer: Any, data: Any) -> tuple[Any, Any]:
    """Return the shapes of a state and a batch with their shardings."""
    state = jax.eval_shape(lambda: fnn.init_state(network, optimizer, jax.random.key(0)))
    place = lambda leaf, to: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to)
    state = jax.tree.map(place, state, sharding.shardings(layout, state, state.params))
    return state, jax.tree.map(lambda leaf: place(leaf, sharding.batch_sharding(layout)), data)


def compiled_step(layout: Any, network: fnn.Layer, data: Any) -> Any:
    optimizer = fnn.adam(0.01)
    step = sharding.constrained(layout, fnn.make_step(network, LOSS, optimizer))
    return jax.jit(step, donate_argnums=0).lower(*arguments(layout, network, optimizer, data)).compile()


def programs(n: int) -> dict[str, Any]:
    """Return texts and temporary bytes of compiled programs, and the bytes of the parameters."""
    layout = sharding.fully_sharded(mesh((n,), ("data",), AxisType.Auto))
    batch = tuple(part[:32] for part in examples("mlp")[:2])
    found: dict[str, Any] = {"bytes": tree_bytes(DEEP), "bytes of a copy": tree_bytes(BLOCK)}
    found["step"] = compiled_step(layout, DEEP, batch).as_text()
    params = sharding.place_params(layout, DEEP.init(jax.random.key(0)))
    with jax.set_mesh(auto_mesh(layout.mesh)):
        rows = sharding.rows.shard_rows(layout, examples("mlp")[:1])
        found["predict"] = _predict.lower(Numerics(), DEEP, None, params, rows).compile().as_text()
        state = arguments(layout, DEEP, fnn.sgd(0.1), ())[0]
        epoch = functools.partial(_epoch.lower, Numerics(), fnn.make_step(DEEP, LOSS, fnn.sgd(0.1)), BATCH, state)
        found["epoch"] = epoch(sharding.place(layout, examples("mlp")[:2])).compile().as_text()
    both = mesh((2, n // 2), ("data", "model"), AxisType.Auto)
    layout = sharding.fully_sharded(both, sharding.dense_pairs(MLP))
    found["both"] = compiled_step(layout, MLP, batch).as_text()
    return found


def memory(n: int) -> dict[str, Any]:
    """Return how much the temporaries of a step grow with each copy of a block, and those of the initialisation."""
    grid = mesh((n,), ("data",), AxisType.Auto)
    found: dict[str, Any] = {}
    block = fnn.residual(fnn.serial(fnn.dense(64, 256), fnn.tanh, fnn.dense(256, 64)))
    batch = jnp.zeros((n, 64)), jnp.zeros(n, jnp.int32)
    found["bytes of a copy"] = tree_bytes(block)
    for name, layout in (("split", sharding.fully_sharded(grid)), ("whole", sharding.data_parallel(grid))):
        few, many = (compiled_step(layout, fnn.repeat(block, copies), batch) for copies in (4, 12))
        growth = many.memory_analysis().temp_size_in_bytes - few.memory_analysis().temp_size_in_bytes
        found[name] = growth / 8
    network, layout = fnn.repeat(block, 12), sharding.fully_sharded(grid)
    with jax.set_mesh(auto_mesh(grid)):
        key = jax.device_put(jax.random.key(0), sharding.replicated(layout))
        init = _init_state.lower(network, fnn.adam(0.01), with_auto_axes(layout), key).compile().memory_analysis()
    found["init"] = (init.output_size_in_bytes + init.temp_size_in_bytes) / tree_bytes(network)
    return found


def tree_bytes(network: fnn.Layer) -> int:
    leaves = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def resumes(n: int, *changes: str) -> dict[str, float]:
    """Train three epochs with one layout and two more with another: the distance to five on one device."""
    over = lambda count: mesh((count,), ("data",), AxisType.Explicit)
    split, pairs = sharding.fully_sharded(over(n)), mesh((2, n // 2), ("data", "model"), AxisType.Explicit)
    layouts = {"split": split, "whole": sharding.data_parallel(over(n)), "fewer": sharding.fully_sharded(over(2))}
    layouts |= {"both": sharding.fully_sharded(pairs, sharding.dense_pairs(MLP)), "one device": None}
    data, options = examples("mlp"), {"batch_size": BATCH, "progress": False, "key": jax.random.key(0)}
    alone, found = fnn.fit(MLP, LOSS, fnn.adam(0.01), data, epochs=5, **options), {}
    for change in changes:
        first, second = (layouts[name] for name in change.split(" to "))
        with tempfile.TemporaryDirectory() as folder:
            kept = {"checkpoint_dir": folder, "checkpoint_every_steps": 5, **options}
            fnn.fit(MLP, LOSS, fnn.adam(0.01), data, epochs=3, sharding=first, **kept)
            result = fnn.fit(MLP, LOSS, fnn.adam(0.01), data, epochs=5, sharding=second, resume=True, **kept)
            assert int(result.state.step) == 20
            found[change] = distance(alone.state.params, result.state.params)
            like = fnn.init_state(MLP, fnn.adam(0.01), jax.random.key(9), sharding=split)
            back = fnn.checkpoint.restore(folder, like)
            check_shards(n, back)
            assert all(map(np.array_equal, jax.tree.leaves(back.params), jax.tree.leaves(result.state.params)))
    return found


def some_resumes(n: int) -> dict[str, float]:
    return resumes(n, "whole to split", "both to fewer")


def all_resumes(n: int) -> dict[str, float]:
    return resumes(n, "split to whole", "whole to split", "both to fewer", "split to one device")


if __name__ == "__main__":
    # what is communicated and the memory depend on XLA's optimizations; results and shards do not
    jax.config.update("jax_disable_most_optimizations", sys.argv[1] not in ("programs", "memory"))
    over_devices.main((trajectory, some_trajectories, trajectories, held, programs, memory, some_resumes, all_resumes))
