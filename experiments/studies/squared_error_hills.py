"""Squared error after a sigmoid is not convex; cross-entropy is.

    python -m experiments squared_error_hills

Claims C005 and C012. With a = σ(w x + b) and C = 1/m Σ ½ (a - y)², which is not convex,

    ∂²L/∂z² = a (1 - a) [a (1 - a) + (a - y) (1 - 2a)]    squared error, of either sign
    ∂²L/∂z² = a (1 - a) >= 0                              cross-entropy

Gradient descent on one weight and six examples ends in one of two valleys, depending on the initial weight. With
cross-entropy every initial weight leads to the same minimum. On the breast tumour data (30 measurements) the study
computes the Hessian over w and b at random parameters. It also fits the labels 0 and 1 by least squares: a line is no
probability.

Expected results: squared error ends at w = -4.12 with J = 0.1237 from the left, and at w = 0.14 with 0.1156 from 0;
cross-entropy ends at w = 0.185 from everywhere. Squared error has negative curvature at every random point,
cross-entropy at none. 31 % of the line's outputs are outside 0 to 1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_breast_cancer
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X = np.array([0.173, -0.906, -0.108, 0.959, 0.668, -9.462])
Y = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
STARTS = np.linspace(-6, 3, 19)  # initial values of w
LEFT, RIGHT = -4.0, 0.0  # the two initial values that are compared
SLOPE = Layer(  # z = x w without b: dw = xᵀ dz, dx = dz wᵀ
    init=lambda key: jnp.zeros((1, 1)),
    forward=lambda w, x, key=None: (x @ w, x),
    backward=lambda w, x, dz: (x.T @ dz, dz @ w.T),
    name="slope",
)
SQUARED, CROSS = "squared error", "cross-entropy"
MODELS: dict[str, tuple[Layer, Loss]] = {
    SQUARED: (fnn.serial(SLOPE, fnn.sigmoid), fnn.squared_error),
    CROSS: (fnn.serial(SLOPE, fnn.identity), fnn.sigmoid_cross_entropy),
}


@dataclass(frozen=True)
class Config:
    iterations: int = 20000
    """Full-batch steps of gradient descent."""
    learning_rate: float = 1.0
    """Learning rate."""
    places: int = 200
    """Number of random parameters at which the Hessian is computed."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def cost(name: str, w: np.ndarray) -> np.ndarray:
    """J at each weight."""
    (network, loss), x, y = MODELS[name], jnp.asarray(X[:, None]), jnp.asarray(Y[:, None])
    at = lambda w: jnp.mean(loss.forward(network.forward((w.reshape(1, 1), ()), x)[0], y)[0])
    return np.asarray(jax.vmap(at)(jnp.asarray(w)))


def descend(name: str, config: Config) -> np.ndarray:
    """The final w of gradient descent from each of STARTS."""
    network, loss = MODELS[name]
    optimizer = fnn.sgd(config.learning_rate)
    run = fnn.make_run(
        network,
        loss,
        lambda w: optimizer,
        (jnp.asarray(X[:, None]), jnp.asarray(Y[:, None])),
        epochs=config.iterations,
        batch_size=len(X),
        init=lambda w: (w.reshape(1, 1), ()),
    )
    result = jax.vmap(run, in_axes=(0, None))(jnp.asarray(STARTS), jax.random.key(0))
    return np.asarray(result.params[0])[:, 0, 0]


def lowest_curvature(loss: Loss, end: Layer, x: jax.Array, y: jax.Array, places: int) -> jax.Array:
    """The lowest eigenvalue of the Hessian of J over (w, b) at each of `places` random parameters."""
    network = fnn.serial(fnn.dense(x.shape[1], 1), end)

    def objective(theta: jax.Array) -> jax.Array:
        params = (fnn.Dense(theta[:-1, None], theta[-1:]), ())
        return jnp.mean(loss.forward(network.forward(params, x)[0], y)[0])

    thetas = jax.random.normal(jax.random.key(0), (places, x.shape[1] + 1), x.dtype)
    return jax.jit(lambda thetas: jnp.linalg.eigvalsh(jax.lax.map(jax.hessian(objective), thetas))[:, 0])(thetas)


