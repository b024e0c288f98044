"""The rate of matrix products: of a workload's shapes, or square, as one program."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.benchmarks.peers import Job
from experiments.benchmarks.workloads import Data, Workload, flops

SIDE, COUNT = 2048, 4
LARGE_SIDE, LARGE_COUNT = 8192, 16
PART = 50
"""Number of regressions trained at a time."""


def square(work: Workload) -> Job:
    """A unit does as much arithmetic as the workload, in products of 2048 x 2048; in bfloat16 of 8192 x 8192."""
    side, count = (SIDE, COUNT) if work.dtype == "float32" else (LARGE_SIDE, LARGE_COUNT)
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((side, side), np.float32) / np.float32(side**0.5))
    matrix = matrix.astype(work.dtype)
    chain = jax.jit(lambda x, w: lax.fori_loop(0, count, lambda _, x: x @ w, x))

    def unit() -> None:
        chain(matrix, matrix).block_until_ready()

    return Job(unit, lambda: None, scale=flops(work) / (2.0 * side**3 * count))


def shapes(work: Workload) -> Job:
    """A unit is the matrix products of an epoch and nothing else.

    Per batch and layer: Y = X W, dW = Xᵀ dY and, except for the first layer, dX = dY Wᵀ. Networks that are trained at
    once share the batch, so their first products are combined into one. The other products are batched.
    """
    rng = np.random.default_rng(0)
    sizes, n = work.sizes, work.networks
    first = (sizes[0], n * sizes[1])
    rest = list(itertools.pairwise(sizes[1:]))

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape).astype(np.float32) / shape[-2] ** 0.5)

    x, w, others = draw(work.batch, sizes[0]), draw(*first), [draw(n, *pair) if n > 1 else draw(*pair) for pair in rest]

    @jax.jit
    def epoch(x, w, others):
        def batch(carry, _):
            x, total = carry
            y = x @ w
            y = y.reshape(work.batch, n, -1).swapaxes(0, 1) if n > 1 else y
            inputs = []
            for v in others:
                inputs.append(y)
                y = y @ v
            products, dy = [], y
            for v, a in zip(reversed(others), reversed(inputs), strict=True):
                products.append(a.mT @ dy)
                dy = dy @ v.mT
            dy = dy.swapaxes(0, 1).reshape(work.batch, -1) if n > 1 else dy
            # The barrier makes XLA compute the products completely, although only one entry is used.
            products = lax.optimization_barrier([*products, x.T @ dy])
            total = total + sum(p.ravel()[0] for p in products)
            return (x.at[0, 0].add(1e-9 * total), total), None

        return lax.scan(batch, (x, jnp.float32(0)), None, length=work.examples // work.batch)[0][1]

    def unit() -> None:
        epoch(x, w, others).block_until_ready()

    return Job(unit, lambda: None)


def regressions(work: Workload) -> Job:
    """A unit is the least work of many softmax regressions on the same examples.

    That is Z = X W, exp Z and dW = Xᵀ dZ. There is no other part of the loss, no bias and no penalty. The
    layout suits the products best, in parts that fit the CPU's caches.
    """
    rng, part = np.random.default_rng(0), math.gcd(work.networks, PART)
    x = jnp.asarray(rng.standard_normal((work.batch, work.sizes[0])).astype(np.float32))
    w = jnp.zeros((work.networks // part, work.sizes[0], part * work.sizes[1]), jnp.float32)

    @jax.jit
    def train(x, xt, w):
        descend = lambda _, w: w - 1e-6 * (xt @ jnp.exp(x @ w))
        return lax.map(lambda part: lax.fori_loop(0, work.epochs, descend, part), w)

    xt = jnp.array(x.T)

    def unit() -> None:
        train(x, xt, w).block_until_ready()

    return Job(unit, lambda: None)


def make(name: str, work: Workload, data: Data) -> Job:
    """Return the job of matrix products for a workload."""
    if work.kind == "sweep":
        return regressions(work)
    return square(work) if name == "square" else shapes(work)
