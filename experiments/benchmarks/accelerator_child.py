"""What the command `accelerator` runs in processes of their own: the device, MNIST, and the same training twice.

    python -m experiments.benchmarks.accelerator_child device

Prints a line of JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import speedrun_recipes
from experiments.benchmarks.speedrun_recipes import Recipe

MNIST = Recipe(filters=(16, 32), sizes=(10,), batch_size=240, epochs=5, peak=0.12)
"""Reaches 99.0 % in 1,250 steps; see `mnist`."""
SEEDS = 3


def device(quick: bool) -> dict[str, Any]:
    """Return the devices, the seconds until JAX has found them, and the versions."""
    start = time.perf_counter()
    import jax

    imported = time.perf_counter() - start
    found = jax.devices()
    started = time.perf_counter() - start - imported
    from experiments import reports

    return {
        "platform": found[0].platform,
        "kind": found[0].device_kind,
        "count": len(found),
        "memory": (found[0].memory_stats() or {}).get("bytes_limit"),
        "seconds": {"import jax": imported, "find devices": started},
        "versions": reports.versions(),
    }


def mnist(quick: bool) -> dict[str, Any]:
    """Train a convnet on MNIST as one program, and return its seconds and the test accuracies of each seed.

    The clock of a training runs from the initial parameters to the trained ones, with the data on the device. The
    compilation is timed apart.
    """
    recipe = Recipe(filters=(4, 8), sizes=(10,), batch_size=500, epochs=1) if quick else MNIST
    data = speedrun_recipes.start_loading(recipe).result()
    import jax
    import jax.numpy as jnp

    import fnn
    from experiments.benchmarks.speedrun_fnn import images, make_network

    network, total = make_network(recipe), speedrun_recipes.total_steps(recipe, len(data.x))

    def optimizer(peak: jax.Array) -> fnn.GradientTransformation:
        schedule = lambda step: speedrun_recipes.learning_rate(recipe, total, step.astype(jnp.float32), jnp.minimum)
        return fnn.nesterov(lambda step: peak / recipe.peak * schedule(step), recipe.beta)

    train, test = (images(recipe, data.x), jnp.asarray(data.y)), images(recipe, data.test_x)
    run = fnn.make_run(
        network, fnn.softmax_cross_entropy, optimizer, train, epochs=recipe.epochs, batch_size=recipe.batch_size
    )
    times, accuracies = [], []
    for seed in (0, *range(1 if quick else SEEDS)):  # the first run compiles
        start = time.perf_counter()
        params = jax.block_until_ready(run(jnp.float32(recipe.peak), jax.random.key(seed))).params
        times.append(time.perf_counter() - start)
        logits = np.asarray(fnn.predict(network, params, test, batch_size=1000))
        accuracies.append(float(np.mean(logits.argmax(axis=1) == data.test_y)))
    return {
        "recipe": recipe.__dict__,
        "steps": total,
        "compile and train": times[0],
        "train": times[1:],
        "accuracies": accuracies[1:],
    }


def networks() -> dict[str, tuple[Any, Any, np.ndarray, np.ndarray]]:
    """Return networks with their losses and data, among them every sum that a GPU may add in any order."""
    import fnn

    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (96, 16)).astype(np.int32)
    normal = lambda *shape: rng.standard_normal((96, *shape), np.float32)
    labels = rng.integers(0, 5, 96).astype(np.int32)
    loss = fnn.softmax_cross_entropy
    return {
        "dense, dropout": (fnn.serial(fnn.dense(64, 300), fnn.relu, fnn.dropout(0.2), fnn.dense(300, 5)), loss,
                           normal(64), labels),
        "convnet": (fnn.convnet((28, 28, 1), (8, 16), 5, (30, 5)), loss, normal(28, 28, 1), labels),
        "lstm": (fnn.serial(fnn.lstm(12, 32), fnn.last(), fnn.dense(32, 5)), loss, normal(20, 12), labels),
        "gpt": (fnn.gpt(50, 16, 2, 4, 32), fnn.token_cross_entropy(), ids, np.roll(ids, -1, axis=1)),
    }  # fmt: skip


def determinism(quick: bool) -> dict[str, Any]:
    """Train each network twice with the same key and deterministic=True, and a third time in two parts.

    Returns: for each network, whether the second and the resumed training give the bits of the first.
    """
    import jax

    import fnn

    found: dict[str, Any] = {}
    for name, (network, loss, x, y) in list(networks().items())[: 1 if quick else None]:

        def trained(epochs: int, network=network, loss=loss, x=x, y=y, **others: Any) -> list[bytes]:
            result = fnn.fit(
                network, loss, fnn.adam(1e-3), (x, y), epochs=epochs, batch_size=32, key=jax.random.key(1),
                progress=False, deterministic=True, **others,
            )  # fmt: skip
            return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.state.params)]

        whole = trained(4)
        with tempfile.TemporaryDirectory() as folder:
            trained(2, checkpoint_dir=Path(folder))
            resumed = trained(4, checkpoint_dir=Path(folder), resume=True)
        jax.clear_caches()  # compile again: what a compiler chooses by its own timings may differ
        found[name] = {"twice": trained(4) == whole, "resumed": resumed == whole}
    return {"networks": found}


TASKS: dict[str, Callable[[bool], dict[str, Any]]] = {"device": device, "mnist": mnist, "determinism": determinism}


def main() -> None:
    """Run the task that the flags name."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.accelerator_child")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    flags = parser.parse_args()
    print(json.dumps(TASKS[flags.task](flags.quick)), flush=True)


if __name__ == "__main__":
    main()