def valleys(axes: "Axes", name: str, ends: np.ndarray, colour: str) -> None:
    """Plot J over w, and the end points of descent from two initial values."""
    w = np.linspace(-7, 4, 600)
    axes.plot(w, cost(name, w), color=colour)
    for i, label in ((int(np.argmin(np.abs(STARTS - LEFT))), "^"), (int(np.argmin(np.abs(STARTS - RIGHT))), "s")):
        path = f"from w = {STARTS[i]:g} to {ends[i]:.2f}"
        axes.plot(STARTS[i], cost(name, STARTS[i : i + 1])[0], label, mfc="white", mec="black", ms=7)
        axes.plot(ends[i], cost(name, ends[i : i + 1])[0], label, color="black", ms=7, ls="", label=path)
    axes.set(title=f"Sigmoid, {name}", xlabel="w", ylabel="cost J", xlim=(-7, 4))
    axes.legend(loc="upper left" if name == SQUARED else "upper center", fontsize=10)


def run(config: Config) -> Outcome:
    """Descend over one weight from many initial values, then evaluate the tumour data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, between, right = figure.subplots(1, 3)
    two = [int(np.argmin(np.abs(STARTS - start))) for start in (LEFT, RIGHT)]
    with jax.enable_x64(True):
        ends = {name: descend(name, config) for name in MODELS}
        costs = {name: cost(name, w) for name, w in ends.items()}
        data = load_breast_cancer()
        x, y = fnn.data.standardize(jnp.asarray(data[0], jnp.float64)), jnp.asarray(data[1][:, None], jnp.float64)
        hills = lowest_curvature(fnn.squared_error, fnn.sigmoid, x, y, config.places)
        bowl = lowest_curvature(fnn.sigmoid_cross_entropy, fnn.identity, x, y, config.places)
        valleys(left, SQUARED, ends[SQUARED], figures.ORANGE)
        valleys(between, CROSS, ends[CROSS], figures.BLUE)
    design = np.column_stack([np.asarray(x), np.ones(len(x))])
    fitted = design @ np.linalg.lstsq(design, np.asarray(y), rcond=None)[0][:, 0]
    outside = float(np.mean((fitted < 0) | (fitted > 1)))
    criteria = [
        Criterion(
            "squared error: difference of the costs reached from -4 and 0",
            (abs(np.subtract(*costs[SQUARED][two])),),
            least=0.005,
        ),
        Criterion("cross-entropy: range of the costs reached", (float(np.ptp(costs[CROSS])),), most=1e-3),
        Criterion("cross-entropy: range of the w reached", (float(np.ptp(ends[CROSS])),), most=1e-3),
        Criterion("squared error: lowest curvature at each random point", hills.tolist(), most=0.0),
        Criterion("cross-entropy: lowest curvature at each random point", bowl.tolist(), least=-1e-12),
        Criterion("least squares: share of outputs outside 0 to 1", (outside,), least=0.2),
    ]
    numbers = {
        "squared error: cost from -4": float(costs[SQUARED][two[0]]),
        "squared error: cost from 0": float(costs[SQUARED][two[1]]),
        "squared error: w reached": ends[SQUARED].tolist(),
        "cross-entropy: w reached": ends[CROSS].tolist(),
        "least squares: outputs": [float(fitted.min()), float(fitted.max())],
    }
    for label, colour, hatch in ((0, figures.BLUE, ""), (1, figures.ORANGE, "//")):
        chosen = fitted[np.asarray(y)[:, 0] == label]
        right.hist(chosen, np.linspace(-0.7, 1.6, 47), color=colour, alpha=0.6, hatch=hatch, label=f"y = {label}")
    for end in (0, 1):
        right.axvline(end, color="black", lw=1.2, ls="--", label=None if end else "0 and 1")
    right.set(
        title=f"A line: {100 * outside:.0f} % outside 0 to 1", xlabel="w x + b by least squares", ylabel="tumours"
    )
    right.set_axisbelow(True)
    right.legend(loc="upper left", frameon=True, framealpha=1, edgecolor="none")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X18", ("C005", "C012"), run, quick=Config(iterations=20000, places=50))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
