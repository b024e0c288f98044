"""Gradient noise and restarts escape local optima; momentum hardly helps.

    python -m experiments local_optima

Claims C177 and C192. The cost is a finite sum with two wells, of which the left one is deeper,

    f(w) = 1/n Σ f_i(w),    f_i(w) = (w² - 1)² + 0.3 w + ξ_i w,    Σ ξ_i = 0,

with a barrier between them at w = 0.0754. Of initial points from U(-2, 2), a share of (2 + 0.0754)/4 = 0.519 lies in
the basin of the deeper well. Gradient descent on f ends in the basin in which it starts. The statement that full
batches get stuck less often is therefore not reproduced. A step on one f_i, drawn at random, has gradient noise with
the deviation of ξ. If the noise is strong and the learning rate decays, descent leaves the shallow well more easily
than the deep one. Of the remedies in the notes, restarts perform as probability predicts, 1 - (1 - 0.519)⁵ = 0.974 for
the best of five. Momentum carries a few initial points over the barrier, Adam none.

Expected results: 0.50 to 0.54 of the initial points end in the deeper well with full batches, exactly those in its
basin, and as many with Adam and with noise of deviation 1. Noise of deviation 6 gives 0.70 to 0.77, of deviation 10
0.79 to 0.87. The best of five restarts gives 0.96 to 0.99, and momentum 0.95, in either form, 0.55 to 0.59.
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
from fnn.optimizers import apply_updates
from fnn.types import GradientTransformation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILT = 0.3
RESTARTS = 5
TERMS = 100  # n
NOISE = (1.0, 6.0, 10.0)  # deviations of ξ
BARRIER = float(np.sort(np.roots([4, 0, -4, TILT]).real)[1])
BASIN = (2 + BARRIER) / 4
ALPHA = 0.02


@dataclass(frozen=True)
class Config:
    seeds: int = 8
    """Number of draws of initial points, of ξ and of the order."""
    starts: int = 500
    """Initial points per draw."""
    steps: int = 5000
    """Steps from each initial point."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def value(w: np.ndarray) -> np.ndarray:
    """f(w)."""
    return (w**2 - 1) ** 2 + TILT * w


def gradient(w: jax.Array) -> jax.Array:
    """df/dw. The derivative of f_i adds ξ_i."""
    return 4 * w * (w**2 - 1) + TILT


def decayed(step: jax.Array) -> jax.Array:
    """The learning rate of noisy descent."""
    return ALPHA / (1 + step.astype(jnp.float32) / 1000)


def descend(
    optimizer: GradientTransformation, starts: jax.Array, steps: int, noise: jax.Array | None = None
) -> jax.Array:
    """Descend from each initial point (…, seeds, starts) and return the final points.

    noise   ξ of each term (…, seeds, terms); if given, a step uses the gradient of one random term
    """

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        w, state = carry
        slope = gradient(w)
        if noise is not None:
            drawn = jax.random.randint(key, w.shape, 0, TERMS)
            slope = slope + jnp.take_along_axis(noise, drawn, axis=-1)
        updates, state = optimizer.update(slope, state)
        return (apply_updates(w, updates), state), None

    keys = jax.random.split(jax.random.key(1), steps)
    (w, _), _ = jax.lax.scan(step, (starts, optimizer.init(starts)), keys)
    return w


