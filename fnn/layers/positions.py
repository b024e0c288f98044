"""Learned positions. Their backward is under their forward."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fnn import checks
from fnn.dtypes import wide, widest
from fnn.init import Initializer, normal
from fnn.types import Layer, PRNGKey, Residuals, Stream

_small_normal = normal(0.02)


class Positions(NamedTuple):
    """The parameters of `learned_positions`: W, with one row for each position."""

    w: Float[Array, "n d"]


def learned_positions(n: int, d: int, w_init: Initializer = _small_normal) -> Layer:
    """Add a learned vector to each position of a sequence (Gehring et al. 2017).

    y_t = x_t + row t of W, t from 0

    dW_t = Σ_batch dy_t, dx = dy

    Args:
      n: largest number of positions.
      d: number of features, the size of the last axis of x.
      w_init: initialiser of W.

    Returns:
      A Layer with parameters `Positions(w)`. x and y have shape (batch, time, d), of at most n positions. Its memory
      (see `fnn.Stream`) is the number of positions it has read. Past n the output is NaN.

    Raises:
      ValueError: if a size is not positive, x or a parameter has another shape, or x has more than n positions.

    >>> layer = learned_positions(5, 2)
    >>> params = Positions(w=jnp.arange(10.0).reshape(5, 2))
    >>> layer.forward(params, jnp.zeros((1, 3, 2)))[0]
    Array([[[0., 1.],
            [2., 3.],
            [4., 5.]]], dtype=float32)
    """
    n = checks.positive_int("learned_positions", "n", n)
    d = checks.positive_int("learned_positions", "d", d)

    def init(key: PRNGKey) -> Positions:
        return Positions(w_init(key, (n, d)))

    def check(params: Positions, x: Array) -> tuple[Array, Array]:
        (w,) = checks.fields("learned_positions", params, Positions, w=(n, d))
        x = checks.shaped("learned_positions", "x", x, ("batch", "time", d))
        if x.shape[1] > n:
            raise checks.fail("learned_positions", "x", f"of at most {n} positions", x)
        return jnp.asarray(w), x

    def add(x: Array, rows: Array) -> Array:
        dtype = widest(x, rows)
        return x.astype(dtype) + rows.astype(dtype)[None]

    def start(params: Positions, batch: int) -> Int[Array, ""]:
        """No position is read yet."""
        checks.fields("learned_positions", params, Positions)
        return jnp.zeros((), jnp.int32)

    def advance(
        params: Positions, memory: Array, x: Array, key: PRNGKey | None = None
    ) -> tuple[Array, Residuals, Array]:
        """y_t = x_t + row t of W, t from the number of positions read"""
        w, x = check(params, x)
        positions = memory + jnp.arange(x.shape[1], dtype=memory.dtype)
        y = add(x, w.at[positions].get(mode="fill", fill_value=jnp.nan))
        return y, (positions, x[:0]), memory + x.shape[1]

    def forward(params: Positions, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y_t = x_t + row t of W, t from 0"""
        w, x = check(params, x)
        return add(x, w[: x.shape[1]]), (None, x[:0])

    def backward(params: Positions, residuals: Residuals, dy: Array) -> tuple[Positions, Array]:
        """dW_t = Σ_batch dy_t, dx = dy"""
        positions, like = residuals
        total = jnp.sum(dy, 0, dtype=wide(widest(dy, params.w)))
        if positions is None:
            dw = jnp.concatenate([total, jnp.zeros((n - total.shape[0], d), total.dtype)])
        else:
            dw = jnp.zeros((n, d), total.dtype).at[positions].add(total, mode="drop")
        return Positions(dw.astype(params.w.dtype)), dy.astype(like.dtype)

    return Layer(init, forward, backward, name=f"learned_positions({n}, {d})", stream=Stream(start, advance))
