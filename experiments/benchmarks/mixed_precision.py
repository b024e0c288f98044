"""Accuracy in mixed precision: bfloat16 with float32 parameters against float32.

    python -m experiments.benchmarks.mixed_precision
    python -m experiments.benchmarks.mixed_precision --works digits

digits needs no data. mnist and convnet need MNIST in the folder FNN_DATA or in the cache, and are skipped without it.
Both precisions share seeds, batches and initial parameters. Prints the test accuracy after the last epoch, with mean
and standard error over the seeds, and the difference. Times would be meaningless on a CPU, which computes bfloat16 in
float32.
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.data.mnist import find_mnist
from experiments.examples import digits, mnist
from experiments.examples.common import OPTIMIZERS
from experiments.wording import GET_DATA
from fnn.types import Data

LOSS = fnn.softmax_cross_entropy


class Work(NamedTuple):
    """A training, repeated with this number of seeds."""

    network: fnn.Layer
    train: Data
    test: Data
    learning_rate: float
    l2: float
    epochs: int
    batch_size: int
    seeds: int


def digits_work(seeds: int = 10, epochs: int = 60) -> Work:
    """The network and the data of the digits command, without early stopping."""
    config = digits.Config()
    data, _ = digits.load(jax.random.key(config.seed))
    network, rate = digits.make_network(config), OPTIMIZERS[config.optimizer][1]
    return Work(network, data["train"], data["test"], rate, config.l2, epochs, config.batch_size, seeds)


def mnist_work(name: str, seeds: int) -> Work | None:
    """Return a network of the mnist command with all 60,000 images, or None if MNIST is not found."""
    found = find_mnist()
    if found is None:
        return None
    network, shape, epochs = mnist.NETWORKS[name]
    train = jnp.asarray(found.train_x.reshape(-1, *shape)), jnp.asarray(found.train_y)
    test = jnp.asarray(found.test_x.reshape(-1, *shape)), jnp.asarray(found.test_y)
    config = mnist.Config()
    return Work(network, train, test, config.learning_rate, config.l2, epochs, config.batch_size, seeds)


WORKS = {  # name -> builder
    "digits": digits_work,
    "mnist": lambda: mnist_work("dense", seeds=3),
    "convnet": lambda: mnist_work("convnet", seeds=1),
}


def accuracies(work: Work, bfloat16: bool) -> np.ndarray:
    """Return the test accuracy of each seed after the last epoch, in percent."""
    network = fnn.mixed_precision(work.network, jnp.bfloat16) if bfloat16 else work.network
    run = fnn.make_run(
        network,
        LOSS,
        fnn.adam,
        work.train,
        epochs=work.epochs,
        batch_size=work.batch_size,
        l2=work.l2,
    )
    keys = jax.random.split(jax.random.key(1), work.seeds)
    # one seed after the other, because vmap turns a layer's matrix product into a batched one
    params = [run(jnp.float32(work.learning_rate), key).params for key in keys]
    return np.array([100 * fnn.evaluate(network, LOSS, p, work.test, batch_size=1000)["accuracy"] for p in params])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    for name in parser.parse_args().works:
        work = WORKS[name]()
        if work is None:
            print(f"{name}: skipped, MNIST was not found: {GET_DATA}")
            continue
        single, mixed = accuracies(work, False), accuracies(work, True)
        error = lambda values: np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
        print(
            f"{name}: {len(single)} seeds, {work.epochs} epochs: float32 {single.mean():.2f} ± {error(single):.2f}, "
            f"bfloat16 {mixed.mean():.2f} ± {error(mixed):.2f}, difference {(mixed - single).mean():+.2f} "
            f"± {error(mixed - single):.2f} points",
            flush=True,
        )


if __name__ == "__main__":
    main()
