"""Correct gradients pass: functions of JAX in both modes of autodiff, badly scaled functions, ReLU networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.gradcheck_bases import mlp
from experiments.benchmarks.gradcheck_functions import FUNCTIONS, Function, forward, reverse
from fnn.gradcheck import check_grad, check_vjp
from tests.support.slow import slow_except

pytestmark = pytest.mark.usefixtures("slow_cases_compile_quickly")

KEYS = 6
# One function of each kind: smooth, with kinks, of rows, products, indexing, linear algebra, special functions,
# convolutions, loops, branches, bad scales.
QUICK = {
    "sin", "maximum", "var, mean 1e3", "matmul", "scatter add", "linalg.cholesky", "logsumexp", "conv", "scan", "cond",
    "1e6 x^3", "cancellation",
}  # fmt: skip


def _check(function: Function, key: int) -> None:
    args = function.make(np.random.default_rng(key))
    backward = (forward if key % 2 and "network" not in function.name else reverse)(function.fun)
    report = check_vjp(function.fun, backward, args, key=key)
    assert report.ok, report.summary()
    assert all(leaf.status == "PASS" for leaf in report.leaves), report.summary()


def test_there_are_enough():
    assert len(FUNCTIONS) >= 60
    assert len(FUNCTIONS) * (KEYS + 1) >= 500


@pytest.mark.accelerator
@pytest.mark.parametrize(
    "function", slow_except(FUNCTIONS, *[f for f in FUNCTIONS if f.name in QUICK]), ids=lambda f: f.name
)
def test_passes(function):
    _check(function, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", range(1, KEYS + 1))
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_passes_with_more_keys(function, key):
    _check(function, key)


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", range(20))
@pytest.mark.parametrize("precision", ["x64", "native"])
def test_small_relu_network(key, precision):
    net = mlp((6, 8, 8, 4), batch=5, seed=100 + 30 * key)
    report = check_vjp(net.fun, net.backward, net.args, key=key, precision=precision)
    assert report.ok, report.summary()


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("precision", ["x64", "native"])
def test_large_relu_network(key, precision):
    net = mlp((784, 1024, 1024, 10), batch=32, seed=100 * key)
    report = check_vjp(net.fun, net.backward, net.args, key=key, precision=precision)
    assert report.ok, report.summary()


@pytest.mark.slow
def test_wide_relu_network():
    net = mlp((100, 300, 300, 10), batch=32)
    report = check_vjp(net.fun, net.backward, net.args, key=1)
    assert report.ok, report.summary()


@pytest.mark.parametrize("fun", [jnp.tanh, pytest.param(jax.nn.softplus, marks=pytest.mark.slow)])
def test_second_order(fun):
    report = check_vjp(fun, lambda args, ct: jax.vjp(fun, *args)[1](ct), (jnp.linspace(-2.0, 2.0, 5),), order=2, key=1)
    assert report.ok, report.summary()
    assert report.checks["second order"] == "PASS"


@pytest.mark.slow
def test_second_order_of_a_scalar():
    fun = lambda w, x: jnp.mean(jnp.square(jnp.tanh(x @ w)))
    args = tuple(np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((4, 3), (5, 4)))
    report = check_grad(fun, jax.grad(fun), args, order=2, key=1)
    assert report.ok, report.summary()


@pytest.mark.slow
def test_bfloat16_inside():
    fun = lambda x, w: (x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(x.dtype)

    def backward(args, ct):
        x, w, dy = (a.astype(jnp.bfloat16) for a in (*args, ct))
        return (dy @ w.T).astype(ct.dtype), (x.T @ dy).astype(ct.dtype)

    args = tuple(np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((5, 4), (4, 3)))
    report = check_vjp(fun, backward, args, key=1)
    assert report.ok, report.summary()


@pytest.mark.slow
def test_a_backward_that_is_float32_by_construction():
    backward = lambda args, ct: ((ct.astype(np.float32) * jnp.cos(args[0].astype(np.float32))),)
    report = check_vjp(jnp.sin, backward, (np.linspace(-2, 2, 5, dtype=np.float32),), key=1)
    assert report.ok, report.summary()
