"""The gradient of recurrent weights is one product after the loop over time.

    python -m experiments weight_gradient_outside_scan

Claim C205, that loops are slow and matrix products fast. The gradient of the recurrent weights of an LSTM or a GRU is a
sum over positions,

    dU = Σ_t h_{t-1}ᵀ dz_t

Automatic differentiation of the scan over time (jax.grad) adds one term per position: a small product in each round of
the loop, and a sum of the size of U that the loop carries along. The hand-written backward keeps dz_t, which dW needs
anyway, and computes dU after the loop as one product over all positions.

The study trains an LSTM (128 units, 100 positions, batch 64) and a GRU (256 units, 50 positions, batch 32) on 64 inputs
per position, with `fnn.lstm` and `fnn.gru` and with jax.grad of the same forward (`fnn.autodiff`). It counts the
arithmetic of matrix products and the numbers that loops carry in both programs, and reads XLA's count of temporary
memory. Both take turns in a measurement of the time of 8 steps. Times depend on the machine and its load, so they are
shown but are no criteria.

Expected results: both ways do the same products. With jax.grad a third of those in the loop are dU's, and the
loops carry 2.4 (LSTM) and 13 (GRU) times as many numbers. By hand the LSTM needs 0.68 of the temporary memory and the
GRU 0.76. On two shared cores jax.grad took 1.4 (LSTM) and 1.5 (GRU) times the CPU time, medians.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Batch, Layer, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUTS, STEPS = 64, 8
OPTIMIZER, LOSS = fnn.sgd(0.1), fnn.squared_error


class Case(NamedTuple):
    """A layer and the sequences it trains on."""

    layer: Layer
    units: int
    batch: int
    time: int


CASES = {
    "LSTM": Case(fnn.lstm(INPUTS, 128), units=128, batch=64, time=100),
    "GRU": Case(fnn.gru(INPUTS, 256), units=256, batch=32, time=50),
}
HAND, AUTO = "hand-written", "jax.grad"


@dataclass(frozen=True)
class Config:
    rounds: int = 7
    """Number of rounds; in each, both ways train for 8 steps."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def ways(case: Case) -> dict[str, Layer]:
    """The layer with both backward passes."""
    return {HAND: case.layer, AUTO: fnn.autodiff(case.layer)}


def draw(case: Case, batches: int) -> Batch:
    """Normal inputs and targets for a number of batches."""
    rng, rows = np.random.default_rng(0), case.batch * batches
    shapes = (rows, case.time, INPUTS), (rows, case.time, case.units)
    x, y = (jnp.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in shapes)
    return x, 0.1 * y


def inner(value: Any) -> Iterator[Any]:
    """The programs among the parameters of an operation."""
    for part in value if isinstance(value, tuple | list) else (value,):
        part = getattr(part, "jaxpr", part)
        if hasattr(part, "eqns"):
            yield part


def count(program: Any, repeats: int = 1, in_loop: bool = False) -> Counter[str]:
    """Count FLOPs of matrix products, in all and inside loops, and the numbers that loops carry, in a jaxpr."""
    found: Counter[str] = Counter()
    for operation in program.eqns:
        name, length = operation.primitive.name, 1
        if name == "dot_general":
            (contracted, _), _ = operation.params["dimension_numbers"]
            shared = np.prod([operation.invars[0].aval.shape[axis] for axis in contracted])
            flops = int(2 * shared * operation.outvars[0].aval.size) * repeats
            found["products"] += flops
            found["products in loops"] += flops * in_loop
        if name == "scan":
            length, (body,) = operation.params["length"], inner(operation.params["jaxpr"])
            pairs = zip(operation.outvars, body.outvars, strict=True)  # what is not carried is stacked: one more axis
            carried = sum(after.aval.size for all_rounds, after in pairs if all_rounds.aval.ndim == after.aval.ndim)
            found["numbers carried"] += length * repeats * carried
        for value in operation.params.values():
            for part in inner(value):
                found += count(part, repeats * length, in_loop or name == "scan")
    return found


def gradient(layer: Layer, params: Params, batch: Batch) -> Params:
    """The gradient of the mean cost."""
    return fnn.value_and_grad(layer, LOSS)(params, *batch)[1]


