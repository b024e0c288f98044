"""JAX by hand, as an expert writes it: jax.grad, optax, and an epoch as one scan."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.benchmarks import attention
from experiments.benchmarks.peers import Job
from experiments.benchmarks.workloads import Data, Workload, hyperparameters, initial_weights, stacked_weights

ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
SCANNED = 3
"""Steps in a unit of lax.conv inside a scan, which would take a minute per epoch."""


def forward(work: Workload, params, x):
    """Return the logits, in float32; the rest is computed in the dtype of the workload."""
    activation = ACTIVATIONS[work.activation]
    params, x = jax.tree.map(lambda array: array.astype(work.dtype), (params, x))
    convolutions, dense = params[: len(work.filters)], params[len(work.filters) :]
    for w, b in convolutions:
        x = lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = activation(x + b[None, None, None])
        x = lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(x.shape[0], -1)
    for w, b in dense[:-1]:
        x = activation(x @ w + b[None])
    w, b = dense[-1]
    return (x @ w + b[None]).astype(jnp.float32)


def cost(work: Workload, params, x, y, l2=None):
    """Return the mean loss, plus λ/2 ‖W‖² if `l2` is given."""
    logits = forward(work, params, x)
    if work.loss == "sigmoid":
        value = optax.sigmoid_binary_cross_entropy(logits, y).sum(axis=-1).mean()
    else:
        value = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return value if l2 is None else value + 0.5 * l2 * sum(jnp.sum(w**2) for w, _ in params)


def device(weights):
    """Return the weights as JAX arrays."""
    return [(jnp.array(w), jnp.array(b)) for w, b in weights]


def images(work: Workload, x: np.ndarray) -> jax.Array:
    """Return rows of pixels on the device, as images for a cnn."""
    return jnp.asarray(x.reshape(-1, 28, 28, 1) if work.kind == "cnn" else x)


def make_step(work: Workload, optimizer):
    """Return step((params, opt_state), indices of the batch, x, y)."""

    def step(carry, index, x, y):
        params, opt_state = carry
        value, grads = jax.value_and_grad(partial(cost, work))(params, x[index], y[index])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return step


def train(name: str, work: Workload, data: Data) -> Job:
    """A unit is an epoch: one scan, or for a cnn a loop over compiled steps.

    lax.conv is slow inside a scan on a CPU (jax 0.10), hence the loop.
    """
    optimizer = optax.sgd(work.learning_rate)
    step, n, batch = make_step(work, optimizer), work.examples, work.batch
    x, y = images(work, data.x), jnp.asarray(data.y)
    taken = min(n, SCANNED * batch) if name == "jax-scan" else n

    @partial(jax.jit, donate_argnums=0)
    def epoch(carry, key, x, y):
        order = jax.random.permutation(key, n)[:taken].reshape(-1, batch)
        return lax.scan(lambda carry, index: step(carry, index, x, y), carry, order)

    one = jax.jit(step, donate_argnums=0)

    def looped(carry, key, x, y):
        for index in np.asarray(jax.random.permutation(key, n)).reshape(-1, batch):
            carry, _ = one(carry, index, x, y)
        return carry, None

    run = looped if work.kind == "cnn" and name == "jax" and jax.default_backend() == "cpu" else epoch

    def fresh():
        params = device(initial_weights(work))
        return params, optimizer.init(params)

    carry, done = fresh(), 0

    def reset() -> None:
        nonlocal carry, done
        carry, done = fresh(), 0

    def unit() -> None:
        nonlocal carry, done
        carry, _ = jax.block_until_ready(run(carry, jax.random.fold_in(jax.random.key(0), done), x, y))
        done += 1

    def predict() -> np.ndarray:
        logits = jax.jit(partial(forward, work))
        parts = np.array_split(data.test_x, max(1, len(data.test_x) // 1000))
        return np.concatenate([np.asarray(logits(carry[0], images(work, part))) for part in parts])

    note = "" if taken == n else f"timed on {taken:,} examples, scaled"
    return Job(unit, reset, predict, n / taken, note)


def predict_only(name: str, work: Workload, data: Data) -> Job:
    """A unit is a prediction for all images."""
    logits, params, x = jax.jit(partial(forward, work)), device(initial_weights(work)), images(work, data.test_x)
    result = None

    def unit() -> None:
        nonlocal result
        result = logits(params, x).block_until_ready()

    return Job(unit, lambda: None, lambda: np.asarray(result))


def many(name: str, work: Workload, data: Data) -> Job:
    """A unit trains all networks from their initial weights.

    vmap is inside the scan, so that the networks share the batches.
    """
    hypers = {name: jnp.asarray(value) for name, value in hyperparameters(work).items()}
    start, x, y = device(stacked_weights(work)), jnp.asarray(data.x), jnp.asarray(data.y)

    def optimizer(hyper):
        scale = optax.scale(-hyper["alpha"])
        return optax.chain(optax.ema(hyper["beta"], debias=False), scale) if "beta" in hyper else scale

    def update(hyper, params, opt_state, x, y):
        grads = jax.grad(partial(cost, work))(params, x, y, hyper.get("l2"))
        updates, opt_state = optimizer(hyper).update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    @jax.jit
    def run(hypers, params, key, x, y):
        def step(carry, index):
            some_x, some_y = (x, y) if index is None else (x[index], y[index])
            return jax.vmap(update, (0, 0, 0, None, None))(hypers, carry[0], carry[1], some_x, some_y), None

        carry = (params, jax.vmap(lambda h, p: optimizer(h).init(p))(hypers, params))
        if work.batch == work.examples:
            return lax.scan(step, carry, None, length=work.epochs)[0][0]
        order = jax.random.permutation(key, work.examples).reshape(-1, work.batch)
        return lax.scan(step, carry, order)[0][0]

    params = None

    def unit() -> None:
        nonlocal params
        params = run(hypers, start, jax.random.key(0), x, y)
        jax.block_until_ready(params)

    def predict() -> np.ndarray:
        return np.asarray(jax.vmap(partial(forward, work), (0, None))(params, jnp.asarray(data.test_x)))

    return Job(unit, lambda: None, predict)


def make(name: str, work: Workload, data: Data) -> Job:
    """Return the job of JAX by hand for a workload."""
    if work.kind == "attention":
        return attention.make(name, work)
    kinds = {"mlp": train, "cnn": train, "predict": predict_only, "nets": many, "planar": many}
    return kinds[work.kind](name, work, data)
