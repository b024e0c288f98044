"""The rows of `nielsen`: networks, published accuracies, and recipes.

M. Nielsen, Neural Networks and Deep Learning, Determination Press, 2015, chapters 1, 3, 5 and 6. In chapters 3 and 5
his cost is C + λ/2n Σw² with n = 50,000 images, so our l2 is λ/50,000. In chapter 6 his program divides by the number
of mini-batches instead, so our l2 is λ/5,000, and λ/25,000 with the expanded data.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn
from experiments.nielsen import networks as networks
from fnn.init import lecun_normal, normal
from fnn.types import GradientTransformation, Layer, Loss

TEST, VALIDATION, CHOSEN = "test, best epoch", "validation, best epoch", "test, epoch of best validation"
"""How a published accuracy is measured: on which images, after which epoch."""
VOTE, AVERAGE = "test, vote at the end", "test, mean probability at the end"
"""The same for a committee: it predicts the digit with the most votes, or with the highest mean probability."""

LARGE, SMALL = "w, b N(0, 1)", "w N(0, 1/n_in), b N(0, 1)"
FLAT, LECUN, HE = "w N(0, 1/n_out), b N(0, 1)", "w N(0, 1/n_in), b 0", "w N(0, 2/n_in), b 0"
SHIFTS = "250,000 images generated on the fly: each original or shifted by a pixel, drawn anew in each epoch"
DISTORTIONS = "each image rotated by up to 10°, scaled and sheared by 10 %, moved by 2 pixels, drawn anew in each epoch"


class Recipe(NamedTuple):
    """How a network is trained.

    The recipe identifies a saved result, texts included.

    rate, falls    learning rate; whether it rises linearly for 5 % of the steps and then falls linearly to 0
    penalty        l2 of the penalty l2/2 ‖w‖² in our recipes; λ in Nielsen's
    weights, also  texts: the initial weights; other differences
    """

    rate: float
    penalty: float
    batch_size: int
    epochs: int
    weights: str
    also: str = ""
    falls: bool = False


class Row(NamedTuple):
    """A row of the table.

    published, measure   published accuracy in per cent, and how it is measured
    theirs, ours         Nielsen's recipe and ours
    seeds                number of trainings; None: as the flag --seeds says
    vmapped              whether the seeds are trained together by vmap, or one after another
    committee_of         for a committee, the row whose networks are its members; it trains nothing itself
    calibration_images   images that set the population statistics of batch_norm
    """

    name: str
    chapter: int
    about: str
    network: Layer
    loss: Loss
    published: float
    measure: str
    theirs: Recipe
    ours: Recipe
    optimizer: Callable[[Callable[[jax.Array], jax.Array]], GradientTransformation] = fnn.sgd
    seeds: int | None = None
    vmapped: bool = True
    committee_of: str = ""
    calibration_images: int = 5000


def description(row: Row, seeds: int, images: int) -> dict[str, Any]:
    """Return what a result depends on besides versions and data, as JSON values."""
    layers = [layer.name for layer in row.network.layers]
    values = {"recipe": row.ours._asdict(), "layers": layers, "loss": row.loss.name, "seeds": seeds, "images": images}
    return json.loads(json.dumps(values))


def rate_at(recipe: Recipe, total: int, step: jax.Array) -> jax.Array:
    """Return the learning rate of a step, counted from 0, of `total` steps.

    >>> recipe = Recipe(1.0, 0.0, 10, 1, LECUN, falls=True)
    >>> [round(float(rate_at(recipe, 100, jnp.int32(step))), 3) for step in (0, 4, 5, 99)]
    [0.1, 0.9, 0.995, 0.005]
    """
    if not recipe.falls:
        return jnp.float32(recipe.rate)
    share = (step.astype(jnp.float32) + 0.5) / total
    return recipe.rate * jnp.minimum(share / 0.05, (1 - share) / 0.95)


def recipe_text(recipe: Recipe, penalty: str) -> str:
    """Format a recipe in a line, with its penalty under this name.

    >>> recipe_text(Recipe(0.5, 1e-4, 10, 30, LARGE, falls=True), "l2")
    'η 0.5 falling to 0, l2 0.0001, batch 10, 30 epochs, w, b N(0, 1)'
    """
    rate = f"η {recipe.rate:g}{' falling to 0' if recipe.falls else ''}"
    strength = f"{penalty} {recipe.penalty:g}" if recipe.penalty else ""
    parts = (rate, strength, f"batch {recipe.batch_size}", f"{recipe.epochs} epochs", recipe.weights, recipe.also)
    return ", ".join(part for part in parts if part)


def _nesterov(rate: Callable[[jax.Array], jax.Array]) -> GradientTransformation:
    return fnn.nesterov(rate, 0.9)


def _dense(
    name: str, chapter: int, hidden: tuple[int, ...], published: float, measure: str, theirs: Recipe, **otherwise
) -> Row:
    """Make a row of chapters 1, 3 or 5, trained as published.

    `otherwise` changes fields of the recipe.
    """
    sizes = (784, *hidden, 10)
    ours = theirs._replace(penalty=theirs.penalty / 50000)._replace(**otherwise)
    network = networks.sigmoid_net(sizes, normal(1.0) if ours.weights == LARGE else lecun_normal)
    loss, cost = fnn.sigmoid_cross_entropy, "cross-entropy"
    if chapter == 1:
        network, loss, cost = fnn.serial(*network.layers, fnn.sigmoid), fnn.squared_error, "quadratic cost"
    about = f"{'-'.join(map(str, sizes))}, sigmoid, {cost}"
    return Row(name, chapter, about, network, loss, published, measure, theirs, ours)


def _dense_rows() -> list[Row]:
    quadratic, cross = Recipe(3.0, 0, 10, 30, LARGE), Recipe(0.5, 0, 10, 30, LARGE)
    l2, slow, deep = cross._replace(penalty=5), Recipe(0.1, 5, 10, 60, LARGE), Recipe(0.1, 5, 10, 30, SMALL)
    return [
        _dense("quadratic_30", 1, (30,), 95.42, TEST, quadratic),
        _dense("quadratic_100", 1, (100,), 96.59, TEST, quadratic, weights=SMALL),
        _dense("cross_entropy_30", 3, (30,), 95.49, TEST, cross),
        _dense("cross_entropy_100", 3, (100,), 96.82, TEST, cross),
        _dense("l2_30", 3, (30,), 96.49, TEST, l2, batch_size=20),
        _dense("l2_100", 3, (100,), 97.92, VALIDATION, l2),
        _dense("l2_100_slow", 3, (100,), 98.04, VALIDATION, slow),
        _dense("deep_30_30", 5, (30, 30), 96.90, VALIDATION, deep),
        _dense("deep_30_30_30", 5, (30, 30, 30), 96.57, VALIDATION, deep),
    ]


def _softmax(name: str, network: Layer, about: str, published: float, theirs: Recipe, ours: Recipe, **others) -> Row:
    """Make a row of chapter 6: softmax with log-likelihood."""
    loss = fnn.softmax_cross_entropy
    return Row(name, 6, f"{about}, softmax", network, loss, published, CHOSEN, theirs, ours, **others)


def _softmax_rows() -> list[Row]:
    """Make the rows of chapter 6.

    Convolutional networks use larger batches and fewer epochs than published.
    """
    one, two = "20 filters 5x5 and 2x2 max pooling", "20 and 40 filters 5x5, each with 2x2 max pooling"
    published = Recipe(0.1, 0, 10, 60, FLAT)
    relu = Recipe(0.03, 0.1, 10, 60, FLAT)
    expanded = relu._replace(also="250,000 images per epoch")
    dropped = expanded._replace(penalty=0, epochs=40)
    plain = Recipe(1.5, 0.0, 50, 20, LECUN, falls=True)
    steep = Recipe(0.15, 0.1 / 5000, 50, 20, HE, falls=True)
    momentum = f"50,000 images per epoch, a fifth of one of his; Nesterov momentum 0.9; {SHIFTS}"
    wide = Recipe(0.05, 0.1 / 25000, 100, 40, HE, momentum, falls=True)
    each, shifted = {"vmapped": False}, {"vmapped": False, "seeds": 1, "optimizer": _nesterov}
    dropout = _softmax(
        "dropout", networks.dropout_convnet(1000, 1000), f"{two}, 1000, 1000, ReLU, dropout 0.5",
        99.60, dropped, wide._replace(penalty=0.0, epochs=20), **shifted | {"seeds": 5},
    )  # fmt: skip
    about = "five of the networks above, from five seeds"
    return [
        _softmax("softmax_100", networks.softmax_net((784, 100, 10)), "784-100-10, sigmoid", 97.80, published,
                 published._replace(weights=SMALL)),
        _softmax("conv", networks.sigmoid_convnet(20), f"{one}, 100, sigmoid", 98.78, published, plain, **each),
        _softmax("conv_conv", networks.sigmoid_convnet(20, 40), f"{two}, 100, sigmoid", 99.06, published, plain,
                 **each),
        _softmax("relu", networks.relu_convnet(100), f"{two}, 100, ReLU", 99.23, relu, steep, **each),
        _softmax("expanded", networks.shifted_convnet(100), f"{two}, 100, ReLU", 99.37, expanded, wide, **shifted),
        _softmax("expanded_100_100", networks.shifted_convnet(100, 100), f"{two}, 100, 100, ReLU", 99.43, expanded,
                 wide, **shifted),
        dropout,
        dropout._replace(name="committee", about=about, published=99.67, measure=VOTE, committee_of="dropout"),
    ]  # fmt: skip


def _record() -> Row:
    """Make the row that is meant to beat the book's best result, its committee."""
    about = "a committee of five: 32 filters 5x5 and 64 of 3x3, both of stride 2, one residual 3x3 after the first and "
    about += "two after the second, 2x2 max pooling, 128; all with batch norm and ReLU; dropout 0.4"
    ours = Recipe(0.002, 0.0, 100, 35, HE, f"Adam; {DISTORTIONS}", falls=True)
    others = {"vmapped": False, "seeds": 5, "optimizer": fnn.adam}
    theirs = Recipe(0.03, 0, 10, 40, FLAT, "250,000 images per epoch; the committee above, the book's best")
    return _softmax("record", networks.record_convnet(), about, 99.67, theirs, ours, **others)._replace(measure=AVERAGE)


ROWS = (*_dense_rows(), *_softmax_rows(), _record())
QUICK = tuple(row.name for row in ROWS if row.vmapped)
"""Names of the rows with dense layers, which train in minutes."""
