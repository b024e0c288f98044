"""Variance 2/n preserves signals through ReLU layers, 1/n through linear ones.

    python -m experiments variance_through_layers

Claims C163, C164, C166, C167 and C169, on initialisation. With w ~ N(0, s²/n_in), a layer maps the mean square of its
input to those of z and of its output, and δ = dC/dz backward,

    E[z²] = s² E[a_in²],    E[a²] = E[z²] (identity), E[z²] / 2 (ReLU),    E[δ_in²] = s² (n_out / n_in) E[g'²] E[δ²],

so s² = 1 preserves the variance through linear layers, and s² = 2 through ReLU, which halves it (He's rule). The notes
print √(2 / (n_in + n_out)) under He's name. That is Glorot's rule, s² = 1 for equal widths, with which ReLU loses half
the signal in every layer. For sigmoid the notes suggest s² = 2, which preserves nothing, because its slope is at most
1/4. tanh with s² = 1 decays slowly. The second argument of a normal distribution matters too: √(2 / (n_in + n_out)) is
a standard deviation; read as a variance it makes signals explode.

The network has 20 layers of width 256, with 64 random inputs and a random gradient at the output. The study measures
quantities of layer 20 relative to layer 1, and for δ of layer 1 relative to layer 20.

Expected results: 0.7 to 1.1 for ReLU with He's rule (geometric means of six seeds), and 2e-6 with the rule printed
under his name; 0.9 to 1.1 for linear layers with 1/n. Sigmoid with 2/n keeps only 1e-10 of δ.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.errors import at_least
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from experiments.studies.vanishing_gradients import tap
from fnn.types import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, DEPTH, EXAMPLES, GROUP = 256, 20, 64, 6
READ_AS_VARIANCE = WIDTH * (2 / (2 * WIDTH)) ** 0.5  # s² if the printed √(2 / (n_in + n_out)) is read as a variance
SCALES = {  # activation -> s² of each rule
    fnn.relu: {"ReLU, He 2/n": 2.0, "ReLU, 2/(n + n)": 1.0},
    fnn.identity: {"linear, 1/n": 1.0, "linear, √(2/(n + n)) as a variance": READ_AS_VARIANCE},
    fnn.tanh: {"tanh, 1/n": 1.0},
    fnn.sigmoid: {"sigmoid, 1/n": 1.0, "sigmoid, 2/n": 2.0, "sigmoid, 16/n": 16.0},
}


@dataclass(frozen=True)
class Config:
    seeds: int = 30
    """Number of draws of weights, inputs and gradients, in groups of six."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def passes(g: fnn.Layer, scales: list[float], seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """E[a²] and E[δ²] of each of DEPTH layers with weights N(0, scale/n_in): (scales, seeds, 20) each."""
    block = fnn.serial(fnn.dense(WIDTH, WIDTH, fnn.init.normal(1.0)), tap((EXAMPLES, WIDTH)), g)
    mean_square = lambda a: jnp.mean(jnp.square(a))

    def forward(a: jax.Array, params: Params) -> tuple[jax.Array, tuple]:
        a, residuals = block.forward(params, a)
        return a, (mean_square(a), residuals)

    def backward(da: jax.Array, layer: tuple) -> tuple[jax.Array, jax.Array]:
        (_, delta, _), da = block.backward(*layer, da)
        return da, mean_square(delta)

    @jax.jit
    def measured(scale: jax.Array, w: jax.Array, x: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        zeros = jnp.zeros((DEPTH, WIDTH)), jnp.zeros((DEPTH, EXAMPLES, WIDTH))
        params = (fnn.Dense(w * jnp.sqrt(scale / WIDTH), zeros[0]), zeros[1], ())
        _, (forwards, residuals) = jax.lax.scan(forward, x, params)
        return forwards, jax.lax.scan(backward, dy, (params, residuals), reverse=True)[1]

    out = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        w = rng.standard_normal((DEPTH, WIDTH, WIDTH), np.float32)
        x, dy = rng.standard_normal((2, EXAMPLES, WIDTH), np.float32)
        out.append([measured(jnp.float32(scale), w, x, dy) for scale in scales])
    return tuple(np.moveaxis(np.asarray(out), 0, 1).transpose(2, 0, 1, 3))


def sampled(seeds: int) -> list[float]:
    """The largest relative deviation of sample variances of weights (784, 300) from the rules, per seed."""
    rules = {
        fnn.init.lecun_normal: 1 / 784,
        fnn.init.he_normal: 2 / 784,
        fnn.init.xavier_normal: 2 / (784 + 300),
        fnn.init.xavier_uniform: 2 / (784 + 300),
    }
    keys = jax.random.split(jax.random.key(0), seeds)
    off = lambda w_init, variance, key: abs(float(np.var(w_init(key, (784, 300)))) / variance - 1)
    return [max(off(w_init, variance, key) for w_init, variance in rules.items()) for key in keys]


def narrowing(w_init: fnn.init.Initializer) -> list[float]:
    """E[y²] / E[x²] and E[dx²] / E[dy²] through linear layers 400-200-100."""
    network, key = fnn.mlp((400, 200, 100), fnn.identity, w_init), jax.random.key(0)
    params = fnn.init_state(network, fnn.sgd(0.0), key).params
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.standard_normal((2000, n), np.float32)) for n in (400, 100))
    y, residuals = network.forward(params, x)
    dx = network.backward(params, residuals, dy)[1]
    return [float(np.mean(np.square(a)) / np.mean(np.square(b))) for a, b in ((y, x), (dx, dy))]


def fan_out(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """N(0, 1 / n_out)."""
    return fnn.init.normal(shape[1] ** -0.5)(key, shape)


def panel(axes: "Axes", lines: dict[str, np.ndarray]) -> None:
    """Plot geometric means over the seeds by layer."""
    styles = {
        "ReLU, He 2/n": (figures.ORANGE, "-", "P"),
        "ReLU, 2/(n + n)": (figures.BLUE, "-", "o"),
        "linear, 1/n": (figures.GREY, "--", "x"),
        "tanh, 1/n": (figures.SKY, "-", "D"),
        "sigmoid, 2/n": (figures.GREEN, "-.", "s"),
    }
    for name, values in lines.items():
        colour, line, marker = styles[name]
        mean = np.exp(np.mean(np.log(values), axis=0))
        axes.plot(range(1, DEPTH + 1), mean, color=colour, ls=line, marker=marker, ms=5, markevery=3, label=name)
    axes.set(yscale="log", xlabel="layer", xticks=range(0, DEPTH + 1, 5))
    axes.legend(loc="lower left" if "sigmoid, 2/n" not in lines else "lower right", fontsize=10)


def run(config: Config) -> Outcome:
    """Send signals and gradients through 20 layers under each rule."""
    from matplotlib.figure import Figure

    at_least("--seeds", config.seeds, GROUP)
    signal, gradient = {}, {}
    for g, rules in SCALES.items():
        forwards, backwards = passes(g, list(rules.values()), config.seeds)
        signal |= dict(zip(rules, forwards / forwards[..., :1], strict=True))
        gradient |= dict(zip(rules, np.sqrt(backwards / backwards[..., -1:]), strict=True))
    kept = {name: values[:, -1] for name, values in signal.items()}
    back = {name: values[:, 0] for name, values in gradient.items()}
    whole = config.seeds - config.seeds % GROUP
    grouped = lambda values: np.exp(np.log(values[:whole]).reshape(-1, GROUP).mean(axis=1)).tolist()
    wrong, variance = "ReLU, 2/(n + n)", "linear, √(2/(n + n)) as a variance"
    criteria = [
        Criterion("ReLU, He 2/n: mean a², layer 20 / 1, means of 6", grouped(kept["ReLU, He 2/n"]), 0.5, 2),
        Criterion("ReLU, He 2/n: ‖δ₁‖ / ‖δ₂₀‖, means of 6", grouped(back["ReLU, He 2/n"]), 0.5, 2),
        Criterion("ReLU, printed 2/(n + n): mean a², layer 20 / 1", kept[wrong].tolist(), most=1e-4),
        Criterion("linear, 1/n: mean a², layer 20 / 1, means of 6", grouped(kept["linear, 1/n"]), 0.5, 2),
        Criterion("linear, printed √ as a variance: mean a², layer 20 / 1", kept[variance].tolist(), least=1e20),
        Criterion("sigmoid, 2/n: ‖δ₁‖ / ‖δ₂₀‖", back["sigmoid, 2/n"].tolist(), most=1e-6),
        Criterion("|sample variance of w / the rule's - 1|, largest of 4 rules", sampled(GROUP), most=0.05),
    ]
    numbers = {f"{name}: mean a², layer 20 / 1": values.tolist() for name, values in kept.items()}
    numbers |= {f"{name}: ‖δ₁‖ / ‖δ₂₀‖": values.tolist() for name, values in back.items()}
    rules = {"Glorot": fnn.init.xavier_normal, "1/n_in": fnn.init.lecun_normal, "1/n_out": fan_out}
    for name, w_init in rules.items():
        for way, factor in zip(("forward", "backward"), narrowing(w_init), strict=True):
            numbers[f"linear 400-200-100, {name}: variance kept {way}"] = factor
    remarks = [
        "tanh with 1/n does not preserve the variance: it falls slowly, because tanh compresses large values.",
        "If widths differ, no rule preserves both directions. Glorot's is between the two that preserve one.",
    ]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, {name: signal[name] for name in ("ReLU, He 2/n", "ReLU, 2/(n + n)", "linear, 1/n", "tanh, 1/n")})
    panel(right, {name: gradient[name] for name in ("ReLU, He 2/n", "sigmoid, 2/n", "linear, 1/n", "tanh, 1/n")})
    left.set(title="Signal forward", ylabel="mean of a², 1 in the first layer")
    right.set(title="Gradient backward", ylabel="‖δ‖, 1 in the last layer")
    return Outcome(criteria, figure, numbers, remarks)


STUDY = Study("X07", ("C163", "C164", "C166", "C167", "C169"), run, quick=Config(seeds=6))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
