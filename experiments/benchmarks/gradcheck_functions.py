"""Correct gradients, which a checker should pass: functions of jax.numpy, nn, scipy and lax, and networks.

Each function has a sampler of arguments inside its domain. `reverse` and `forward` make two correct backwards that
round differently: reverse mode, and forward mode column by column.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from experiments.benchmarks.gradcheck_bases import convolve, mlp


class Function(NamedTuple):
    """A function fun(*args), and make(rng) -> args, which draws float32 arguments."""

    name: str
    fun: Callable
    make: Callable[[np.random.Generator], tuple]


def _f32(*arrays) -> tuple:
    return tuple(np.asarray(a, np.float32) for a in arrays)


def normal(*shapes: tuple[int, ...]) -> Callable:
    """Sample arguments from N(0, 1)."""
    return lambda rng: _f32(*(rng.standard_normal(s) for s in shapes))


def uniform(low: float, high: float, *shapes: tuple[int, ...]) -> Callable:
    """Sample arguments uniformly from (low, high)."""
    return lambda rng: _f32(*(rng.uniform(low, high, s) for s in shapes))


def square(n: int) -> Callable:
    """Sample a well-conditioned matrix."""
    return lambda rng: _f32(rng.standard_normal((n, n)) + 3 * np.eye(n))


def positive_definite(n: int) -> Callable:
    """Sample a symmetric positive definite matrix."""

    def make(rng):
        a = rng.standard_normal((n, n))
        return _f32(a @ a.T + n * np.eye(n))

    return make


def scan_rnn(w, h, xs):
    """Scan h ← tanh(h W + x); return the last h and the sum of h at each step."""
    step = lambda h, x: (jnp.tanh(h @ w + x), h.sum())
    return jax.lax.scan(step, h, xs)


def fori_power(a, x):
    """Run five steps of a normalised power iteration."""

    def body(_, v):
        u = a @ v
        return u / jnp.sqrt(jnp.sum(u * u))

    return jax.lax.fori_loop(0, 5, body, x)


def layer_norm(x, g, b):
    """Return (x - mean)/√(variance + 1e-5) γ + β over the last axis."""
    mean = x.mean(-1, keepdims=True)
    c = x - mean
    scaled = c / jnp.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)
    return scaled * jnp.broadcast_to(g, x.shape) + jnp.broadcast_to(b, x.shape)


def attention(q, k, v):
    """Return softmax(q kᵀ/√d) v."""
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[1]).item()) @ v


SEGMENTS = np.array([0, 0, 1, 2, 2, 2], np.int32)
V, M, B = (7,), (4, 5), (3, 4)

FUNCTIONS = (
    Function("sin", jnp.sin, normal(V)),
    Function("cos", jnp.cos, normal(V)),
    Function("tan", jnp.tan, uniform(-1, 1, V)),
    Function("arcsin", jnp.arcsin, uniform(-0.8, 0.8, V)),
    Function("arctan2", jnp.arctan2, normal(V, V)),
    Function("sinh", jnp.sinh, normal(V)),
    Function("tanh", jnp.tanh, normal(V)),
    Function("arctanh", jnp.arctanh, uniform(-0.8, 0.8, V)),
    Function("exp", jnp.exp, normal(V)),
    Function("log", jnp.log, uniform(0.1, 3, V)),
    Function("log1p", jnp.log1p, uniform(-0.5, 2, V)),
    Function("expm1", jnp.expm1, normal(V)),
    Function("sqrt", jnp.sqrt, uniform(0.1, 3, V)),
    Function("cbrt", jnp.cbrt, uniform(0.1, 3, V)),
    Function("power", jnp.power, uniform(0.2, 3, V, V)),
    Function("divide", jnp.divide, uniform(0.5, 2, V, V)),
    Function("hypot", jnp.hypot, normal(V, V)),
    Function("logaddexp", jnp.logaddexp, normal(V, V)),
    Function("sinc", jnp.sinc, normal(V)),
    Function("abs", jnp.abs, normal(V)),
    Function("maximum", jnp.maximum, normal(V, V)),
    Function("floor times x", lambda x: jnp.floor(x) * x, normal(V)),
    Function("sort", jnp.sort, normal(M)),
    Function("max", lambda x: x.max(1), normal(M)),
    Function("median", lambda x: jnp.median(x, axis=1), normal(M)),
    Function("top_k", lambda x: jax.lax.top_k(x, 2)[0], normal(M)),
    Function("cumsum", lambda x: jnp.cumsum(x, 1), normal(M)),
    Function("cumprod", lambda x: jnp.cumprod(x, 1), normal(M)),
    Function("prod", lambda x: jnp.prod(x, 1), normal(M)),
    Function("var", lambda x: jnp.var(x, 0), normal(M)),
    Function("std", lambda x: jnp.std(x, 0), normal(M)),
    Function("var, mean 1e3", lambda x: jnp.var(x, 0), lambda rng: _f32(1e3 + rng.standard_normal(M))),
    Function("norm", jnp.linalg.norm, normal(V)),
    Function("matmul", jnp.matmul, normal((3, 4), (4, 5))),
    Function("einsum", lambda a, b: jnp.einsum("bij,bjk->ik", a, b), normal((2, 3, 4), (2, 4, 3))),
    Function("outer", jnp.outer, normal(V, (4,))),
    Function("where", lambda x, y: jnp.where(x > 0, x * y, y), normal(V, V)),
    Function("gather", lambda x: x[np.array([0, 2, 2, 1])], normal(M)),
    Function("scatter add", lambda x, y: x.at[np.array([0, 2, 2])].add(y), normal(V, (3,))),
    Function("roll and concatenate", lambda x, y: jnp.concatenate([jnp.roll(x, 1, 0), y]), normal(M, M)),
    Function("interp", lambda x: jnp.interp(x, np.linspace(-3, 3, 9), np.cos(np.linspace(-3, 3, 9))), normal(V)),
    Function("fft magnitude", lambda x: jnp.abs(jnp.fft.rfft(x))[1:4], normal((8,))),
    Function("linalg.inv", jnp.linalg.inv, square(4)),
    Function("linalg.solve", jnp.linalg.solve, lambda rng: (*square(4)(rng), *_f32(rng.standard_normal((4, 2))))),
    Function("linalg.cholesky", jnp.linalg.cholesky, positive_definite(4)),
    Function("linalg.eigh", jnp.linalg.eigh, positive_definite(4)),
    Function("linalg.slogdet", lambda a: jnp.linalg.slogdet(a)[1], square(4)),
    Function("linalg.qr", jnp.linalg.qr, square(4)),
    Function("linalg.svd values", lambda a: jnp.linalg.svd(a, compute_uv=False), square(4)),
    Function("matrix_power", lambda a: jnp.linalg.matrix_power(a, 3), square(3)),
    Function(
        "scipy solve_triangular",
        lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True),
        lambda rng: (*square(4)(rng), *_f32(rng.standard_normal((4, 2)))),
    ),
    Function("logsumexp", special.logsumexp, normal(M)),
    Function("erf", special.erf, normal(V)),
    Function("erfinv", special.erfinv, uniform(-0.8, 0.8, V)),
    Function("gammaln", special.gammaln, uniform(0.5, 4, V)),
    Function("digamma", special.digamma, uniform(0.5, 4, V)),
    Function("betaln", special.betaln, uniform(0.5, 4, V, V)),
    Function("i0e", special.i0e, normal(V)),
    Function("i1", special.i1, normal(V)),
    Function("xlogy", special.xlogy, uniform(0.3, 3, V, V)),
    Function("entr", special.entr, uniform(0.1, 3, V)),
    Function("log_ndtr", special.log_ndtr, normal(V)),
    Function("expit", special.expit, normal(V)),
    Function("logit", special.logit, uniform(0.1, 0.9, V)),
    Function("norm.logpdf", jax.scipy.stats.norm.logpdf, normal(V)),
    Function("relu", jax.nn.relu, normal(V)),
    Function("gelu", jax.nn.gelu, normal(V)),
    Function("gelu exact", lambda x: jax.nn.gelu(x, approximate=False), normal(V)),
    Function("silu", jax.nn.silu, normal(V)),
    Function("softplus", jax.nn.softplus, normal(V)),
    Function("elu", jax.nn.elu, normal(V)),
    Function("selu", jax.nn.selu, normal(V)),
    Function("mish", jax.nn.mish, normal(V)),
    Function("leaky_relu", jax.nn.leaky_relu, normal(V)),
    Function("hard_tanh", jax.nn.hard_tanh, normal(V)),
    Function("softmax", jax.nn.softmax, normal(M)),
    Function("log_softmax", jax.nn.log_softmax, normal(M)),
    Function("glu", jax.nn.glu, normal((3, 8))),
    Function("standardize", jax.nn.standardize, normal(M)),
    Function(
        "layer norm", layer_norm, lambda rng: _f32(rng.standard_normal(B), rng.random((1, 4)), rng.random((1, 4)))
    ),
    Function("attention", attention, normal((3, 4), (5, 4), (5, 2))),
    Function("segment_sum", lambda x: jax.ops.segment_sum(x, SEGMENTS, 4), normal((6, 2))),
    Function("conv", convolve, normal((2, 5, 5, 2), (3, 3, 2, 3))),
    Function("conv strided", lambda x, w: jax.lax.conv(x, w, (2, 2), "SAME"), normal((2, 2, 6, 6), (3, 2, 3, 3))),
    Function(
        "max pool",
        lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        normal((2, 4, 4, 2)),
    ),
    Function("scan", scan_rnn, normal((3, 3), (3,), (5, 3))),
    Function("fori_loop", fori_power, lambda rng: (*square(3)(rng), *_f32(rng.standard_normal(3)))),
    Function("cond", lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), normal(V)),
    Function("map", lambda x: jax.lax.map(lambda r: jnp.sum(jnp.sin(r)) * r, x), normal(M)),
    Function("associative_scan", lambda x: jax.lax.associative_scan(jnp.multiply, x), normal(V)),
    Function("1e6 x^3", lambda x: 1e6 * x**3, normal(V)),
    Function("1e-8 exp", lambda x: 1e-8 * jnp.exp(x), normal(V)),
    Function("x + 1e5", lambda x: jnp.sin(x + 1e5), normal(V)),
    Function("inputs of 1e-6", lambda x: jnp.sin(1e6 * x), lambda rng: _f32(1e-6 * rng.standard_normal(V))),
    Function("inputs of 1e6", lambda x: jnp.tanh(1e-6 * x), lambda rng: _f32(1e6 * rng.standard_normal(V))),
    Function("outputs of many scales", lambda x: x * 10.0 ** np.arange(-6.0, 8.0, 2), normal(V)),
    Function("cancellation", lambda x: (x + 1e6) - 1e6, normal(V)),
    Function("relu network", mlp().fun, lambda rng: _network(rng, (6, 16, 16, 3), 8)),
    Function("relu network, batch 64", mlp((20, 64, 64, 10)).fun, lambda rng: _network(rng, (20, 64, 64, 10), 64)),
)
"""The tests run each of these about one hundred functions with several keys."""


def _network(rng: np.random.Generator, sizes: tuple[int, ...], batch: int) -> tuple:
    params = {
        f"l{i}": {"b": 0.1 * rng.standard_normal(m), "w": rng.standard_normal((n, m)) * np.sqrt(2 / n)}
        for i, (n, m) in enumerate(itertools.pairwise(sizes))
    }
    return jax.tree_util.tree_map(lambda a: a.astype(np.float32), (params, rng.standard_normal((batch, sizes[0]))))


def reverse(fun: Callable) -> Callable:
    """Return the backward of a function by jax.vjp."""
    return lambda args, ct: jax.vjp(fun, *args)[1](ct)


def forward(fun: Callable) -> Callable:
    """Return the backward of a function by forward mode: Jᵀȳ, with J built column by column."""

    def backward(args, ct):
        columns = jax.jacfwd(fun, tuple(range(len(args))))(*args)
        parts = zip(jax.tree_util.tree_leaves(ct), _per_output(columns, ct), strict=True)
        return jax.tree_util.tree_map(lambda *terms: sum(terms), *(_pull(c, j) for c, j in parts))

    return backward


def _per_output(columns, ct) -> list:
    return jax.tree_util.tree_structure(ct).flatten_up_to(columns)


def _pull(c, jacobian):
    return jax.tree_util.tree_map(lambda j: jnp.tensordot(c, j, c.ndim), jacobian)
