"""What it costs fit to look whether all is finite: `python -m experiments.benchmarks.finite`.

The compiled epochs of fit (a look at all costs and the parameters once a call) beside the same without a look, twice
to show the noise, and beside a look at every step's gradient. Medians of the ratios within a round. Expected: fit at
most 1.01 and within the noise; every step's up to 1.3.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import fnn
from fnn.training import programs


class Work(NamedTuple):
    """A network, its data, and how many epochs a call has."""

    name: str
    network: fnn.Layer
    examples: int
    batch_size: int
    epochs: int


WORKS = (
    Work("784-30-10, batch 10", fnn.mlp([784, 30, 10], fnn.sigmoid), 10_000, 10, 2),
    Work("784-512-512-10, batch 128", fnn.mlp([784, 512, 512, 10]), 6_400, 128, 2),
    Work("2-4-1, full batch of 400", fnn.mlp([2, 4, 1], fnn.tanh), 400, 400, 5_000),
)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def without(
    program: programs.Program, carry: programs.Carry, data: tuple, validation: None, until: jax.Array
) -> programs.Carry:
    """`loop.advance` as it would be if it did not look."""

    def body(carry: programs.Carry) -> programs.Carry:
        state, logs = programs.reported_epoch(program, carry.state, data, validation)
        history = {name: column.at[carry.epoch].set(logs[name]) for name, column in carry.history.items()}
        return carry._replace(state=state, history=history, epoch=carry.epoch + 1)

    return jax.lax.while_loop(lambda carry: carry.epoch < until, body, carry)


def every_step(optimizer: fnn.GradientTransformation) -> fnn.GradientTransformation:
    """The optimizer, noting in its state whether all gradients so far were finite."""

    def update(gradients: fnn.types.Params, state: tuple, params: fnn.types.Params = None, **extra: object):
        inner, good = state
        updates, inner = optimizer.update(gradients, inner, params, **extra)
        return updates, (inner, good & programs.all_true(programs.finite_leaves(gradients)))

    return fnn.GradientTransformation(lambda params: (optimizer.init(params), jnp.asarray(True)), update)


def calls(work: Work) -> dict[str, Callable[[], float]]:
    """What is compared, by name: functions that run it once and return the seconds."""
    small = work.batch_size == work.examples
    key = jax.random.key(0)
    x = jax.random.normal(key, (work.examples, 2 if small else 784))
    y = (x[:, :1] > 0).astype(x.dtype) if small else jnp.arange(work.examples) % 10
    loss = fnn.sigmoid_cross_entropy if small else fnn.softmax_cross_entropy

    def prepared(advance: Callable, optimizer: fnn.GradientTransformation) -> Callable[[], float]:
        program = programs.Program(work.network, loss, optimizer, 0.0, (), work.batch_size, None)
        state, until = fnn.init_state(work.network, optimizer, key), jnp.int32(work.epochs)

        def call() -> float:
            carry = jax.block_until_ready(programs.init_carry(program, work.epochs, state, (x, y), None))
            begun = time.perf_counter()
            jax.block_until_ready(advance(program, carry, (x, y), None, until))
            return time.perf_counter() - begun

        return call

    plain, at_every = fnn.momentum(0.01), every_step(fnn.momentum(0.01))
    variants = {"no look": without, "again": without, "fit": programs.run_epochs}
    made = {name: prepared(advance, plain) for name, advance in variants.items()}
    return made | {"every step": prepared(without, at_every)}


def main(repeats: int = 21) -> None:
    """Prints a line per work: seconds without a look, and how many times that the others take."""
    print(f"{'':28}{'no look':>10}{'again':>10}{'fit':>10}{'every step':>12}")
    for work in WORKS:
        compared = calls(work)
        times: dict[str, list[float]] = {name: [] for name in compared}
        for call in compared.values():
            call()
        for round_ in range(repeats):
            for name in list(compared)[:: 1 if round_ % 2 else -1]:  # there and back: the place in a round counts
                times[name].append(compared[name]())
        base = times["no look"]
        ratios = [statistics.median(b / a for a, b in zip(base, times[name], strict=True)) for name in list(times)[1:]]
        print(f"{work.name:28}{statistics.median(base):8.3f} s{ratios[0]:10.3f}{ratios[1]:10.3f}{ratios[2]:12.3f}")


if __name__ == "__main__":
    main()
