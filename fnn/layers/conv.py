"""Convolutional layers for images x (batch, height, width, channels).

A kernel of kh x kw slides over the image in strides of sh x sw. Output (i, j) depends on the pixels (i sh + p dh,
j sw + q dw) with 0 <= p < kh and 0 <= q < kw; the dilation dh x dw is 1 x 1 unless given. As everywhere in deep
learning, "convolution" means cross-correlation: the kernel is not flipped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.correlation import correlate, correlate_backward
from fnn.layers.windows import Pads, Pair, Window, check_padding, pad_widths, reach
from fnn.types import Layer, PRNGKey


class Conv2d(NamedTuple):
    """The parameters of a convolutional layer: the kernel W and the biases b."""

    w: Float[Array, "kh kw c_in/groups c_out"]
    b: Float[Array, " c_out"]


class _Spread(NamedTuple):
    """How the kernel is spread over pixels and channels."""

    dilation: Pair = (1, 1)
    groups: int = 1


def conv2d(
    c_in: int,
    c_out: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: str | Pads = "VALID",
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Layer:
    """A convolutional layer with c_out filters (LeCun et al. 1989).

    Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq + b

    dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij, db = Σ_ij dZ_ij, dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ

    The input and output channels are split into `groups` blocks, and each block of filters depends on its own block of
    inputs only (Krizhevsky et al. 2012): the equations hold for each block. `groups=c_in` is a depthwise convolution;
    followed by a 1x1 convolution it needs far fewer operations than a full one (Howard et al. 2017). A dilation widens
    the kernel without more weights (Yu and Koltun 2016).

    On a GPU or TPU, dW of `groups` > 1 is wrong on a mesh of several axes if only the `in_shardings` of `jax.jit` name
    the mesh: XLA multiplies dW by the size of axes that do not shard the batch (jax 0.10 and 0.12). Set the mesh with
    `jax.set_mesh`, as `fit` does, or pass arrays that are already sharded.

    Args:
      c_in: number of input channels.
      c_out: number of filters, and so of output channels.
      kernel_size: kh and kw, as a pair or as one number for both.
      stride: sh and sw, likewise.
      padding: "VALID" places the kernel inside the image only; the output height is (height - rh) // sh + 1, where
        rh = (kh - 1) dh + 1 is the number of rows from the kernel's first to its last. "SAME" adds zeros around the
        image; the output height is ⌈height / sh⌉. ((top, bottom), (left, right)) adds that many zeros; the output
        height is (height + top + bottom - rh) // sh + 1. Likewise for the width.
      w_init: initialiser of W.
      b_init: initialiser of b.
      dilation: dh and dw, the distance between the pixels that the kernel covers, as a pair or as one number for both.
      groups: number of blocks of channels. It must divide c_in and c_out.

    Returns:
      A Layer with parameters `Conv2d(w, b)`, w of shape (kh, kw, c_in / groups, c_out), from x (batch, height, width,
      c_in) to z (batch, height_out, width_out, c_out).

    Raises:
      ValueError: if an argument is invalid, x or a parameter has another shape, or the image is too small.

    >>> layer = conv2d(3, 8, 5)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.zeros((2, 28, 28, 3)))[0].shape
    (2, 24, 24, 8)

    A depthwise convolution with two filters for each channel:

    >>> conv2d(16, 32, 3, groups=16).init(jax.random.key(0)).w.shape
    (3, 3, 1, 32)
    """
    c_in, c_out = checks.positive_int("conv2d", "c_in", c_in), checks.positive_int("conv2d", "c_out", c_out)
    kernel, strides = checks.pair("conv2d", "kernel_size", kernel_size), checks.pair("conv2d", "stride", stride)
    dilation, padding = checks.pair("conv2d", "dilation", dilation), check_padding("conv2d", padding)
    spread = _Spread(dilation, check_groups("conv2d", groups, c_in, c_out))
    if spread == _Spread():
        spread = None  # the description of a training leaves None out, so that checkpoints from before resume

    def shape() -> tuple[int, ...]:
        return *kernel, c_in // (spread or _Spread()).groups, c_out

    def window(x: Array) -> Window:
        dilation, groups = spread or _Spread()
        pads = pad_widths("conv2d", x.shape[1:3], reach(kernel, dilation), strides, padding)
        return Window(strides, pads, dilation, groups)

    def init(key: PRNGKey) -> Conv2d:
        w_key, b_key = jax.random.split(key)
        return Conv2d(w_init(w_key, shape()), b_init(b_key, (c_out,)))

    def forward(params: Conv2d, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq + b"""
        checks.fields("conv2d", params, Conv2d, w=shape(), b=(c_out,))
        w, b = params.w, params.b
        x = checks.shaped("conv2d", "x", x, ("batch", "height", "width", c_in))
        dtype = widest(x, w, b)
        z = correlate(x.astype(dtype), w.astype(dtype), window(x))
        return z + b.astype(dtype)[None, None, None, :], x

    def backward(params: Conv2d, x: Array, dz: Array) -> tuple[Conv2d, Array]:
        """dW_pq = Σ_ij X_(i sh + p dh, …)ᵀ dZ_ij, db = Σ_ij dZ_ij, dX_(i sh + p dh, …) += dZ_ij W_pqᵀ"""
        dw, dx = correlate_backward(x, params.w, dz, window(x))
        return Conv2d(dw, bias_gradient(dz, params.b)), dx

    return Layer(init, forward, backward, name=f"conv2d({c_in}, {c_out}, {kernel[0]}x{kernel[1]})")


def check_groups(function: str, groups: int, c_in: int, c_out: int) -> int:
    """Return `groups`, a number that divides the numbers of channels."""
    groups = checks.positive_int(function, "groups", groups)
    if c_in % groups or c_out % groups:
        raise checks.fail(function, "groups", f"a divisor of c_in, {c_in}, and of c_out, {c_out}", groups)
    return groups


def bias_gradient(dz: Array, b: Array) -> Array:
    """Return db = Σ_ij dZ_ij in the dtype of b."""
    return jnp.sum(dz, axis=(0, 1, 2), dtype=widest(dz, b)).astype(b.dtype)
