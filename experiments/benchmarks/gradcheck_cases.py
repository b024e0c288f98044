"""Functions with hand-written backwards, and wrong ones made from them systematically: what a checker must tell apart.

A mutation changes the gradient of one leaf, or what the backward is given. Arguments are float32 NumPy arrays, so that
every tool may cast them as it likes.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class Base(NamedTuple):
    """A function, its correct backward and arguments: backward(args, ȳ) -> a gradient per argument."""

    name: str
    kind: str
    fun: Callable
    backward: Callable
    args: tuple
    marks: dict[str, tuple[int, ...]]
    """An element of each leaf (by its path), to be made wrong; its first number is the row."""


class Mutant(NamedTuple):
    """A wrong backward and what a report should say of it."""

    name: str
    kind: str
    fun: Callable
    backward: Callable
    args: tuple
    leaf: str
    """The path of the wrong leaf; "" where all are."""
    at: tuple[int, ...] | None
    """The wrong element, or the wrong row as (row,); None where more is wrong."""
    options: dict[str, Any] = {}  # noqa: RUF012


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def silu() -> Base:
    """y = x σ(x), dx = ȳ (σ + y (1 - σ))."""

    def backward(args, ct):
        s = jax.nn.sigmoid(args[0])
        return (ct * (s + args[0] * s * (1 - s)),)

    return Base("silu", "elementwise", lambda x: x * jax.nn.sigmoid(x), backward, (_normal(1, 8, 8),), {"": (3, 5)})


def product() -> Base:
    """y = x sin(z), dx = ȳ sin(z), dz = ȳ x cos(z)."""

    def backward(args, ct):
        x, z = args
        return ct * jnp.sin(z), ct * x * jnp.cos(z)

    args = (_normal(2, 6, 6), _normal(3, 6, 6))
    return Base("product", "elementwise", lambda x, z: x * jnp.sin(z), backward, args, {"[0]": (2, 4), "[1]": (5, 1)})


def normalize() -> Base:
    """y = x/‖x‖, dx = (ȳ - y ⟨y, ȳ⟩)/‖x‖."""

    def fun(x):
        return x / jnp.sqrt(jnp.sum(x * x))

    def backward(args, ct):
        (x,) = args
        y = fun(x)
        return ((ct - y * jnp.sum(y * ct)) / jnp.sqrt(jnp.sum(x * x)),)

    x = np.random.RandomState(0).randn(64).astype(np.float32)
    return Base("normalize", "elementwise", fun, backward, (x,), {"": (10,)})


def affine(p, x):
    """X W + b."""
    return x @ p["w"] + p["b"][None]


def dense() -> Base:
    """Y = X W + b, dW = Xᵀ Ȳ, db = Σ ȳ, dX = Ȳ Wᵀ."""

    def backward(args, dy):
        p, x = args
        return {"b": dy.sum(0), "w": x.T @ dy}, dy @ p["w"].T

    args = ({"b": _normal(4, 7), "w": _normal(5, 7, 7)}, _normal(6, 5, 7))
    return Base("dense", "dense", affine, backward, args, {"[0]['b']": (2,), "[0]['w']": (3, 1), "[1]": (4, 2)})


def convolve(x, w):
    """A "VALID" convolution, NHWC and HWIO."""
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _patches(x, k: int):
    h, w = x.shape[1] - k + 1, x.shape[2] - k + 1
    return jnp.stack([x[:, i : i + h, j : j + w] for i in range(k) for j in range(k)], 3)


def _convolve_backward(x, w, dy):
    k = w.shape[0]
    dw = jnp.einsum("nhwpc,nhwo->pco", _patches(x, k), dy).reshape(w.shape)
    padded = jnp.pad(dy, ((0, 0), (k - 1, k - 1), (k - 1, k - 1), (0, 0)))
    dx = jnp.einsum("nhwpo,pco->nhwc", _patches(padded, k), w[::-1, ::-1].reshape(k * k, *w.shape[2:]))
    return dw, dx


def conv() -> Base:
    """Y = X * W + b; dW by patches of X, dX the full correlation of Ȳ with the flipped kernel."""

    def fun(p, x):
        return convolve(x, p["w"]) + p["b"][None, None, None]

    def backward(args, dy):
        p, x = args
        dw, dx = _convolve_backward(x, p["w"], dy)
        return {"b": dy.sum((0, 1, 2)), "w": dw}, dx

    args = ({"b": _normal(7, 3), "w": _normal(8, 3, 3, 2, 3)}, _normal(9, 4, 6, 6, 2))
    return Base("conv", "conv", fun, backward, args, {"[0]['b']": (1,), "[0]['w']": (1, 2, 0, 1), "[1]": (2, 3, 4, 1)})


def mlp(sizes: tuple[int, ...] = (6, 8, 8, 4), batch: int = 5, seed: int = 10) -> Base:
    """A ReLU network: Z = A W + b, A = max(Z, 0); dZ = dA [Z > 0], dW = Aᵀ dZ, db = Σ dz, dA = dZ Wᵀ."""
    names = [f"l{i}" for i in range(len(sizes) - 1)]

    def forward(p, x):
        states = [x]
        for name in names:
            z = affine(p[name], states[-1])
            states.append(z if name == names[-1] else jax.nn.relu(z))
        return states

    def backward(args, dy):
        p, x = args
        states, grads = forward(p, x), {}
        for i in reversed(range(len(names))):
            dz = dy if i == len(names) - 1 else jnp.where(states[i + 1] > 0, dy, jnp.zeros_like(dy))
            grads[names[i]] = {"b": dz.sum(0), "w": states[i].T @ dz}
            dy = dz @ p[names[i]]["w"].T
        return grads, dy

    params = {}
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        w = _normal(seed + 2 * i, n, m) * np.float32(np.sqrt(2 / n))
        params[f"l{i}"] = {"b": 0.1 * _normal(seed + 2 * i + 1, m), "w": w}
    index = {"[0]['l1']['b']": (3,), "[0]['l1']['w']": (3, 3), "[0]['l0']['w']": (2, 5)}
    args = (params, _normal(seed + 20, batch, sizes[0]))
    return Base("mlp", "network", lambda p, x: forward(p, x)[-1], backward, args, index)


def convnet() -> Base:
    """conv, tanh, dense, and the mean softmax cross-entropy with labels that are not differentiated."""
    filters = conv()
    labels = np.array([0, 2, 1, 2], np.int32)

    def logits(p, x):
        h = jnp.tanh(filters.fun(p["conv"], x))
        return h, affine(p["out"], h.reshape(len(x), -1))

    def fun(p, x, labels):
        z = jax.nn.log_softmax(logits(p, x)[1])
        return -jnp.mean(jnp.take_along_axis(z, labels[:, None], 1))

    def backward(args, ct):
        p, x, labels = args
        h, z = logits(p, x)
        dz = ct * (jax.nn.softmax(z) - jax.nn.one_hot(labels, 3, dtype=z.dtype)) / len(x)
        flat = h.reshape(len(x), -1)
        dh = (dz @ p["out"]["w"].T).reshape(h.shape) * (1 - h * h)
        (dconv, dx) = filters.backward((p["conv"], x), dh)
        return {"conv": dconv, "out": {"b": dz.sum(0), "w": flat.T @ dz}}, dx, None

    p = {"conv": filters.args[0], "out": {"b": _normal(31, 3), "w": 0.2 * _normal(32, 48, 3)}}
    index = {"[0]['conv']['b']": (1,), "[0]['conv']['w']": (1, 2, 0, 1), "[0]['out']['w']": (30, 1)}
    return Base("convnet", "network", fun, backward, (p, filters.args[1], labels), index)


BASES = (silu, product, normalize, dense, conv, mlp, convnet)


def leaf_of(tree, path: str, several: bool):
    """The leaf of a tuple of gradients with a path as the reports write it."""
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if jax.tree_util.keystr(keys if several else keys[1:]) == path:
            return leaf
    raise KeyError(path)


def changed(base: Base, path: str, change: Callable) -> Callable:
    """The backward with change(g, args, ȳ) in place of one leaf's gradient."""
    several = len(base.args) > 1

    def backward(args, ct):
        grads = base.backward(args, ct)
        visit = lambda keys, g: (
            change(g, args, ct) if jax.tree_util.keystr(keys if several else keys[1:]) == path else g
        )
        return jax.tree_util.tree_map_with_path(visit, grads)

    return backward


