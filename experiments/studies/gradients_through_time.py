"""Gradients through time vanish or explode; gates and their biases preserve them.

    python -m experiments gradients_through_time

Claims C223, C224 and C225 on gradients in deep networks. A recurrent network that has read k positions is as deep
as a network of k layers, all with the same weights. For h_t = tanh(z_t), z_t = x_t W + h_{t-1} U,

    ∂h_T/∂h_{T-k} = Π_t U diag(1 - h_t²),    t = T - k + 1, …, T

so the gradient changes about by the factor ρ (1 - h²) per position, where ρ is the spectral radius of U. An LSTM adds
to its cell, c_t = f ∘ c_{t-1} + i ∘ g, and along this way a position multiplies the gradient by f alone, at first
about σ(b_f). The study measures the Frobenius norm of ∂y_T/∂x_t over the lag T - t with the backward functions of the
layers, 64 units that read 101 standard normal vectors x_t, before any training.

Neither scale of U cures a tanh network: with ρ = 0.5 and 1 the gradient vanishes, with 1.5 it vanishes because the
units saturate, and it explodes if the inputs are small (0.01). A forget bias of 0 keeps nothing for 50 positions; one
of 3 keeps a fifth or more, but the gradient of small inputs then explodes. A relu network with U = 1 (IRNN) preserves
the gradient as well.

Expected results, norm at lag 50 / norm at lag 0: tanh 1e-26, 1e-12 and 1e-5 for ρ = 0.5, 1 and 1.5; GRU 1e-9; LSTM
1e-10, 2e-5, 0.3 and 0.4 for forget biases of 0, 1, 3 and 5; IRNN 0.7. With small inputs, ρ = 1.5: above 100 at lag 100.
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
from fnn.init import Initializer
from fnn.types import Layer, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N = 64  # units, and inputs per position
TIME = 101
LAG = 50  # at which gradients are compared with those of lag 0
SMALL = 0.01  # scale of small inputs


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Number of initialisations, each with a sequence of its own."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def radius(rho: float) -> Initializer:
    """Draw a Gaussian matrix and scale it to the spectral radius ρ, the largest absolute value of an eigenvalue."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float64) -> jax.Array:
        u = np.asarray(jax.random.normal(key, shape, dtype))
        return jnp.asarray(rho * u / np.abs(np.linalg.eigvals(u)).max(), dtype)

    return init


def identity(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """U = 1"""
    return jnp.eye(shape[0])


CELLS = {
    **{f"tanh, ρ = {rho:g}": fnn.rnn(N, N, u_init=radius(rho)) for rho in (0.5, 1.0, 1.5)},
    "IRNN": fnn.rnn(N, N, fnn.relu, u_init=identity),
    "GRU": fnn.gru(N, N),
    **{f"LSTM, b_f = {bias}": fnn.lstm(N, N, forget_bias=bias) for bias in (0, 1, 3, 5)},
}
SMALL_INPUTS = ("tanh, ρ = 1.5", "LSTM, b_f = 3")  # cells that read small inputs as well


def norms(layer: Layer, params: Params, x: jax.Array) -> jax.Array:
    """‖∂y_T/∂x_t‖ for x (1, time, n_in): (time,), lag 0 first."""
    y, residuals = layer.forward(params, x)
    units = jnp.arange(N)
    dy = jnp.zeros((N, *y.shape), y.dtype).at[units, 0, -1, units].set(1.0)  # a row of the Jacobian for each unit
    dx = jax.vmap(lambda dy: layer.backward(params, residuals, dy)[1])(dy)
    return jnp.sqrt(jnp.sum(jnp.square(dx), axis=(0, 1, 3)))[::-1]


def measure(layer: Layer, scale: float, seeds: int) -> np.ndarray:
    """The norms over the lag, relative to those of lag 0, for inputs of this scale: (seeds, time)."""
    follow, found = jax.jit(norms, static_argnums=0), []
    for seed in range(seeds):
        w_key, x_key = jax.random.split(jax.random.key(seed))
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), layer.init(w_key))
        found.append(follow(layer, params, scale * jax.random.normal(x_key, (1, TIME, N), jnp.float64)))
    values = np.asarray(found)
    return values / values[:, :1]


