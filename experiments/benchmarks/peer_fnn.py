"""fnn as its README recommends: an epoch or a sweep as one program.

The peer `fnn-autodiff` differs only in its backward pass, which is jax.grad's.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.benchmarks import attention
from experiments.benchmarks.peers import Job
from experiments.benchmarks.sequences import gpt_weights, recurrent_weights
from experiments.benchmarks.workloads import Data, Workload, hyperparameters, initial_weights, stacked_weights
from fnn.types import Params

ACTIVATIONS = {"relu": fnn.relu, "sigmoid": fnn.sigmoid, "tanh": fnn.tanh}
MEASURED = ("recurrent", "gpt")  # kinds whose temporary memory is reported
CELLS = {"lstm": fnn.lstm, "gru": fnn.gru}
LOSSES = {
    "softmax": fnn.softmax_cross_entropy,
    "sigmoid": fnn.sigmoid_cross_entropy,
    "tokens": fnn.token_cross_entropy(),
}


def make_network(name: str, work: Workload) -> fnn.Layer:
    """Return the network of a workload."""
    activation = ACTIVATIONS[work.activation]
    if work.kind == "recurrent":
        n_in, n, k = work.sizes
        network = fnn.serial(CELLS[work.cell](n_in, n), fnn.last(), fnn.dense(n, k))
    elif work.kind == "gpt":
        vocabulary, d = work.sizes
        network = fnn.gpt(vocabulary, work.positions, work.layers, work.heads, d)
    elif work.kind == "cnn":
        network = fnn.convnet((28, 28, 1), work.filters, 5, work.sizes[1:], activation)
    else:
        network = fnn.mlp(work.sizes, activation)
    if work.dtype != "float32":
        network = fnn.mixed_precision(
            network, jnp.dtype(work.dtype), round_gradients=True
        )  # as the peers' autodiff does
    return fnn.autodiff(network) if name == "fnn-autodiff" else network


def initial_params(network: fnn.Layer, work: Workload) -> Params:
    """Return the workload's initial weights in the tree of the network's parameters."""
    if work.kind != "recurrent":
        return as_params(network, [gpt_weights(work)] if work.kind == "gpt" else initial_weights(work))
    w, u, b, c, v, d = map(jnp.array, recurrent_weights(work))
    return (fnn.LSTM(w, u, b) if work.cell == "lstm" else fnn.GRU(w, u, b, c)), (), fnn.Dense(v, d)


def as_params(network: fnn.Layer, weights: Sequence[Sequence[np.ndarray]]) -> Params:
    """Return the weights in the tree of the network's parameters."""
    tree = jax.tree.structure(jax.eval_shape(network.init, jax.random.key(0)))
    return jax.tree.unflatten(tree, [jnp.array(leaf) for layer in weights for leaf in layer])


def images(work: Workload, x: np.ndarray) -> jax.Array:
    """Return rows of pixels on the device, as images for a cnn."""
    return jnp.asarray(x.reshape(-1, 28, 28, 1) if work.kind == "cnn" else x)


def train(name: str, work: Workload, data: Data) -> Job:
    """A unit is an epoch."""
    network, optimizer = make_network(name, work), (fnn.adam if work.kind == "gpt" else fnn.sgd)(work.learning_rate)
    step = fnn.make_step(network, LOSSES[work.loss], optimizer)
    epoch = fnn.make_epoch(step, work.batch)
    x, y = images(work, data.x), jnp.asarray(data.y)

    def fresh() -> fnn.TrainState:
        drawn = fnn.init_state(network, optimizer, jax.random.key(0))
        return drawn._replace(params=initial_params(network, work))

    state = fresh()
    measured = work.kind in MEASURED and work.dtype == "float32"  # it compiles the step once more
    parts = {"temporary MiB": temporary(step, state, (x, y), work.batch)} if measured else None

    def reset() -> None:
        nonlocal state
        state = fresh()

    def unit() -> dict[str, float] | None:
        nonlocal state
        state, costs = epoch(state, (x, y))
        jax.block_until_ready((state, costs))
        return parts

    def predict() -> np.ndarray:
        return np.asarray(fnn.predict(network, state.params, images(work, data.test_x), batch_size=1000))

    return Job(unit, reset, predict)


def temporary(step: Callable, state: fnn.TrainState, data: tuple[jax.Array, jax.Array], batch: int) -> float:
    """Return the temporary memory of a compiled step in MiB, by XLA's count."""
    x, y = (jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype) for array in data)
    analysis = jax.jit(step).lower(state, (x, y)).compile().memory_analysis()
    return analysis.temp_size_in_bytes / 2**20 if analysis else float("nan")


