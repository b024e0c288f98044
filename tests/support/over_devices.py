"""Tasks that tests/sharding/test_sharding.py runs on many virtual devices, in a process of their own.

    python -m tests.support.over_devices NAME N X64

Each task returns `{case: number or text}`, which is printed as JSON.
"""

import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from fnn import sharding
from fnn.sharding import rows
from fnn.sharding.layout import auto_mesh
from fnn.training.epoch import _epoch
from fnn.training.numerics import Numerics

BATCH, EPOCHS, SIZE = 32, 5, 103  # four steps per epoch, the last one on seven examples
LOSS, OPTIMIZER = fnn.softmax_cross_entropy, fnn.momentum(0.3)
MLP = fnn.mlp([12, 16, 16, 8])
NETWORKS = {
    "mlp": MLP,
    "normalised": fnn.serial(fnn.dense(12, 16), fnn.batch_norm(16), fnn.relu, fnn.dropout(0.3), fnn.dense(16, 8)),
    "repeated": fnn.serial(fnn.dense(12, 8), fnn.repeat(fnn.residual(fnn.serial(fnn.dense(8, 8), fnn.tanh)), 3)),
    "convnet": fnn.serial(fnn.conv2d(1, 4, 2), fnn.relu, fnn.max_pool2d((1, 2)), fnn.flatten, fnn.dense(8, 8)),
}


def mesh(shape: tuple[int, ...], names: tuple[str, ...], axis_type: AxisType) -> Mesh:
    devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    return Mesh(devices, names, axis_types=(axis_type,) * len(shape))


