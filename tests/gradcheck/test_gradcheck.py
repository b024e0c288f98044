"""The interface of the gradient checker: verdicts, paths, messages, and every kind of check."""

import os
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import (
    GradientError,
    GradReport,
    LeafReport,
    assert_custom_vjp,
    assert_grad,
    assert_layer,
    assert_loss,
    assert_vjp,
    check_custom_vjp,
    check_grad,
    check_layer,
    check_loss,
    check_vjp,
)

X = np.linspace(-2.0, 2.0, 6, dtype=np.float32)
COS = lambda args, ct: (ct * jnp.cos(args[0]),)


class Params(NamedTuple):
    w: Any
    b: Any


class Layer(NamedTuple):
    init: Any
    forward: Any
    backward: Any


class Loss(NamedTuple):
    forward: Any
    backward: Any


def dense(scale: float = 1.0) -> Layer:
    def forward(params, x, key=None):
        return x @ params.w + params.b[None], x

    def backward(params, x, dy):
        return Params(x.T @ dy, scale * dy.sum(0)), dy @ params.w.T

    init = lambda key: Params(jax.random.normal(key, (4, 3)), jnp.zeros(3))
    return Layer(init, forward, backward)


def dropout() -> Layer:
    def forward(params, x, key=None):
        if key is None:
            return x, jnp.ones(x.shape, bool)
        mask = jax.random.bernoulli(key, 0.5, x.shape)
        return jnp.where(mask, 2 * x, jnp.zeros_like(x)), mask

    def backward(params, mask, dy):
        return (), jnp.where(mask, 2 * dy, jnp.zeros_like(dy))

    return Layer(lambda key: (), forward, backward)


def squared_error(factor: float = 1.0) -> Loss:
    forward = lambda a, y: (0.5 * jnp.sum(jnp.square(a - y), 1), a - y)
    return Loss(forward, lambda r, dvalue: factor * r * dvalue[:, None])


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_pass():
    report = check_vjp(jnp.sin, COS, (X,), key=7)
    assert isinstance(report, GradReport)
    assert report.ok
    (leaf,) = report.leaves
    assert isinstance(leaf, LeafReport)
    assert (leaf.path, leaf.shape, leaf.dtype, leaf.status, leaf.num_wrong) == ("", (6,), "float32", "PASS", 0)
    assert leaf.max_error is not None
    assert leaf.tol is not None
    assert leaf.max_error <= leaf.tol < 1e-12
    assert leaf.min_detectable is not None
    assert 0 < leaf.min_detectable < 1e-4
    assert set(report.checks) >= {"structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap"}
    assert "jax.random.key(7)" in report.summary()
    assert report.summary().startswith("the only leaf passes (")
    assert "probability of a miss: 1e-06" in report.summary()


@pytest.mark.parametrize("key", [7, np.array([0, 7], np.uint32)])
def test_keys(key):
    assert "jax.random.key(7)" in check_vjp(jnp.sin, COS, (X,), key=key).summary()


def test_same_key_same_report():
    key = jax.random.key(3)
    one, two = (check_vjp(jnp.sin, COS, (X,), key=key) for _ in range(2))
    assert one.leaves == two.leaves
    assert one.summary() == two.summary()
    assert check_vjp(jnp.sin, COS, (X,), checks=("reference",)).summary() != one.summary()


def test_message():
    backward = lambda args, ct: ((ct * jnp.cos(args[0])).at[3].multiply(-1),)
    with pytest.raises(GradientError) as error:
        assert_vjp(jnp.sin, backward, (X,), key=7)
    text = str(error.value)
    for part in ("1 of 1 leaves wrong (float64, key 7)", "reference: 1/6 elements, worst [3]", "sign flipped", "tol"):
        assert part in text
    assert "Reproduce: check_vjp(..., key=jax.random.key(7))" in text


def test_paths_and_skipped():
    args = ({"w": inputs(3, 2), "n": 3, "key": jax.random.key(0)}, inputs(4, 3), np.arange(4))
    fun = lambda p, x, i: (x @ p["w"])[i]

    def backward(args, ct):
        p, x, i = args
        full = jnp.zeros((4, 2), ct.dtype).at[i].add(ct)
        return {"w": x.T @ full, "n": None, "key": None}, full @ p["w"].T, None

    report = assert_vjp(fun, lambda a, ct: _clean(backward(a, ct)), args, key=1)
    status = {leaf.path: leaf.status for leaf in report.leaves}
    assert status == {
        "[0]['key']": "SKIPPED",
        "[0]['n']": "SKIPPED",
        "[0]['w']": "PASS",
        "[1]": "PASS",
        "[2]": "SKIPPED",
    }
    assert "PRNG key" in report.summary()


