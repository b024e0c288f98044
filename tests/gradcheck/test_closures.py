"""An error of 1e-6 is found although functions close over float32 arrays, and beside casts in dead code."""

import dataclasses
import functools
from collections import OrderedDict, deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_grad, check_vjp
from fnn.gradcheck.lifting import lift
from tests.support.slow import slow_except

RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 4)).astype(np.float32)
X_JAX = jnp.asarray(X)
X_BF16 = jnp.asarray(X, jnp.bfloat16)
Y = np.arange(9) % 3
W = RNG.standard_normal(4).astype(np.float32)
LINE = np.linspace(-2.0, 2.0, 6, dtype=np.float32)
OFF = 1 + 1e-6


def cost(x, w):
    """Return mean((x w)²), with w cast to the dtype of x, as mixed precision does."""
    return jnp.mean(jnp.square(x @ w.astype(x.dtype)))


def gradient(x, w, factor=1.0):
    return (factor * 2 / x.shape[0] * x.T @ (x @ w.astype(x.dtype))).astype(w.dtype)


def cost_of_global(w):
    return cost(X_JAX, w)


def gradient_of_global(w, factor=1.0):
    return gradient(X_JAX, w, factor)


class Model:
    def __init__(self, x):
        self.x, self.factor = {"train": [x]}, 1.0

    def cost(self, w):
        return cost(self.x["train"][0], w)

    def gradient(self, w):
        return gradient(self.x["train"][0], w)

    def wrong(self, w):
        return gradient(self.x["train"][0], w, OFF)


def in_default(x):
    return lambda w, x=x: cost(x, w), lambda w, factor=1.0, x=x: gradient(x, w, factor)


def in_keyword(x):
    def right(w, factor=1.0, *, data=(x,)):
        return gradient(data[0], w, factor)

    return lambda w, *, data=(x,): cost(data[0], w), right


class Defaults(dict):
    pass


class Slots:
    __slots__ = ("__x",)

    def __init__(self, x):
        self.__x = x

    def get(self):
        return self.__x


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: np.ndarray


@functools.lru_cache
def loaded():
    return X


MODEL, ITEMS, SLOTS, FROZEN = Model(X), Defaults(x=X), Slots(X), Frozen(X)
ITEMS.data, ORDERED, QUEUE = X, OrderedDict(x=X), deque([X])
HELD = {
    "dict subclass": lambda: ITEMS["x"],
    "attribute of a dict": lambda: ITEMS.data,
    "ordered dict": lambda: ORDERED["x"],
    "deque": lambda: QUEUE[0],
    "slots": SLOTS.get,
    "frozen dataclass": lambda: FROZEN.x,
    "cached function": loaded,
}
JITTED = jax.jit(functools.partial(gradient, X_JAX))
CLOSURES = {
    "closure": (lambda w: cost(X, w), lambda w, factor=1.0: gradient(X, w, factor)),
    "globals": (cost_of_global, gradient_of_global),
    "bfloat16": (lambda w: cost(X_BF16, w), lambda w, factor=1.0: gradient(X_BF16, w, factor)),
    "partial": (functools.partial(cost, X), functools.partial(gradient, X)),
    "method": (
        MODEL.cost,
        lambda w, factor=1.0: MODEL.gradient(w) if factor == 1 else MODEL.wrong(w),
    ),
    "default": in_default(X),
    "keyword": in_keyword(X_JAX),
    "jit": (
        jax.jit(lambda w: cost(X_JAX, w)),
        lambda w, factor=1.0: factor * JITTED(w),
    ),
}


def in_holder(get):
    return lambda w: cost(get(), w), lambda w, factor=1.0: gradient(get(), w, factor)


QUICK = "closure", "slots"
CLOSURES |= {name: in_holder(get) for name, get in HELD.items()}


@pytest.mark.parametrize(
    "name", slow_except([*CLOSURES], "closure", "globals", "method", "attribute of a dict", "slots")
)
def test_an_error_of_1e_6_beside_closed_over_arrays(name):
    fun, grad_fun = CLOSURES[name]
    with jax.numpy_dtype_promotion("standard"):
        right = check_grad(fun, grad_fun, (W,), key=1)
        wrong = check_grad(fun, functools.partial(grad_fun, factor=OFF), (W,), key=1)
    assert right.ok, right.summary()
    assert "set by" not in right.summary()
    assert wrong.leaves[0].status == "FAIL", wrong.summary()


