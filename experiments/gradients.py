"""The check that opens a training experiment: the hand-written gradient against `jax.grad`, in float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import fnn
from experiments.errors import ExperimentError
from fnn.types import Params, PRNGKey

LIMIT = 1e-12


class Difference(NamedTuple):
    """The largest difference between two gradients: as it is, and relative to the largest entry of `jax.grad`'s."""

    absolute: float
    relative: float


def autodiff_gradient(
    network: fnn.Layer, loss: fnn.Loss, l2: float, params: Params, x: Array, y: Array, key: PRNGKey
) -> Params:
    """`jax.grad` of the mean of the loss + λ/2 ‖W‖², both written out here: it shares no backward function with fnn."""

    def cost(params: Params) -> Array:
        values, _ = loss.forward(network.forward(params, x, key)[0], y)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        weights = [leaf for path, leaf in leaves if jax.tree_util.keystr(path[-1:], simple=True) == "w"]
        return jnp.mean(values) + 0.5 * l2 * sum((jnp.sum(w**2) for w in weights), jnp.zeros((), values.dtype))

    return jax.value_and_grad(cost)(params)[1]


def random_params(network: fnn.Layer, seed: int) -> Params:
    """Normal entries of deviation 1/√n, n the length of the first axis, in float64: biases are not zero here."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(seed))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / np.sqrt(max(1, *leaf.shape[:1])), shapes)


def check_gradient(
    network: fnn.Layer, loss: fnn.Loss, l2: float, x: Array, y: Array, seed: int, limit: float = LIMIT
) -> Difference:
    """The largest difference over all parameters on this batch; ExperimentError unless it is below `limit`, relative.

    `seed` draws the parameters, and the same dropout for both sides.
    """

    def differences(params: Params, x: Array, y: Array, key: PRNGKey) -> tuple[Array, Array]:
        by_hand = fnn.value_and_grad(network, loss, l2)(params, x, y, key=key)[1]
        reference = autodiff_gradient(network, loss, l2, params, x, y, key)
        pairs = zip(jax.tree.leaves(by_hand), jax.tree.leaves(reference), strict=True)
        apart, size = zip(*((jnp.max(jnp.abs(a - b)), jnp.max(jnp.abs(b))) for a, b in pairs), strict=True)
        return jnp.max(jnp.stack(apart)), jnp.max(jnp.stack(size))  # NaN stays NaN

    once = {"xla_backend_optimization_level": 0}  # it runs once: compiling is what takes time
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, random_params(network, seed))
        x = jnp.asarray(np.asarray(x), jnp.float64)
        absolute, largest = map(float, jax.jit(differences, compiler_options=once)(params, x, y, jax.random.key(seed)))
    relative = absolute / largest if largest > 0 else absolute
    if not relative < limit:
        raise ExperimentError(
            f"the hand-written gradient differs from jax.grad by {absolute:.1e}, "
            f"{relative:.1e} of the largest entry; the limit is {limit:.0e}"
        )
    return Difference(absolute, relative)
