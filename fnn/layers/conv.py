"""Convolutional layers for images x (batch, height, width, channels).

A kernel of kh x kw slides over the image in strides of sh x sw. Output (i, j) depends on the pixels (i sh + p,
j sw + q) with 0 <= p < kh and 0 <= q < kw. As everywhere in deep learning, "convolution" means cross-correlation: the
kernel is not flipped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.correlation import correlate, correlate_backward
from fnn.layers.windows import pad_widths
from fnn.types import Layer, PRNGKey


class Conv2d(NamedTuple):
    """The parameters of a convolutional layer: the kernel W and the biases b."""

    w: Float[Array, "kh kw c_in c_out"]
    b: Float[Array, " c_out"]


def conv2d(
    c_in: int,
    c_out: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: str = "VALID",
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """A convolutional layer with c_out filters (LeCun et al. 1989).

    Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq + b

    dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, db = Σ_ij dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ

    Args:
      c_in: number of input channels.
      c_out: number of filters, and so of output channels.
      kernel_size: kh and kw, as a pair or as one number for both.
      stride: sh and sw, likewise.
      padding: "VALID" places the kernel inside the image only; the output height is (height - kh) // sh + 1. "SAME"
        adds zeros around the image; the output height is ⌈height / sh⌉. Likewise for the width.
      w_init: initialiser of W.
      b_init: initialiser of b.

    Returns:
      A Layer with parameters `Conv2d(w, b)`, w of shape (kh, kw, c_in, c_out), from x (batch, height, width, c_in) to
      z (batch, height_out, width_out, c_out).

    Raises:
      ValueError: if an argument is invalid, x or a parameter has another shape, or the image is too small.

    >>> layer = conv2d(3, 8, 5)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.zeros((2, 28, 28, 3)))[0].shape
    (2, 24, 24, 8)
    """
    c_in, c_out = checks.positive_int("conv2d", "c_in", c_in), checks.positive_int("conv2d", "c_out", c_out)
    kernel, strides = checks.pair("conv2d", "kernel_size", kernel_size), checks.pair("conv2d", "stride", stride)
    if padding not in ("VALID", "SAME"):
        raise checks.fail("conv2d", "padding", '"VALID" or "SAME"', padding)

    def init(key: PRNGKey) -> Conv2d:
        w_key, b_key = jax.random.split(key)
        return Conv2d(w_init(w_key, (*kernel, c_in, c_out)), b_init(b_key, (c_out,)))

    def forward(params: Conv2d, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq + b"""
        checks.fields("conv2d", params, Conv2d, w=(*kernel, c_in, c_out), b=(c_out,))
        w, b = params.w, params.b
        x = checks.shaped("conv2d", "x", x, ("batch", "height", "width", c_in))
        pads = pad_widths("conv2d", x.shape[1:3], kernel, strides, padding)
        dtype = widest(x, w, b)
        z = correlate(x.astype(dtype), w.astype(dtype), strides, pads)
        return z + b.astype(dtype)[None, None, None, :], x

    def backward(params: Conv2d, x: Array, dz: Array) -> tuple[Conv2d, Array]:
        """dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, db = Σ_ij dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ"""
        w, b = params.w, params.b
        pads = pad_widths("conv2d", x.shape[1:3], kernel, strides, padding)
        dw, dx = correlate_backward(x, w, dz, strides, pads)
        db = jnp.sum(dz, axis=(0, 1, 2), dtype=widest(dz, b)).astype(b.dtype)
        return Conv2d(dw, db), dx

    return Layer(init, forward, backward, name=f"conv2d({c_in}, {c_out}, {kernel[0]}x{kernel[1]})")
