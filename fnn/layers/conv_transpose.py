"""Transposed convolution for images x (batch, height, width, channels)."""

import jax
from jaxtyping import Array

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.conv import Conv2d, bias_gradient, check_groups
from fnn.layers.correlation import correlate, image_gradient, kernel_gradient
from fnn.layers.windows import Pads, Pair, Window, check_padding, reach
from fnn.types import Layer, PRNGKey


def conv2d_transpose(
    c_in: int,
    c_out: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: str | Pads = "VALID",
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    output_padding: int | tuple[int, int] = 0,
) -> Layer:
    """A transposed convolution, also called fractionally strided (Zeiler et al. 2010).

    Z_(i sh + p dh, j sw + q dw) += X_ij W_pq, Z += b, and the outermost rows and columns are cropped by the padding

    dW_pq = Σ_ij X_ijᵀ dZ_(i sh + p dh, j sw + q dw), db = Σ_ij dZ_ij, dX_ij = Σ_pq dZ_(i sh + p dh, j sw + q dw) W_pqᵀ

    Each input pixel is spread over a window of kh x kw outputs; windows of neighbours are sh and sw apart. As a linear
    map of X this is the transpose of a `conv2d` from c_out to c_in channels with the same stride, padding, dilation
    and groups: a decoder uses it to undo the change of size that `conv2d` made. It computes what PyTorch's
    ConvTranspose2d does, whose weight (c_in, c_out / groups, kh, kw) is transposed here: `jnp.transpose(weight,
    (2, 3, 0, 1))` if there is one group.

    Args:
      c_in: number of input channels.
      c_out: number of output channels.
      kernel_size: kh and kw, as a pair or as one number for both.
      stride: sh and sw, likewise.
      padding: with "VALID" nothing is cropped; the output height is (height - 1) sh + rh, where rh = (kh - 1) dh + 1.
        With "SAME" it is height · sh. ((top, bottom), (left, right)) crops that many rows and columns. Likewise for the
        width.
      w_init: initialiser of W. It is given the shape of W, whose fan-in kh kw c_in / groups counts what is added up to
        one output if the stride is 1; with a larger stride that is sh sw times less on average.
      b_init: initialiser of b.
      dilation: dh and dw, the distance between the outputs in a window, as a pair or as one number for both.
      groups: number of blocks of channels. It must divide c_in and c_out. A block of outputs depends on its own block
        of inputs only.
      output_padding: rows at the bottom and columns on the right that the output has in addition, as a pair or as one
        number for both; each must be below the stride or the dilation. A `conv2d` with a stride gives several heights
        of image the same output height, and this tells them apart. Not with "SAME".

    Returns:
      A Layer with parameters `Conv2d(w, b)`, w of shape (kh, kw, c_in / groups, c_out) as in `conv2d`, from x (batch,
      height, width, c_in) to z (batch, height_out, width_out, c_out).

    Raises:
      ValueError: if an argument is invalid, x or a parameter has another shape, or all of the output is cropped.

    >>> layer = conv2d_transpose(8, 3, 4, stride=2, padding=((1, 1), (1, 1)))
    >>> layer.forward(layer.init(jax.random.key(0)), jax.numpy.zeros((2, 14, 14, 8)))[0].shape
    (2, 28, 28, 3)
    """
    name = "conv2d_transpose"
    c_in, c_out = checks.positive_int(name, "c_in", c_in), checks.positive_int(name, "c_out", c_out)
    kernel, strides = checks.pair(name, "kernel_size", kernel_size), checks.pair(name, "stride", stride)
    dilation, padding = checks.pair(name, "dilation", dilation), check_padding(name, padding)
    groups = check_groups(name, groups, c_in, c_out)
    more = _check_output_padding(output_padding, strides, dilation, padding)
    shape, reaches = (*kernel, c_in // groups, c_out), reach(kernel, dilation)
    if isinstance(padding, str):
        pads, more = _same(reaches, strides) if padding == "SAME" else (((0, 0), (0, 0)), more)
    else:
        pads = padding
    beyond = [k - s - sum(p) + n for k, s, p, n in zip(reaches, strides, pads, more, strict=True)]
    window = Window(strides, _unread(pads, more, strides), dilation, groups)  # of the convolution from Z to X

    def init(key: PRNGKey) -> Conv2d:
        w_key, b_key = jax.random.split(key)
        return Conv2d(w_init(w_key, shape), b_init(b_key, (c_out,)))

    def forward(params: Conv2d, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z_(i sh + p dh, j sw + q dw) += X_ij W_pq, Z += b"""
        checks.fields(name, params, Conv2d, w=shape, b=(c_out,))
        w, b = params.w, params.b
        x = checks.shaped(name, "x", x, ("batch", "height", "width", c_in))
        height, width = (n * s + m for n, s, m in zip(x.shape[1:3], strides, beyond, strict=True))
        if 0 in x.shape[1:3] or height < 1 or width < 1:
            raise checks.fail(name, "x", "large enough for an output of at least one pixel", x)
        dtype = widest(x, w, b)
        z = image_gradient(_transposed(w.astype(dtype), groups), x.astype(dtype), window, (height, width))
        return z + b.astype(dtype)[None, None, None, :], x

    def backward(params: Conv2d, x: Array, dz: Array) -> tuple[Conv2d, Array]:
        """dW_pq = Σ_ij X_ijᵀ dZ_(i sh + p dh, …), db = Σ_ij dZ_ij, dX_ij = Σ_pq dZ_(i sh + p dh, …) W_pqᵀ"""
        w = _transposed(params.w, groups)
        dw = kernel_gradient(dz, w, x, window)
        dx = correlate(dz, w.astype(dz.dtype), window).astype(x.dtype)
        return Conv2d(_transposed(dw, groups), bias_gradient(dz, params.b)), dx

    return Layer(init, forward, backward, name=f"{name}({c_in}, {c_out}, {kernel[0]}x{kernel[1]})")


def _check_output_padding(output_padding: int | Pair, strides: Pair, dilation: Pair, padding: str | Pads) -> Pair:
    values = output_padding if isinstance(output_padding, list | tuple) else (output_padding, output_padding)
    limits = tuple(map(max, zip(strides, dilation, strict=True)))
    numbers = [checks.integer("conv2d_transpose", "output_padding", n) for n in values]
    if len(numbers) != 2 or not all(0 <= n < limit for n, limit in zip(numbers, limits, strict=True)):
        expected = f"a number, or a pair of them, of at least 0 and below the stride or the dilation, {limits}"
        raise checks.fail("conv2d_transpose", "output_padding", expected, output_padding)
    if padding == "SAME" and any(numbers):
        raise checks.fail("conv2d_transpose", "output_padding", 'left out if `padding` is "SAME"', output_padding)
    return numbers[0], numbers[1]


def _same(reaches: Pair, strides: Pair) -> tuple[Pads, Pair]:
    """Return what "SAME" crops, and what the output has in addition: windows cover s pixels for each input pixel."""
    (kh, kw), (sh, sw) = reaches, strides
    rows, columns = max(kh - sh, 0), max(kw - sw, 0)
    pads = (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    return pads, (max(sh - kh, 0), max(sw - kw, 0))


def _unread(pads: Pads, more: Pair, strides: Pair) -> Pads:
    """Crop additional rows and columns that are enough for another place of the kernel. It does not read fewer."""
    (top, bottom), (left, right) = pads
    rows, columns = (n if n >= s else 0 for n, s in zip(more, strides, strict=True))
    return (top, bottom - rows), (left, right - columns)


def _transposed(w: Array, groups: int) -> Array:
    """Return W_pqᵀ for each group: (kh, kw, c_in / groups, c_out) -> (kh, kw, c_out / groups, c_in)."""
    kh, kw, n, c_out = w.shape
    split = w.reshape(kh, kw, n, groups, c_out // groups)
    return split.transpose(0, 1, 4, 3, 2).reshape(kh, kw, c_out // groups, groups * n)