def _element(value: Callable) -> Callable:
    return lambda at: lambda g, args, ct: g.at[at].set(value(g[at]))


def _row(value: Callable) -> Callable:
    return lambda at: lambda g, args, ct: g.at[at[0]].set(value(g[at[0]]))


def _whole(value: Callable) -> Callable:
    return lambda at: lambda g, args, ct: value(g)


@jax.custom_batching.custom_vmap
def _fine_alone(g):
    return g


@_fine_alone.def_vmap
def _wrong_mapped(size, batched, g):
    return g * (2.0 if batched[0] else 1.0), batched[0]


def _in_dtype(dtype) -> Callable:
    return _whole(lambda g: g.astype(dtype).astype(g.dtype))


ELEMENT = {
    "one element: sign": _element(lambda g: -g),
    "one element: zero": _element(lambda g: 0 * g),
    "one element: relative error 1e-4": _element(lambda g: g * (1 + 1e-4)),
    "one element: NaN": _element(lambda g: g * jnp.nan),
}
ROW = {
    "one row: zero": _row(lambda g: 0 * g),
    "one row: doubled": _row(lambda g: 2 * g),
    "one row: sign": _row(lambda g: -g),
}
WHOLE = {
    "sign": _whole(lambda g: -g),
    "factor 1/m": lambda at: lambda g, args, ct: g / 5,
    "factor m": lambda at: lambda g, args, ct: 5 * g,
    "relative error 1e-6": _whole(lambda g: g * (1 + 1e-6)),
    "constant offset 1e-5": _whole(lambda g: g + 1e-5),
    "zero": _whole(lambda g: 0 * g),
    "absolute value": _whole(jnp.abs),
    "float16 rounding": _in_dtype(np.float16),
    "bfloat16 rounding": _in_dtype(jnp.bfloat16),
    "float16 dtype": _whole(lambda g: g.astype(np.float16)),
    "None": _whole(lambda g: None),
    "rows rolled": _whole(lambda g: jnp.roll(g, 1, 0)),
    "wrong only where negative": _whole(lambda g: jnp.where(g < 0, 1.5 * g, g)),
    "wrong only under vmap": _whole(_fine_alone),
    "wrong only under jit": _whole(lambda g: 1.5 * g if isinstance(g, Tracer) else g),
    "batch axis kept": _whole(lambda g: g[None]),
    "summed over the rows": _whole(lambda g: jnp.broadcast_to(g.sum(0), g.shape)),
}


