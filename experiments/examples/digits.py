"""Handwritten digits: a small network classifies 98 of 100 unseen 8x8 scans.

    python -m experiments digits

The data are 1,797 real scans that come with scikit-learn; nothing is downloaded.
64 % of them train the network, 16 % decide which epoch's parameters are kept, and
20 % are the test, which is used once, at the end. Before training, the network's
hand-written gradient is checked against jax.grad in float64.

    export FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=2
    for i in 0 1; do FNN_PROCESS_ID=$i python -m experiments digits --distributed & done; wait

trains the same network in two processes, each with its share of the scans. Under
SLURM (srun) and on a TPU pod, `digits --distributed` alone is enough. With
--checkpoints, the same command resumes an interrupted training.

To expect: test accuracy 0.98 on average, 0.97 or more for each seed 0 to 9.
"""

import functools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import fnn
from experiments import STARTED, figures, flags, reports
from experiments.data.bundled import load_digits
from experiments.errors import ExperimentError, at_least, needs, usage
from experiments.examples import common, distributed
from experiments.examples.common import ACTIVATIONS, OPTIMIZERS
from experiments.examples.gradient_check import check_gradient, largest_difference
from fnn.sharding import Layout, is_main_process, rows_of_process

LOSS = fnn.softmax_cross_entropy
CHECKED = 64  # examples in the batch of the gradient check


@dataclass(frozen=True)
class Config:
    epochs: int = 100
    """Maximum number of passes over the training data; see --patience."""
    hidden: tuple[int, ...] = (200, 100)
    """Units of each hidden layer. The flag without values: no hidden layer, softmax regression."""
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "softplus", "tanh", "sigmoid"] = "relu"
    """Activation after each hidden layer."""
    optimizer: Literal["adam", "momentum", "heavy-ball", "nesterov", "sgd"] = "adam"
    """Optimizer."""
    learning_rate: float | None = None
    """Learning rate. None: 0.002 for adam, 0.3 for momentum and sgd, 0.03 for the others."""
    l2: float = 1e-3
    """Strength of the penalty l2/2 ||W||^2 on weights. 0: no penalty."""
    dropout: float = 0.2
    """Fraction of pixels and hidden units set to zero at random during training. 0: no dropout."""
    batch_size: int = 50
    """Examples per step."""
    patience: int | None = 20
    """Stop after this many epochs without a lower validation cost, and keep the best. None: keep the last epoch."""
    seed: int = 0
    """Seed of the split, the initial weights, the order of the examples and dropout."""
    checkpoints: Path | None = None
    """Folder for a checkpoint after each epoch; training resumes from the newest one in it. None: no checkpoints."""
    distributed: bool = False
    """Train as one of several processes; see above."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder digits."""


def check(config: Config) -> None:
    """Raise UsageError, naming the flag, for an invalid value."""
    common.check_flags(config, "epochs", "batch_size", "patience")
    for units in config.hidden:
        at_least("--hidden", units, 1)
    flags.check_weights("--hidden", (64, *config.hidden, 10))
    at_least("--l2", config.l2, 0.0)
    if not 0 <= config.dropout < 1:
        raise usage("--dropout", "in [0, 1)", config.dropout)


def make_network(config: Config) -> fnn.Layer:
    """Build dense layers with activations between them, dropout before each.

    The outputs are logits.
    """
    activation, w_init = ACTIVATIONS[config.activation]
    dropout = [fnn.dropout(config.dropout)] if config.dropout else []
    layers: list[fnn.Layer] = []
    n = 64
    for units in config.hidden:
        layers += [*dropout, fnn.dense(n, units, w_init=w_init), activation]
        n = units
    return fnn.serial(*layers, *dropout, fnn.dense(n, 10, w_init=w_init))


def load(key: jax.Array) -> tuple[dict[str, tuple[jax.Array, jax.Array]], np.ndarray]:
    """Load stratified, standardised parts of the data, and the raw test images.

    One mean and one standard deviation, over all pixels of the training part, standardise every pixel. Statistics per
    pixel would magnify the border pixels, which are blank in almost every scan.
    """
    x, y = load_digits()
    parts = fnn.data.split(key, (x, y), (0.64, 0.16, 0.2), stratify=y)

    @jax.jit
    def standardized(train: jax.Array, *others: jax.Array) -> tuple[jax.Array, ...]:
        fitted = fnn.data.fit_standardization(train.reshape(-1, 1))
        return tuple(fnn.data.standardize(x.reshape(-1, 1), fitted).reshape(x.shape) for x in (train, *others))

    inputs = standardized(*(x for x, _ in parts))
    names = ("train", "validation", "test")
    data = {name: (x, jax.device_put(y)) for name, x, (_, y) in zip(names, inputs, parts, strict=True)}
    return data, parts[2][0].reshape(-1, 8, 8)


