"""Layers that change images at random while a network trains on them: shifts by one pixel; small distortions.

They stand first in a network. As in dropout what changes is drawn from the key; without one, when nothing is trained,
images pass as they are. Both changes are linear in the pixels, y = M x, so their backward is dx = Mᵀ dy.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import fnn
from fnn.types import Params, PRNGKey, Residuals

Images = Float[Array, "batch height width 1"]

TURN, ZOOM, SHEAR, MOVE = math.radians(10), 0.1, 0.1, 2.0
"""The most that `distorted` turns (10 degrees), scales along each axis (a share), shears (a slope), moves (pixels)."""


def shifted(x: Images, key: PRNGKey) -> Images:
    """Each image as it is, or a pixel further up, down, left or right: five equal chances. What enters is 0."""
    n, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    offsets = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    moved = [padded[:, i : i + height, j : j + width] for i, j in offsets]
    which = jax.random.randint(key, (n, 1, 1, 1), 0, len(offsets), jnp.int32)
    return jax.lax.select_n(jnp.broadcast_to(which, x.shape), *moved)


def distorted(x: Images, key: PRNGKey) -> Images:
    """Each image turned, scaled, sheared and moved about its centre a little, each of these at random.

    y(p) = x(A p + c), p measured from the centre, x between pixels interpolated bilinearly, and 0 outside.
    """
    n, height, width, _ = x.shape
    turn, zoom_r, zoom_c, shear, move_r, move_c = jax.random.uniform(key, (6, n, 1, 1), x.dtype, -1.0, 1.0)
    cos, sin = jnp.cos(TURN * turn), jnp.sin(TURN * turn)
    zoom_r, zoom_c = 1 + ZOOM * zoom_r, 1 + ZOOM * zoom_c
    middle_r, middle_c = (height - 1) / 2, (width - 1) / 2
    r = (jnp.arange(height, dtype=x.dtype) - middle_r)[None, :, None]
    c = (jnp.arange(width, dtype=x.dtype) - middle_c)[None, None, :] + SHEAR * shear * r
    rows = zoom_r * (cos * r - sin * c) + middle_r + MOVE * move_r
    columns = zoom_c * (sin * r + cos * c) + middle_c + MOVE * move_c
    return _between(x, rows, columns)


def _between(x: Images, rows: Float[Array, "n h w"], columns: Float[Array, "n h w"]) -> Images:
    """x at these places, bilinearly; 0 outside."""
    n, height, width, _ = x.shape
    padded = jnp.pad(x[..., 0], ((0, 0), (1, 2), (1, 2)))  # whoever is beyond the first row of zeros stays there
    flat = padded.reshape(n, -1)
    rows, columns = jnp.clip(rows + 1, 0, height + 1), jnp.clip(columns + 1, 0, width + 1)
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = rows - top, columns - left
    corner = top.astype(jnp.int32) * padded.shape[2] + left.astype(jnp.int32)

    def pixel(step: int) -> Array:
        index = (corner + step).reshape(n, -1)
        return jnp.take_along_axis(flat, index, axis=1, mode="promise_in_bounds").reshape(corner.shape)

    upper = (1 - right) * pixel(0) + right * pixel(1)
    lower = (1 - right) * pixel(padded.shape[2]) + right * pixel(padded.shape[2] + 1)
    return ((1 - down) * upper + down * lower)[..., None]


def drawn(name: str, change: Callable[[Images, PRNGKey], Images]) -> fnn.Layer:
    """The layer of a change that is linear in the images.

    >>> x = jnp.zeros((2, 28, 28, 1)).at[:, 14, 14].set(1.0)
    >>> y, _ = drawn("shifts", shifted).forward((), x, jax.random.key(3))
    >>> int(y.sum()), bool((y == drawn("shifts", shifted).forward((), x)[0]).all())
    (2, False)
    """

    def forward(params: Params, x: Images, key: PRNGKey | None = None) -> tuple[Images, Residuals]:
        return (x, None) if key is None else (change(x, key), key)

    def backward(params: Params, key: Residuals, dy: Images) -> tuple[Params, Images]:
        """dx = Mᵀ dy"""
        return (), dy if key is None else jax.linear_transpose(lambda x: change(x, key), dy)(dy)[0]

    return fnn.Layer(lambda key: (), forward, backward, name=name)


shifts = drawn("shifts", shifted)
distortions = drawn("distortions", distorted)
