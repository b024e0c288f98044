"""Wrong gradients made systematically from correct ones, which a checker should catch.

A mutation changes the gradient of one leaf, or the cotangent that the backward receives.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from experiments.benchmarks.gradcheck_bases import BASES, Base, affine, dense, mlp, normalize, product, silu


class Mutant(NamedTuple):
    """A wrong backward, with the leaf and the index that a report should name."""

    name: str
    kind: str
    fun: Callable
    backward: Callable
    args: tuple
    leaf: str
    """The path of the wrong leaf; "" if all leaves are wrong."""
    at: tuple[int, ...] | None
    """The index of the wrong element, or (row,) for a wrong row; None if more elements are wrong."""
    options: dict[str, Any] = {}  # noqa: RUF012


def leaf_of(tree, path: str, several: bool):
    """Return the leaf with a given path, as the reports write it, from a tuple of gradients."""
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if jax.tree_util.keystr(keys if several else keys[1:]) == path:
            return leaf
    raise KeyError(path)


def changed(base: Base, path: str, change: Callable) -> Callable:
    """Return the backward with one leaf's gradient g replaced by change(g, args, ȳ)."""
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
    """Yield the mutations of the gradient of each leaf in base.marks."""
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
    """Yield backwards that misuse the cotangent, so that every leaf is wrong."""

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
    """Return all wrong backwards from `of_leaf`, `of_cotangent` and `special`."""
    bases = [make() for make in BASES]
    return [m for base in bases for m in (*of_leaf(base), *of_cotangent(base))] + list(special())


def special() -> Iterator[Mutant]:
    """Yield mutants of single functions: a hidden stop_gradient, swapped arguments, missing terms, zero gradients."""
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
