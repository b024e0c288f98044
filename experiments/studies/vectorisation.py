"""Array operations compute the same numbers as loops in a fraction of the time.

    python -m experiments vectorisation

Claims C186, C205, C207, C209 and C258. Four computations, each written as a loop and as one operation on arrays:

    w·x                  z = Σ_j w_j x_j over a million entries: a Python loop, np.dot
    exp                  of each of 100,000 entries: math.exp in a loop, np.exp
    logistic regression  dw = 1/m Σ_i (σ(w·x_i + b) - y_i) x_i: loops over examples and features, over examples, none
    forward pass         of a network for 500 examples: one compiled call each, and one call for all (a full batch)

Both versions take turns. A speed-up is the ratio of the medians of their times. It depends on the machine and its load,
so the criteria ask for far less than was measured. For w·x, a loop of a thousand entries is affordable, as for the
models of the past; a loop of a million entries is not.

Expected results, depending on the load of a machine with two cores: arrays are 60 to 70 times as fast for w·x, 50 to
260 for exp, 600 to 8000 against two loops of logistic regression and 25 to 800 against one, and 10 to 60 for the
forward pass. Results agree to 1e-13.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study

M, N = 500, 100  # examples and features of logistic regression


@dataclass(frozen=True)
class Config:
    repeats: int = 9
    """Number of rounds: one loop, then the array version five times."""
    entries: int = 1_000_000
    """Number of entries of the longest w·x."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Pair(NamedTuple):
    """A computation as a loop and on arrays, and the least speed-up that counts as success."""

    loop: Callable[[], Any]
    arrays: Callable[[], Any]
    least: float = 5.0


class Timed(NamedTuple):
    """Median seconds of both versions, and the largest deviation relative to the largest entry."""

    loop: float
    arrays: float
    deviation: float


def dot_loop(w: np.ndarray, x: np.ndarray) -> float:
    """Σ w_j x_j, entry by entry."""
    z = 0.0
    for j in range(len(w)):
        z += w[j] * x[j]
    return z


def dot(size: int) -> Pair:
    """w·x with this number of entries."""
    w, x = np.random.default_rng(0).standard_normal((2, size))
    return Pair(lambda: dot_loop(w, x), lambda: np.dot(w, x))


def exponentials() -> Pair:
    """exp of each entry."""
    x = np.random.default_rng(1).standard_normal(100_000)
    return Pair(lambda: np.array([math.exp(value) for value in x]), lambda: np.exp(x))


def logistic_gradients() -> dict[str, Pair]:
    """dJ/dw with two loops and with one, against none."""
    rng = np.random.default_rng(2)
    x, y, w, b = rng.standard_normal((M, N)), rng.integers(2, size=M), 0.1 * rng.standard_normal(N), 0.1

    def two_loops() -> np.ndarray:
        dw = np.zeros(N)
        for i in range(M):
            z = b
            for j in range(N):
                z += w[j] * x[i, j]
            dz = 1 / (1 + math.exp(-z)) - y[i]
            for j in range(N):
                dw[j] += x[i, j] * dz / M
        return dw

    def one_loop() -> np.ndarray:
        dw = np.zeros(N)
        for i in range(M):
            dw += x[i] * (1 / (1 + np.exp(-(np.dot(w, x[i]) + b))) - y[i]) / M
        return dw

    def none() -> np.ndarray:
        return x.T @ (1 / (1 + np.exp(-(x @ w + b))) - y) / M

    return {
        "logistic regression, two loops": Pair(two_loops, none, least=10.0),
        "logistic regression, a loop over examples": Pair(one_loop, none),
    }


def forward_pass() -> Pair:
    """The forward pass of a network in float64, one example per call and all in one call."""
    network = fnn.mlp([N, 32, 10])
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), network.init(jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), (M, N), jnp.float64)
    rows = [x[i : i + 1] for i in range(M)]
    forward = jax.jit(lambda params, x: network.forward(params, x)[0])
    return Pair(lambda: np.concatenate([forward(params, row) for row in rows]), lambda: np.asarray(forward(params, x)))


def timed(pair: Pair, repeats: int) -> Timed:
    """Time both versions in turns, after one call of each for compilation and caches."""
    loop, arrays = np.asarray(pair.loop()), np.asarray(pair.arrays())
    deviation = np.abs(loop - arrays).max() / np.abs(arrays).max()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for way, spent in ((pair.loop, seconds[0]), *[(pair.arrays, seconds[1])] * 5):
            start = time.perf_counter()
            way()
            spent.append(time.perf_counter() - start)
    return Timed(float(np.median(seconds[0])), float(np.median(seconds[1])), float(deviation))


def run(config: Config) -> Outcome:
    """Time every pair, and w·x over its size."""
    from matplotlib.figure import Figure

    with jax.enable_x64(True):
        pairs = {f"w·x, {config.entries} entries": dot(config.entries), "exp of 100000 entries": exponentials()}
        pairs |= logistic_gradients() | {f"forward pass of {M} examples": forward_pass()}
        found = {name: timed(pair, config.repeats) for name, pair in pairs.items()}
    sizes = np.unique(np.geomspace(10, config.entries, 6).astype(int))
    scaling = [timed(dot(size), config.repeats) for size in sizes]

    criteria = [
        Criterion(f"{name}: times as fast on arrays", [found[name].loop / found[name].arrays], least=pair.least)
        for name, pair in pairs.items()
    ]
    deviations = [values.deviation for values in found.values()]
    criteria.append(Criterion("largest relative deviation between both versions", deviations, most=1e-9))
    numbers = {f"{name}: milliseconds, loop": 1e3 * values.loop for name, values in found.items()}
    numbers |= {f"{name}: milliseconds, arrays": 1e3 * values.arrays for name, values in found.items()}

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    names = list(found)[::-1]
    ratios = [found[name].loop / found[name].arrays for name in names]
    bars = left.barh([name.replace(", ", ",\n", 1) for name in names], ratios, color=figures.BLUE, height=0.55)
    left.bar_label(bars, [f"{ratio:.0f}" for ratio in ratios], padding=4)
    left.set(title="Speed-up", xscale="log", xlabel="time of the loop / time on arrays", xlim=(1, 8 * max(ratios)))
    left.set_axisbelow(True)
    left.grid(visible=False, axis="y")
    for way, colour, style in (("loop", figures.BLUE, "o-"), ("arrays", figures.ORANGE, "s--")):
        right.plot(sizes, [1e3 * getattr(values, way) for values in scaling], style, color=colour, label=way)
    right.set(title="w·x by size", xscale="log", yscale="log", xlabel="entries", ylabel="milliseconds")
    right.legend(loc="upper left")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X11", ("C186", "C205", "C207", "C209", "C258"), run, quick=Config(repeats=5))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