def deviation(layer: Layer) -> float:
    """The largest deviation of the norms from those by automatic differentiation, relative to the norm at each lag."""
    by_hand, by_jax = (measure(each, 1.0, 1) for each in (layer, fnn.autodiff(layer)))
    return float(np.abs((by_hand - by_jax) / np.where(by_jax > 0, by_jax, 1.0)).max())


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Plot the norms over the lag: the median of the seeds and the range."""
    colours = (figures.BLUE, figures.SKY, figures.GREEN, figures.ORANGE, figures.PINK)
    for (name, values), colour, dashes in zip(lines.items(), colours, ("-", "--", "-.", ":", "-"), strict=False):
        lags, values = np.arange(values.shape[1]), np.maximum(values, 1e-30)  # relu units may all be off
        axes.plot(lags, np.median(values, axis=0), color=colour, ls=dashes, lw=1.8, label=name)
        axes.fill_between(lags, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)
    axes.axhline(1, color=figures.GREY, lw=1.2, ls=":", label="as at lag 0")
    axes.set(title=title, xlabel="lag T - t", yscale="log", ylim=(1e-20, 1e10), xlim=(0, TIME - 1))
    axes.legend(loc="upper left", fontsize=9, ncols=2)


def run(config: Config) -> Outcome:
    """Measure the gradients of each cell."""
    from matplotlib.figure import Figure

    with jax.enable_x64(True):
        found = {name: measure(layer, 1.0, config.seeds) for name, layer in CELLS.items()}
        found |= {f"{name}, small inputs": measure(CELLS[name], SMALL, config.seeds) for name in SMALL_INPUTS}
        deviations = [deviation(CELLS[name]) for name in ("tanh, ρ = 1.5", "IRNN", "GRU", "LSTM, b_f = 3")]
    ratio = lambda name, lag=LAG: found[name][:, lag].tolist()
    limits = {
        "tanh, ρ = 0.5": (0.0, 1e-20),
        "tanh, ρ = 1": (0.0, 1e-9),
        "tanh, ρ = 1.5": (1e-8, 1e-2),
        "IRNN": (0.3, 1.5),
        "GRU": (1e-11, 1e-7),
        "LSTM, b_f = 0": (1e-12, 1e-8),
        "LSTM, b_f = 1": (1e-6, 1e-3),
        "LSTM, b_f = 3": (0.05, 2.0),
        "LSTM, b_f = 5": (0.05, 2.0),
    }
    criteria = [Criterion(f"{name}: lag {LAG} / lag 0", ratio(name), *limits[name]) for name in limits]
    criteria += [
        Criterion(f"{name}, small inputs: lag {TIME - 1} / lag 0", ratio(f"{name}, small inputs", TIME - 1), least=10)
        for name in SMALL_INPUTS
    ]
    criteria.append(Criterion("largest relative deviation from jax.vjp", deviations, most=1e-9))
    numbers = {f"{name}: lag {TIME - 1} / lag 0": ratio(name, TIME - 1) for name in limits}
    numbers |= {f"{name}, small inputs: lag {LAG} / lag 0": ratio(f"{name}, small inputs") for name in SMALL_INPUTS}

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    gated = [name for name in found if name.startswith(("LSTM", "GRU")) and "small" not in name]
    panel(left, "Without gates", {name: found[name] for name in found if name.startswith(("tanh", "IRNN"))})
    panel(right, "With gates", {name: found[name] for name in gated})
    left.set_ylabel("‖∂y_T/∂x_t‖ / that of lag 0")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X34", ("C223", "C224", "C225"), run, quick=Config(seeds=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