@pytest.mark.slow
def test_an_error_of_1e_6_in_a_leaf_of_a_network():
    f = fnn.value_and_grad(fnn.mlp([4, 3]), fnn.softmax_cross_entropy)
    params = fnn.mlp([4, 3]).init(jax.random.key(0))
    scale_w = lambda grad, factor: jax.tree.map(lambda leaf: leaf * (factor if leaf.ndim == 2 else 1.0), grad)
    fun, grad_fun = lambda p: f(p, X_JAX, Y)[0], lambda p: f(p, X_JAX, Y)[1]
    checks = ("structure", "reference", "differences")
    assert check_grad(fun, grad_fun, (params,), checks=checks, key=1).ok
    report = check_grad(fun, lambda p: scale_w(grad_fun(p), OFF), (params,), checks=checks, key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL", "PASS"]


def test_arithmetic_of_closed_over_arrays_alone():
    fun = lambda w: jnp.sum(jnp.square(jnp.sin(X_JAX)) @ w)
    right = lambda w: jnp.sum(0.5 * (1 - jnp.cos(2 * X_JAX)), 0).astype(w.dtype)  # sin² = (1 - cos 2x)/2
    assert check_grad(fun, right, (W,), key=1).ok


def test_a_cast_in_dead_code():
    def right(w):
        dx = jnp.outer(X_JAX @ w.astype(X_JAX.dtype), w).astype(jnp.float32)
        del dx
        return gradient(X_JAX, w)

    dead = lambda args, ct: (jax.jit(lambda x, ct: (ct * jnp.cos(x) * OFF, x.astype(jnp.float32)))(args[0], ct)[0],)
    assert check_vjp(jnp.sin, dead, (LINE,), key=1).leaves[0].status == "FAIL"
    with jax.numpy_dtype_promotion("standard"):
        assert "set by" not in check_grad(cost_of_global, right, (W,), key=1).summary()


def test_a_cast_that_sets_the_tolerance_is_named():
    backward = lambda args, ct: (ct * jnp.cos(args[0].astype(jnp.float32)).astype(ct.dtype),)
    report = check_vjp(jnp.sin, backward, (LINE,), key=1)
    assert report.ok, report.summary()
    (note,) = [line for line in report.summary().splitlines() if "set by" in line]
    assert "convert_element_type from float64 to float32" in note
    assert "test_closures.py" in note
    assert "in the backward" in note
    inside = lambda x: jnp.sin(x.astype(jnp.float32)).astype(x.dtype)
    assert "in fun" in check_vjp(inside, lambda args, ct: (ct * jnp.cos(args[0]),), (LINE,), key=1).summary()


def test_a_function_that_needs_its_dtype_is_kept():
    def fun(w):
        assert X_JAX.dtype == jnp.float32
        return cost(X_JAX, w)

    with jax.numpy_dtype_promotion("standard"):
        report = check_grad(fun, gradient_of_global, (W,), key=1)
    assert report.ok, report.summary()


def test_lifting_changes_nothing_in_place():
    count, data = 0, [X]

    def fun(w):
        nonlocal count
        count += 1
        return data[0] @ w

    def untouched(w):
        return 2 * w

    with jax.enable_x64(True):
        lifted, same = lift((fun, untouched))
        assert lifted(W.astype(np.float64)).dtype == np.float64
    assert (count, data[0] is X, same is untouched) == (1, True, True)


def test_lifting_of_a_function_that_calls_itself():
    def power(w, n=3):
        return jnp.sum(X_JAX @ w) if n == 0 else power(w, n - 1)

    with jax.enable_x64(True):
        assert lift((power,))[0](jnp.asarray(W, np.float64)).dtype == np.float64


class Stubborn:
    def __getattr__(self, name):
        raise RuntimeError(name)


def test_an_object_that_cannot_be_examined_is_left_alone():
    stubborn = Stubborn()
    fun = lambda w: cost(X, w) if type(stubborn) is Stubborn else None
    with jax.numpy_dtype_promotion("standard"):
        assert check_grad(fun, lambda w: gradient(X, w), (W,), checks=("reference",), key=1).ok


def test_a_reference_that_needs_its_dtype_is_kept():
    def reference(args, ct):
        assert X_JAX.dtype == jnp.float32
        return (2 * args[0] * ct,)

    right = lambda args, ct: (2 * ct * args[0],)
    assert check_vjp(jnp.square, right, (W,), reference=reference, checks=("reference",), key=1).ok
