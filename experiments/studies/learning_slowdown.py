"""A badly wrong sigmoid neuron learns slowly with squared error.

    python -m experiments learning_slowdown

Claims C082, C215, C216 and C217. With cross-entropy the neuron learns faster the more wrong it is. One neuron a = σ(w
x + b) has to output y = 0 for x = 1. With δ = dC/dz,

    quadratic cost   C = ½ (a - y)²                        δ = (a - y) σ'(z),  σ' = a (1 - a),
    cross-entropy    C = -[y ln a + (1 - y) ln(1 - a)]     δ = a - y,

dC/dw = δ x and dC/db = δ. With both costs, learning slows down near the target. Far from the target, only cross-entropy
is fast. For y = 0, the gradient a² (1 - a) of the quadratic cost is largest at a = 2/3 and falls to zero as a
approaches 1, because σ saturates.

The neuron starts at (w, b) = (2, 2), badly wrong, and at (0.6, 0.9), with each cost. Learning rates of two costs are
not comparable. Therefore cross-entropy also runs with the learning rate at which it needs as many epochs to reach
a = 0.1 as the quadratic cost does.

Expected results: in 100 epochs from (2, 2) the output falls by 0.018 with the quadratic cost and by 0.94 with
cross-entropy. The fastest epoch of the quadratic cost, number 222, is 113 times as fast as its first. If both reach
the target at the same time, the outputs after a quarter of that time are a = 0.96 and 0.67.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.errors import at_least, positive
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = dict[tuple[float, float], np.ndarray]  # initial (w, b) -> output over the epochs

NEURON = fnn.serial(fnn.dense(1, 1), fnn.sigmoid)
QUADRATIC, CROSS_ENTROPY = fnn.squared_error, fnn.binary_cross_entropy
BAD, MILD = (2.0, 2.0), (0.6, 0.9)
END = 0.1  # the output at which two runs count as equally far


@dataclass(frozen=True)
class Config:
    epochs: int = 600
    """Steps of gradient descent, from each initial point and with each cost."""
    learning_rate: float = 0.15
    """Learning rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def example() -> tuple[jax.Array, jax.Array]:
    """The example x = 1, y = 0 as arrays of one row."""
    return jnp.ones((1, 1)), jnp.zeros((1, 1))


def neuron(w: jax.Array, b: jax.Array) -> tuple[fnn.Dense, tuple[()]]:
    """The parameters of NEURON."""
    return fnn.Dense(jnp.reshape(w, (1, 1)), jnp.reshape(b, (1,))), ()


def outputs(loss: fnn.Loss, start: tuple[float, float], rates: jax.Array, epochs: int) -> np.ndarray:
    """The output a after 0, 1, … epochs with each learning rate: (rates, epochs)."""
    run = fnn.make_run(
        NEURON,
        loss,
        fnn.sgd,
        example(),
        epochs=epochs,
        batch_size=1,
        init=lambda rate: neuron(*map(jnp.asarray, start)),
        metrics={"output": lambda prediction, target: prediction[:, 0]},
    )
    return np.asarray(jax.vmap(run, in_axes=(0, None))(rates, jax.random.key(0)).history["output"])


def slopes(loss: fnn.Loss, z: jax.Array) -> np.ndarray:
    """dC/db at each weighted input z: (n,)."""
    gradient = fnn.value_and_grad(NEURON, loss)
    db = lambda z: gradient(neuron(z, jnp.zeros_like(z)), *example())[1][0].b[0]
    return np.asarray(jax.vmap(db)(z))


def end(output: np.ndarray) -> np.ndarray:
    """Epochs until the output reaches END, along the last axis; the number of epochs if it never does."""
    there = output <= END
    return np.where(there.any(-1), there.argmax(-1), output.shape[-1])