def layouts(n: int) -> Iterator[tuple[str, str, sharding.Layout]]:
    """Yield (case, name of the network, layout): every kind for the MLP, data-parallel for the others."""
    for kind in (AxisType.Auto, AxisType.Explicit):
        data, model = mesh((n,), ("data",), kind), mesh((n,), ("model",), kind)
        rules = sharding.dense_pairs(MLP)
        yield f"data {kind}", "mlp", sharding.data_parallel(data)
        yield f"zero {kind}", "mlp", sharding.data_parallel(data, split_optimizer=True)
        yield f"tensor {kind}", "mlp", sharding.tensor_parallel(model, rules)
        if n > 1:
            both = mesh((2, n // 2), ("data", "model"), kind)
            yield f"both {kind}", "mlp", sharding.tensor_parallel(both, rules, split_optimizer=True)
    for name in [name for name in NETWORKS if name != "mlp"]:
        yield f"data {name}", name, sharding.data_parallel(mesh((n,), ("data",), AxisType.Explicit))


def examples(name: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    x = jax.random.normal(jax.random.key(1), (SIZE, 12), jnp.result_type(float))
    x = x.reshape(SIZE, 3, 4, 1)[:, :2] if name == "convnet" else x
    x = jnp.concatenate([x, x[:, :, :1]], axis=2) if name == "convnet" else x
    weight = jax.random.uniform(jax.random.key(2), (SIZE,), x.dtype)
    return x, jnp.arange(SIZE) % 8, weight.at[::5].set(0)


def params_of(network: fnn.Layer, key: jax.Array) -> Any:
    """Initialise the parameters, in float64 if x64 is enabled."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(float)), network.init(key))


def state_of(network: fnn.Layer) -> fnn.TrainState:
    params = params_of(network, jax.random.key(0))
    return fnn.TrainState(params, OPTIMIZER.init(params), jnp.zeros((), jnp.int32), jax.random.key(3))


def distance(a: Any, b: Any) -> float:
    """Return the largest difference of two trees, relative to the largest entry of the first."""
    pairs = [(np.asarray(u), np.asarray(v)) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    largest = max(float(np.abs(u).max()) for u, _ in pairs)
    return float(np.max([np.abs(u - v).max() for u, v in pairs])) / largest  # NaN if an entry is NaN


def parts(result: fnn.FitResult) -> tuple[Any, ...]:
    """Return what must be equal in the precision of the training: parameters, optimizer state, costs."""
    costs = [result.history[name] for name in ("cost", "validation_cost") if name in result.history]
    return result.state.params, result.state.opt_state.v, costs


def trajectories(n: int, cases: Container[str] | None = None) -> dict[str, Any]:
    """Return the distance of 20 steps of `fit` to those on one device: parameters, optimizer state, costs."""
    found: dict[str, Any] = {}
    reference = {}
    for case, name, layout in layouts(n):
        if cases is not None and case not in cases:
            continue
        network, data = NETWORKS[name], examples(name)
        options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "l2": 0.01, "progress": False}
        options["validation"] = tuple(part[:31] for part in data)
        if name not in reference:
            reference[name] = fnn.fit(network, LOSS, OPTIMIZER, data, state=state_of(network), **options)
        result = fnn.fit(network, LOSS, OPTIMIZER, data, state=state_of(network), sharding=layout, **options)
        found[case] = float(np.max([*map(distance, parts(reference[name]), parts(result))]))
        assert distance(reference[name].history, result.history) < 1e-6  # includes accuracies, which are float32
        leaves = jax.tree.leaves(result.state)
        assert all(leaf.sharding.mesh == layout.mesh for leaf in leaves)
        expected = jax.tree.leaves(sharding.shardings(layout, result.state, result.state.params))
        for leaf, target in zip(leaves, expected, strict=True):
            on_user_mesh = NamedSharding(layout.mesh, target.spec)
            assert leaf.sharding.is_equivalent_to(on_user_mesh, leaf.ndim), (case, leaf.sharding, target.spec)
    return found


def some_trajectories(n: int) -> dict[str, Any]:
    """Return the trajectories of two layouts: a sharded optimizer, and two mesh axes."""
    return trajectories(n, ("zero AxisType.Auto", "both AxisType.Explicit"))


def epochs(n: int) -> dict[str, Any]:
    """Check `make_epoch`, `evaluate` and `predict`, with data placed once or at each call, and compiled once."""
    step = fnn.make_step(MLP, LOSS, OPTIMIZER)
    data, found = examples("mlp"), {}
    state, costs = fnn.make_epoch(step, BATCH)(state_of(MLP), data)
    values = fnn.evaluate(MLP, LOSS, state.params, data)
    outputs = fnn.predict(MLP, state.params, data[0])
    for case, name, layout in layouts(n):
        if name != "mlp":
            continue
        epoch, compiled = fnn.make_epoch(step, BATCH, sharding=layout), _epoch._cache_size()
        ours, theirs = epoch(sharding.place_state(layout, state_of(MLP)), sharding.place(layout, data))
        again, _ = epoch(state_of(MLP), data)
        assert _epoch._cache_size() <= compiled + 1
        same = all(map(np.array_equal, jax.tree.leaves(ours.params), jax.tree.leaves(again.params)))
        found[case] = np.max([distance(costs, theirs), distance(state.params, ours.params), 0.0 if same else np.inf])
        if case == "data AxisType.Auto":
            ours, theirs = epoch(state_of(MLP), rows.shard_rows(layout, data))
            found["sharded examples"] = np.max([distance(costs, theirs), distance(state.params, ours.params)])
        for batch_size in (None, 25):
            got = fnn.evaluate(MLP, LOSS, ours.params, data, batch_size, sharding=layout)
            found[f"evaluate {batch_size} {case}"] = distance(values["cost"], got["cost"])
            assert abs(values["accuracy"] - got["accuracy"]) < 1e-6  # a float32 mean
            got = fnn.predict(MLP, ours.params, data[0], batch_size, sharding=layout)
            assert got.shape == outputs.shape
            found[f"predict {batch_size} {case}"] = distance(outputs, got)
    return found


def sweeps(n: int) -> dict[str, Any]:
    """Compare 64 runs over the devices with the same runs on one."""
    x, y, _ = examples("mlp")
    network = MLP._replace(init=functools.partial(params_of, MLP))
    run = fnn.make_run(network, LOSS, fnn.momentum, (x, y), epochs=3, batch_size=BATCH)
    hypers, keys = jnp.geomspace(1e-3, 0.5, 16, dtype=x.dtype), jax.random.split(jax.random.key(0), 4)
    one = fnn.sweep(run, hypers, keys)
    many = fnn.sweep(run, hypers, keys, mesh=mesh((n,), ("data",), AxisType.Explicit))
    return {"params": distance(one.params, many.params), "history": distance(one.history, many.history)}


def on_all_rows(step: Callable, state: fnn.TrainState, some: sharding.Rows) -> Any:
    return step(state, rows.all_rows(some))


def programs(n: int) -> dict[str, Any]:
    """Return the texts of the compiled step and of the compiled epoch, and the bytes of the state.

    The step is compiled for a batch that n divides and for one that it does not divide. The epoch of four steps is
    compiled for replicated and for sharded examples.
    """
    found: dict[str, Any] = {}
    for case, name, layout in layouts(n):
        if name != "mlp" or "Explicit" in case:
            continue
        state = sharding.place_state(layout, state_of(MLP))
        step = sharding.constrained(layout, fnn.make_step(MLP, LOSS, OPTIMIZER))
        for size in (32, 27):
            sharded = rows.shard_rows(layout, [part[:size] for part in examples("mlp")[:2]])
            found[f"{case} {size}"] = (
                jax.jit(functools.partial(on_all_rows, step)).lower(state, sharded).compile().as_text()
            )
        epoch = functools.partial(_epoch.lower, Numerics(), fnn.make_step(MLP, LOSS, OPTIMIZER), BATCH, state)
        with jax.set_mesh(auto_mesh(layout.mesh)):
            for place in (sharding.place, rows.shard_rows):
                found[f"{case} {place.__name__}"] = epoch(place(layout, examples("mlp")[:2])).compile().as_text()
        leaves = jax.tree.leaves(state.opt_state)
        own = [leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.params)]
        found[f"{case} bytes of a device"] = sum(own)
        found[f"{case} optimizer bytes"] = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    found["bytes"] = sum(leaf.nbytes for leaf in jax.tree.leaves(state_of(MLP).params))
    return found


def layout_of_init(n: int) -> dict[str, Any]:
    """Check that `init_state` over a mesh draws the same numbers, and that each device holds only its shard."""
    rules = [(r".*\.w", PartitionSpec(None, "model"))]
    layout = sharding.tensor_parallel(mesh((n,), ("model",), AxisType.Auto), rules)
    ours = fnn.init_state(MLP, OPTIMIZER, jax.random.key(0), sharding=layout)
    w = ours.params[0].w
    shapes = {str(shard.data.shape) for shard in w.addressable_shards}
    return {
        "distance": distance(fnn.init_state(MLP, OPTIMIZER, jax.random.key(0)).params, ours.params),
        "shapes": sorted(shapes),
    }


def resumes(n: int) -> dict[str, Any]:
    """Train over n devices, stop inside an epoch, and resume on the same devices and on one."""
    layout = sharding.data_parallel(mesh((n,), ("data",), AxisType.Explicit), split_optimizer=True)
    data, options = examples("mlp"), {"batch_size": BATCH, "progress": False, "sharding": layout}
    whole = fnn.fit(MLP, LOSS, OPTIMIZER, data, state=state_of(MLP), epochs=4, **options)

    def stop(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> bool:
        return epoch == 2

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        options |= {"checkpoint_dir": one, "checkpoint_every_steps": 3, "checkpoint_every": 100}
        fnn.fit(MLP, LOSS, OPTIMIZER, data, state=state_of(MLP), epochs=4, callback=stop, **options)
        shutil.rmtree(sorted(Path(one).glob("step-*"))[-1])  # the end of epoch 2; step 6 is inside that epoch
        shutil.copytree(one, other, dirs_exist_ok=True)
        on = fnn.fit(MLP, LOSS, OPTIMIZER, data, state=state_of(MLP), epochs=4, resume=True, **options)
        options |= {"sharding": None, "checkpoint_dir": other}
        alone = fnn.fit(MLP, LOSS, OPTIMIZER, data, state=state_of(MLP), epochs=4, resume=True, **options)
    specs = [str(leaf.sharding.spec) for leaf in jax.tree.leaves(on.state.opt_state.v)]
    return {
        "resumed": distance((parts(whole), whole.history), (parts(on), on.history)),
        "alone": distance(parts(whole), parts(alone)),
        "specs": specs,
    }


TASKS: tuple[Callable[[int], dict[str, Any]], ...] = (
    trajectories,
    some_trajectories,
    epochs,
    sweeps,
    programs,
    layout_of_init,
    resumes,
)


def main(tasks: tuple[Callable[[int], Any], ...]) -> None:
    """Run the task that the command line names, and print its result as JSON."""
    name, count, x64 = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(count))
    jax.config.update("jax_enable_x64", x64 == "True")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    print(json.dumps({task.__name__: task for task in tasks}[name](int(count))))


if __name__ == "__main__":
    main(TASKS)