@functools.partial(jax.jit, static_argnums=0)
def keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Return the keys of the split and of the training. Jitted, since each operation would be a program of its own."""
    split_key, fit_key = jax.random.split(jax.random.key(seed))
    return split_key, fit_key


def process_rows(data: Mapping[str, Any], layout: Layout | None) -> Mapping[str, Any]:
    """Return this process's rows of each part; all rows for one process."""
    if layout is None:
        return data
    rows = {name: rows_of_process(layout, len(y)) for name, (_, y) in data.items()}
    return {name: (x[rows[name]], y[rows[name]]) for name, (x, y) in data.items()}


def train(
    config: Config, network: fnn.Layer, data: Mapping[str, Any], key: jax.Array, layout: Layout | None = None
) -> fnn.FitResult:
    """Train as the flags say; raise ExperimentError if the training diverges."""
    make_optimizer, default_rate = OPTIMIZERS[config.optimizer]
    rate = default_rate if config.learning_rate is None else config.learning_rate
    try:
        with common.checkpoint_errors(config.checkpoints):
            result = fnn.fit(
                network,
                LOSS,
                make_optimizer(rate),
                data["train"],
                epochs=config.epochs,
                batch_size=config.batch_size,
                key=key,
                l2=config.l2,
                validation=data["validation"],
                patience=config.patience,
                report_every=max(1, config.epochs // 10),
                checkpoint_dir=config.checkpoints,
                resume=config.checkpoints is not None,
                sharding=layout,
            )
    except FloatingPointError as error:
        raise ExperimentError(f"{error}: try a --learning-rate below {rate:g}") from None
    kept = result.history["cost"][-1] if config.patience is None else result.history["validation_cost"].min()
    common.check_cost(float(kept), float(np.log(10)))
    return result


def main(config: Config) -> None:
    """Check the gradient, train, test once, and save the results."""
    check(config)
    needs("sklearn", "matplotlib")
    with distributed.process_layout(config.distributed) as layout:
        run(config, layout)


def run(config: Config, layout: Layout | None) -> None:
    """Run the experiment, alone or as one of several processes with this layout."""
    folder = reports.make_folder(config.results, "digits", "run.json")
    split_key, fit_key = keys(config.seed)
    data, images = load(split_key)
    sizes = {name: len(y) for name, (_, y) in data.items()}
    if config.batch_size > sizes["train"]:
        raise usage("--batch-size", f"at most {sizes['train']}, the training examples", config.batch_size)
    print(f"digits: {sum(sizes.values()):,} scans of 8x8 pixels; " + ", ".join(f"{n} {k:,}" for n, k in sizes.items()))

    network = make_network(config)
    print(f"\n{fnn.summary(network, (1, 64))}\n")
    x, y = (np.asarray(array) for array in data["train"])  # slicing on the device would compile a program per slice
    gradient = check_gradient(network, LOSS, config.l2, x[:CHECKED], y[:CHECKED], config.seed)
    difference, tolerance = largest_difference(gradient)
    same = "bitwise equal, " if difference == 0 else ""
    print(f"gradient check, float64, all {len(gradient.leaves)} parameters: the largest difference between the")
    print(f"hand-written gradient and jax.grad's is {difference:.1e} ({same}tolerance {tolerance:.1e})\n", flush=True)

    start = time.perf_counter()
    test, data = data["test"], process_rows(data, layout)
    result = train(config, network, data, fit_key, layout)
    fit_seconds = time.perf_counter() - start
    epochs = len(result.history["cost"])
    kept = epochs if config.patience is None else int(np.argmin(result.history["validation_cost"])) + 1

    results = common.evaluate(network, LOSS, result.state.params, data, sizes, layout)
    if not is_main_process():
        return
    logits = np.asarray(fnn.predict(network, jax.device_get(result.state.params), test[0]))
    figure, history, report = folder / "figure.png", folder / "history.csv", folder / "run.json"
    terms = ", ".join(f"with {name}" for name, value in (("dropout", config.dropout), ("penalty", config.l2)) if value)
    figures.classification(figure, result.history, kept, images, np.asarray(test[1]), logits, terms)
    reports.save_history(history, result.history)
    seconds = {"compile_and_train": round(fit_seconds, 2), "whole": round(time.perf_counter() - STARTED, 2)}
    reports.save_json(
        report,
        {
            "experiment": "digits",
            "config": asdict(config),
            "processes": jax.process_count(),
            "versions": reports.versions(),
            "gradient_check": {"largest_difference": difference, "tolerance": tolerance},
            "epochs": epochs,
            "kept_epoch": kept,
            "results": results,
            "seconds": seconds,
        },
    )
    print()
    reports.print_results(results)
    print(f"time: {seconds['compile_and_train']:.1f} s to compile and train, {seconds['whole']:.1f} s in total")
    print(f"saved: {figure}, {history}, {report}")
