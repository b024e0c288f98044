"""The products of a dense layer, in the forms that XLA compiles best."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn.dtypes import contract, widest

_TINY = 16  # entries of W: so few cost less than the call of a matrix product, above all one for each network
_FEW, _SMALL, _LARGE = 12, 256, 2**18  # examples at most, and entries of W, where outer products are faster on the CPU


def _tiny(w: Array) -> bool:
    return 0 < w.size <= _TINY


def matmul(x: Float[Array, "batch n"], w: Float[Array, "n m"]) -> Float[Array, "batch m"]:
    """X W; of a tiny W as Σ_i x_i w_i, columns of X by rows of W. A thousand such networks under vmap gain a third.

    >>> product(jnp.ones((3, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]]))[0]
    Array([4., 6.], dtype=float32)
    """
    if not _tiny(w):
        return x @ w
    terms = [x[:, i, None] * w[None, i, :] for i in range(w.shape[0])]
    return sum(terms[1:], start=terms[0])


def column_sum(dz: Float[Array, "batch m"], w: Array) -> Float[Array, " m"]:
    """Σ_batch dZ, for the bias beside W; of a tiny W as a product with ones: XLA makes dZ once more for a sum.

    >>> column_sum(jnp.ones((3, 2)), jnp.ones((1, 2)))
    Array([3., 3.], dtype=float32)
    """
    if not _tiny(w):
        return jnp.sum(dz, axis=0)
    return jnp.ones(dz.shape[:1], dz.dtype) @ dz


def weight_gradient(x: Float[Array, "batch n"], dz: Float[Array, "batch m"], w: Array) -> Float[Array, "n m"]:
    """Xᵀ dZ in the dtype of W; of one output and a tiny W as the column sums of X ∘ dZ.

    Of a few examples, on the CPU, as Σ_k x_kᵀ dz_k: XLA makes this sum where it is used, so that with an update that
    uses it once, as that of `sgd`, there is one pass over W instead of three.

    >>> weight_gradient(jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones((2, 1)))[:, 0]
    Array([3., 3.], dtype=float32)
    """
    if w.shape[1] == 1 and _tiny(w):
        dtype = widest(x, dz, w)
        return column_sum(x.astype(dtype) * dz.astype(dtype), w)[:, None].astype(w.dtype)
    if _outer_products_are_faster(x, dz, w):
        return jax.lax.platform_dependent(x, dz, w, cpu=_outer_products, default=_contracted)
    return _contracted(x, dz, w)


def _outer_products_are_faster(x: Array, dz: Array, w: Array) -> bool:
    """Not of symbolic shapes, nor over a mesh that is set, where the examples may be split."""
    if not all(isinstance(n, int) for n in (*x.shape, *w.shape)) or not jax.sharding.get_abstract_mesh().empty:
        return False
    wide = x.dtype == dz.dtype == w.dtype and x.dtype.itemsize >= 4
    return wide and 1 < x.shape[0] <= _FEW and _SMALL <= w.size <= _LARGE


def _contracted(x: Array, dz: Array, w: Array) -> Array:
    """Xᵀ dZ"""
    return contract("bi,bo->io", x, dz, like=w)


def _outer_products(x: Array, dz: Array, w: Array) -> Array:
    """Σ_k x_kᵀ dz_k"""
    dz = computed_once(dz)
    terms = [x[k, :, None] * dz[k, None, :] for k in range(x.shape[0])]
    return sum(terms[1:], start=terms[0]).astype(w.dtype)


def computed_once(a: Array) -> Array:
    """a, computed by itself: on the CPU XLA may compute what it fuses again for each of its uses.

    It drops a barrier before it fuses (jax 0.10), but not a branch whose condition was behind one.

    >>> computed_once(jnp.ones(2))
    Array([1., 1.], dtype=float32)
    """
    return jax.lax.platform_dependent(a, cpu=_branch, default=_same)


def _branch(a: Array) -> Array:
    true = jax.lax.optimization_barrier(jnp.ones((), bool))
    return jax.lax.cond(true, _same, jnp.zeros_like, a)


def _same(a: Array) -> Array:
    return a
