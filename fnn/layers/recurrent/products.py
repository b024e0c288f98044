"""What recurrent layers share: the products over all positions, outside of the scan over time.

Inside a recurrent layer arrays are time-major, (time, batch, …), because a scan runs over the first axis.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import contract, wide, widest
from fnn.init import Initializer
from fnn.layers.streams import sharded_like
from fnn.types import PRNGKey


def each_gate(initializer: Initializer, key: PRNGKey, n: int, gates: int) -> Float[Array, "n m"]:
    """Draw an n x n matrix for each gate, side by side: one over all gates would not be orthogonal for each."""
    return jnp.concatenate([initializer(k, (n, n)) for k in jax.random.split(key, gates)], axis=1)


def swap(a: Float[Array, "a b ..."]) -> Float[Array, "b a ..."]:
    """Return (batch, time, …) as (time, batch, …), and the other way round."""
    return jnp.swapaxes(a, 0, 1)


def memory_of(function: str, memory: Any, x: Array, n: int, dtype: Any) -> Float[Array, "batch n"]:
    """Return a memory (batch, n) in the given dtype, for the sequences of x and sharded as they are."""
    return sharded_like(checks.shaped(function, "memory", memory, (x.shape[0], n)).astype(dtype), x)


def project(x: Float[Array, "batch time n_in"], w: Array, dtype: Any) -> Float[Array, "time batch m"]:
    """x_t W; the cells add b, because a sum with all positions is another pass over memory"""
    return swap(x.astype(dtype)) @ w.astype(dtype)


def project_backward(
    w: Array, b: Array, x: Float[Array, "batch time n_in"], da: Float[Array, "time batch m"]
) -> tuple[Array, Array, Array]:
    """dW = Σ_t x_tᵀ da_t, db = Σ_t da_t, dx_t = da_t Wᵀ; returns dW, db, dX"""
    dw = contract("abi,abo->io", swap(x), da, like=w)
    dx = swap(da @ w.astype(da.dtype).T).astype(x.dtype)
    return dw, sum_positions(da, b), dx


def sum_positions(d: Float[Array, "time batch m"], like: Array) -> Float[Array, " m"]:
    """Return Σ_t d_t over positions and examples, in the dtype of `like`."""
    return jnp.sum(d, (0, 1), dtype=wide(widest(d, like))).astype(like.dtype)


def previous(h0: Float[Array, "batch n"], y: Float[Array, "batch time n"]) -> Float[Array, "time batch n"]:
    """Return h_{t-1} for each t, from the state before the first position and the outputs h_t."""
    return jnp.concatenate([h0.astype(y.dtype)[None], swap(y)[:-1]])
