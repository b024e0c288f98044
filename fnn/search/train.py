"""The trainings of a search: all runs as one program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.backprop import value_and_grad
from fnn.optimizers import adam, apply_updates
from fnn.search.candidates import Plan
from fnn.search.network import skip_network
from fnn.search.records import Task


class Runs(NamedTuple):
    """The hyperparameters of all runs, stacked in the first axis."""

    params: Any
    l2: Any
    dropout: Any
    weight: Any
    held_out: Any
    stop: Any
    seed: Any


def make_training(task: Task, plan: Plan, seed: int):
    """Return a function runs -> (params, outputs (runs, reports, held out, k))."""
    width = max((c.width for c in plan.candidates), default=0) or 1
    d = task.x.shape[1]
    steps = plan.report_at[-1]
    x, y = jnp.asarray(task.x), jnp.asarray(task.y)
    opt = adam(plan.learning_rate)
    n, b = len(x), plan.batch_size
    rng = np.random.default_rng(seed)
    order = []
    while len(order) < steps:
        p = rng.permutation(n)
        order += [p[i : i + b] for i in range(0, n - b + 1, b)]
    order = jnp.asarray(np.stack(order[:steps]).astype(np.int32))
    edges = np.diff((0, *plan.report_at))

    def one(run: Runs, x, y, order):
        net = skip_network(d, width, task.k, run.dropout)

        def step(carry, ti):
            params, st = carry
            t, index = ti
            w = run.weight[index]
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), t), run.seed)
            _, g, *_ = value_and_grad(net, task.loss, l2=run.l2)(params, x[index], y[index], key=key, weight=w)
            up, st2 = opt.update(g, st, params)
            new = apply_updates(params, up), st2
            keep = t < run.stop
            return jax.tree.map(lambda a, c: jnp.where(keep, a, c), new, carry), None

        def segment(carry, ends):
            body = lambda t, carry: step(carry, (t, order[t]))[0]
            carry = jax.lax.fori_loop(ends[0], ends[1], body, carry)
            return carry, net.forward(carry[0], x[jnp.maximum(run.held_out, 0)])[0]

        starts = jnp.asarray((0, *plan.report_at[:-1])), jnp.asarray(plan.report_at)
        carry, outs = jax.lax.scan(segment, (run.params, opt.init(run.params)), starts)
        return carry[0], outs

    program = jax.jit(jax.vmap(one, in_axes=(0, None, None, None)))

    def train(runs: Runs):
        return jax.device_get(program(jax.tree.map(jnp.asarray, runs), x, y, order))

    return train