def _clean(grads):
    """Replace the gradients of leaves that are not differentiated, which the checker must ignore."""
    p, dx, _ = grads
    return {**p, "n": 0, "key": 0}, dx, np.zeros(4, jax.dtypes.float0)


def test_argnums():
    fun = lambda x, y: x * y
    assert check_vjp(fun, lambda args, ct: ct * args[1], (X, X + 1), argnums=0, key=1).ok
    report = check_vjp(fun, lambda args, ct: (ct * args[0], ct * args[1]), (X, X + 1), argnums=(1, 0), key=1)
    assert report.ok
    assert [leaf.path for leaf in report.leaves] == ["[0]", "[1]"]


def test_grad():
    fun = lambda w, x: jnp.mean(jnp.square(x @ w))
    right = lambda w, x: 2 * x.T @ (x @ w) / x.shape[0]
    args = (inputs(3), inputs(5, 3))
    assert assert_grad(fun, right, args, key=1).leaves[0].path == "[0]"
    wrong = check_grad(fun, lambda w, x: 5 * right(w, x), args, key=1)
    assert "5 is the batch size" in wrong.leaves[0].hint


def test_custom_vjp_with_static_argument():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, ct: (3 * x * x * ct,))
    assert assert_custom_vjp(cube, (X,), key=1).ok

    def power(n, x):
        return x**n

    f = jax.custom_vjp(power, nondiff_argnums=(0,))
    f.defvjp(lambda n, x: (x**n, x), lambda n, x, ct: (n * x ** (n - 1) * ct,))
    assert [leaf.path for leaf in assert_custom_vjp(f, (3, X), key=1).leaves] == ["[1]"]


def test_a_static_argument_that_keeps_its_default():
    power = jax.custom_vjp(lambda x, n=3: x**n, nondiff_argnums=(1,))
    power.defvjp(lambda x, n: (x**n, x), lambda n, x, ct: (2 * n * x ** (n - 1) * ct,))
    report = check_custom_vjp(power, (X,), key=7, checks=("reference",))
    assert [(leaf.path, leaf.hint) for leaf in report.leaves] == [("", "2 × expected")]
    with pytest.raises(TypeError, match=r"check_custom_vjp: args must contain an inexact leaf .*, got no argument"):
        check_custom_vjp(power, ())


def test_layer():
    layer = dense()
    params = layer.init(jax.random.key(0))
    report = assert_layer(layer, params, inputs(5, 4), key=1)
    assert [leaf.path for leaf in report.leaves] == ["[0].w", "[0].b", "[1]"]
    wrong = check_layer(dense(0.2), params, inputs(5, 4), key=1)
    assert [leaf.path for leaf in wrong.leaves if leaf.status == "FAIL"] == ["[0].b"]
    assert "5 is the batch size" in next(leaf.hint for leaf in wrong.leaves if leaf.path == "[0].b")


def test_layer_key():
    report = assert_layer(dropout(), (), inputs(5, 4), layer_key=jax.random.key(3), key=1)
    assert [leaf.path for leaf in report.leaves] == ["[1]"]


def test_loss():
    assert assert_loss(squared_error(), inputs(5, 3), np.zeros((5, 3), np.float32), key=1).ok
    report = check_loss(squared_error(2.0), inputs(5, 3), np.zeros((5, 3), np.float32), key=1)
    assert report.leaves[0].status == "FAIL"
    with pytest.raises(GradientError):
        assert_loss(squared_error(2.0), inputs(5, 3), np.zeros((5, 3), np.float32), key=1)


def test_rich_table():
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as capture:
        console.print(check_vjp(jnp.sin, COS, (X,), key=7))
    assert "PASS" in capture.get()
    assert "jax.random.key(7)" in capture.get()


def test_import_is_light():
    code = "import sys, fnn.gradcheck; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sharding_over_two_devices():
    code = """
import jax, jax.numpy as jnp, numpy as np
from fnn.gradcheck import check_vjp
x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
report = check_vjp(jnp.sin, lambda args, ct: ct * jnp.cos(args[0]), (x,), key=1)
assert report.ok and report.checks["sharding"] == "PASS", report.summary()
"""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    result = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
