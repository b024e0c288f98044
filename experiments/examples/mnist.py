"""MNIST: a network of 100 hidden units, or a convolutional one, reads 28x28 handwritten digits.

    python -m experiments mnist
    python -m experiments mnist --network convnet

The images are looked for in FNN_DATA's folder and in the cache, else downloaded (11 MB). 5,000 of the
60,000 training images decide which epoch's parameters are kept; the 10,000 of the test are used once.

To expect: test accuracy 0.978 with 784-100-10 in 10 epochs, 0.988 with the convolutional network in 3.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, figures, reports
from experiments.data.mnist import load_mnist
from experiments.errors import needs, usage
from experiments.examples import commands
from experiments.examples.digits import evaluate

LOSS = fnn.softmax_cross_entropy
HELD_OUT = 5000
NETWORKS = {  # name -> network, image shape, epochs
    "dense": (fnn.mlp((784, 100, 10)), (784,), 10),
    "convnet": (fnn.convnet((28, 28, 1), filters=(20, 40), kernel_size=5, sizes=(100, 10)), (28, 28, 1), 3),
}


@dataclass(frozen=True)
class Config:
    network: Literal["dense", "convnet"] = "dense"
    """784-100-10 with ReLU; or twice 5x5 filters (20, 40) with 2x2 max pooling, then 100-10."""
    epochs: int | None = None
    """Passes over the training images; None: 10 (dense) or 3 (convnet)."""
    learning_rate: float = 1e-3
    """Length of a step of Adam."""
    l2: float = 1e-4
    """Strength of the penalty l2/2 ||W||^2 on weights; 0: none."""
    batch_size: int = 64
    """Examples per step."""
    images: int = 60000
    """Training images to use, those for the validation among them."""
    seed: int = 0
    """Draws the split, the initial weights and the order of the images."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, mnist, in it."""


def main(config: Config) -> None:
    """Trains, tests once, saves."""
    commands.check_flags(config, "epochs", "batch_size")
    if not 0 <= config.l2 < float("inf"):
        raise usage("--l2", "finite and at least 0", config.l2)
    needs("pooch", "matplotlib")
    folder = reports.make_folder(config.results, "mnist")
    mnist = load_mnist()
    if not 100 <= config.images <= len(mnist.train_y):
        raise usage("--images", f"in 100..{len(mnist.train_y)}", config.images)
    network, shape, suited = NETWORKS[config.network]
    split_key, fit_key = jax.random.split(jax.random.key(config.seed))
    arrays = (mnist.train_x[: config.images].reshape(-1, *shape), mnist.train_y[: config.images])
    held_out = min(HELD_OUT, config.images // 5) / config.images
    train, validation = fnn.data.split(split_key, arrays, (1 - held_out, held_out), stratify=arrays[1])
    test = (mnist.test_x.reshape(-1, *shape), mnist.test_y)
    if config.batch_size > len(train[1]):
        raise usage("--batch-size", f"at most {len(train[1])}, the training images", config.batch_size)
    parts = {"train": train, "validation": validation, "test": test}
    data = {name: (jnp.asarray(x), jnp.asarray(y)) for name, (x, y) in parts.items()}
    print(f"mnist: {', '.join(f'{name} {len(y):,}' for name, (_, y) in parts.items())}")
    print(f"\n{fnn.summary(network, (1, *shape))}\n", flush=True)
    epochs = config.epochs or suited
    options = {"epochs": epochs, "batch_size": config.batch_size, "key": fit_key, "l2": config.l2, "patience": epochs}
    optimizer = fnn.adam(config.learning_rate)
    result = commands.fit(network, LOSS, optimizer, data["train"], validation=data["validation"], **options)

    params = result.state.params
    results = evaluate(network, params, data)
    logits = np.asarray(fnn.predict(network, params, data["test"][0], batch_size=1000))
    kept = int(np.argmin(result.history["validation_cost"])) + 1
    images, terms = mnist.test_x.reshape(-1, 28, 28), "with penalty" if config.l2 else ""
    files = [folder / name for name in ("figure.png", "history.csv", "params.safetensors", "run.json")]
    figures.classification(files[0], result.history, kept, images, mnist.test_y, logits, terms)
    reports.save_history(files[1], result.history)
    fnn.checkpoint.export_params(files[2], params)
    seconds = round(time.perf_counter() - STARTED, 2)
    about = {"experiment": "mnist", "config": asdict(config), "versions": reports.versions()}
    reports.save_json(files[3], about | {"kept_epoch": kept, "results": results, "seconds": seconds})
    print()
    reports.print_results(results)
    print(f"{seconds:.1f} s in all; saved: {', '.join(map(str, files))}")
