"""The matrix products of a dense layer, in the forms that XLA compiles best.

X is (batch, n) or (batch, …, n); the sums of gradients are over all axes but the last.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn.dtypes import contract, widest

_TINY = 16  # entries of W up to which the call of a matrix product costs more than its arithmetic
# outer products are faster on the CPU for at most _FEW examples and _SMALL to _LARGE entries of W
_FEW, _SMALL, _LARGE = 12, 256, 2**18


def _tiny(w: Array) -> bool:
    return 0 < w.size <= _TINY


def matmul(x: Float[Array, "batch ... n"], w: Float[Array, "n m"]) -> Float[Array, "batch ... m"]:
    """Return X W; for a tiny W as Σ_i x_i w_i, columns of X times rows of W.

    The sum is a third faster for a thousand such networks under vmap (jax 0.10, CPU).

    >>> matmul(jnp.ones((3, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]]))[0]
    Array([4., 6.], dtype=float32)
    """
    if not _tiny(w) or x.ndim > 2:
        return x @ w
    terms = [x[:, i, None] * w[None, i, :] for i in range(w.shape[0])]
    return sum(terms[1:], start=terms[0])


def column_sum(dz: Float[Array, "batch ... m"], w: Array) -> Float[Array, " m"]:
    """Return Σ_batch dZ, the gradient of the bias that belongs to W.

    For a tiny W it is a product with a vector of ones. XLA would compute dZ a second time for a sum (jax 0.10, CPU).

    >>> column_sum(jnp.ones((3, 2)), jnp.ones((1, 2)))
    Array([3., 3.], dtype=float32)
    """
    if not _tiny(w) or dz.ndim > 2:
        return jnp.sum(dz, axis=tuple(range(dz.ndim - 1)))
    return jnp.ones(dz.shape[:1], dz.dtype) @ dz


def weight_gradient(x: Float[Array, "batch ... n"], dz: Float[Array, "batch ... m"], w: Array) -> Float[Array, "n m"]:
    """Return Xᵀ dZ in the dtype of W.

    For a tiny W with one output it is computed as the column sums of X ∘ dZ. For a few examples on the CPU it is
    Σ_k x_kᵀ dz_k: XLA fuses this sum into its use, so an update that uses it once, such as that of `sgd`, takes one
    pass over W instead of three (jax 0.10). More axes are made one before: XLA computes a sum over several in a third
    more time, and copies what comes before it (jax 0.10, CPU).

    >>> weight_gradient(jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones((2, 1)))[:, 0]
    Array([3., 3.], dtype=float32)
    """
    if x.ndim > 2:
        return _contract(x.reshape(-1, x.shape[-1]), dz.reshape(-1, dz.shape[-1]), w)
    if w.shape[1] == 1 and _tiny(w):
        dtype = widest(x, dz, w)
        return column_sum(x.astype(dtype) * dz.astype(dtype), w)[:, None].astype(w.dtype)
    if _outer_products_are_faster(x, dz, w):
        return jax.lax.platform_dependent(x, dz, w, cpu=_outer_products, default=_contract)
    return _contract(x, dz, w)


def _outer_products_are_faster(x: Array, dz: Array, w: Array) -> bool:
    """Return True where `_outer_products` is faster on the CPU.

    Never for symbolic shapes, nor if a mesh is set: the examples may then be sharded.
    """
    if not all(isinstance(n, int) for n in (*x.shape, *w.shape)) or not jax.sharding.get_abstract_mesh().empty:
        return False
    wide = x.dtype == dz.dtype == w.dtype and x.dtype.itemsize >= 4
    return wide and 1 < x.shape[0] <= _FEW and _SMALL <= w.size <= _LARGE


def _contract(x: Array, dz: Array, w: Array) -> Array:
    """Xᵀ dZ"""
    return contract("bi,bo->io", x, dz, like=w)


def _outer_products(x: Array, dz: Array, w: Array) -> Array:
    """Σ_k x_kᵀ dz_k"""
    dz = computed_once(dz)
    terms = [x[k, :, None] * dz[k, None, :] for k in range(x.shape[0])]
    return sum(terms[1:], start=terms[0]).astype(w.dtype)


def computed_once(a: Array) -> Array:
    """Return `a`, and keep XLA from computing it once for each use on the CPU.

    XLA's CPU backend removes an optimization barrier before it fuses (jax 0.10). It does not remove a branch whose
    condition is behind a barrier, so `a` becomes such a branch. On other platforms this is the identity.

    >>> computed_once(jnp.ones(2))
    Array([1., 1.], dtype=float32)
    """
    return jax.lax.platform_dependent(a, cpu=_branch, default=_same)


def rounded(a: Array) -> Array:
    """Return `a`, and keep XLA on accelerators from computing with its value before it was cast to a narrow dtype.

    XLA drops a cast that is undone later, and would keep the wider array in memory instead (jax 0.10, GPU). On the CPU
    this is the identity.

    >>> rounded(jnp.ones(2, jnp.bfloat16))
    Array([1, 1], dtype=bfloat16)
    """
    return jax.lax.platform_dependent(a, cpu=_same, default=jax.lax.optimization_barrier)


def _branch(a: Array) -> Array:
    true = jax.lax.optimization_barrier(jnp.ones((), bool))
    return jax.lax.cond(true, _same, jnp.zeros_like, a)


def _same(a: Array) -> Array:
    return a
