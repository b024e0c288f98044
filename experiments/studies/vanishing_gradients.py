"""Gradients vanish or explode with depth; ReLU, batch norm and skips help.

    python -m experiments vanishing_gradients

Claims C083, C093, C173, C174, C222, C223, C224, C225 and C226, on the slowdown of deep networks. Backward, with
δ_l = dC/dz_l,

    δ_l = (δ_{l+1} w_{l+1}ᵀ) ∘ g'(z_l),

so each layer multiplies δ by about the size of the weights times the slope of the activation, where σ' <= 1/4. The
study measures ‖δ_1‖ / ‖δ_8‖, first hidden layer over last, at the beginning of training on the digits. The network is
64-30-…-30-10 with 8 hidden layers and w ~ N(0, 1/n_in) unless stated otherwise. A layer that adds zero parameters to z
has δ as its gradient.

The slowdown is not inherent in backpropagation: ReLU with He's weights preserves δ, and so does sigmoid with batch norm
or skip connections. Large weights make δ explode; for sigmoid, which they saturate, only from deviations of about 3.
Filters that share weights do not help: eight sigmoid convolutions lose as much as dense layers.
Networks with 5 hidden layers are also trained: a sigmoid network of this depth learns nothing, whereas one with a
single hidden layer does learn.

Expected results: 4e-5 for sigmoid (0.23 per layer), 0.6 to 2.5 with the remedies, 1e4 for ReLU with deviation 1. The
test accuracy is 0.1 for five sigmoid layers, and 0.9 and more for tanh, ReLU, skip connections and one sigmoid layer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.errors import at_least, positive
from experiments.studies.shared import study
from experiments.studies.shared.initial_params import init_params
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.init import Initializer
from fnn.types import Data, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIDDEN, WIDTH, FILTERS, EXAMPLES = 8, 30, 8, 256
TRAINED = 5  # hidden layers of the trained networks
ACTIVATIONS = {"sigmoid": fnn.sigmoid, "tanh": fnn.tanh, "ReLU": fnn.relu}
LOSS, LECUN = fnn.softmax_cross_entropy, fnn.init.lecun_normal


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Number of initialisations, and of draws of 256 digits for the gradient."""
    deviations: int = 13
    """Number of standard deviations of the weights, from 0.01 to 10."""
    epochs: int = 20
    """Passes over the digits in training."""
    learning_rate: float = 0.1
    """Learning rate in training, with batches of 16."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def tap(shape: tuple[int, ...]) -> fnn.Layer:
    """z + p with p = 0 in the shape of a whole batch. The gradient of p is dC/dz."""

    def forward(params: jax.Array, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, None]:
        return x + params, None

    return fnn.Layer(lambda key: jnp.zeros(shape), forward, lambda params, _, dy: (dy, dy), name="tap")


def tapped(g: fnn.Layer, w_init: Initializer = LECUN, norm: bool = False, skip: bool = False) -> fnn.Layer:
    """64-30-…-30-10 with a tap after each hidden z: (dense, tap, …).

    Layers 2 to 8 are stacked.
    """
    z = (tap((EXAMPLES, WIDTH)), *((fnn.batch_norm(WIDTH),) if norm else ()), g)
    block = fnn.serial(fnn.dense(WIDTH, WIDTH, w_init), *z)
    deep = fnn.repeat(fnn.residual(block) if skip else block, HIDDEN - 1)
    return fnn.serial(fnn.serial(fnn.dense(64, WIDTH, w_init), *z), deep, fnn.dense(WIDTH, 10, w_init))


def tapped_convolution(g: fnn.Layer) -> fnn.Layer:
    """Eight layers of 8 filters 3x3 on 8x8 images, then a dense layer."""
    z = (tap((EXAMPLES, 8, 8, FILTERS)), g)
    first, more = (fnn.conv2d(n, FILTERS, 3, padding="SAME") for n in (1, FILTERS))
    deep = fnn.repeat(fnn.serial(more, *z), HIDDEN - 1)
    return fnn.serial(fnn.serial(first, *z), deep, fnn.flatten, fnn.dense(64 * FILTERS, 10))


def norms(network: fnn.Layer, params: Params, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """‖dC/dz‖ of each hidden layer, for n parameter sets and n batches: (n, 8)."""
    gradient, key = fnn.value_and_grad(network, LOSS), jax.random.key(0)  # a key selects batch statistics

    def one(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        grads = gradient(params, x, y, None, key)[1]
        first, deep = grads[0], grads[1]
        deltas = jnp.concatenate([first[1][None], getattr(deep, "layer", deep)[1]])
        return jnp.sqrt(jnp.sum(jnp.square(deltas.reshape(HIDDEN, -1)), axis=1))

    return np.asarray(jax.jit(jax.vmap(one))(params, x, y))


def swept(g: fnn.Layer, config: Config, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Norms for weights of each deviation, then of √(1/n_in) and √(2/n_in): (deviations + 2, seeds, 8)."""
    params = init_params(tapped(g, fnn.init.normal(1.0)), config.seeds)
    scaled = lambda scale: jax.tree.map(lambda leaf: leaf * scale(leaf.shape[-2]), params)
    every = [scaled(lambda n_in, std=std: std) for std in deviations(config)]
    every += [scaled(lambda n_in: np.sqrt(1 / n_in)), scaled(lambda n_in: np.sqrt(2 / n_in))]
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(np.float32), *every)
    again = lambda array: np.concatenate([array] * len(every))
    return norms(tapped(g), stacked, again(x), again(y)).reshape(len(every), config.seeds, HIDDEN)


