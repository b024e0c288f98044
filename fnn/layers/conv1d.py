"""Convolution over the positions of a sequence x (batch, time, channels). The backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.correlation import correlate, correlate_backward
from fnn.layers.streams import sharded_like
from fnn.layers.windows import Window
from fnn.types import Layer, PRNGKey, Stream


class Conv1d(NamedTuple):
    """The parameters of a convolution over positions: the kernel W and the biases b."""

    w: Float[Array, "k c_in c_out"]
    b: Float[Array, " c_out"]


class _Inputs(NamedTuple):
    """The residuals of `conv1d`: the inputs, and those before them that the memory of a stream held."""

    x: Float[Array, "batch time c_in"]
    before: Float[Array, "batch n c_in"] | None


def conv1d(
    c_in: int,
    c_out: int,
    kernel_size: int,
    stride: int = 1,
    padding: str = "VALID",
    dilation: int = 1,
    causal: bool = False,
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """A convolution over the positions of a sequence (Waibel et al. 1989).

    Z_i = Σ_p X_(i s + p d) W_p + b, with 0 <= p < k, stride s and dilation d

    dW_p = Σ_i X_(i s + p d)ᵀ dZ_i, db = Σ_i dZ_i, dX_(i s + p d) += dZ_i W_pᵀ

    X includes the zeros that are added before and after the sequence. As everywhere in deep learning, the kernel is
    not flipped. With `causal`, output i depends on no position after i s (van den Oord et al. 2016).

    Args:
      c_in: number of input channels.
      c_out: number of filters, and so of output channels.
      kernel_size: k, the number of positions that an output depends on.
      stride: s.
      padding: "VALID" adds no zeros: there are (time - (k - 1) d - 1) // s + 1 outputs. "SAME" adds zeros before and
        after the sequence, for ⌈time / s⌉ outputs.
      dilation: d, the distance of the positions that an output depends on.
      causal: if True, add (k - 1) d zeros before the sequence, and none after it, for ⌈time / s⌉ outputs. `padding`
        must then keep its default.
      w_init: initialiser of W.
      b_init: initialiser of b.

    Returns:
      A Layer with parameters `Conv1d(w, b)`, w of shape (k, c_in, c_out), from x (batch, time, c_in) to
      z (batch, time_out, c_out). If it is causal and the stride is 1, it has a stream (see `fnn.Stream`): its memory is
      the last (k - 1) d inputs.

    Raises:
      ValueError: if an argument is invalid, x or a parameter has another shape, or the sequence is too short.

    >>> layer = conv1d(3, 8, 5, causal=True)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.zeros((2, 20, 3)))[0].shape
    (2, 20, 8)
    """
    c_in, c_out = checks.positive_int("conv1d", "c_in", c_in), checks.positive_int("conv1d", "c_out", c_out)
    k, s = checks.positive_int("conv1d", "kernel_size", kernel_size), checks.positive_int("conv1d", "stride", stride)
    d = checks.positive_int("conv1d", "dilation", dilation)
    if padding not in ("VALID", "SAME"):
        raise checks.fail("conv1d", "padding", '"VALID" or "SAME"', padding)
    if not isinstance(causal, bool):
        raise checks.fail("conv1d", "causal", "True or False", causal, TypeError)
    if causal and padding != "VALID":
        raise checks.fail("conv1d", "padding", "left out if `causal` is True", padding)
    reach = (k - 1) * d  # how far the kernel reaches beyond its first position

    def init(key: PRNGKey) -> Conv1d:
        w_key, b_key = jax.random.split(key)
        return Conv1d(w_init(w_key, (k, c_in, c_out)), b_init(b_key, (c_out,)))

    def zeros_around(time: int) -> tuple[int, int]:
        """Return how many zeros there are before and after a sequence."""
        if causal:
            return reach, 0
        outputs = -(-time // s)
        total = max((outputs - 1) * s + reach + 1 - time, 0) if padding == "SAME" else 0
        return total // 2, total - total // 2

    def window(around: tuple[int, int]) -> Window:
        """The kernel slides over images of one row."""
        return Window((1, s), ((0, 0), around), (1, d))

    def check(params: Conv1d, x: Array) -> Array:
        checks.fields("conv1d", params, Conv1d, w=(k, c_in, c_out), b=(c_out,))
        x = checks.shaped("conv1d", "x", x, ("batch", "time", c_in))
        if not x.shape[1] or x.shape[1] + sum(zeros_around(x.shape[1])) <= reach:
            raise checks.fail("conv1d", "x", f"of at least {1 if causal else reach + 1} positions", x)
        return x

    def apply(params: Conv1d, x: Array, around: tuple[int, int]) -> Array:
        """Z_i = Σ_p X_(i s + p d) W_p + b"""
        w, b = params
        dtype = widest(x, w, b)
        z = correlate(x.astype(dtype)[:, None], w.astype(dtype)[None], window(around))[:, 0]
        return z + b.astype(dtype)[None, None, :]

    def forward(params: Conv1d, x: Array, key: PRNGKey | None = None) -> tuple[Array, _Inputs]:
        """Z_i = Σ_p X_(i s + p d) W_p + b"""
        x = check(params, x)
        return apply(params, x, zeros_around(x.shape[1])), _Inputs(x, None)

    def backward(params: Conv1d, residuals: _Inputs, dz: Array) -> tuple[Conv1d, Array]:
        """dW_p = Σ_i X_(i s + p d)ᵀ dZ_i, db = Σ_i dZ_i, dX_(i s + p d) += dZ_i W_pᵀ"""
        x, around = residuals.x, zeros_around(residuals.x.shape[1])
        if residuals.before is not None:
            x, around = _after(residuals.before, x), (0, 0)
        db = jnp.sum(dz, axis=(0, 1), dtype=widest(dz, params.b)).astype(params.b.dtype)
        dw, dx = correlate_backward(x[:, None], params.w[None], dz[:, None], window(around))
        dx = dx[:, 0]
        dx = dx[:, x.shape[1] - residuals.x.shape[1] :].astype(residuals.x.dtype)
        return Conv1d(dw[0], db), dx

    def start(params: Conv1d, batch: int) -> Array:
        """Zeros before the sequence"""
        checks.fields("conv1d", params, Conv1d)
        return jnp.zeros((batch, reach, c_in), params.w.dtype)

    def advance(params: Conv1d, memory: Array, x: Array, key: PRNGKey | None = None) -> tuple[Array, _Inputs, Array]:
        """Z_i = Σ_p X_(i + p d) W_p + b, where X begins with the memory"""
        x = check(params, x)
        memory = sharded_like(checks.shaped("conv1d", "memory", memory, (x.shape[0], reach, c_in)), x)
        both = _after(memory, x)
        return apply(params, both, (0, 0)), _Inputs(x, memory), both[:, x.shape[1] :].astype(memory.dtype)

    name = f"conv1d({c_in}, {c_out}, {k})"
    return Layer(init, forward, backward, name=name, stream=Stream(start, advance) if causal and s == 1 else None)


def _after(before: Array, x: Array) -> Array:
    """Return x with what came before it, in the wider dtype."""
    dtype = widest(before, x)
    return jnp.concatenate([before.astype(dtype), x.astype(dtype)], axis=1)