def of_leaf(base: Base) -> Iterator[Mutant]:
    """The mutations of the gradient of each leaf in base.marks."""
    make = lambda name, path, change, at: Mutant(
        f"{base.name}: {path or 'x'}: {name}", base.kind, base.fun, changed(base, path, change), base.args, path, at
    )
    for path, at in base.marks.items():
        ndim = len(at)
        yield from (make(n, path, m(at), at) for n, m in ELEMENT.items())
        if ndim > 1:
            yield from (make(n, path, m(at), at[:1]) for n, m in ROW.items())
        for name, mutation in WHOLE.items():
            if ndim > 1 or name not in ("summed over the rows",):
                yield make(name, path, mutation(at), None)
        shape = leaf_of(base.args, path, len(base.args) > 1).shape
        if ndim == 2 and shape[0] == shape[1]:
            yield make("transposed", path, lambda g, args, ct: g.T, None)


def of_cotangent(base: Base) -> Iterator[Mutant]:
    """Backwards that do something wrong with the cotangent: every leaf is wrong."""

    def make(name, backward):
        return Mutant(f"{base.name}: {name}", base.kind, base.fun, backward, base.args, "", None)

    b = base.backward
    yield make("ignores the cotangent", lambda args, ct: b(args, jnp.ones_like(ct)))
    yield make("squares the cotangent", lambda args, ct: b(args, ct * jnp.abs(ct)))
    yield make("clips the cotangent", lambda args, ct: b(args, jnp.clip(ct, -0.3, 0.3)))
    if base.name in ("dense", "conv", "mlp"):
        first = lambda ct: ct.at[1:].set(0)
        yield make("first row only", lambda args, ct: b(args, first(ct)))


def mutants() -> list[Mutant]:
    """All wrong backwards of fun(*args) that `of_leaf`, `of_cotangent` and `special` make."""
    bases = [make() for make in BASES]
    return [m for base in bases for m in (*of_leaf(base), *of_cotangent(base))] + list(special())


def special() -> Iterator[Mutant]:
    """Mutants of one function only: hidden stop_gradient, swapped arguments, forgotten terms, all-zero at one point."""
    a, p, d, n, net = silu(), product(), dense(), normalize(), mlp()
    stopped = lambda x: x * jax.lax.stop_gradient(jax.nn.sigmoid(x))
    pulled = lambda f: lambda args, ct: jax.vjp(f, *args)[1](ct)
    yield Mutant("silu: hidden stop_gradient", "elementwise", stopped, pulled(stopped), a.args, "", None)
    swapped = lambda args, ct: p.backward(args, ct)[::-1]
    yield Mutant("product: swapped arguments", "elementwise", p.fun, swapped, p.args, "", None)
    yield Mutant(
        "normalize: all zero", "elementwise", n.fun, lambda args, ct: (jnp.zeros_like(args[0]),), n.args, "", None
    )
    frozen = lambda q, x: affine({"b": jax.lax.stop_gradient(q["b"]), "w": q["w"]}, x)
    yield Mutant("dense: stop_gradient on b", "dense", frozen, pulled(frozen), d.args, "[0]['b']", None)
    linear = lambda args, ct: (net.backward(args, ct)[0], ct @ jnp.ones((4, 6), ct.dtype))
    yield Mutant("mlp: dx forgets the network", "network", net.fun, linear, net.args, "[1]", None)
    noisy = changed(d, "[0]['w']", lambda g, args, ct: g * (1 + 1e-9 * np.random.default_rng().standard_normal()))
    yield Mutant("dense: not deterministic", "dense", d.fun, noisy, d.args, "[0]['w']", None)
    first = changed(d, "[0]['b']", lambda g, args, ct: ct[0])
    yield Mutant("dense: first-row bias", "dense", d.fun, first, d.args, "[0]['b']", None)
    missing = changed(d, "[0]['b']", lambda g, args, ct: ct)
    yield Mutant("dense: missing sum", "dense", d.fun, missing, d.args, "[0]['b']", None)
    last = changed(net, "[0]['l2']['b']", lambda g, args, ct: ct[0])
    yield Mutant("mlp: first-row bias", "network", net.fun, last, net.args, "[0]['l2']['b']", None)
    negative = changed(a, "", lambda g, args, ct: jnp.where(args[0] < 0, jnp.zeros_like(g), g))
    yield Mutant("silu: zero for negative inputs", "elementwise", a.fun, negative, (abs(a.args[0]),), "", None)
