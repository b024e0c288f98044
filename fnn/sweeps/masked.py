"""Dense layers whose width may be traced.

One compiled program can then train networks of many widths.

A layer of width (p, q) inside a layer of size (n_in, n_out) is a dense layer between two masks: m_i = [i < p] on its
inputs and M_j = [j < q] on its outputs. Outside the block (p, q), W and b start at 0 and have zero gradients. They
therefore stay 0, with or without an L2 penalty, under any optimizer that leaves a parameter with value 0 and gradient 0
unchanged. ‖W‖² equals that of the narrow layer.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from fnn import checks
from fnn.init import Initializer, he_normal, he_uniform, lecun_normal, xavier_normal, xavier_uniform, zeros
from fnn.layers.activations import relu
from fnn.layers.combinators import serial
from fnn.layers.dense import Dense, dense
from fnn.types import Layer, PRNGKey, Residuals

Width = int | Int[Array, ""]

# initialisers with a scale that depends on the width: 1 / stddev² is proportional to a · fan_in + b · fan_out
_FANS = (
    (lecun_normal, 1, 0),
    (he_normal, 1, 0),
    (he_uniform, 1, 0),
    (xavier_normal, 1, 1),
    (xavier_uniform, 1, 1),
)


def _width(function: str, argument: str, value: Width, n: int) -> Width:
    """Return a width in 0..n: a concrete one as an int, a traced one clamped."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", ())
    if isinstance(value, bool) or not (isinstance(value, int) or (dtype and jnp.issubdtype(dtype, jnp.integer))):
        raise checks.fail(function, argument, "an integer, or an integer scalar array", value, TypeError)
    if shape != ():
        raise checks.fail(function, argument, "an integer, or an integer scalar array", value)
    if isinstance(value, Tracer):
        return jnp.clip(value, 0, n)
    if not 0 <= int(value) <= n:
        raise checks.fail(function, argument, f"in 0..{n}", came=str(int(value)))
    return int(value)


def _mask(n: int, width: Width) -> Bool[Array, "1 n"] | None:
    """Return a mask of the first `width` of n entries, or None if it has them all."""
    return None if isinstance(width, int) and width == n else (jnp.arange(n) < width)[None, :]


def _keep(mask: Bool[Array, "1 n"] | None, values: Array) -> Array:
    return values if mask is None else jnp.where(mask, values, jnp.zeros((), values.dtype))


def _rescale(w_init: Initializer, size: tuple[int, int], widths: tuple[Width, Width]) -> Array:
    """Return the ratio of an initialiser's scale at `widths` to that at `size`.

    The ratio is 1 for an initialiser that is not in _FANS.
    """
    a, b = next(((a, b) for f, a, b in _FANS if f is w_init), (0, 0))
    if a == 0:
        return jnp.ones(())
    (n_in, n_out), (p, q) = size, widths
    narrow = jnp.maximum(jnp.asarray(a * p + b * q, float), 1)  # a layer of width 0 has no weights to scale
    return jnp.sqrt(jnp.asarray(a * n_in + b * n_out, float) / narrow)


