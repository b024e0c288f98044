"""Cost of checking a training for non-finite values.

    python -m experiments.benchmarks.finite

`fit` checks its costs and its parameters once per compiled call, and has no switch to turn the check off. This
benchmark therefore writes the loop over epochs itself, from `make_step` and `make_epoch`, and times it

    no check      without any check,
    again         the same once more, which shows the noise,
    per call      with the check of `fit`: all costs and all parameters, once at the end of a call,
    per step      with a check of every step's gradient.

Prints, for each workload, the seconds without a check and the medians of the ratios to it within a round. Expected
results: at most 1.01 per call, which is within the noise, and up to 1.3 per step.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn
from fnn.types import Params, TrainState


class Workload(NamedTuple):
    """A network, its data, and the number of epochs in a call."""

    name: str
    network: fnn.Layer
    examples: int
    batch_size: int
    epochs: int


WORKLOADS = (
    Workload("784-30-10, batch 10", fnn.mlp([784, 30, 10], fnn.sigmoid), 10_000, 10, 2),
    Workload("784-512-512-10, batch 128", fnn.mlp([784, 512, 512, 10]), 6_400, 128, 2),
    Workload("2-4-1, full batch of 400", fnn.mlp([2, 4, 1], fnn.tanh), 400, 400, 5_000),
)


def all_finite(tree: Any) -> jax.Array:
    """Return whether all entries of all leaves are finite."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()


def check_every_step(optimizer: fnn.GradientTransformation) -> fnn.GradientTransformation:
    """Extend the optimizer's state by a flag: have all gradients so far been finite?"""

    def update(gradients: Params, state: tuple, params: Params = None, **extra: object):
        inner, finite = state
        updates, inner = optimizer.update(gradients, inner, params, **extra)
        return updates, (inner, finite & all_finite(gradients))

    return fnn.GradientTransformation(lambda params: (optimizer.init(params), jnp.asarray(True)), update)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def run_epochs(
    epoch: Callable, check: bool, state: TrainState, costs: jax.Array, data: fnn.types.Data
) -> tuple[TrainState, jax.Array, jax.Array]:
    """Run one epoch per entry of `costs`.

    Returns the state, the mean costs, and whether all of it is finite.
    """

    def body(i: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
        state, costs = carry
        state, step_costs = epoch(state, data)
        return state, costs.at[i].set(step_costs.mean())

    state, costs = jax.lax.fori_loop(0, costs.size, body, (state, costs))
    finite = all_finite((costs, state.params)) if check else jnp.asarray(True)
    return state, costs, finite


def make_calls(workload: Workload) -> dict[str, Callable[[], float]]:
    """Return the variants by name: functions that run one call and return its seconds."""
    small = workload.batch_size == workload.examples
    key = jax.random.key(0)
    x = jax.random.normal(key, (workload.examples, 2 if small else 784))
    y = (x[:, :1] > 0).astype(x.dtype) if small else jnp.arange(workload.examples) % 10
    loss = fnn.sigmoid_cross_entropy if small else fnn.softmax_cross_entropy

    def make_call(optimizer: fnn.GradientTransformation, check: bool) -> Callable[[], float]:
        epoch = fnn.make_epoch(fnn.make_step(workload.network, loss, optimizer), workload.batch_size)

        def call() -> float:
            state, costs = fnn.init_state(workload.network, optimizer, key), jnp.zeros(workload.epochs)
            jax.block_until_ready((state, costs))
            start = time.perf_counter()
            jax.block_until_ready(run_epochs(epoch, check, state, costs, (x, y)))
            return time.perf_counter() - start

        return call

    plain = fnn.momentum(0.01)
    return {
        "no check": make_call(plain, False),
        "again": make_call(plain, False),
        "per call": make_call(plain, True),
        "per step": make_call(check_every_step(plain), False),
    }


def main(repeats: int = 21) -> None:
    """Print a line per workload."""
    print(f"{'':28}{'no check':>10}{'again':>10}{'per call':>10}{'per step':>10}")
    for workload in WORKLOADS:
        calls = make_calls(workload)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for round_ in range(repeats):
            for name in list(calls)[:: 1 if round_ % 2 else -1]:  # the order within a round alternates
                times[name].append(calls[name]())
        base, *others = times.values()
        ratios = [statistics.median(b / a for a, b in zip(base, seconds, strict=True)) for seconds in others]
        print(f"{workload.name:28}{statistics.median(base):8.3f} s" + "".join(f"{ratio:10.3f}" for ratio in ratios))


if __name__ == "__main__":
    main()
