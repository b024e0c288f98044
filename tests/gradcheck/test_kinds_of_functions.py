"""Any function that JAX can evaluate: trees, static arguments, loops, callbacks, keys, transformations, devices.

Each kind is tried with a right gradient and with one that is 1.25 times as large. Both must be decided.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import io_callback

from fnn.gradcheck import check_vjp
from tests.support.slow import slow_except

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
KEY = jax.random.key(0)
ELEMENTS = ("structure", "reference", "differences")


def autodiff(fun, *numbers):
    """Return the vector-Jacobian product of fun by the arguments in `numbers`, or by all."""

    def backward(args, ct):
        chosen = numbers or range(len(args))
        some = lambda *new: fun(*[new[chosen.index(n)] if n in chosen else a for n, a in enumerate(args)])
        return jax.vjp(some, *[args[n] for n in chosen])[1](ct)

    return backward


def cosine(args, ct):
    return (ct * jnp.cos(args[0]), *[None] * (len(args) - 1))


class Pair(NamedTuple):
    w: Any
    b: Any


@functools.partial(jax.tree_util.register_dataclass, data_fields=["w", "b"], meta_fields=["power"])
@dataclasses.dataclass
class Power:
    w: Any
    b: Any
    power: int = 3


class Model:
    def __init__(self):
        self.w = jnp.asarray(X)

    def __call__(self, x):
        return jnp.sin(self.w * x)

    def method(self, x):
        return jnp.cos(self.w * x)


def repeated_sine(x, n):
    """Apply the sine n times, in a loop whose length JAX does not know."""
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]


def repeated_cosine(args, ct):
    step = lambda c: (c[0] + 1, jnp.sin(c[1]), c[2] * jnp.cos(c[1]))
    return lax.while_loop(lambda c: c[0] < args[1], step, (0, args[0], ct))[2], None


def called_back(x, **options):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x, **options)


def reported(x, ordered=False):
    io_callback(lambda v: None, None, x, ordered=ordered)
    return jnp.sin(x)


def debugged(x):
    jax.debug.callback(lambda v: None, x)
    return jnp.sin(x)


def in_place(x):
    ref = jax.new_ref(x)
    ref[...] = jnp.sin(ref[...])
    return ref[...]


def noisy(x, key):
    return jnp.sin(x + jax.random.normal(key, x.shape, x.dtype))


def noisy_backward(args, ct):
    return ct * jnp.cos(args[0] + jax.random.normal(args[1], ct.shape, ct.dtype)), None


@functools.partial(jax.jit, static_argnames=("axis", "kind"))
def summed(x, axis=0, kind="sine"):
    return jnp.sum(jnp.sin(x) if kind == "sine" else x, axis)


@jax.custom_jvp
def with_jvp(x):
    return jnp.sin(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def with_vjp(n, x):
    return x**n


with_jvp.defjvp(lambda x, v: (jnp.sin(x[0]), jnp.cos(x[0]) * v[0]))
with_vjp.defvjp(lambda n, x: (x**n, x), lambda n, x, ct: (n * x ** (n - 1) * ct,))

twice = lambda x: jnp.sin(checkpoint_name(jnp.sin(x), "inner"))
named = jax.checkpoint_policies.save_only_these_names("inner")
einsum = lambda x, text: jnp.einsum(text, x, x)
reshaped = lambda x, shape: jnp.reshape(jnp.sin(x), shape)
applied = lambda f, x: f(x)
by_axis = lambda x, axis: jnp.cumsum(jnp.sin(x), axis)
signed = lambda x, p: x * x if p > 0 else x
newton = lambda f, y: lax.fori_loop(0, 40, lambda i, y: y - f(y) / (3 * y * y), y)
cube_root = lambda x: lax.custom_root(lambda y: y**3 - x, x, newton, lambda g, y: y / g(jnp.ones_like(y)))


class Kind(NamedTuple):
    """A function, its arguments, its gradient (default: autodiff's), options, and what makes its gradient wrong."""

    fun: Any
    args: tuple
    backward: Any = None
    options: Any = MappingProxyType({})
    change: Any = lambda g: 1.25 * g


KINDS = {
    "outputs of many kinds": Kind(
        lambda p: {"a": jnp.sin(p.w * p.power), "i": jnp.argmax(p.w), "n": None, "t": Pair(p.b > 0, 1.0), "0": p.b[:0]},
        (Power(X, X[0]),),
    ),
    "keys and integers as outputs": Kind(lambda x: (lax.top_k(x, 2), jax.random.split(KEY)), (X,)),
    "no output of size": Kind(lambda x: x[:0], (X,), lambda args, ct: (jnp.zeros_like(args[0]),), change=jnp.ones_like),
    "a constant": Kind(lambda x: jnp.ones(3), (X,), lambda args, ct: (jnp.zeros_like(args[0]),), change=jnp.ones_like),
    "an empty argument": Kind(lambda x, y: jnp.sin(x), (X, X[:0])),
    "static string": Kind(einsum, (X, "ij,ij->i"), autodiff(einsum, 0), {"argnums": 0}),
    "string among the gradients": Kind(einsum, (X, "ij,ij->i"), lambda a, ct: (*autodiff(einsum, 0)(a, ct), None)),
    "static shape": Kind(reshaped, (X, (3, 4)), autodiff(reshaped, 0), {"argnums": 0}),
    "static function": Kind(applied, (jnp.sin, X), autodiff(applied, 1), {"argnums": 1}),
    "axis number": Kind(by_axis, (X, 1), autodiff(by_axis, 0), {"argnums": 0}),
    "NumPy scalar that decides": Kind(signed, (X, np.float32(1)), autodiff(signed, 0), {"argnums": 0}),
    "names and functions in a tree": Kind(
        lambda p: p["f"](p["w"]),
        ({"w": X, "name": "w", "f": jnp.sin},),
        lambda args, ct: ({"w": ct * jnp.cos(args[0]["w"]), "name": None, "f": None},),
    ),
    "while_loop": Kind(repeated_sine, (X, 3), repeated_cosine, {"reference": None}),
    "fori_loop": Kind(lambda x, n: lax.fori_loop(0, n, lambda i, x: jnp.sin(x), x), (X, jnp.int32(3)), repeated_cosine),
    "pure_callback": Kind(called_back, (X,), cosine),
    "pure_callback under vmap": Kind(functools.partial(called_back, vmap_method="sequential"), (X,), cosine),
    "io_callback": Kind(reported, (X,), cosine),
    "ordered io_callback": Kind(functools.partial(reported, ordered=True), (X,), cosine),
    "debug.callback": Kind(debugged, (X,)),
    "key": Kind(noisy, (X, KEY), noisy_backward),
    "raw key": Kind(noisy, (X, jax.random.PRNGKey(0)), noisy_backward),
    "checkpoint": Kind(jax.checkpoint(twice), (X,)),
    "checkpoint with a policy": Kind(jax.checkpoint(twice, policy=named), (X,)),
    "static_argnames": Kind(functools.partial(summed, axis=1, kind="sine"), (X,)),
    "custom_jvp": Kind(with_jvp, (X,)),
    "custom_vjp inside": Kind(lambda x: with_vjp(3, jnp.sin(x)), (X,)),
    "custom_root": Kind(cube_root, (np.abs(X) + 1,)),
    "scan": Kind(lambda x: lax.scan(lambda c, a: (jnp.sin(c + a), c * a), jnp.zeros(3, x.dtype), x), (X,)),
    "map": Kind(lambda x: lax.map(lambda row: jnp.sum(jnp.sin(row)), x, batch_size=2), (X,)),
    "references": Kind(in_place, (X,)),
    "donated arguments": Kind(jax.jit(jnp.sin, donate_argnums=0), (X,), cosine),
    "partial": Kind(functools.partial(jnp.multiply, X), (X,)),
    "method": Kind(Model().method, (X,)),
    "callable object": Kind(Model(), (X,)),
}
QUICK = "outputs of many kinds", "static string", "while_loop", "io_callback"


def wrong(kind):
    """Return a backward whose floating-point gradients are changed."""
    touch = lambda g: kind.change(g) if hasattr(g, "dtype") and jnp.issubdtype(g.dtype, np.floating) else g
    return lambda args, ct: jax.tree.map(touch, (kind.backward or autodiff(kind.fun))(args, ct))


@pytest.mark.parametrize("name", slow_except([*KINDS], *QUICK))
def test_kind(name):
    kind = KINDS[name]
    report = check_vjp(kind.fun, kind.backward or autodiff(kind.fun), kind.args, key=1, **kind.options)
    assert report.ok, report.summary()
    report = check_vjp(kind.fun, wrong(kind), kind.args, checks=ELEMENTS, key=1, **kind.options)
    assert any(leaf.status == "FAIL" for leaf in report.leaves), report.summary()


def test_a_loop_that_has_no_reverse_mode():
    report = check_vjp(repeated_sine, repeated_cosine, (X, 3), checks=(*ELEMENTS, "adjoint"), order=2, key=1)
    assert report.ok, report.summary()
    assert report.checks["reference"].startswith("SKIPPED: autodiff of fun raises ValueError")
    assert (report.checks["differences"], report.checks["adjoint"], report.checks["second order"]) == ("PASS",) * 3


TWICE = (
    "outputs of many kinds", "static string", "io_callback", "checkpoint with a policy", "custom_jvp", "references",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TWICE)
def test_second_order(name):
    kind = KINDS[name]
    backward = kind.backward or autodiff(kind.fun)
    report = check_vjp(kind.fun, backward, kind.args, checks=ELEMENTS, order=2, key=1, **kind.options)
    assert report.checks["second order"] == "PASS", report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["autodiff", None])
def test_a_wrong_second_derivative_of_a_loop(reference):
    backward = lambda args, ct: repeated_cosine((lax.stop_gradient(args[0]), args[1]), ct)
    options = {"checks": ELEMENTS, "order": 2, "reference": reference, "key": 1}
    report = check_vjp(repeated_sine, backward, (X, 3), **options)
    assert report.leaves[0].status == "FAIL", report.summary()
    assert report.leaves[0].hint.startswith("second order")


@pytest.mark.slow
def test_a_custom_rule_inside_that_is_wrong():
    inner = jax.custom_vjp(lambda x: jnp.sin(x))
    inner.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (1.25 * ct * jnp.cos(x),))
    fun = lambda x: inner(2 * x)
    report = check_vjp(fun, autodiff(fun), (X,), key=1)
    assert report.leaves[0].status == "FAIL"
    assert "custom rule in fun" in report.leaves[0].hint


def test_points_outside_the_domain_with_debug_nans():
    with jax.debug_nans(True):
        assert check_vjp(jnp.log, lambda args, ct: (ct / args[0],), (jnp.array([0.5, 2.0]),), key=7).ok
        assert jax.config.jax_debug_nans
