"""Dense layers, and the combinators that make networks of layers. Backward stands under its forward.

X (batch, n_in) holds an example per row, W (n_in, n_out), b (n_out,); d… is the gradient of the cost with respect to ….
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fnn import checks
from fnn.activations import identity, parameterless
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.products import column_sum, product, weight_gradient
from fnn.types import Layer, Params, PRNGKey, Residuals


class Dense(NamedTuple):
    w: Float[Array, "n_in n_out"]
    b: Float[Array, " n_out"]


def dense(n_in: int, n_out: int, w_init: Initializer = lecun_normal, b_init: Initializer = zeros) -> Layer:
    """Every output sees every input: Z = X W + b.

    >>> layer = dense(3, 2)
    >>> z, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> z.shape
    (5, 2)
    """
    n_in, n_out = checks.positive_int("dense", "n_in", n_in), checks.positive_int("dense", "n_out", n_out)

    def init(key: PRNGKey) -> Dense:
        w_key, b_key = jax.random.split(key)
        return Dense(w_init(w_key, (n_in, n_out)), b_init(b_key, (n_out,)))

    def forward(params: Dense, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z = X W + b"""
        w, b = checks.fields("dense", params, Dense, w=(n_in, n_out), b=(n_out,))
        x = checks.shaped("dense", "x", x, ("batch", n_in))
        dtype = widest(x, w, b)
        return product(x.astype(dtype), w.astype(dtype)) + b.astype(dtype)[None, :], x

    def backward(params: Dense, x: Array, dz: Array) -> tuple[Dense, Array]:
        """dW = Xᵀ dZ, db = Σ_batch dZ, dX = dZ Wᵀ"""
        w, b = params
        dw = weight_gradient(x, dz, w)
        db = column_sum(dz.astype(widest(dz, b)), w).astype(b.dtype)
        dx = product(dz, w.astype(dz.dtype).T).astype(x.dtype)
        return Dense(dw, db), dx

    return Layer(init, forward, backward, name=f"dense({n_in}, {n_out})")


def _flatten(x: Array) -> tuple[Array, Array]:
    """(batch, ...) -> (batch, n). The residual has no elements, only x's shape."""
    if x.ndim < 2:
        raise checks.fail("flatten", "x", "of shape (batch, ...)", x)
    return x.reshape(x.shape[0], -1), x[:0]


def _flatten_backward(like: Array, dy: Array) -> Array:
    """dx = dy in the shape of x"""
    return dy.reshape(dy.shape[0], *like.shape[1:])


flatten = parameterless("flatten", _flatten, _flatten_backward)


def dropout(rate: float) -> Layer:
    """Each entry is zeroed with probability `rate`, the others grow by 1 / (1 - rate); without a key: the identity.

    y = x ∘ mask / (1 - rate), dx = dy ∘ mask / (1 - rate)        (inverted dropout; Srivastava et al. 2014)

    >>> y, _ = dropout(0.5).forward((), jnp.ones((1, 1000)), jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """
    rate = checks.fraction("dropout", "rate", rate)
    keep = 1.0 - rate

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Bool[Array, "..."] | None]:
        checks.no_params("dropout", params)
        x = checks.floating("dropout", "x", x)
        if key is None or rate == 0.0:
            return x, None
        mask = jax.random.bernoulli(key, keep, x.shape)
        return jnp.where(mask, x / keep, 0), mask

    def backward(params: Params, mask: Bool[Array, "..."] | None, dy: Array) -> tuple[Params, Array]:
        return (), dy if mask is None else jnp.where(mask, dy / keep, 0)

    return Layer(lambda key: (), forward, backward, name=f"dropout({rate})")


def _split(key: PRNGKey | None, n: int) -> list[PRNGKey | None]:
    """A key for each of n layers, or None for each."""
    return [None] * n if key is None else [jax.random.fold_in(key, i) for i in range(n)]


def _calibrate(layer: Layer, params: Params, x: Array) -> tuple[Params, Array]:
    """Calibrates what can be: -> params, y."""
    return (params, layer.forward(params, x)[0]) if layer.calibrate is None else layer.calibrate(params, x)


