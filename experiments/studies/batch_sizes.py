"""Batch size 1, 16 or all: accuracy of a step, its cost, and progress per pass.

    python -m experiments batch_sizes

Claims C176, C178, C179 and C180 on variants of gradient descent. The gradient of a batch of B of the m examples,
drawn without replacement, is the full gradient plus noise,

    E ‖g_B - g‖² = S² (1 - B/m)/B,    S² the variance of one example's gradient.

A step on all examples is therefore exact and costs m gradients. Steps on few examples are cheap, but some go uphill.
A network 64-32-10 is trained on 1400 digits with B = 1, 16 and 1400, each at a suitable learning rate. The study
measures the cost on all 1400 digits after every pass, the same after every step of the first pass (B = 1 and 1400),
and the noise and the direction of batch gradients at the initial weights. The costs of consecutive batches would be
no measure, because they vary even if the parameters do not change.

Expected results: after one pass the cost is 0.2 to 0.4 with B = 1, 0.4 to 0.5 with 16, and 2.2 to 2.3 with all; after
20 passes 0.005 to 0.009, 0.02 to 0.03, and 0.65 to 0.8. With B = 1, 43 to 45 % of the steps raise the cost; with all
examples none does (except one in 20 from one initialisation at α = 0.5). The noise follows the formula within 2 %.
The cosine between batch and full gradient is 0.14 to 0.23 for B = 1, 0.5 to 0.7 for 16, and 0.99 for 700. A step on
all examples takes some 90 times as long as a step on one.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Batch, Params, TrainState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORK = fnn.mlp([64, 32, 10])
LOSS = fnn.softmax_cross_entropy
EXAMPLES = 1400
RATES = {1: 0.03, 16: 0.2, EXAMPLES: 0.5}  # learning rate by batch size
SIZES = (1, 4, 16, 64, 256, 700)  # batch sizes whose gradients are compared
STYLES = {1: (figures.BLUE, "-"), 16: (figures.ORANGE, "--"), EXAMPLES: (figures.GREY, ":")}
CALM = 0.2  # a learning rate at which full-batch steps never overshoot


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations and orders of the examples."""
    epochs: int = 20
    """Passes over the examples."""
    draws: int = 400
    """Number of batches of each size whose gradients are compared."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def name(size: int) -> str:
    """The label of a batch size."""
    return f"all {EXAMPLES}" if size == EXAMPLES else f"B = {size}"


def costs(size: int, data: Batch, keys: jax.Array, epochs: int) -> np.ndarray:
    """The cost on all data after each pass: (seeds, epochs)."""
    make_optimizer = lambda hyper: fnn.sgd(RATES[size])
    run = fnn.make_run(NETWORK, LOSS, make_optimizer, data, epochs=epochs, batch_size=size, validation=data)
    return np.asarray(jax.vmap(run, in_axes=(None, 0))(None, keys).history["validation_cost"])


def path(size: int, rate: jax.Array, data: Batch, key: jax.Array, passes: int) -> jax.Array:
    """The cost on all data before the first step and after each step."""
    optimizer = fnn.sgd(rate)
    train = fnn.make_step(NETWORK, LOSS, optimizer)

    def cost(params: Params) -> jax.Array:
        return LOSS.forward(NETWORK.forward(params, data[0])[0], data[1])[0].mean()

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        state, _ = train(state, batch)
        return state, cost(state.params)

    state, epoch = fnn.init_state(NETWORK, optimizer, key), fnn.make_epoch(step, size)
    first = cost(state.params)
    _, after = jax.lax.scan(lambda state, _: epoch(state, data), state, None, length=passes)
    return jnp.concatenate([first[None], after.reshape(-1)])


def step_time(size: int, data: Batch, passes: int) -> float:
    """Microseconds per step, from the fastest of five runs."""
    optimizer, seconds = fnn.sgd(RATES[size]), []
    epoch = fnn.make_epoch(fnn.make_step(NETWORK, LOSS, optimizer), size)
    state = fnn.init_state(NETWORK, optimizer, jax.random.key(0))
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(passes):
            state, _ = epoch(state, data)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - start)
    return 1e6 * min(seconds[1:]) / (passes * -(-EXAMPLES // size))


def compare(data: Batch, keys: jax.Array, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Rms of ‖g_B - g‖ and mean cosine between g_B and g at the initial weights: (seeds, sizes) each."""
    rng = np.random.default_rng(0)
    order = rng.random((draws, EXAMPLES)).argsort(axis=1)
    # the weight of each example in a batch's mean
    share = jnp.asarray(np.stack([(order < size) / size for size in SIZES]), jnp.float32)
    gradient = fnn.value_and_grad(NETWORK, LOSS)

    @jax.jit
    def at(key: jax.Array, data: Batch, share: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = NETWORK.init(key)
        one = lambda x, y: ravel_pytree(gradient(params, x[None], y[None])[1])[0]
        each = jax.vmap(one)(*data)
        exact, batches = each.mean(axis=0), share @ each
        noise = jnp.sqrt(jnp.square(batches - exact[None, None]).sum(axis=2).mean(axis=1))
        norms = jnp.linalg.norm(batches, axis=2) * jnp.linalg.norm(exact)
        return noise, (batches @ exact / norms).mean(axis=1)

    found = [at(key, data, share) for key in keys]
    return np.array([noise for noise, _ in found]), np.array([cosine for _, cosine in found])


def draw(figure: "Figure", by_pass: dict[int, np.ndarray], paths: dict[int, np.ndarray], noise: np.ndarray) -> None:
    """Plot the cost by pass, the cost by step of the first passes, and the noise by batch size."""
    left, middle, right = figure.subplots(1, 3)
    for size, values in by_pass.items():
        colour, dashes = STYLES[size]
        axis = np.arange(1, values.shape[1] + 1)
        label = f"{name(size)}, α = {RATES[size]}"
        left.plot(axis, values.T, color=colour, ls=dashes, lw=1.3, label=[label] + [None] * (len(values) - 1))
    left.set(title="By pass", xlabel="passes over the digits", ylabel="cost on all digits", yscale="log")
    for size, values in paths.items():
        middle.plot(values[0, :60], color=STYLES[size][0], marker=".", ms=4, lw=1.2, label=name(size))
    middle.set(title="By step, one training", xlabel="step", ylabel="cost on all digits")
    sizes, scale = np.array(SIZES), np.sqrt((1 - np.array(SIZES) / EXAMPLES) / np.array(SIZES))
    constant = (noise / scale).mean(axis=1)
    right.plot(sizes, noise.T, "o", color=figures.BLUE, ms=4, label=["measured"] + [None] * (len(noise) - 1))
    right.plot(
        sizes,
        np.outer(scale, constant),
        color="black",
        ls=":",
        lw=1,
        label=["S √((1 - B/m)/B)"] + [None] * (len(noise) - 1),
    )
    right.set(title="Noise", xscale="log", yscale="log", xlabel="batch size B", ylabel="rms of ‖g_B - g‖")
    for axes in (left, middle, right):
        axes.legend(fontsize=9.5)


def run(config: Config) -> Outcome:
    """Train with each batch size, record the cost of the first steps, compare gradients."""
    from matplotlib.figure import Figure

    x, y = load_digits()
    data = (jnp.asarray(x[:EXAMPLES]), jnp.asarray(y[:EXAMPLES]))
    keys = jax.random.split(jax.random.key(0), config.seeds)
    follow = jax.vmap(path, in_axes=(None, None, None, 0, None))
    follow = jax.jit(jax.vmap(follow, in_axes=(None, 0, None, None, None)), static_argnums=(0, 4))
    paths = {1: np.asarray(follow(1, jnp.array([RATES[1]]), data, keys, 1))[0]}
    calm, paths[EXAMPLES] = np.asarray(follow(EXAMPLES, jnp.array([CALM, RATES[EXAMPLES]]), data, keys, config.epochs))
    by_pass = {size: costs(size, data, keys, config.epochs) for size in (1, 16)}
    by_pass[EXAMPLES] = paths[EXAMPLES][:, 1:]  # a pass is a step
    noise, cosine = compare(data, keys, config.draws)

    fall = {size: by_pass[size][:, 0] / by_pass[EXAMPLES][:, 0] for size in (1, 16)}
    rising = lambda costs: (np.diff(costs) > 0).mean(axis=1).tolist()
    scaled = noise / np.sqrt((1 - np.array(SIZES) / EXAMPLES) / np.array(SIZES))[None]
    spread = np.abs(scaled / scaled.mean(axis=1, keepdims=True) - 1).max(axis=1)
    criteria = [
        *(Criterion(f"cost after one pass, {name(size)} / all", of.tolist(), most=0.5) for size, of in fall.items()),
        Criterion("share of steps that raise the cost on all digits, B = 1", rising(paths[1]), least=0.25),
        Criterion(f"the same share, full batch, α = {CALM}", rising(calm), most=0.0),
        Criterion("noise / √((1 - B/m)/B): largest relative deviation from its mean over B", spread.tolist(), most=0.1),
    ]
    numbers = {f"cost after one pass, {name(size)}": values[:, 0].tolist() for size, values in by_pass.items()}
    numbers[f"share of steps that raise the cost, full batch, α = {RATES[EXAMPLES]}"] = rising(paths[EXAMPLES])
    numbers |= {f"cost after {config.epochs} passes, {name(size)}": v[:, -1].tolist() for size, v in by_pass.items()}
    numbers |= {f"cosine to the full gradient, B = {size}": cosine[:, i].tolist() for i, size in enumerate(SIZES)}
    timed = ((1, 1), (EXAMPLES, 100))
    numbers |= {f"microseconds per step, {name(size)}": step_time(size, data, n) for size, n in timed}

    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    draw(figure, by_pass, paths, noise)
    remark = f"A full-batch step at α = {RATES[EXAMPLES]} may overshoot, so the criterion uses α = {CALM}."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X10", ("C176", "C178", "C179", "C180"), run, quick=Config(seeds=3, epochs=15, draws=200))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
