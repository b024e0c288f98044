"""2L units in L layers make 2^L linear pieces; one layer needs 2^L - 1 units.

    python -m experiments depth_and_pieces

Claims C076, from circuit theory, and C075, on depth, tested on the tent map

    t(x) = 2 relu(x) - 4 relu(x - 1/2),   which maps [0, 1/2] onto [0, 1] and [1/2, 1] back.

The composition t∘t∘…∘t of L maps is a network 1-2-2-…-2-1 of 2L ReLU units. Its graph is a zigzag of 2^L straight
pieces (Telgarsky 2016). One hidden layer of h ReLU units has at most h bends, hence h + 1 pieces. For the zigzag of
L = 6 the study fixes the bends at k/h and fits the output layer by least squares. It also trains networks 1-12-1 and
1-2-2-2-2-2-2-1 from random initialisations.

The claims hold under conditions. The advantage of depth exists for some functions only: one period of a sine is no
harder for a shallow network, and 12 units in one layer approximate it within 2 %. (The parity of n bits, often quoted
here, is a bad example: n threshold units in one layer compute it.) And although a deep network of 12 units exists,
gradient descent need not find it: from random initialisations, training hardly improves on a constant.

Expected results: 2, 8, 32, 256 and 1024 pieces for L = 1, 3, 5, 8 and 10. With up to 48 units in one layer the error
is at least 0.97 of the zigzag's standard deviation, with 12 units all of it, and with 64 units 1e-12 or less.
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
FOLDS = 6  # compositions in the zigzag that one hidden layer has to approximate
WIDTHS = (6, 12, 24, 32, 40, 48, 56, 64)
X = np.linspace(0, 1, 4097)  # exact in binary, and contains every corner


@dataclass(frozen=True)
class Config:
    starts: int = 10
    """Number of random initialisations of the trained networks."""
    steps: int = 5000
    """Full-batch steps of Adam."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def zigzag(folds: int) -> tuple[Layer, Params]:
    """The tent map composed `folds` times: a network with two units per hidden layer, and its parameters."""
    fold = fnn.Dense(jnp.array([[2.0, 2.0], [-4.0, -4.0]]), jnp.array([0.0, -0.5]))
    first, last = fnn.Dense(jnp.ones((1, 2)), fold.b), fnn.Dense(fold.w[:, :1], jnp.zeros(1))
    params = (first, ()) + (fold, ()) * (folds - 1) + (last,)
    return fnn.mlp((1,) + (2,) * folds + (1,)), params


def outputs(folds: int, x: np.ndarray) -> np.ndarray:
    """t∘…∘t (x), computed by its network."""
    network, params = zigzag(folds)
    return np.asarray(fnn.predict(network, params, x[:, None]))[:, 0]


def pieces(folds: int) -> int:
    """Count the straight pieces of the zigzag's network on [0, 1] from its slopes between 2^12 + 1 points."""
    return 1 + int(np.count_nonzero(np.diff(np.diff(outputs(folds, X)))))


def fitted(y: np.ndarray, h: int) -> np.ndarray:
    """Outputs of one hidden layer of h ReLU units with bends at k/h and the least-squares output layer."""
    units = np.column_stack([np.ones_like(X), fnn.relu.forward((), X[:, None] - np.arange(h) / h)[0]])
    return units @ np.linalg.lstsq(units, y, rcond=None)[0]


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def trained(sizes: tuple[int, ...], y: np.ndarray, config: Config) -> list[float]:
    """Error / standard deviation of y after training in float32, for each random initialisation."""
    data = X[::8, None].astype(np.float32), y[::8, None].astype(np.float32)
    run = fnn.make_run(fnn.mlp(sizes), fnn.squared_error, fnn.adam, data, epochs=config.steps, batch_size=len(data[0]))
    keys = jax.random.split(jax.random.key(0), config.starts)
    cost = jax.vmap(run, in_axes=(None, 0))(0.01, keys).history["cost"][:, -1]
    return (np.sqrt(2 * np.asarray(cost)) / data[1].std()).tolist()


def map_panel(axes: "Axes", y: np.ndarray) -> None:
    """Plot the zigzag and its best approximation by 48 units in one layer."""
    axes.plot(X, y, color=figures.BLUE, lw=1.2, label=f"{2 * FOLDS} units in {FOLDS} layers")
    axes.plot(X, fitted(y, 48), "--", color=figures.ORANGE, lw=1.4, label="48 units in one")
    axes.set(title=f"A zigzag of {2**FOLDS} pieces", xlabel="x", ylabel="output", xlim=(0, 0.25), ylim=(-0.05, 1.4))
    axes.set_yticks([0, 0.5, 1])
    axes.legend(loc="upper center", fontsize=10)


def pieces_panel(axes: "Axes", counted: list[int]) -> None:
    """Plot pieces over units: counted for layers of two, the upper bound for one layer."""
    units = np.arange(1, 2 * DEPTHS[-1] + 1)
    axes.plot([2 * folds for folds in DEPTHS], counted, "o-", color=figures.BLUE, label="layers of two")
    axes.plot(units, units + 1, "--", color=figures.ORANGE, label="one layer, at most")
    axes.set(title="Pieces", xlabel="units", ylabel="straight pieces on [0, 1]", yscale="log", ylim=(1, 5000))
    axes.set_yscale("log", base=2)
    axes.legend(loc="upper left", fontsize=10)


def error_panel(axes: "Axes", errors: dict[str, dict[int, float]], learnt: dict[str, list[float]]) -> None:
    """Plot errors over the units of one hidden layer, and errors of the trained networks."""
    for (name, values), style, colour in zip(
        errors.items(), ("o-", "s--"), (figures.ORANGE, figures.GREEN), strict=True
    ):
        axes.plot(list(values), list(values.values()), style, color=colour, label=name)
    for (name, values), marker in zip(learnt.items(), "x+", strict=True):
        axes.plot([12] * len(values), values, marker, color="black", ms=7, label=f"{name}, trained")
    axes.set(title="Error of one layer", xlabel="units", ylabel="error / standard deviation", yscale="log")
    axes.legend(loc="lower left", fontsize=10)


def run(config: Config) -> Outcome:
    """Count the pieces, fit one hidden layer of several widths, train both networks."""
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
        Criterion(f"zigzag, 64 units in one layer: {off}", [shallow[64]], most=1e-9),
        Criterion(f"zigzag, 1-12-1 trained, every initialisation: {off}", learnt["1-12-1"], least=0.9),
        Criterion(f"one period of a sine, 12 units in one layer: {off}", [errors["a sine"][12]], most=0.05),
    ]
    numbers = {f"pieces, L = {folds}": float(n) for folds, n in zip(DEPTHS, counted, strict=True)}
    numbers |= {f"zigzag, {name} trained: {off}": values for name, values in learnt.items()}
    numbers |= {f"{name}, {h} units in one layer: {off}": e for name, of in errors.items() for h, e in of.items()}
    remarks = [
        "One layer of h ReLU units has at most h bends, so 2^L pieces need 2^L - 1 units there. This part is a proof.",
        "The deep network exists. That training does not find it from random initialisations is not a criterion.",
    ]
    return Outcome(criteria, figure, numbers, remarks)


STUDY = Study("X27", ("C075", "C076"), run, quick=Config(starts=3, steps=2000))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
