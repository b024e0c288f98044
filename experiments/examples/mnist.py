"""MNIST: classify 28x28 handwritten digits with 100 hidden units or convolutions.

    python -m experiments mnist
    python -m experiments mnist --network convnet

The images are read from the folder in FNN_DATA or from the cache, and downloaded (11 MB) if they are in
neither. 5,000 of the 60,000 training images decide which epoch's parameters are kept. The 10,000 test
images are used once.

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
from experiments.examples import common

LOSS = fnn.softmax_cross_entropy
HELD_OUT = 5000
SIZE = 60_000  # training images of MNIST
NETWORKS = {  # name -> network, image shape, epochs
    "dense": (fnn.mlp((784, 100, 10)), (784,), 10),
    "convnet": (fnn.convnet((28, 28, 1), filters=(20, 40), kernel_size=5, sizes=(100, 10)), (28, 28, 1), 3),
}


@dataclass(frozen=True)
class Config:
    network: Literal["dense", "convnet"] = "dense"
    """dense: 784-100-10 with ReLU. convnet: 20 and 40 5x5 filters, each with 2x2 max pooling, then 100-10."""
    epochs: int | None = None
    """Passes over the training images. None: 10 (dense) or 3 (convnet)."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    l2: float = 1e-4
    """Strength of the penalty l2/2 ||W||^2 on weights. 0: no penalty."""
    batch_size: int = 64
    """Examples per step."""
    images: int = 60000
    """Training images to use, including those for validation."""
    seed: int = 0
    """Seed of the split, the initial weights and the order of the images."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder mnist."""


def main(config: Config) -> None:
    """Train, test once, and save the results."""
    common.check_flags(config, "epochs", "batch_size")
    if not 0 <= config.l2 < float("inf"):
        raise usage("--l2", "finite and at least 0", config.l2)
    if not 100 <= config.images <= SIZE:
        raise usage("--images", f"in 100..{SIZE}", config.images)
    needs("pooch", "matplotlib")
    folder = reports.make_folder(config.results, "mnist", "run.json")
    mnist = load_mnist()
    network, shape, default_epochs = NETWORKS[config.network]
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
    epochs = config.epochs or default_epochs
    options = {"epochs": epochs, "batch_size": config.batch_size, "key": fit_key, "l2": config.l2, "patience": epochs}
    options["guessing"] = float(np.log(10))
    optimizer = fnn.adam(config.learning_rate)
    result = common.fit(network, LOSS, optimizer, data["train"], validation=data["validation"], **options)

    params = result.state.params
    results = common.evaluate(network, LOSS, params, data)
    logits = np.asarray(fnn.predict(network, params, data["test"][0], batch_size=1000))
    kept = int(np.argmin(result.history["validation_cost"])) + 1
    images, terms = mnist.test_x.reshape(-1, 28, 28), "with penalty" if config.l2 else ""
    files = [folder / name for name in ("figure.png", "history.csv", "params.safetensors", "run.json")]
    figures.classification(files[0], result.history, kept, images, mnist.test_y, logits, terms)
    reports.save_history(files[1], result.history)
    fnn.checkpoint.export_params(files[2], params)
    seconds = round(time.perf_counter() - STARTED, 2)
    header = {"experiment": "mnist", "config": asdict(config), "versions": reports.versions()}
    reports.save_json(files[3], header | {"kept_epoch": kept, "results": results, "seconds": seconds})
    print()
    reports.print_results(results)
    print(f"{seconds:.1f} s in total; saved: {', '.join(map(str, files))}")