def draw(figure: "Figure", shares: dict[str, np.ndarray]) -> None:
    """Plot the cost with its wells, and the share of each draw by method."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    w = np.linspace(-1.7, 1.7, 200)
    left.plot(w, value(w), color=figures.BLUE)
    left.axvspan(-1.7, BARRIER, color=figures.SKY, alpha=0.2, lw=0)
    left.text(-1.03, 0.6, "deeper\nwell", ha="center")
    left.text(0.96, 1.1, "shallow\nwell", ha="center")
    left.set(title="f(w), and the deeper well's basin", xlabel="w", ylabel="f(w)", xlim=(-1.7, 1.7))
    names = list(shares)[::-1]
    for row, name in enumerate(names):
        right.plot(shares[name], np.full(len(shares[name]), row), "o", color=figures.BLUE, ms=5, alpha=0.6)
    line = {"color": figures.GREY, "ls": "--", "lw": 1.3}
    right.axvline(BASIN, label="share of initial points in its basin", **line)
    right.axvline(1 - (1 - BASIN) ** RESTARTS, label=f"chance, best of {RESTARTS}", **(line | {"ls": ":"}))
    right.set_yticks(range(len(names)), names)
    right.set(title="Share that ends in the deeper well, every draw", xlim=(0.4, 1.02), ylim=(-0.6, len(names) - 0.4))
    right.legend(loc="upper center", bbox_to_anchor=(0.45, -0.1), ncols=2, fontsize=9.5)


def run(config: Config) -> Outcome:
    """Descend with every method from the same initial points."""
    from matplotlib.figure import Figure

    keys = jax.random.split(jax.random.key(0), 3)
    starts = jax.random.uniform(keys[0], (config.seeds, config.starts), minval=-2, maxval=2)
    terms = jax.random.normal(keys[1], (config.seeds, TERMS))
    terms = (terms - terms.mean(axis=1, keepdims=True)) / terms.std(axis=1, keepdims=True)
    deeper = lambda w: np.asarray(w < BARRIER).mean(axis=-1)
    go = jax.jit(descend, static_argnums=(0, 2))

    shares = {"full batch": deeper(go(fnn.sgd(ALPHA), starts, config.steps))}
    scales = jnp.array(NOISE)[:, None, None]
    noisy = go(
        fnn.sgd(decayed), jnp.broadcast_to(starts, (len(NOISE), *starts.shape)), config.steps, scales * terms[None]
    )
    shares |= {f"one term per step, ξ of {scale:g}": each for scale, each in zip(NOISE, deeper(noisy), strict=True)}
    more = jax.random.uniform(keys[2], (config.seeds, config.starts, RESTARTS), minval=-2, maxval=2)
    found = np.asarray(go(fnn.sgd(ALPHA), more, config.steps))
    lowest = np.take_along_axis(found, value(found).argmin(axis=2)[:, :, None], axis=2)[:, :, 0]
    shares[f"full batch, best of {RESTARTS} restarts"] = deeper(lowest)
    shares["momentum 0.95"] = deeper(go(fnn.momentum(ALPHA, 0.95), starts, config.steps))
    shares["heavy ball 0.95"] = deeper(go(fnn.heavy_ball(ALPHA, 0.95), starts, config.steps))
    shares["Adam"] = deeper(go(fnn.adam(ALPHA), starts, config.steps))

    full = shares["full batch"]
    criteria = [
        Criterion(
            "full batch: |share - share of initial points in the basin|",
            np.abs(full - deeper(starts)).tolist(),
            most=0.002,
        ),
        Criterion(
            "share, one term per step with ξ of 6, minus full batch",
            (shares["one term per step, ξ of 6"] - full).tolist(),
            least=0.1,
        ),
        Criterion(
            "share, one term per step with ξ of 1 and 10, minus full batch",
            np.concatenate([shares[f"one term per step, ξ of {n}"] - full for n in (1, 10)]).tolist(),
            least=-0.02,
        ),
        Criterion(
            f"share, best of {RESTARTS} restarts",
            shares[f"full batch, best of {RESTARTS} restarts"].tolist(),
            least=0.9,
        ),
        Criterion("|share, Adam, minus full batch|", np.abs(shares["Adam"] - full).tolist(), most=0.02),
    ]
    numbers = {f"share in the deeper well: {name}": share.tolist() for name, share in shares.items()}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    draw(figure, shares)
    remark = "Momentum carries about one initial point in twenty over the barrier. This is not a criterion."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X23", ("C177", "C192"), run, quick=Config(seeds=4, steps=3000))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
