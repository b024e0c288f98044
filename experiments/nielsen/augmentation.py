"""Data augmentation as layers: random shifts and random distortions.

They are the first layer of a network. As in dropout, the key draws the change; `key=None` (evaluation mode) leaves the
images unchanged. Both changes are linear in the pixels, y = M x, so their backward is dx = Mᵀ dy.
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
"""Maximum rotation (10 degrees), scaling per axis, shear (a slope) and translation (pixels) of `distort_images`."""


def shift_images(x: Images, key: PRNGKey) -> Images:
    """Leave each image unchanged or shift it by a pixel.

    Up, down, left, right and no shift are equally likely. New pixels at the border are 0.
    """
    n, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    offsets = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    moved = [padded[:, i : i + height, j : j + width] for i, j in offsets]
    which = jax.random.randint(key, (n, 1, 1, 1), 0, len(offsets), jnp.int32)
    return jax.lax.select_n(jnp.broadcast_to(which, x.shape), *moved)


def distort_images(x: Images, key: PRNGKey) -> Images:
    """Rotate, scale, shear and translate each image by small random amounts.

    y(p) = x(A p + c), with p measured from the centre, bilinear interpolation of x, and 0 outside the image.
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
    return _interpolate(x, rows, columns)


def _interpolate(x: Images, rows: Float[Array, "n h w"], columns: Float[Array, "n h w"]) -> Images:
    """Interpolate x bilinearly at these positions; 0 outside."""
    n, height, width, _ = x.shape
    padded = jnp.pad(x[..., 0], ((0, 0), (1, 2), (1, 2)))  # positions further outside are clipped to these zeros
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


def random_layer(name: str, change: Callable[[Images, PRNGKey], Images]) -> fnn.Layer:
    """Build a layer from a random change that is linear in the images.

    >>> x = jnp.zeros((2, 28, 28, 1)).at[:, 14, 14].set(1.0)
    >>> layer = random_layer("shifts", shift_images)
    >>> y, _ = layer.forward((), x, jax.random.key(3))
    >>> int(y.sum()), bool((y == layer.forward((), x)[0]).all())
    (2, False)
    """

    def forward(params: Params, x: Images, key: PRNGKey | None = None) -> tuple[Images, Residuals]:
        return (x, None) if key is None else (change(x, key), key)

    def backward(params: Params, key: Residuals, dy: Images) -> tuple[Params, Images]:
        """dx = Mᵀ dy"""
        return (), dy if key is None else jax.linear_transpose(lambda x: change(x, key), dy)(dy)[0]

    return fnn.Layer(lambda key: (), forward, backward, name=name)


shifts = random_layer("shifts", shift_images)
distortions = random_layer("distortions", distort_images)