def serial(*layers: Layer) -> Layer:
    """One layer after the other: y = f_L(… f_2(f_1(x))). Parameters, residuals and gradients are tuples in that order.

    >>> network = serial(dense(3, 4), identity, dense(4, 2))
    >>> len(network.init(jax.random.key(0)))
    3
    """
    layers = tuple(checks.layer("serial", f"layers[{i}]", layer) for i, layer in enumerate(layers))
    if not layers:
        raise checks.fail("serial", "layers", "at least one Layer", came="none")

    def per_layer(params: Params) -> Params:
        if not isinstance(params, tuple) or len(params) != len(layers):
            got = f"a tuple of {len(params)}" if isinstance(params, tuple) else type(params).__name__
            raise checks.fail("serial", "params", f"a tuple of {len(layers)}, one entry per layer", came=got)
        return params

    def init(key: PRNGKey) -> Params:
        return tuple(layer.init(k) for layer, k in zip(layers, _split(key, len(layers)), strict=True))

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f_l(a_{l-1}), a_0 = x"""
        residuals = []
        for layer, p, k in zip(layers, per_layer(params), _split(key, len(layers)), strict=True):
            x, r = layer.forward(p, x, k)
            residuals.append(r)
        return x, tuple(residuals)

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """da_{l-1} = da_l ∂f_l/∂a_{l-1}, from the last layer to the first"""
        dparams = []
        for layer, p, r in zip(reversed(layers), reversed(per_layer(params)), reversed(residuals), strict=True):
            dp, dy = layer.backward(p, r, dy)
            dparams.append(dp)
        return tuple(reversed(dparams)), dy

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        out = []
        for layer, p in zip(layers, per_layer(params), strict=True):
            p, x = _calibrate(layer, p, x)
            out.append(p)
        return tuple(out), x

    has_statistics = any(layer.calibrate for layer in layers)
    return Layer(init, forward, backward, calibrate if has_statistics else None, name="serial", layers=layers)


class Residual(NamedTuple):
    layer: Params
    shortcut: Params


def residual(layer: Layer, shortcut: Layer = identity) -> Layer:
    """A layer and a way around it: y = f(x) + s(x); dx is the sum of both ways' (He et al. 2016).

    >>> block = residual(serial(dense(3, 3), identity))
    >>> block.forward(block.init(jax.random.key(0)), jnp.ones((5, 3)))[0].shape
    (5, 3)
    """
    layers = checks.layer("residual", "layer", layer), checks.layer("residual", "shortcut", shortcut)

    def init(key: PRNGKey) -> Residual:
        return Residual(*(f.init(k) for f, k in zip(layers, _split(key, 2), strict=True)))

    def add(y: Array, s: Array) -> Array:
        if y.shape != s.shape:
            expected = f"of the shape of the layer's output, {tuple(y.shape)}"
            raise checks.fail("residual", "the shortcut's output", expected, s)
        dtype = widest(y, s)
        return y.astype(dtype) + s.astype(dtype)

    def forward(params: Residual, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = f(x) + s(x)"""
        params = checks.fields("residual", params, Residual)
        (y, r), (s, q) = (f.forward(p, x, k) for f, p, k in zip(layers, params, _split(key, 2), strict=True))
        return add(y, s), ((r, y[:0]), (q, s[:0]), x[:0])

    def backward(params: Residual, residuals: Residuals, dy: Array) -> tuple[Residual, Array]:
        """dx = dy ∂f/∂x + dy ∂s/∂x"""
        *ways, like = residuals
        (dp, dx), (dq, ds) = (
            f.backward(p, r, dy.astype(y.dtype)) for f, p, (r, y) in zip(layers, params, ways, strict=True)
        )
        return Residual(dp, dq), (dx + ds).astype(like.dtype)

    def calibrate(params: Residual, x: Array) -> tuple[Residual, Array]:
        (p, y), (q, s) = (_calibrate(f, p, x) for f, p in zip(layers, params, strict=True))
        return Residual(p, q), add(y, s)

    has_statistics = any(f.calibrate for f in layers)
    return Layer(init, forward, backward, calibrate if has_statistics else None, name="residual", layers=layers)


def repeat(layer: Layer, n: int) -> Layer:
    """n copies of a layer, each with parameters of its own, as one `lax.scan`: compile time does not grow with n.

    Parameters, residuals and gradients are those of `layer` with a leading axis of n. y has the shape of x.

    >>> deep = repeat(serial(dense(3, 3), identity), 100)
    >>> deep.init(jax.random.key(0))[0].w.shape
    (100, 3, 3)
    """
    layer, n = checks.layer("repeat", "layer", layer), checks.positive_int("repeat", "n", n)

    def init(key: PRNGKey) -> Params:
        return jax.vmap(layer.init)(jax.random.split(key, n))

    def check(params: Params, x: Array) -> Array:
        wrong = [leaf for leaf in jax.tree.leaves(params) if np.ndim(leaf) < 1 or np.shape(leaf)[0] != n]
        if wrong:
            raise checks.fail("repeat", "params", f"leaves with a leading axis of {n}", wrong[0])
        first = jax.tree.map(lambda leaf: leaf[0], params)
        y = jax.eval_shape(lambda p, x: layer.forward(p, x)[0], first, x)
        if y.shape != x.shape:
            raise checks.fail("repeat", "the layer's output", f"of the shape of its input, {tuple(x.shape)}", y)
        return x.astype(y.dtype)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f(params_l, a_{l-1}), a_0 = x"""
        keys = None if key is None else jax.random.split(key, n)

        def step(a: Array, xs):
            return layer.forward(xs[0], a, xs[1])

        y, residuals = jax.lax.scan(step, check(params, x), (params, keys), length=n)
        return y, (residuals, x[:0])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """da_{l-1} = da_l ∂f/∂a_{l-1}, from the last to the first"""
        residuals, like = residuals

        def step(da: Array, xs):
            dp, da = layer.backward(xs[0], xs[1], da)
            return da, dp

        dx, dparams = jax.lax.scan(step, dy, (params, residuals), length=n, reverse=True)
        return dparams, dx.astype(like.dtype)

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        def step(a: Array, p: Params):
            p, a = _calibrate(layer, p, a)
            return a, p

        y, params = jax.lax.scan(step, check(params, x), params, length=n)
        return params, y

    return Layer(init, forward, backward, calibrate if layer.calibrate else None, f"repeat({n})", (layer,) * n)
