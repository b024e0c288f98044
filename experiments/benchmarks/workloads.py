"""The workloads of the benchmark: architecture, data, initial parameters, FLOPs."""

import functools
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import generators
from experiments.data.bundled import load_digits
from experiments.data.mnist import find_mnist

Weights = list[tuple[np.ndarray, np.ndarray]]


class Workload(NamedTuple):
    """A network, its data and its training. A unit of time is an epoch unless `unit` says otherwise.

    kind       what a peer must support: mlp, cnn, predict, nets, planar, sweep, growth, start, recurrent,
               gpt, attention
    sizes      units per layer, input first; for a cnn those of its dense part, for a gpt vocabulary and d
    loss       softmax: cross-entropy of integer labels; sigmoid: cross-entropy summed over independent labels
    networks   number of networks trained at once
    rounds     maximum number of rounds
    rates      whether the rate of matrix products is measured as well
    tolerance  accepted difference of final accuracies between peers
    cell       the recurrent layer: lstm or gru
    positions  length of a sequence
    layers     blocks of a gpt
    heads      heads of attention
    dtype      dtype of the forward and the backward pass; parameters are float32
    """

    name: str
    title: str
    kind: str
    data: str = "images"
    sizes: tuple[int, ...] = ()
    filters: tuple[int, ...] = ()
    activation: str = "relu"
    loss: str = "softmax"
    batch: int = 1
    examples: int = 1
    learning_rate: float = 0.1
    networks: int = 1
    epochs: int = 1
    rounds: int = 100
    unit: str = "epoch"
    rates: bool = False
    tolerance: float = 0.015
    cell: str = ""
    positions: int = 1
    layers: int = 1
    heads: int = 1
    dtype: str = "float32"


_ALL = (
    Workload("sigmoid", "784-30-10 sigmoid, batch 10, 50,000 examples", "mlp", sizes=(784, 30, 10),
             activation="sigmoid", loss="sigmoid", batch=10, examples=50000, learning_rate=0.1),
    Workload("relu", "784-512-512-10 ReLU, batch 128, 59,904 examples", "mlp", sizes=(784, 512, 512, 10), batch=128,
             examples=59904, learning_rate=0.05, rates=True),
    Workload("wide", "784-2048-2048-10 ReLU, batch 512, 10,240 examples", "mlp", sizes=(784, 2048, 2048, 10), batch=512,
             examples=10240, learning_rate=0.05, rates=True),
    Workload("cnn", "CNN 5x5x20, pool, 5x5x40, pool, 100, 10, ReLU, batch 128, 12,800 examples", "cnn",
             sizes=(640, 100, 10), filters=(20, 40), batch=128, examples=12800, learning_rate=0.05),
    Workload("nets", "64 networks 784-30-10 sigmoid at once, batch 100, 10,000 examples", "nets", sizes=(784, 30, 10),
             activation="sigmoid", loss="sigmoid", batch=100, examples=10000, networks=64, rates=True,
             unit="epoch of all"),
    Workload("deep", "20 layers of 256, ReLU, batch 128, 12,800 examples", "mlp", sizes=(784, *[256] * 20, 10),
             batch=128, examples=12800, learning_rate=0.02, rates=True, tolerance=0.03),
    Workload("logistic", "logistic regression, 12,288 inputs, batch 64, 2,048 examples", "mlp", data="clouds",
             sizes=(12288, 1), loss="sigmoid", batch=64, examples=2048, learning_rate=0.01),
    Workload("predict", "784-512-512-10 ReLU, predictions for 10,000 images", "predict", sizes=(784, 512, 512, 10),
             examples=10000, unit="10,000 images", tolerance=0.001),
    Workload("planar", "1,024 networks 2-4-1 tanh at once, 400 points, full batch, 2,000 iterations", "planar",
             data="flower", sizes=(2, 4, 1), activation="tanh", loss="sigmoid", batch=400, examples=400, networks=1024,
             epochs=2000, rounds=3, unit="2,000 iterations of all"),
    Workload("sweep", "1,000 softmax regressions on digits, 100 full-batch epochs each", "sweep", data="digits",
             sizes=(64, 10), batch=1437, examples=1437, networks=1000, epochs=100, rounds=5, rates=True,
             unit="100 epochs of all"),
    Workload("growth", "an epoch of 784-30-10, batch 10, on 1,000 to 60,000 examples", "growth", sizes=(784, 30, 10),
             activation="sigmoid", loss="sigmoid", batch=10, examples=60000, unit="all sizes"),
    Workload("lstm", "LSTM of 128 units, 64 inputs, 100 positions, batch 64, 8 steps", "recurrent", data="sequences",
             sizes=(64, 128, 10), cell="lstm", positions=100, batch=64, examples=512, unit="8 steps", tolerance=0.03),
    Workload("gru", "GRU of 256 units, 64 inputs, 50 positions, batch 32, 8 steps", "recurrent", data="sequences",
             sizes=(64, 256, 10), cell="gru", positions=50, batch=32, examples=256, unit="8 steps", tolerance=0.03),
    Workload("gpt", "GPT, 4 layers, 4 heads, d 128, 64 positions, batch 12, Adam, 20 steps", "gpt", data="tokens",
             sizes=(65, 128), layers=4, heads=4, positions=64, batch=12, examples=240, learning_rate=1e-3,
             unit="20 steps", tolerance=0.03),
    Workload("attention", "causal attention, 2,048 positions, 4 heads of 32, forward and backward, 5 times",
             "attention", data="none", sizes=(128,), heads=4, batch=5, examples=2048, unit="all lengths"),
    Workload("start", "start of a process to the end of the first digits epoch", "start", rounds=5, unit="cold start"),
)  # fmt: skip