def deviations(config: Config) -> np.ndarray:
    """The standard deviations of the weights."""
    return np.geomspace(0.01, 10, config.deviations)


def learnt(network: fnn.Layer, config: Config, train: Data, test: Data) -> list[float]:
    """Test accuracy after training, for each seed."""
    run = fnn.make_run(
        network,
        LOSS,
        lambda start: fnn.sgd(config.learning_rate),
        train,
        epochs=config.epochs,
        batch_size=16,
        init=lambda start: start,
        validation=test,
    )
    keys = jax.random.split(jax.random.key(1), config.seeds)
    history = jax.vmap(run)(init_params(network, config.seeds), keys).history
    return np.asarray(history["validation_accuracy"])[:, -1].tolist()


def mlp(g: fnn.Layer, hidden: int) -> fnn.Layer:
    """64-30-…-30-10 with this number of hidden layers."""
    return fnn.mlp((64, *[WIDTH] * hidden, 10), g, w_init=LECUN)


def skipping() -> fnn.Layer:
    """The sigmoid network with a skip connection around each hidden layer but the first."""
    block = fnn.residual(fnn.serial(fnn.dense(WIDTH, WIDTH), fnn.sigmoid))
    return fnn.serial(fnn.dense(64, WIDTH), fnn.sigmoid, fnn.repeat(block, TRAINED - 1), fnn.dense(WIDTH, 10))


def layers_panel(axes: "Axes", cases: dict[str, np.ndarray]) -> None:
    """Plot ‖δ_l‖ / ‖δ_8‖ over the layers: geometric mean of the seeds."""
    styles = ((figures.BLUE, "-", "o"), (figures.BLUE, ":", "s"), (figures.GREEN, "-", "^"), (figures.PINK, "-", "v"))
    styles = (*styles, (figures.SKY, "--", "D"), (figures.ORANGE, "-", "P"), (figures.GREY, "--", "x"))
    for (name, values), (colour, line, marker) in zip(cases.items(), styles, strict=True):
        relative = np.exp(np.mean(np.log(values / values[:, -1:]), axis=0))
        axes.plot(range(1, HIDDEN + 1), relative, color=colour, ls=line, marker=marker, ms=5, label=name)
    axes.set(title="Gradient by layer", xlabel="hidden layer, first to last", ylabel="‖δ‖ / ‖δ of the last layer‖")
    axes.set(yscale="log", ylim=(1e-9, 1e5))
    axes.legend(loc="lower right", fontsize=9, ncols=2)