def masked_dense(
    n_in: int,
    n_out: int,
    width_in: Width,
    width_out: Width,
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """A dense layer of a width that may be traced, inside a wider one.

    Z = (X ∘ m) W ∘ M + b ∘ M

    dW = (X ∘ m)ᵀ (dZ ∘ M), db = Σ_batch dZ ∘ M, dX = ((dZ ∘ M) Wᵀ) ∘ m

    The first `width_out` outputs depend on the first `width_in` inputs; the other outputs are 0.

    Args:
      n_in: number of inputs of the wide layer.
      n_out: number of outputs of the wide layer.
      width_in: number of inputs that are used. A concrete width must be in 0..n_in; a traced one is clamped. With
        width 0, Z is b ∘ M.
      width_out: number of outputs that are used, likewise.
      w_init: initialiser of W. The initialisers of `fnn.init` use the fans of the narrow layer. Any other is called
        with the wide shape, and masked.
      b_init: initialiser of b.

    Returns:
      A Layer with parameters `Dense(w, b)` of the wide shape, from x (batch, n_in) to z (batch, n_out).

    Raises:
      ValueError: if a size is not positive, or a concrete width is out of range.
      TypeError: if a width is not an integer.

    >>> import jax
    >>> layer = masked_dense(4, 3, 4, 2)
    >>> (layer.init(jax.random.key(0)).w != 0).sum(0)
    Array([4, 4, 0], dtype=int32)
    """
    n_in, n_out = (checks.positive_int("masked_dense", name, n) for name, n in (("n_in", n_in), ("n_out", n_out)))
    p = _width("masked_dense", "width_in", width_in, n_in)
    q = _width("masked_dense", "width_out", width_out, n_out)
    full = dense(n_in, n_out, w_init, b_init)

    def init(key: PRNGKey) -> Dense:
        params = full.init(key)
        w, b = params.w, params.b
        scale = _rescale(w_init, (n_in, n_out), (p, q)).astype(w.dtype)
        rows, columns = _mask(n_in, p), _mask(n_out, q)
        w = _keep(columns, _keep(None if rows is None else rows.T, w * scale))
        return Dense(w, b if columns is None else _keep(columns[0], b))

    def forward(params: Dense, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """Z = (X ∘ m) W ∘ M + b ∘ M"""
        x = checks.shaped("masked_dense", "x", x, ("batch", n_in))
        z, residuals = full.forward(params, _keep(_mask(n_in, p), x), key)
        return _keep(_mask(n_out, q), z), residuals

    def backward(params: Dense, residuals: Residuals, dz: Array) -> tuple[Dense, Array]:
        """dW = (X ∘ m)ᵀ (dZ ∘ M), db = Σ_batch dZ ∘ M, dX = ((dZ ∘ M) Wᵀ) ∘ m"""
        dparams, dx = full.backward(params, residuals, _keep(_mask(n_out, q), dz))
        return dparams, _keep(_mask(n_in, p), dx)

    return Layer(init, forward, backward, name=f"masked_dense({n_in}, {n_out})")


def masked_mlp(
    sizes: Sequence[int],
    widths: Sequence[Width] | Int[Array, " hidden"],
    activation: Layer = relu,
    w_init: Initializer = he_normal,
) -> Layer:
    """A multilayer perceptron whose hidden layers have widths that may be traced.

    To sweep over widths, give `fnn.make_run` a network that is a function of the hyperparameters. The parameters are 0
    outside the narrow network, so `fnn.mlp(sizes, activation)` with the same parameters computes the same function.

    Args:
      sizes: the number of inputs, of units in each hidden layer of the widest network, and of outputs.
      widths: the number of units that each hidden layer uses. With a layer of width 0 the logits do not depend on x.
      activation: the layer after each hidden layer. It must act on each unit by itself, unlike `fnn.layer_norm`.
      w_init: initialiser of the weights; see `masked_dense`.

    Returns:
      A `serial` from x (batch, sizes[0]) to logits (batch, sizes[-1]).

    Raises:
      ValueError: if there are fewer than two sizes, or not one width per hidden layer, or a width is out of range.

    >>> import fnn, jax
    >>> data = jnp.ones((6, 4)), jnp.zeros(6, jnp.int32)
    >>> def network(width): return masked_mlp([4, 8, 3], [width])
    >>> def optimizer(width): return fnn.sgd(0.1)
    >>> run = fnn.make_run(network, fnn.softmax_cross_entropy, optimizer, data, epochs=2, batch_size=6)
    >>> results = fnn.sweep(run, jnp.array([1, 2, 8]), jax.random.key(0))
    >>> [int((w[0] != 0).any(0).sum()) for w in results.params[0].w]
    [1, 2, 8]
    """
    sizes = tuple(sizes)
    if len(sizes) < 2:
        raise checks.fail("masked_mlp", "sizes", "at least two sizes, (n_in, ..., n_out)", sizes)
    hidden = len(sizes) - 2
    if not hasattr(widths, "__len__") or getattr(widths, "shape", None) == () or len(widths) != hidden:
        raise checks.fail("masked_mlp", "widths", f"a width for each of the {hidden} hidden layers", widths)
    checks.layer("masked_mlp", "activation", activation)
    inner = [
        _width("masked_mlp", f"widths[{i}]", width, checks.positive_int("masked_mlp", f"sizes[{i + 1}]", size))
        for i, (width, size) in enumerate(zip(widths, sizes[1:-1], strict=True))
    ]
    used = [sizes[0], *inner, sizes[-1]]
    layers: list[Layer] = []
    for (n_in, n_out), (p, q) in zip(itertools.pairwise(sizes), itertools.pairwise(used), strict=True):
        layers += [masked_dense(n_in, n_out, p, q, w_init), activation]
    return serial(*layers[:-1])
