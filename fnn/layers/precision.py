"""Mixed precision: compute a layer in a narrow dtype, and scale its gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, UInt16

from fnn import checks
from fnn.checks import protocol
from fnn.checks.targets import inputs
from fnn.dtypes import wide, widest
from fnn.layers.lengths import split_lengths
from fnn.layers.matmul import rounded
from fnn.layers.normalization import BatchNorm
from fnn.split_params import passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream

LossScale = Callable[[Array], Array]
"""dy -> s, the factor by which `mixed_precision` scales gradients"""


class _Bits(NamedTuple):
    """A bfloat16 array as its bits.

    XLA's CPU backend would keep the array itself as float32 across a scan (jax 0.10).
    """

    bits: UInt16[Array, "..."]


def _as_bits(tree: Residuals) -> Residuals:
    bits = lambda leaf: _Bits(jax.lax.bitcast_convert_type(leaf, jnp.uint16))
    return jax.tree.map(lambda leaf: bits(leaf) if leaf.dtype == jnp.bfloat16 else leaf, tree)


def _from_bits(tree: Residuals) -> Residuals:
    is_bits = lambda leaf: isinstance(leaf, _Bits)
    array = lambda leaf: jax.lax.bitcast_convert_type(leaf.bits, jnp.bfloat16) if is_bits(leaf) else leaf
    return jax.tree.map(array, tree, is_leaf=is_bits)


def mixed_precision(
    layer: Layer, compute_dtype: DTypeLike, loss_scale: float | LossScale = 1.0, *, round_gradients: bool = False
) -> Layer:
    """Compute a layer in a narrower dtype than that of its parameters.

    Parameters, their gradients, y and dx keep their dtypes, as do the lengths of a pair (x, lengths). Inside, copies of
    the parameters and of x are cast to `compute_dtype`, so residuals take half the memory. dW and db are accumulated in
    float32, and are not rounded to `compute_dtype` unless `round_gradients` is True.

    Gradients below 2^-24 vanish in float16. Backward is linear in dy, so it is computed for s·dy and its results are
    divided by the loss scale s: (dparams, dx) = backward(s dy) / s. bfloat16 has the range of float32 and needs no
    loss scale (Micikevicius et al. 2018).

    Normalization layers and average pooling compute in float32 inside too, and `batch_norm` keeps its population
    statistics as they are. Outside, their inputs are not rounded either. On a CPU, wrap the layer inside a repetition,
    `repeat(mixed_precision(block, dtype), n)`: XLA would otherwise keep float32 copies (jax 0.10).

    Args:
      layer: the layer, or a whole network.
      compute_dtype: the floating point dtype to compute in, such as `jnp.bfloat16`.
      loss_scale: the factor s, a power of two; or a function dy -> s, such as `dynamic_loss_scale()`.
      round_gradients: if True, dW and db are rounded to `compute_dtype`, before they are divided by s in float32. This
        is what `jax.grad` returns for a function that casts its parameters. It takes less memory traffic: for large
        matrices on a GPU, each dW is written and read in half the bytes.

    Returns:
      A Layer with the same parameters.

    Raises:
      ValueError: if `compute_dtype` is not a floating point dtype, or `loss_scale` is not positive.
      TypeError: if `round_gradients` is not a bool.

    >>> import fnn
    >>> layer = mixed_precision(fnn.mlp([3, 4, 2]), jnp.bfloat16)
    >>> params, x = layer.init(jax.random.key(0)), jnp.ones((5, 3))
    >>> y, residuals = layer.forward(params, x)
    >>> dparams, dx = layer.backward(params, residuals, y)
    >>> {leaf.dtype.name for leaf in jax.tree.leaves((params, y, dparams, dx))}
    {'float32'}
    """
    checks.layer("mixed_precision", "layer", layer)
    if not jnp.issubdtype(compute_dtype, jnp.floating):
        raise checks.fail("mixed_precision", "compute_dtype", "a floating dtype, such as jnp.bfloat16", compute_dtype)
    if not callable(loss_scale):
        checks.number("mixed_precision", "loss_scale", loss_scale, minimum=0.0)
        if loss_scale == 0:
            raise checks.fail("mixed_precision", "loss_scale", "above 0", loss_scale)
    if not isinstance(round_gradients, bool):
        raise checks.fail("mixed_precision", "round_gradients", "a bool", round_gradients, TypeError)
    rounds = round_gradients or None  # None is not part of the description of a training: see fnn.training.description
    scale_of = loss_scale if callable(loss_scale) else lambda dy: jnp.asarray(loss_scale, wide(dy))

    def lower(tree: Params) -> Params:
        is_batch_norm = lambda node: isinstance(node, BatchNorm)
        return jax.tree.map(lower_node, tree, is_leaf=is_batch_norm)

    def lower_node(node: Params) -> Params:
        if isinstance(node, BatchNorm):  # a variance above 65504 would be infinite in float16
            return node._replace(**jax.tree.map(lower_node, {"gamma": node.gamma, "beta": node.beta}))
        return node.astype(compute_dtype) if jnp.issubdtype(node.dtype, jnp.floating) else node

    def forward(params: Params, x: Any, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = f(params, x), computed in compute_dtype"""
        x, lengths = split_lengths("mixed_precision", x)
        x = inputs("mixed_precision", "x", x, layer.vocabulary)
        lowered = lower(x) if lengths is None else (lower(x), lengths)
        y, residuals = protocol.forward("mixed_precision", "layer", layer, lower(params), lowered, key)
        return outputs(params, x, y, residuals)

    def outputs(params: Params, x: Array, y: Array, residuals: Residuals) -> tuple[Array, Residuals]:
        given = [leaf for leaf in (x, *jax.tree.leaves(params)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return y.astype(widest(*given)), (_as_bits(residuals), x[:0], y[:0])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
        """(dparams, dx) = backward(s dy) / s"""
        residuals, like, y = residuals
        s = scale_of(dy)
        dtype = widest(s, wide(dy))  # 2^16, and 2^32 where gradients are tiny, are infinite in float16
        scaled = rounded((s.astype(dtype) * dy.astype(dtype)).astype(y.dtype))
        p = lower(params) if rounds else params
        dparams, dx = protocol.backward("mixed_precision", "layer", layer, p, _from_bits(residuals), scaled)
        unscaled = lambda d, like: (d.astype(wide(like)) / s.astype(wide(like))).astype(like.dtype)
        of_input = lambda d: d if d.dtype == jax.dtypes.float0 else unscaled(d, like)
        return jax.tree.map(unscaled, dparams, params), jax.tree.map(of_input, dx)  # dx of (x, lengths) is a pair, too

    def start(params: Params, batch: int) -> Any:
        assert stream is not None
        return stream.start(lower(params), batch)

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        assert stream is not None
        x = inputs("mixed_precision", "x", checks.array("mixed_precision", "x", x), layer.vocabulary)
        y, residuals, memory = stream.advance(lower(params), memory, lower(x), key)
        return *outputs(params, x, y, residuals), memory

    stream, name = layer.stream, f"mixed_precision({layer.name}, {jnp.dtype(compute_dtype).name})"
    both = None if stream is None else Stream(start, advance)
    return passes_params(layer._replace(forward=forward, backward=backward, name=name, combinator=None, stream=both))


def dynamic_loss_scale(target: float = 2.0**8) -> LossScale:
    """Return a loss scale for `mixed_precision` that adapts to the gradient.

    The scale s is the power of two for which target/2 < max |s dy| <= target. It needs no state, and no step is lost
    to find it. The largest float16 number is 65504, about 2^16. With the default target of 2^8, gradients can
    therefore grow 256-fold inside the network. s is 1 if dy is zero or not finite.

    Args:
      target: the upper bound of the largest |s dy|; at least 2^-14.

    Returns:
      A function dy -> s.

    >>> float(dynamic_loss_scale(1.0)(jnp.array([0.0, 3e-5])))
    32768.0
    """
    checks.number("dynamic_loss_scale", "target", target, minimum=2.0**-14)

    def scale(dy: Array) -> Float[Array, ""]:
        largest = jnp.max(jnp.abs(dy), initial=0.0).astype(jnp.float32)
        usable = (largest > 0) & jnp.isfinite(largest)
        power = jnp.floor(jnp.log2(target / jnp.where(usable, largest, 1.0)))
        power = jnp.clip(power, -100.0, 100.0).astype(jnp.int32)
        return jnp.where(usable, jnp.ldexp(jnp.ones((), jnp.float32), power), 1.0).astype(wide(dy))

    return scale