def predict_only(name: str, work: Workload, data: Data) -> Job:
    """A unit is a prediction for all images."""
    network = make_network(name, work)
    params, x = as_params(network, initial_weights(work)), images(work, data.test_x)
    result = None

    def unit() -> None:
        nonlocal result
        result = jax.block_until_ready(fnn.predict(network, params, x))

    return Job(unit, lambda: None, lambda: np.asarray(result))


def many(name: str, work: Workload, data: Data) -> Job:
    """A unit trains all networks from their initial weights with `fnn.sweep`.

    As with the other peers, the results stay on the device, and no accuracy is recorded.
    """
    sweep, momentum = work.kind == "sweep", work.kind == "planar"
    network = fnn.softmax_regression(*work.sizes) if sweep else make_network(name, work)
    hypers: dict = {name: jnp.asarray(value) for name, value in hyperparameters(work).items()}
    if not sweep:  # softmax regression starts at zero
        hypers["init"] = as_params(network, stacked_weights(work))
    run = fnn.make_run(
        network,
        LOSSES[work.loss],
        lambda hyper: fnn.momentum(hyper["alpha"], hyper["beta"]) if momentum else fnn.sgd(hyper["alpha"]),
        (jnp.asarray(data.x), jnp.asarray(data.y)),
        epochs=work.epochs,
        batch_size=work.batch,
        l2=(lambda hyper: hyper["l2"]) if "l2" in hypers else 0.0,
        init=(lambda hyper: hyper["init"]) if "init" in hypers else None,
        metrics={},
    )
    chunk_size = None
    if jax.default_backend() == "cpu":
        chunk_size = 256 if work.kind == "planar" else 100 if sweep else None  # sizes that fit the CPU's caches
    params: Params = None

    def unit() -> None:
        nonlocal params
        results = fnn.sweep(run, hypers, jax.random.key(0), chunk_size=chunk_size, on_device=True)
        params = jax.block_until_ready(results).params

    def predict() -> np.ndarray:
        each = jax.tree.map(lambda leaf: leaf[:, 0], params)  # there is one key
        return np.asarray(jax.vmap(lambda p, x: network.forward(p, x)[0], (0, None))(each, jnp.asarray(data.test_x)))

    return Job(unit, lambda: None, predict)


def growth(name: str, work: Workload, data: Data) -> Job:
    """A unit is an epoch at each of several sizes, with repeats of small ones.

    Memory is measured after each unit.
    """
    sizes = sorted({max(work.batch, work.examples * k // 60) for k in (1, 2, 5, 10, 20, 60)})
    jobs = {n: train(name, work, Data(data.x[:n], data.y[:n], data.test_x, data.test_labels)) for n in sizes}

    def unit() -> dict[str, float]:
        parts = {}
        for n, job in jobs.items():
            repeats = max(1, work.examples // n // 2)
            start = time.perf_counter()
            for _ in range(repeats):
                job.unit()
            parts[f"{n} examples"] = (time.perf_counter() - start) / repeats
        return parts | {"resident MB": resident()}

    return Job(unit, lambda: None, jobs[sizes[-1]].predict)


def resident() -> float:
    """Return the resident memory of the process in MB, or NaN if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return float("nan")


def start(name: str, work: Workload, data: Data) -> Job:
    """A unit runs `python -m experiments digits` twice: with an empty and with a filled compilation cache."""

    def seconds(cache: str, results: str) -> float:
        command = [sys.executable, "-u", "-m", "experiments", "digits", "--epochs", "1", "--results", results]
        begun, ended = time.perf_counter(), float("nan")
        environment = os.environ | {"FNN_CACHE": cache}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("epoch "):
                    ended = time.perf_counter() - begun
        if process.returncode or ended != ended:
            raise RuntimeError(f"`{' '.join(command[1:])}` ended with {process.returncode} and did not report an epoch")
        return ended

    def unit() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            return {name: seconds(f"{folder}/cache", f"{folder}/results") for name in ("cold", "warm")}

    return Job(unit, lambda: None)


_KINDS = {
    "mlp": train,
    "cnn": train,
    "recurrent": train,
    "gpt": train,
    "predict": predict_only,
    "nets": many,
    "planar": many,
    "sweep": many,
    "growth": growth,
    "start": start,
}


def make(name: str, work: Workload, data: Data) -> Job:
    """Return fnn's job for a workload."""
    if work.kind == "attention":
        return attention.make(name, work)
    return _KINDS[work.kind](name, work, data)
