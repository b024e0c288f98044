"""Layer by layer, training makes features easier to read by a linear classifier.

    python -m experiments features_by_layer

Claims C077, on image recognition, and C075: layers make progress by increments. The claim that early layers find edges
and later layers combine them is only an illustration; the study measures how useful the features are. A linear probe is
softmax regression
on the outputs a^[l] of layer l, trained separately (Alain and Bengio 2016). The share of test digits that it reads
shows how far layer l has come. The network 784-128-128-128-10 with ReLU and the probes learn from the same 3,000
images of MNIST. The same network with its initial weights serves as comparison.

    probe of layer l     softmax(ã^[l] W + b),  ã^[l] = (a^[l] - mean) / rms,  a^[0] = x

On the planar flower, which no line separates, the probe of the four tanh units of a network 2-4-1 is logistic
regression on them. The condition of the claims: training makes the difference. Depth alone loses information.

Expected results: 0.89 to 0.90 for the pixels and 0.91 to 0.93 for the layers, each layer as good as the one before or
better. Without training each layer is worse than the one before, and the last one is 0.1 below the pixels. On the
flower 0.44 for the points and 0.93 for the units.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.generators import planar_flower
from experiments.data.mnist import load_mnist
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Params, PRNGKey, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NETWORK = fnn.mlp((784, 128, 128, 128, 10))
LAYERS = ("pixels", "hidden 1", "hidden 2", "hidden 3")
FLOWER = fnn.mlp((2, 4, 1), fnn.tanh, w_init=fnn.init.xavier_normal)


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of training images and initial weights."""
    examples: int = 3000
    """Number of training images in a draw."""
    epochs: int = 20
    """Passes of the network over the training images."""
    probe_steps: int = 300
    """Full-batch steps of momentum for a probe."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def hidden(network: Layer, params: Params, x: jax.Array) -> list[jax.Array]:
    """The outputs of each activation."""
    outputs = []
    for i, (layer, p) in enumerate(zip(network.layers[:-1], params[:-1], strict=True)):
        x = layer.forward(p, x)[0]
        outputs += [x] if i % 2 else []
    return outputs


def probe(train: jax.Array, y: jax.Array, test: jax.Array, test_y: jax.Array, steps: int) -> jax.Array:
    """Test accuracy of softmax regression on features that are centred and scaled to mean square 1."""
    mean = train.mean(axis=0, keepdims=True)
    rms = jnp.sqrt(jnp.mean(jnp.square(train - mean)))
    network = fnn.softmax_regression(train.shape[1], 10)
    run = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda rate: fnn.momentum(rate, beta=0.9),
        ((train - mean) / rms, y),
        epochs=steps,
        batch_size=len(train),
        l2=1e-3,
        metrics={},
    )
    params = run(0.3, jax.random.key(0)).params
    return jnp.mean(fnn.accuracy(fnn.predict(network, params, (test - mean) / rms), test_y))


@functools.partial(jax.jit, static_argnums=0)
def probed(config: Config, x: jax.Array, y: jax.Array, test: jax.Array, test_y: jax.Array, keys: PRNGKey) -> jax.Array:
    """Test accuracies of the probes: (seeds, trained or initial network, pixels or layer 1 to 3)."""

    def one(draw: tuple[jax.Array, jax.Array, PRNGKey]) -> jax.Array:
        x, y, key = draw
        start = NETWORK.init(key)
        options = {"epochs": config.epochs, "batch_size": 50, "init": start, "metrics": {}}
        run = fnn.make_run(NETWORK, fnn.softmax_cross_entropy, fnn.sgd, (x, y), **options)
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), run(0.1, key).params, start)

        def by_layer(params: Params) -> jax.Array:
            pairs = zip(hidden(NETWORK, params, x), hidden(NETWORK, params, test), strict=True)
            return jnp.stack([probe(a, y, b, test_y, config.probe_steps) for a, b in pairs])

        pixels = probe(x, y, test, test_y, config.probe_steps)
        return jnp.concatenate([jnp.full((2, 1), pixels), jax.vmap(by_layer)(both)], axis=1)

    return jax.lax.map(one, (x, y, keys))


def planar(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies of logistic regression on the flower's points and on hidden units; logits of one network."""
    flower = planar_flower(0)
    x, y = jnp.asarray(flower.x), jnp.asarray(flower.y[:, None], jnp.float32)
    keys = jax.random.split(jax.random.key(1), config.seeds)

    def train(network: Layer, features: jax.Array, key: PRNGKey) -> RunResult:
        """Gradient descent with momentum, full batch."""
        run = fnn.make_run(
            network, fnn.sigmoid_cross_entropy, fnn.momentum, (features, y), epochs=3000, batch_size=len(x)
        )
        return run(1.0, key)

    @jax.jit
    @jax.vmap
    def both(key: PRNGKey) -> tuple[jax.Array, jax.Array, jax.Array]:
        units = hidden(FLOWER, train(FLOWER, x, key).params, x)[0]
        on_points, on_units = (train(fnn.logistic_regression(a.shape[1]), a, key) for a in (x, units))
        logits = units @ on_units.params.w + on_units.params.b[None, :]
        return on_points.history["accuracy"][-1], on_units.history["accuracy"][-1], logits

    points, units, logits = map(np.asarray, both(keys))
    return points, units, logits[units.argmax(), :, 0]