WORKLOADS = {work.name: work for work in _ALL}


def shrunk(work: Workload, shrink: int) -> Workload:
    """Return a smaller version of the workload for smoke tests.

    Accuracies then agree only roughly.
    """
    if shrink == 1:
        return work
    if work.kind == "attention":
        return work._replace(title=f"{work.title}; here once", batch=1)
    batches = min(work.examples // work.batch, max(2, work.examples // work.batch // shrink))
    return work._replace(
        title=f"{work.title}; here shrunk {shrink}x",
        tolerance=max(work.tolerance, 0.3),
        examples=work.batch * batches,
        networks=max(1, work.networks // shrink),
        epochs=max(1, work.epochs // shrink),
    )


class Data(NamedTuple):
    """Training examples with targets in the form of the loss; test examples with their labels."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray


def make_arrays(name: str, examples: int = 60000) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays of a data set, with integer labels, and a description.

    Images are MNIST's if it is found.
    """
    if name == "images":
        mnist = find_mnist()
        source = "MNIST" if mnist is not None else "synthetic images of MNIST's shapes"
        return (mnist or generators.mnist_like(0, train=examples))._asdict(), source
    if name == "flower":
        flower = generators.planar_flower(0)
        x, y = flower.x, flower.y
        return {"train_x": x, "train_y": y, "test_x": x, "test_y": y}, "the planar flower (tested on its own points)"
    if name == "sequences":
        x, y = generators.labelled_sequences(0, examples + 256)
        n, source = examples, "synthetic sequences of ten classes"
    elif name == "tokens":
        x, y = generators.token_sequences(0, examples + 60)
        n, source = examples, "synthetic sequences of 65 ids"
    elif name == "long tokens":
        x, y = generators.token_sequences(0, examples + 4, 1024, 50304)
        n, source = examples, "synthetic sequences of 1,024 of 50,304 ids"
    elif name == "noise":
        x, y = generators.noise(0, examples + 256, 8192)
        n, source = examples, "normal noise"
    elif name == "clouds":
        clouds = generators.two_clouds(0, 4048, 12288)
        x, y, n, source = clouds.x, clouds.y, 2048, "two synthetic clouds"
    else:
        x, y = load_digits()
        n, source = 1437, "scikit-learn's digits"
    return {"train_x": x[:n], "train_y": y[:n], "test_x": x[n:], "test_y": y[n:]}, source


def save_arrays(name: str, folder: Path, examples: int) -> str:
    """Write the arrays of a data set for the workers and return their description."""
    arrays, source = make_arrays(name, examples)
    for key, array in arrays.items():
        np.save(folder / f"{name}-{key}.npy", array)
    return source


def load(work: Workload, folder: Path | None) -> Data:
    """Return the data of a workload, read from the files of `save_arrays` or generated."""
    if work.kind in ("start", "attention"):
        return Data(*[np.zeros(0)] * 4)
    if folder is None:
        arrays, _ = make_arrays(work.data, work.examples)
    else:
        keys = ("train_x", "train_y", "test_x", "test_y")
        arrays = {key: np.load(folder / f"{work.data}-{key}.npy") for key in keys}
    x, y = arrays["train_x"][: work.examples], arrays["train_y"][: work.examples]
    if work.kind == "recurrent":
        arrays["test_x"], x = arrays["test_x"][:, : work.positions], x[:, : work.positions]
    outputs = work.sizes[-1]
    if work.loss == "sigmoid":
        y = (y[:, None] if outputs == 1 else y[:, None] == np.arange(outputs)).astype(np.float32)
    return Data(x, y, arrays["test_x"], arrays["test_y"])


@functools.lru_cache(maxsize=1)
def initial_weights(work: Workload, seed: int = 0) -> Weights:
    """Return the initial weights of every peer: w (n_in, n_out) or (5, 5, c_in, c_out), and b = 0.

    They are normal with variance 1/n_in (ReLU: 2/n_in), or zero for logistic regression; read-only, for later calls.
    """
    rng = np.random.default_rng(seed)
    gain = 0.0 if len(work.sizes) == 2 else 2.0 if work.activation == "relu" else 1.0
    shapes: list[tuple[int, ...]] = [(5, 5, *pair) for pair in itertools.pairwise((1, *work.filters))]
    shapes += list(itertools.pairwise(work.sizes))
    deviations = [(gain / np.prod(shape[:-1])) ** 0.5 for shape in shapes]
    draw = lambda shape, deviation: (deviation * rng.standard_normal(shape)).astype(np.float32)
    weights = [(draw(*of), np.zeros(of[0][-1], np.float32)) for of in zip(shapes, deviations, strict=True)]
    for array in itertools.chain(*weights):
        array.flags.writeable = False
    return weights


def stacked_weights(work: Workload) -> Weights:
    """Return the initial weights of all networks, which differ, stacked on a first axis."""
    each = [initial_weights(work, seed) for seed in range(work.networks)]
    return [(np.stack([w for w, _ in layer]), np.stack([b for _, b in layer])) for layer in zip(*each, strict=True)]


def hyperparameters(work: Workload) -> dict[str, np.ndarray]:
    """Return the hyperparameters of each network: arrays (networks,) in random order."""
    n, rng = work.networks, np.random.default_rng(1)
    if work.kind == "planar":
        values = {
            "alpha": rng.uniform(0.4, 1.6, n),
            "beta": rng.uniform(0.0, 0.95, n),
            "l2": 10 ** rng.uniform(-5, -2.5, n),
        }
    elif work.kind == "sweep":
        values = {"alpha": 10 ** rng.uniform(-2, 0, n), "l2": 10 ** rng.uniform(-5, -1, n)}
    else:
        values = {"alpha": 10 ** rng.uniform(-1, 0, n)}
    return {name: value.astype(np.float32) for name, value in values.items()}


def gates(work: Workload) -> int:
    """Return the number of blocks of n columns in the weights of a recurrent layer."""
    return {"lstm": 4, "gru": 3}[work.cell]


def flops(work: Workload) -> float:
    """Return the FLOPs of a unit's matrix products: forward, dW, and dX except for the first layer."""
    if work.kind == "recurrent":
        n_in, n, k = work.sizes
        per_position = gates(work) * n * (2 * n_in + 3 * n)
        return 2.0 * (work.positions * per_position + 3 * n * k) * work.examples
    if work.kind == "gpt":
        vocabulary, d = work.sizes
        per_position = work.layers * (12 * d * d + 2 * work.positions * d) + d * vocabulary
        return 2.0 * 3 * per_position * work.positions * work.examples
    side, products = 28, []
    for c_in, c_out in itertools.pairwise((1, *work.filters)):
        side -= 4
        products.append(side * side * 25 * c_in * c_out)
        side //= 2
    products += [a * b for a, b in itertools.pairwise(work.sizes)]
    passes = sum(products) if work.kind == "predict" else 3 * sum(products) - products[0]
    return 2.0 * passes * work.examples * work.networks * work.epochs
