"""Wrappers take a layer and return one: another backward, fewer bits, fewer residuals."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, UInt16

from fnn import checks
from fnn.dtypes import widest
from fnn.types import Layer, Params, PRNGKey, Residuals

LossScale = Callable[[Array], Array]


def autodiff(layer: Layer) -> Layer:
    """The same layer with autodiff's backward: the oracle as a value, to swap in anywhere.

    >>> import jax.numpy as jnp, fnn
    >>> sine = fnn.elementwise(jnp.sin, jnp.sin)  # wrong: the derivative is cos
    >>> x, dy = jnp.array([[0.5]]), jnp.array([[1.0]])
    >>> for layer in (sine, autodiff(sine)):
    ...     _, residuals = layer.forward((), x)
    ...     print(layer.backward((), residuals, dy)[1])
    [[0.47942555]]
    [[0.87758255]]
    """
    checks.layer("autodiff", "layer", layer)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        return jax.vjp(lambda params, x: layer.forward(params, x, key)[0], params, x)

    def backward(params: Params, vjp: Residuals, dy: Array) -> tuple[Params, Array]:
        return vjp(dy)

    return layer._replace(forward=forward, backward=backward, name=f"autodiff({layer.name})")


def as_custom_vjp(layer: Layer) -> Callable[..., Array]:
    """f(params, x, key=None) -> y whose derivative under `jax.grad` is the layer's hand-written backward.

    >>> import jax.numpy as jnp, fnn
    >>> f = as_custom_vjp(fnn.tanh)
    >>> jax.grad(lambda x: f((), x).sum())(jnp.zeros(2))
    Array([1., 1.], dtype=float32)
    """
    checks.layer("as_custom_vjp", "layer", layer)

    @jax.custom_vjp
    def f(params: Params, x: Array, key: PRNGKey | None = None) -> Array:
        return layer.forward(params, x, key)[0]

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        y, residuals = layer.forward(params, x, key)
        return y, (params, residuals)

    def backward(residuals: Residuals, dy: Array) -> tuple[Params, Array, None]:
        params, residuals = residuals
        return *layer.backward(params, residuals, dy), None

    f.defvjp(forward, backward)
    return f


class _Bits(NamedTuple):
    """A bfloat16 array as its bits: across a scan XLA's CPU backend would keep it as float32."""

    bits: UInt16[Array, "..."]


def _packed(tree: Residuals) -> Residuals:
    bits = lambda leaf: _Bits(jax.lax.bitcast_convert_type(leaf, jnp.uint16))
    return jax.tree.map(lambda leaf: bits(leaf) if leaf.dtype == jnp.bfloat16 else leaf, tree)


def _unpacked(tree: Residuals) -> Residuals:
    packed = lambda leaf: isinstance(leaf, _Bits)
    array = lambda leaf: jax.lax.bitcast_convert_type(leaf.bits, jnp.bfloat16) if packed(leaf) else leaf
    return jax.tree.map(array, tree, is_leaf=packed)


def mixed_precision(layer: Layer, compute_dtype: DTypeLike, loss_scale: float | LossScale = 1.0) -> Layer:
    """The layer, or the whole network, computed in `compute_dtype`; from outside it is as before.

    Parameters, their gradients, y and dx keep their dtypes (float32 masters); inside, copies of params and x are cast,
    so residuals take half the memory. dW and db are accumulated in float32, and so is a loss after it. For many layers
    on a CPU, `repeat(mixed_precision(block, dtype), n)`: XLA would otherwise keep float32 copies there.

    Gradients below 2^-24 vanish in float16. Since backward is linear in dy, it is computed for s dy, and its results
    are divided by s: `loss_scale`, a power of two, or a function dy -> s such as `dynamic_loss_scale()`. bfloat16 has
    float32's range and needs none. (Micikevicius et al. 2018.) A normalisation is more exact if it stays outside.

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
    scale_of = loss_scale if callable(loss_scale) else lambda dy: jnp.asarray(loss_scale, dy.dtype)

    def lower(tree: Params) -> Params:
        floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.tree.map(lambda leaf: leaf.astype(compute_dtype) if floating(leaf) else leaf, tree)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = f(params, x), computed in compute_dtype"""
        x = checks.floating("mixed_precision", "x", x)
        y, residuals = layer.forward(lower(params), lower(x), key)
        return y.astype(widest(x, *jax.tree.leaves(params))), (_packed(residuals), x[:0], y[:0])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """(dparams, dx) = backward(s dy) / s"""
        residuals, like, y = residuals
        s = scale_of(dy)
        dparams, dx = layer.backward(params, _unpacked(residuals), (s * dy).astype(y.dtype))
        unscaled = lambda d: d / s.astype(d.dtype)
        return jax.tree.map(unscaled, dparams), unscaled(dx.astype(like.dtype))

    name = f"mixed_precision({layer.name}, {jnp.dtype(compute_dtype).name})"
    return layer._replace(forward=forward, backward=backward, name=name)


def dynamic_loss_scale(target: float = 2.0**8) -> LossScale:
    """A function dy -> s, the power of two that brings the largest |dy| to between target/2 and target.

    The scale follows the gradient from step to step without a state or a step lost: float16 ends at 65504 = 2^16, so
    gradients may grow 256-fold inside the network. s = 1 where dy is zero or not finite.

    >>> float(dynamic_loss_scale(1.0)(jnp.array([0.0, 3e-5])))
    32768.0
    """
    checks.number("dynamic_loss_scale", "target", target, minimum=2.0**-14)

    def scale(dy: Array) -> Float[Array, ""]:
        largest = jnp.max(jnp.abs(dy), initial=0.0).astype(jnp.float32)
        usable = (largest > 0) & jnp.isfinite(largest)
        power = jnp.floor(jnp.log2(target / jnp.where(usable, largest, 1.0)))
        power = jnp.clip(power, -100.0, 100.0).astype(jnp.int32)
        return jnp.where(usable, jnp.ldexp(jnp.ones((), jnp.float32), power), 1.0).astype(dy.dtype)

    return scale


def remat(layer: Layer) -> Layer:
    """The same layer that keeps its input alone: backward computes the residuals once more. Time against memory.

    On the CPU it saves memory across a scan, `repeat(remat(layer), n)`, not in `serial`, where XLA frees residuals
    in the same order anyway. (Chen et al. 2016.)

    >>> import fnn
    >>> layer = remat(fnn.mlp([3, 4, 2]))
    >>> y, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> [leaf.shape for leaf in jax.tree.leaves(residuals)]
    [(5, 3)]
    """
    checks.layer("remat", "layer", layer)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        return layer.forward(params, x, key)[0], (x, key)

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        x, key = residuals
        x, dy = jax.lax.optimization_barrier((x, dy))  # or XLA would find the first forward's residuals and keep them
        return layer.backward(params, layer.forward(params, x, key)[1], dy)

    return layer._replace(forward=forward, backward=backward, name=f"remat({layer.name})")