def run(config: Config) -> Outcome:
    """Train the neuron with both costs, and with cross-entropy at the learning rate of equal duration."""
    from matplotlib.figure import Figure

    at_least("--epochs", config.epochs, 500)
    positive("--learning-rate", config.learning_rate)
    with jax.enable_x64(True):
        rate = jnp.array([config.learning_rate])
        quadratic = {start: outputs(QUADRATIC, start, rate, config.epochs)[0] for start in (BAD, MILD)}
        cross = {start: outputs(CROSS_ENTROPY, start, rate, config.epochs)[0] for start in (BAD, MILD)}
        rates = jnp.geomspace(config.learning_rate / 30, config.learning_rate, 500)
        slow = outputs(CROSS_ENTROPY, BAD, rates, config.epochs)
        z = jnp.linspace(-10, 10, 2001)
        slope = {loss.name: slopes(loss, z) for loss in (QUADRATIC, CROSS_ENTROPY)}
    a = 1 / (1 + np.exp(-np.asarray(z)))
    finish = end(quadratic[BAD])
    chosen = int(np.abs(end(slow) - finish).argmin())
    fair, quarter = slow[chosen], int(finish) // 4
    speed = -np.diff(quadratic[BAD])
    ratio = lambda n: float((cross[BAD][0] - cross[BAD][n]) / (quadratic[BAD][0] - quadratic[BAD][n]))
    derived = max(np.abs(slope[QUADRATIC.name] - a * a * (1 - a)).max(), np.abs(slope[CROSS_ENTROPY.name] - a).max())
    criteria = [
        Criterion("fall of the output in 100 epochs from (2, 2), cross-entropy / quadratic", [ratio(100)], least=20),
        Criterion("quadratic: speed of the fastest epoch / of the first", [speed.max() / speed[0]], least=50),
        Criterion("equal time to 0.1: output after a quarter of it, quadratic", [quadratic[BAD][quarter]], least=0.9),
        Criterion("equal time to 0.1: output after a quarter of it, cross-entropy", [fair[quarter]], most=0.75),
        Criterion("quadratic: output at which |dC/db| is largest", [a[slope[QUADRATIC.name].argmax()]], 0.66, 0.673),
        Criterion("largest |dC/db - formula|, both costs", [derived], most=1e-12),
    ]
    numbers = {
        "fall in the first 50 epochs, cross-entropy / quadratic": ratio(50),
        "quadratic: the fastest epoch": float(speed.argmax() + 1),
        "equal time: epochs to 0.1, quadratic": float(finish),
        "equal time: epochs to 0.1, cross-entropy": float(end(fair)),
        "equal time: learning rate, cross-entropy": float(rates[chosen]),
    }
    for i in (1000, 1500, 2000):
        numbers[f"σ'({round(float(z[i]))})"] = float(a[i] * (1 - a[i]))
    for name, runs in (("quadratic", quadratic), ("cross-entropy", cross)):
        for start, output in runs.items():
            numbers[f"{name}: output after 100 epochs from {start}"] = output[100]
            numbers[f"{name}: output after 300 epochs from {start}"] = output[300]
            numbers[f"{name}: fall in the first epoch from {start}"] = output[0] - output[1]
    remark = (
        "Cross-entropy makes the speed of w and b proportional to the error. The output itself still changes more "
        "slowly from 0.98 than from 0.82, because σ is flatter there with either cost."
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    panel(left, quadratic, cross, fair)
    right.plot(a, slope[QUADRATIC.name], color=figures.BLUE, label="quadratic: a² (1 - a)")
    right.plot(a, slope[CROSS_ENTROPY.name], color=figures.ORANGE, label="cross-entropy: a")
    right.axvline(2 / 3, color=figures.GREY, lw=1.2, ls=":", label="a = 2/3")
    right.set(title="Gradient", xlabel="a, equal to the error", ylabel="dC/db", xlim=(0, 1), ylim=(0, 1))
    right.legend(loc="upper left")
    return Outcome(criteria, figure, numbers, [remark])


def panel(axes: "Axes", quadratic: Runs, cross: Runs, fair: np.ndarray) -> None:
    """Plot the output over the epochs."""
    axes.plot(quadratic[BAD], color=figures.BLUE, label="quadratic, from (2, 2)")
    axes.plot(quadratic[MILD], color=figures.BLUE, ls="--", label="quadratic, from (0.6, 0.9)")
    axes.plot(cross[BAD], color=figures.ORANGE, label="cross-entropy, from (2, 2)")
    axes.plot(cross[MILD], color=figures.ORANGE, ls="--", label="cross-entropy, from (0.6, 0.9)")
    axes.plot(fair, color=figures.ORANGE, ls=":", label="cross-entropy, from (2, 2), smaller steps")
    axes.set(title="Output (target: 0)", xlabel="epoch", ylabel="a", ylim=(0, 1.02), xlim=(0, None))
    axes.legend(loc="upper right", fontsize=9)


STUDY = Study("X01", ("C082", "C215", "C216", "C217"), run, quick=Config())


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
