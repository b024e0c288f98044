"""The products of a dense layer, in the forms that XLA compiles best."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn.dtypes import contract, widest

_TINY = 16  # entries of W: so few cost less than the call of a matrix product, above all one for each network


def _tiny(w: Array) -> bool:
    return 0 < w.size <= _TINY


def product(x: Float[Array, "batch n"], w: Float[Array, "n m"]) -> Float[Array, "batch m"]:
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

    >>> weight_gradient(jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones((2, 1)))[:, 0]
    Array([3., 3.], dtype=float32)
    """
    if w.shape[1] > 1 or not _tiny(w):
        return contract("bi,bo->io", x, dz, like=w)
    dtype = widest(x, dz, w)
    return column_sum(x.astype(dtype) * dz.astype(dtype), w)[:, None].astype(w.dtype)
