"""Depth folds: 2L units in L layers make 2^L pieces, which one hidden layer needs 2^L - 1 units for.

    python -m experiments depth_and_pieces

Claims C076 (document 003, 4.1, from circuit theory) and C075 (document 004, on depth), on the tent map

    t(x) = 2 relu(x) - 4 relu(x - 1/2),   which takes [0, 1/2] to [0, 1] and [1/2, 1] back:

t∘t∘…∘t, L times, is a network 1-2-2-…-2-1 of 2L ReLU units, and a zigzag of 2^L straight pieces (Telgarsky 2016).
A hidden layer of h ReLU units bends at most h times: h + 1 pieces. It is given knots at k/h here, and the best output
layer for them by least squares, for the zigzag of L = 6; networks 1-12-1, and 1-2-2-2-2-2-2-1 too, are also trained
from random starts.

The conditions of the claims: the advantage is one of some functions. One period of a sine is no harder for a shallow
network: 12 units in one layer come within 2 % of it. (The parity of n bits, often named here, is a bad example: n
threshold units in one layer compute it.) And that a deep network of 12 units exists does not let gradient descent find
it: from random starts, training it does hardly better than the constant.

To expect: 2, 8, 32, 256, 1024 pieces for L = 1, 3, 5, 8, 10. Up to 48 units in one layer are off by 0.97 or more of the
zigzag's standard deviation, 12 units by all of it; 64 units by 1e-12 or less.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEPTHS = (1, 3, 5, 8, 10)
FOLDS = 6  # of the zigzag that one hidden layer is to make
WIDTHS = (6, 12, 24, 32, 40, 48, 56, 64)
X = np.linspace(0, 1, 4097)  # exact in binary, corners included


@dataclass(frozen=True)
class Config:
    starts: int = 10
    """Random starts of the networks that are trained."""
    steps: int = 5000
    """Steps of Adam, full batch, for them."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder in it."""


def zigzag(folds: int) -> tuple[Layer, Params]:
    """The tent map, so many times, as a network of two units in each hidden layer, and its parameters."""
    fold = fnn.Dense(jnp.array([[2.0, 2.0], [-4.0, -4.0]]), jnp.array([0.0, -0.5]))
    first, last = fnn.Dense(jnp.ones((1, 2)), fold.b), fnn.Dense(fold.w[:, :1], jnp.zeros(1))
    params = (first, ()) + (fold, ()) * (folds - 1) + (last,)
    return fnn.mlp((1,) + (2,) * folds + (1,)), params


def outputs(folds: int, x: np.ndarray) -> np.ndarray:
    """t∘…∘t (x), by its network."""
    network, params = zigzag(folds)
    return np.asarray(fnn.predict(network, params, x[:, None]))[:, 0]


def pieces(folds: int) -> int:
    """How many straight pieces the network of the zigzag has on [0, 1], by the slopes in between 2^12 + 1 points."""
    return 1 + int(np.count_nonzero(np.diff(np.diff(outputs(folds, X)))))


def fitted(y: np.ndarray, h: int) -> np.ndarray:
    """Of one hidden layer of h ReLU units with knots at k/h, with the best output layer: its outputs."""
    units = np.column_stack([np.ones_like(X), fnn.relu.forward((), X[:, None] - np.arange(h) / h)[0]])
    return units @ np.linalg.lstsq(units, y, rcond=None)[0]


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def trained(sizes: tuple[int, ...], y: np.ndarray, config: Config) -> list[float]:
    """Errors over the standard deviation of y after training from random starts, in float32."""
    data = X[::8, None].astype(np.float32), y[::8, None].astype(np.float32)
    run = fnn.make_run(fnn.mlp(sizes), fnn.squared_error, fnn.adam, data, epochs=config.steps, batch_size=len(data[0]))
    keys = jax.random.split(jax.random.key(0), config.starts)
    cost = jax.vmap(run, in_axes=(None, 0))(0.01, keys).history["cost"][:, -1]
    return (np.sqrt(2 * np.asarray(cost)) / data[1].std()).tolist()