def layers_panel(axes: "Axes", accuracy: np.ndarray) -> None:
    """Plot the accuracy of the probes over the layers, one curve per seed."""
    for i, (name, style, colour) in enumerate((("trained", "o-", figures.BLUE), ("untrained", "s--", figures.ORANGE))):
        axes.plot(accuracy[:, i].T, style, color=colour, lw=1.4, ms=5, label=[name] + [None] * (len(accuracy) - 1))
    axes.set(title="Probes on MNIST", ylabel="share of test digits read right")
    axes.set_xticks(range(len(LAYERS)), labels=LAYERS)
    axes.legend(loc="lower left")


def flower_panels(axes: tuple["Axes", "Axes"], points: float, units: float, logits: np.ndarray) -> None:
    """Plot the flower by class, and the logits of the probe of the hidden units."""
    flower = planar_flower(0)
    x, y = flower.x, flower.y
    bins = np.linspace(logits.min(), logits.max(), 31).tolist()
    for label, colour, marker in ((0, figures.BLUE, "o"), (1, figures.ORANGE, "^")):
        axes[0].plot(*x[y == label].T, marker, color=colour, ms=3, alpha=0.7, rasterized=True)
        style = {"histtype": "step", "lw": 1.8, "ls": ("-", "--")[label]}
        axes[1].hist(logits[y == label], bins, color=colour, label=f"class {label}", **style)
    axes[0].set(title=f"Flower: {points:.2f}", xlabel="x₁", ylabel="x₂")
    axes[1].set(title=f"Hidden units: {units:.2f}", xlabel="logit of their probe", ylabel="points")
    axes[1].set_ylim(0, 1.3 * axes[1].get_ylim()[1])
    axes[1].legend(loc="upper center", ncols=2, fontsize=10, handlelength=1.2)


def run(config: Config) -> Outcome:
    """Train the network and its probes for each draw, and on the flower."""
    from matplotlib.figure import Figure

    data = load_mnist()
    orders = [
        np.random.default_rng(seed).permutation(len(data.train_x))[: config.examples] for seed in range(config.seeds)
    ]
    x, y, test, test_y = (
        jnp.asarray(a)
        for a in (data.train_x[np.stack(orders)], data.train_y[np.stack(orders)], data.test_x, data.test_y)
    )
    keys = jax.random.split(jax.random.key(0), config.seeds)
    accuracy = np.asarray(probed(config, x, y, test, test_y, keys))
    raw, trained, start = accuracy[:, 0, 0], accuracy[:, 0, 1:], accuracy[:, 1, 1:]
    points, units, logits = planar(config)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    layers_panel(left, accuracy)
    flower_panels((middle, right), points.mean(), units.max(), logits)
    criteria = [
        Criterion("probe of the last hidden layer - of the pixels", (trained[:, -1] - raw).tolist(), least=0.02),
        Criterion("the same difference, untrained network", (start[:, -1] - raw).tolist(), most=0),
        Criterion("flower: logistic regression on hidden units - on points", (units - points).tolist(), least=0.3),
    ]
    numbers = {"test accuracy, probe of the pixels": raw.tolist()}
    for i, name in enumerate(LAYERS[1:]):
        numbers[f"test accuracy, probe of {name}"] = trained[:, i].tolist()
        numbers[f"test accuracy, probe of {name}, untrained"] = start[:, i].tolist()
    numbers |= {"flower, points": points.tolist(), "flower, hidden units": units.tolist()}
    return Outcome(criteria, figure, numbers)


STUDY = Study("X33", ("C075", "C077"), run, quick=Config(seeds=3, epochs=15, probe_steps=150), needs=("mnist",))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
