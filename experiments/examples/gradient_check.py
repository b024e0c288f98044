"""Check a network's hand-written gradient against autodiff in float64."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

import fnn
from experiments.errors import ExperimentError
from fnn.gradcheck import GradReport, check_grad
from fnn.types import Params


def random_params(network: fnn.Layer, seed: int) -> Params:
    """Draw normal parameters of standard deviation 1/√n, biases included.

    n is the length of the first axis.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(seed))

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return (rng.normal(size=leaf.shape) / np.sqrt(max(1, *leaf.shape[:1]))).astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


def check_gradient(network: fnn.Layer, loss: fnn.Loss, l2: float, x: ArrayLike, y: ArrayLike, seed: int) -> GradReport:
    """Check `fnn.value_and_grad` at random parameters on a batch.

    The reference is autodiff of the cost below, which uses no backward function. `seed` draws the parameters and the
    dropout masks, which are the same on both sides.

    Raises:
      ExperimentError: if the gradient of a leaf is wrong.
    """
    key = jax.random.key(seed)

    @jax.jit
    def cost(params: Params) -> Array:
        leaves = jax.tree_util.tree_leaves_with_path(params)
        weights = [leaf for path, leaf in leaves if jax.tree_util.keystr(path[-1:], simple=True) == "w"]
        values, _ = loss.forward(network.forward(params, _cast_like(x, params), key)[0], y)
        return jnp.mean(values) + 0.5 * l2 * sum((jnp.sum(w**2) for w in weights), jnp.zeros((), values.dtype))

    @jax.jit
    def by_hand(params: Params) -> Params:
        return fnn.value_and_grad(network, loss, l2)(params, _cast_like(x, params), y, key=key)[1]

    args = (random_params(network, seed),)
    with without_optimizations():
        report = check_grad(cost, by_hand, args, checks=("reference",), num_points=1, key=seed)
    if not report.ok:
        raise ExperimentError(f"the hand-written gradient is wrong\n{report.summary()}")
    return report


@contextlib.contextmanager
def without_optimizations() -> Iterator[None]:
    """Skip most compiler optimisations.

    These programs run once, so compiling them takes most of the time.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _cast_like(x: ArrayLike, params: Params) -> Array:
    return jnp.asarray(x, jax.tree.leaves(params)[0].dtype)


def largest_difference(report: GradReport) -> tuple[float, float]:
    """Return the largest difference between the two gradients, and its tolerance.

    The tolerance is that of the leaf with this difference.
    """
    pairs = [(leaf.max_error, leaf.tol) for leaf in report.leaves]
    return max((error, tol) for error, tol in pairs if error is not None and tol is not None)