def map_panel(axes: "Axes", y: np.ndarray) -> None:
    """The zigzag, and the best that 48 units in one layer make of it."""
    axes.plot(X, y, color=figures.BLUE, lw=1.2, label=f"{2 * FOLDS} units in {FOLDS} layers")
    axes.plot(X, fitted(y, 48), "--", color=figures.ORANGE, lw=1.4, label="48 units in one")
    axes.set(title=f"A zigzag of {2**FOLDS} pieces", xlabel="x", ylabel="output", xlim=(0, 0.25), ylim=(-0.05, 1.4))
    axes.set_yticks([0, 0.5, 1])
    axes.legend(loc="upper center", fontsize=10)


def pieces_panel(axes: "Axes", counted: list[int]) -> None:
    """How many pieces so many units make: counted, in layers of two; at most, in one layer."""
    units = np.arange(1, 2 * DEPTHS[-1] + 1)
    axes.plot([2 * folds for folds in DEPTHS], counted, "o-", color=figures.BLUE, label="layers of two")
    axes.plot(units, units + 1, "--", color=figures.ORANGE, label="one layer, at most")
    axes.set(title="Pieces", xlabel="units", ylabel="straight pieces on [0, 1]", yscale="log", ylim=(1, 5000))
    axes.set_yscale("log", base=2)
    axes.legend(loc="upper left", fontsize=10)


def error_panel(axes: "Axes", errors: dict[str, dict[int, float]], learnt: dict[str, list[float]]) -> None:
    """Errors over the units of one hidden layer, for the zigzag and for a sine; of training, at 12 units."""
    for (name, values), style, colour in zip(
        errors.items(), ("o-", "s--"), (figures.ORANGE, figures.GREEN), strict=True
    ):
        axes.plot(list(values), list(values.values()), style, color=colour, label=name)
    for (name, values), marker in zip(learnt.items(), "x+", strict=True):
        axes.plot([12] * len(values), values, marker, color="black", ms=7, label=f"{name}, trained")
    axes.set(title="Error of one layer", xlabel="units", ylabel="error / standard deviation", yscale="log")
    axes.legend(loc="lower left", fontsize=10)


def run(config: Config) -> Outcome:
    """Counts the pieces, fits one hidden layer of several widths, trains both shapes."""
    from matplotlib.figure import Figure

    with jax.enable_x64(True):
        counted = [pieces(folds) for folds in DEPTHS]
        y, sine = outputs(FOLDS, X), np.sin(2 * np.pi * X)
        targets = {"the zigzag": y, "a sine": sine}
        errors = {name: {h: rms(fitted(f, h) - f) / float(f.std()) for h in WIDTHS} for name, f in targets.items()}
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 0.85, 1))
        map_panel(left, y)
    shapes = {"1-12-1": (1, 12, 1), "1-2-…-2-1": (1, *[2] * FOLDS, 1)}
    learnt = {name: trained(sizes, y, config) for name, sizes in shapes.items()}
    pieces_panel(middle, counted)
    error_panel(right, errors, learnt)
    shallow = errors["the zigzag"]
    ratio, off = "pieces / 2^L in L layers of two, L = 1, 3, 5, 8, 10", "error / standard deviation"
    criteria = [
        Criterion(ratio, [n / 2**folds for n, folds in zip(counted, DEPTHS, strict=True)], 1, 1),
        Criterion(f"zigzag, 6 to 48 units in one layer: {off}", [e for h, e in shallow.items() if h <= 48], least=0.9),
        Criterion("zigzag, 64 units in one layer: the same", [shallow[64]], most=1e-9),
        Criterion("zigzag, 1-12-1 trained, every start: the same", learnt["1-12-1"], least=0.9),
        Criterion("one period of a sine, 12 units in one layer: the same", [errors["a sine"][12]], most=0.05),
    ]
    numbers = {f"pieces, L = {folds}": float(n) for folds, n in zip(DEPTHS, counted, strict=True)}
    numbers |= {f"zigzag, {name} trained: {off}": values for name, values in learnt.items()}
    numbers |= {f"{name}, {h} units in one layer: {off}": e for name, of in errors.items() for h, e in of.items()}
    remarks = [
        "h ReLU units in one layer bend at most h times, so that 2^L pieces need 2^L - 1 units there: that is certain.",
        "The deep network exists; that training does not find it from random starts is reported only.",
    ]
    return Outcome(criteria, figure, numbers, remarks)


STUDY = Study("X27", ("C075", "C076"), run, quick=Config(starts=3, steps=2000))


def main(config: Config) -> None:
    """Runs it and reports."""
    study.main(STUDY, config)
