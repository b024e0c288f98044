"""One hidden layer approximates any continuous function on an interval.

    python -m experiments universal_approximation

Claims C074, on depth, and C264: g must not be a polynomial. Both are shown by construction, for random functions
f(x) = 2x + Σ_k c_k sin(πkx + φ_k), k = 1..4. With V the variation of f on [0, 1] and v(x) that of f up to x:

    steps     a(x) = f(0) + Σ_i (f(s_{i+1}) - f(s_i)) σ(κ (x - t_i)),  v(s_i) = V i/n,  v(t_i) = V (i + 1/2)/n,  κ = 10⁵
              sup |a - f| <= V/2n with n sigmoid units: twice the units, half the error
    lines     a(x) = f(0) + Σ_i (m_i - m_{i-1}) relu(x - i/n),  m_i the slope of f from i/n to (i + 1)/n, m_{-1} = 0
              sup |a - f| <= max |f''| / 8n² with n ReLU units: twice the units, a quarter of the error

The claims hold under two conditions. The first is the domain: beyond [0, 1] the sigmoids are constant and f is not.
The second is the activation: with g(z) = z², Σ_i v_i (w_i x + b_i)² + c is a parabola in x for any number of units. No
parabola has a largest error below the root mean square error of the best one, found by least squares.
A function that can be represented need not be found by training: some networks are trained from random initial weights,
and their errors are reported.

Expected results: with 160 sigmoid units the largest error is 0.01 to 0.02, and each doubling from 5 units halves it
within 2 %. With 160 ReLU units it is 0.0002 to 0.0006. Outside [0, 1] it is 5 to 8. z² has rank 3 at every width and
more than 500 times ReLU's error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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

WIDTHS = (5, 10, 20, 40, 80, 160)
TRAINED = (10, 160)
SHOWN = ((0, 5), (3, 40), (5, 160))
STEEP = 1e5
INSIDE, OUTSIDE = np.linspace(0, 1, 20001), np.linspace(-3, 4, 7001)
SIGMOID, RELU = fnn.mlp((1, WIDTHS[-1], 1), fnn.sigmoid), fnn.mlp((1, WIDTHS[-1], 1), fnn.relu)
SQUARE = fnn.elementwise(lambda z: z * z, lambda z: 2 * z)


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Number of random functions."""
    steps: int = 10000
    """Full-batch steps of Adam for the trained networks."""
    starts: int = 5
    """Random initialisations of each trained network, for the first function."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Target(NamedTuple):
    """2x + Σ_k c_k sin(πkx + φ_k)."""

    c: np.ndarray
    phase: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        k = np.arange(1, len(self.c) + 1)
        return 2 * x + np.sin(np.pi * k * x[:, None] + self.phase[None, :]) @ self.c


def draw(seed: int) -> Target:
    """Draw a function; the squares of its four c_k sum to 1/2."""
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(4)
    return Target(c / np.linalg.norm(c) / np.sqrt(2), rng.uniform(0, 2 * np.pi, 4))


def of(w: np.ndarray, b: np.ndarray, out: np.ndarray, start: np.ndarray) -> Params:
    """Parameters of n units, padded with zero weights to 160 units, so that all widths share one program."""
    row, bias, column = (jnp.asarray(np.pad(values, (0, WIDTHS[-1] - len(values)))) for values in (w, b, out))
    return fnn.Dense(row[None, :], bias), (), fnn.Dense(column[:, None], jnp.asarray(start))


def steps(f: Target, n: int) -> Params:
    """Parameters of n sigmoid units that approximate f by n steps of equal variation."""
    variation = np.concatenate([[0], np.cumsum(np.abs(np.diff(f(INSIDE))))])
    s, t = (np.interp(variation[-1] * i / n, variation, INSIDE) for i in (np.arange(n + 1), np.arange(n) + 0.5))
    return of(np.full(n, STEEP), -STEEP * t, np.diff(f(s)), f(s[:1]))


def lines(f: Target, n: int) -> Params:
    """Parameters of n ReLU units that join the points (i/n, f(i/n))."""
    knots = np.arange(n + 1) / n
    bends = np.diff(np.diff(f(knots)) * n, prepend=0.0)
    return of(np.ones(n), -knots[:-1], bends, f(knots[:1]))


def off(f: Target, network: Layer, params: Params, x: np.ndarray) -> float:
    """The largest |network - f| over x."""
    a = fnn.predict(network, params, x[:, None])
    return float(np.abs(np.asarray(a)[:, 0] - f(x)).max())


def squares(f: Target, seed: int) -> list[tuple[int, float]]:
    """For each width of random units z²: the rank with the bias, and the rms error of the best fit."""
    rng, x = np.random.default_rng(seed), INSIDE[::20]
    z = x[:, None] * rng.normal(size=WIDTHS[-1]) + rng.normal(size=WIDTHS[-1])
    units, found = np.column_stack([np.ones_like(x), SQUARE.forward((), z)[0]]), []
    for n in WIDTHS:
        weights, _, rank, _ = np.linalg.lstsq(units[:, : n + 1], f(x), rcond=1e-10)
        found.append((int(rank), float(np.sqrt(np.mean((units[:, : n + 1] @ weights - f(x)) ** 2)))))
    return found


def trained(f: Target, n: int, config: Config) -> list[float]:
    """The largest error of n sigmoid units trained in float32 from random steps, for each initialisation."""
    x = np.linspace(0, 1, 201, dtype=np.float32)[:, None]
    y = f(x[:, 0]).astype(np.float32)[:, None]

    def start(key: jax.Array) -> Params:
        keys = jax.random.split(key, 3)
        w, place = 20 * jax.random.normal(keys[0], (1, n)), jax.random.uniform(keys[1], (n,))
        out = jax.random.normal(keys[2], (n, 1)) / jnp.sqrt(jnp.float32(n))
        return fnn.Dense(w, -w[0] * place), (), fnn.Dense(out, jnp.zeros(1))

    layer = fnn.mlp((1, n, 1), fnn.sigmoid)
    options = {"epochs": config.steps, "batch_size": len(x), "init": start}
    run = fnn.make_run(layer, fnn.squared_error, lambda key: fnn.adam(0.01), (x, y), **options)
    keys = jax.random.split(jax.random.key(0), config.starts)
    a = jax.vmap(lambda key: fnn.predict(layer, run(key, key).params, x))(keys)
    return np.abs(np.asarray(a) - y[None]).max(axis=(1, 2)).tolist()


def target_panel(axes: "Axes", f: Target) -> None:
    """Plot a function and two networks that approximate it, inside and outside [0, 1]."""
    x = np.linspace(-0.5, 1.5, 2001)
    axes.axvspan(0, 1, color="#f0f0f0", lw=0)
    axes.plot(x, f(x), color=figures.GREY, lw=5, alpha=0.5, label="f")
    for n, colour, style in ((10, figures.ORANGE, "--"), (40, figures.BLUE, "-")):
        axes.plot(x, fnn.predict(SIGMOID, steps(f, n), x[:, None]), style, color=colour, lw=1.4)
        axes.lines[-1].set_label(f"{n} sigmoid units")
    axes.set(title="Close to f on [0, 1] only", xlabel="x", ylabel="network output")
    axes.legend(loc="lower right", fontsize=10)


def error_panel(axes: "Axes", errors: dict[str, np.ndarray], learnt: dict[int, list[float]]) -> None:
    """Plot errors over the number of units: of the constructed networks, and of the trained ones."""
    styles = (("^:", figures.PINK), ("o-", figures.BLUE), ("s--", figures.ORANGE))
    for (name, values), (style, colour) in zip(errors.items(), styles, strict=True):
        axes.plot(WIDTHS, values.T, style, color=colour, lw=1, ms=4, label=[name] + [None] * (len(values) - 1))
    for n, values in learnt.items():
        label = "sigmoid, trained (first f)" if n == min(learnt) else None
        axes.plot([n] * len(values), values, "x", color="black", ms=6, label=label)
    axes.set(xscale="log", yscale="log", xlabel="units of the hidden layer", ylabel="largest error on [0, 1]")
    axes.set_xticks(WIDTHS, labels=[str(n) for n in WIDTHS])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set(title="Twice the units, half the error", ylim=(5e-5, 3))
    axes.legend(loc="lower left", fontsize=10)


def run(config: Config) -> Outcome:
    """Construct the networks for each function and measure their errors; train networks for the first one."""
    from matplotlib.figure import Figure

    targets = [draw(seed) for seed in range(config.seeds)]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    with jax.enable_x64(True):
        sigmoid = np.array([[off(f, SIGMOID, steps(f, n), INSIDE) for n in WIDTHS] for f in targets])
        relu = np.array([[off(f, RELU, lines(f, n), INSIDE) for n in WIDTHS] for f in targets])
        outside = [off(f, SIGMOID, steps(f, WIDTHS[-1]), OUTSIDE) for f in targets]
        square = np.array([squares(f, seed) for seed, f in enumerate(targets)])
        target_panel(left, targets[0])
    learnt = {n: trained(targets[0], n, config) for n in TRAINED}
    errors = {"z², lower bound": square[..., 1], "sigmoid, constructed": sigmoid, "ReLU, constructed": relu}
    error_panel(right, errors, learnt)
    halved, quartered = sigmoid[:, 1:] / sigmoid[:, :-1], relu[:, 3:] / relu[:, 2:-1]
    ranks, worse = square[..., 0].ravel(), square[:, -1, 1] / relu[:, -1]
    criteria = [
        Criterion("160 sigmoid units: largest error on [0, 1]", sigmoid[:, -1].tolist(), most=0.05),
        Criterion("sigmoid, each doubling from 5: error after / before", halved.ravel().tolist(), 0.4, 0.6),
        Criterion("ReLU, each doubling from 20: error after / before", quartered.ravel().tolist(), 0.2, 0.3),
        Criterion("160 sigmoid units: largest error on [-3, 4]", outside, least=1),
        Criterion("z², 5 to 160 units: rank of units and bias", ranks.tolist(), 3, 3),
        Criterion("160 units: error, z² (lower bound) / ReLU", worse.tolist(), least=50),
    ]
    numbers = {f"largest error, {name}, {n} units": e[:, i].tolist() for name, e in errors.items() for i, n in SHOWN}
    numbers |= {f"largest error, sigmoid, trained, {n} units, first f": values for n, values in learnt.items()}
    remark = (
        "Errors of trained networks are not a criterion. Less steep steps can beat the constructed ones, but more "
        "units do not ensure it."
    )
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X26", ("C074", "C264"), run, quick=Config(seeds=4, steps=2000, starts=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