def analyse(layer: Layer, case: Case) -> dict[str, float]:
    """Arithmetic, numbers carried, and temporary memory in MiB of a gradient."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    shapes = (case.batch, case.time, INPUTS), (case.batch, case.time, case.units)
    batch = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    traced = jax.jit(gradient, static_argnums=0).trace(layer, params, batch)
    analysis: Any = traced.lower().compile().memory_analysis()
    counted = {name: float(value) for name, value in count(traced.jaxpr.jaxpr).items()}
    return counted | {"temporary MiB": analysis.temp_size_in_bytes / 2**20}


def deviation(case: Case) -> float:
    """The largest difference of both gradients in float64, relative to the largest entry of the leaf."""
    with jax.enable_x64(True):
        to_double = lambda leaf: leaf.astype(jnp.float64)
        small = case._replace(batch=3, time=7)
        batch = jax.tree.map(to_double, draw(small, 1))
        params = jax.tree.map(to_double, case.layer.init(jax.random.key(0)))
        hand, auto = (jax.tree.leaves(gradient(layer, params, batch)) for layer in ways(case).values())
        return max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(hand, auto, strict=True))


def timed(case: Case, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds per step, wall and CPU, of each round of both ways in turns: (rounds, 2)."""
    data = draw(case, STEPS)
    epochs, states = {}, {}
    for name, layer in ways(case).items():
        epochs[name] = fnn.make_epoch(fnn.make_step(layer, LOSS, OPTIMIZER), case.batch)
        states[name] = fnn.init_state(case.layer, OPTIMIZER, jax.random.key(0))
        states[name] = jax.block_until_ready(epochs[name](states[name], data)[0])  # compiles
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            states[name] = jax.block_until_ready(epoch(states[name], data)[0])
            spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: 1e3 / STEPS * np.array(values) for name, values in spent.items()}


def draw_bars(figure: "Figure", values: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw a panel per quantity with a pair of bars per layer."""
    quantities = list(next(iter(values.values()))[HAND])
    panels = figure.subplots(1, len(quantities))
    for axes, quantity in zip(panels, quantities, strict=True):
        for i, (way, colour) in enumerate(((HAND, figures.BLUE), (AUTO, figures.ORANGE))):
            heights = [values[name][way][quantity] for name in CASES]
            places = np.arange(len(CASES)) + 0.4 * i - 0.2
            bars = axes.bar(places, heights, width=0.36, color=colour, label=way)
            axes.bar_label(bars, [f"{height:.3g}" for height in heights], padding=2, fontsize=9)
        axes.set(title=quantity, xticks=range(len(CASES)), xticklabels=list(CASES))
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.12)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


def run(config: Config) -> Outcome:
    """Count and time both ways for each layer."""
    from matplotlib.figure import Figure

    criteria, numbers, shown = [], {}, {}
    for name, case in CASES.items():
        found = {way: analyse(layer, case) for way, layer in ways(case).items()}
        ratio = {quantity: found[HAND][quantity] / found[AUTO][quantity] for quantity in found[HAND]}
        text = f"{name}: {HAND} / {AUTO}"
        criteria += [
            Criterion(f"{text}, FLOPs of matrix products", [ratio["products"]], most=1.0),
            Criterion(f"{text}, FLOPs of products in loops", [ratio["products in loops"]], most=0.7),
            Criterion(f"{text}, numbers carried by loops", [ratio["numbers carried"]], most=0.5),
            Criterion(f"{text}, temporary memory", [ratio["temporary MiB"]], most=0.95),
            Criterion(f"{name}: largest relative deviation of the gradients", [deviation(case)], most=1e-12),
        ]
        times = timed(case, config.rounds)
        median = {way: np.median(values, axis=0) for way, values in times.items()}
        for i, kind in enumerate(("wall", "CPU")):
            per_round = times[AUTO][:, i] / times[HAND][:, i]
            numbers[f"{name}: {kind} time, {AUTO} / {HAND}"] = per_round.tolist()
            numbers |= {f"{name}: median {kind} ms per step, {way}": float(median[way][i]) for way in times}
        numbers |= {f"{name}: temporary MiB, {way}": found[way]["temporary MiB"] for way in found}
        shown[name] = {
            way: {
                "CPU ms per step": float(median[way][1]),
                "wall ms per step": float(median[way][0]),
                "temporary MiB": found[way]["temporary MiB"],
                "GFLOP in loops": found[way]["products in loops"] / 1e9,
            }
            for way in found
        }
    figure = Figure(figsize=(11.5, 3.8), layout="constrained")
    draw_bars(figure, shown)
    return Outcome(criteria, figure, numbers, ["Times are those of this machine, with its load, and not criteria."])


STUDY = Study("X37", ("C205",), run, quick=Config(rounds=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