def run(config: Config) -> Outcome:
    """Measure gradients at the beginning of training, then train."""
    from matplotlib.figure import Figure

    at_least("--deviations", config.deviations, 2)
    positive("--learning-rate", config.learning_rate)
    x, y = load_digits()
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(x)), (config.seeds, 1)), axis=1)[:, :EXAMPLES]
    batch, images = (x[order], y[order]), (x[order].reshape(-1, EXAMPLES, 8, 8, 1), y[order])
    plain = {name: swept(g, config, *batch) for name, g in ACTIVATIONS.items()}
    special = {
        "sigmoid, convolutions": (tapped_convolution(fnn.sigmoid), images),
        "sigmoid + batch norm": (tapped(fnn.sigmoid, norm=True), batch),
        "sigmoid + skips": (tapped(fnn.sigmoid, skip=True), batch),
    }
    other = {name: norms(net, init_params(net, config.seeds), *data) for name, (net, data) in special.items()}
    exploding = int(np.abs(np.log(deviations(config))).argmin())  # deviation 1, or the nearest
    cases = {
        "sigmoid": plain["sigmoid"][-2],
        "sigmoid, convolutions": other["sigmoid, convolutions"],
        "sigmoid + batch norm": other["sigmoid + batch norm"],
        "sigmoid + skips": other["sigmoid + skips"],
        "tanh": plain["tanh"][-2],
        "ReLU, He": plain["ReLU"][-1],
        "ReLU, deviation 1": plain["ReLU"][exploding],
    }
    ratio = lambda values: (values[..., 0] / values[..., -1]).tolist()
    criteria = [Criterion(f"{name}: ‖δ₁‖ / ‖δ₈‖", ratio(cases[name]), most=1e-3) for name in list(cases)[:2]]
    cures = ("ReLU, He", "sigmoid + batch norm", "sigmoid + skips")
    criteria += [Criterion(f"{name}: ‖δ₁‖ / ‖δ₈‖", ratio(cases[name]), 0.2, 5.0) for name in cures]
    criteria += [Criterion("ReLU, deviation 1: ‖δ₁‖ / ‖δ₈‖", ratio(cases["ReLU, deviation 1"]), least=1e3)]
    criteria += [Criterion("sigmoid, deviation 1: ‖δ₁‖ / ‖δ₈‖", ratio(plain["sigmoid"][exploding]), most=1.0)]
    train, test = fnn.data.split(jax.random.key(0), (x, y), (0.8, 0.2), stratify=y)
    trained = {
        "5 x sigmoid": mlp(fnn.sigmoid, TRAINED),
        "1 x sigmoid": mlp(fnn.sigmoid, 1),
        "5 x tanh": mlp(fnn.tanh, TRAINED),
        "5 x ReLU": fnn.mlp((64, *[WIDTH] * TRAINED, 10)),
        "5 x sigmoid + skips": skipping(),
    }
    for name, network in trained.items():
        limits = {"most": 0.3} if name == "5 x sigmoid" else {"least": 0.8}
        criteria.append(Criterion(f"trained, {name}: test accuracy", learnt(network, config, train, test), **limits))
    numbers = {f"{name}: ‖δ₁‖ / ‖δ₈‖": ratio(values) for name, values in cases.items()}
    numbers["sigmoid: factor per layer"] = (np.array(ratio(cases["sigmoid"])) ** (1 / (HIDDEN - 1))).tolist()
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    layers_panel(left, cases)
    colours = (figures.BLUE, figures.SKY, figures.ORANGE)
    for (name, values), colour, marker in zip(plain.items(), colours, "oDP", strict=True):
        across = np.exp(np.mean(np.log(ratio(values[:-2])), axis=1))
        right.plot(deviations(config), across, color=colour, marker=marker, ms=5, label=name)
    right.axhline(1, color=figures.GREY, lw=1.2, ls=":", label="neither vanishes nor explodes")
    right.set(title="First layer over last, by weight scale", xscale="log", yscale="log")
    right.set(xlabel="standard deviation of the weights", ylabel="‖δ₁‖ / ‖δ₈‖")
    right.legend(loc="upper left")
    return Outcome(criteria, figure, numbers)


CLAIMS = ("C083", "C093", "C173", "C174", "C222", "C223", "C224", "C225", "C226")
STUDY = Study("X06", CLAIMS, run, quick=Config(seeds=3, deviations=7))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
