"""Invalid calls of the gradient checker: errors name the function, the argument, and what is wrong with it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import GradientError, check_custom_vjp, check_grad, check_vjp
from fnn.gradcheck.options import Keywords, Options
from tests.gradcheck.test_gradcheck import COS, X


def test_wrong_tree():
    fun = lambda p: p["a"] * p["b"]
    with pytest.raises(ValueError, match=r"check_vjp: vjp_fun must return gradients.*missing: \['b'\]"):
        check_vjp(fun, lambda args, ct: {"a": ct}, ({"a": X, "b": X},), key=1)
    with pytest.raises(GradientError):
        check_vjp(fun, lambda args, ct: [ct, ct], ({"a": X, "b": X},), key=1)


STATIC = jax.custom_vjp(lambda n, x: n * x, nondiff_argnums=(0,))
BAD = [
    (TypeError, "args must be a tuple", lambda: check_vjp(jnp.sin, COS, X)),
    (TypeError, "args must be a tuple", lambda: check_grad(jnp.sum, jnp.cos, [X])),
    (TypeError, "must contain an inexact leaf", lambda: check_vjp(jnp.sin, COS, (np.arange(3),))),
    (TypeError, "must return an inexact output", lambda: check_vjp(jnp.argmax, COS, (X,))),
    (ValueError, "must return a scalar", lambda: check_grad(jnp.sin, jnp.cos, (X,))),
    (ValueError, "checks must be", lambda: check_vjp(jnp.sin, COS, (X,), checks=("refrence",))),
    (ValueError, "checks must be .*, got None", lambda: check_vjp(jnp.sin, COS, (X,), checks=None)),
    (ValueError, "precision must be", lambda: check_vjp(jnp.sin, COS, (X,), precision="float64")),
    (ValueError, "kinks must be", lambda: check_vjp(jnp.sin, COS, (X,), kinks="ignore")),
    (ValueError, "reference must be", lambda: check_vjp(jnp.sin, COS, (X,), reference="jax")),
    (ValueError, "order must be", lambda: check_vjp(jnp.sin, COS, (X,), order=3)),
    (ValueError, "argnums must be", lambda: check_vjp(jnp.sin, COS, (X,), argnums=1)),
    (ValueError, "argnums must be distinct", lambda: check_vjp(jnp.sin, COS, (X,), argnums=(0, 0))),
    (ValueError, "argnums must contain none of", lambda: check_custom_vjp(STATIC, (2, X), argnums=(0, 1))),
    (ValueError, "num_points must be", lambda: check_vjp(jnp.sin, COS, (X,), num_points=0)),
    (ValueError, "rtol must be", lambda: check_vjp(jnp.sin, COS, (X,), rtol=-1.0)),
    (ValueError, "in_axes must be", lambda: check_vjp(jnp.sin, COS, (X,), in_axes=0)),
    (ValueError, "key must be .* of at least 0", lambda: check_vjp(jnp.sin, COS, (X,), key=-1)),
    (TypeError, "key must be", lambda: check_vjp(jnp.sin, COS, (X,), key="seven")),
    (TypeError, "vjp_fun must be a function", lambda: check_vjp(jnp.sin, X, (X,))),
    (TypeError, "must be a function made with jax.custom_vjp", lambda: check_custom_vjp(jnp.sin, (X,))),
    (TypeError, "keyword arguments must be among", lambda: check_vjp(jnp.sin, COS, (X,), tol=1)),
    (ValueError, "args must be finite", lambda: check_vjp(jnp.sin, COS, (X * np.nan,))),
]


@pytest.mark.parametrize(("kind", "message", "call"), BAD, ids=[b[1] for b in BAD])
def test_bad_use(kind, message, call):
    with np.errstate(all="ignore"), pytest.raises(kind, match=message) as error:
        call()
    assert "check_" in str(error.value)


def test_options_have_the_fields_of_their_keywords():
    assert set(Keywords.__annotations__) == set(Options._fields)


def test_without_x64(monkeypatch):
    monkeypatch.delattr(jax, "enable_x64")
    with pytest.raises(ValueError, match="check_vjp: precision must be 'native'"):
        check_vjp(jnp.sin, COS, (X,), key=1)


@dataclasses.dataclass
class Unregistered:
    w: Any


def decides(x):
    return x if x[0] > 0 else -x


NO_INEXACT, NOT_TRACED = "args must contain an inexact leaf", "fun must be a function that JAX can trace"
REFUSED = [
    (f"{NO_INEXACT} .*U.*register_dataclass", lambda p: jnp.sin(p.w), (Unregistered(X),), COS),
    (f"{NO_INEXACT} .*int64", jnp.sin, (np.arange(3),), COS),
    (f"{NOT_TRACED}, got TracerArrayConversionError.*pure_callback", np.sin, (X,), COS),
    (f"{NOT_TRACED}, got TracerBoolConversionError.*argnums", decides, (X,), COS),
    ("fun must return arrays or a tree of arrays, got .*str", lambda x: (x, "a"), (X,), COS),
    ("fun must return an inexact output", lambda x: None, (X,), COS),
    (r"fun must take 2 arguments by position, got \(x\)", lambda x: x, (X, X), COS),
    (r"vjp_fun must take 2 arguments by position, got \(ct\)", jnp.sin, (X,), lambda ct: ct),
]


@pytest.mark.parametrize(("message", "fun", "args", "backward"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(message, fun, args, backward):
    with pytest.raises(TypeError, match=f"check_vjp: {message}"):
        check_vjp(fun, backward, args, key=1)


@pytest.mark.slow
def test_a_function_that_is_not_deterministic():
    count = iter(range(1000))
    noise = lambda v: np.sin(v) + np.float32(1e-3 * next(count)).astype(v.dtype)
    fun = lambda x: jax.pure_callback(noise, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    report = check_vjp(fun, COS, (X,), key=1)
    assert not report.ok
    assert report.checks["structure"].startswith("FAIL: fun is not deterministic")


def test_donated_arguments_stay():
    x = jnp.asarray(X)
    fun, rule = jax.jit(jnp.sin, donate_argnums=0), jax.jit(lambda x, ct: ct * jnp.cos(x), donate_argnums=1)
    check_vjp(fun, lambda args, ct: rule(*args, ct), (x,), checks=("structure",), precision="native", key=1)
    assert not x.is_deleted()


def test_an_error_without_a_message():
    @jax.custom_batching.custom_vmap
    def twice(ct):
        return 2 * ct

    @twice.def_vmap
    def rule(size, batched, ct):
        raise NotImplementedError

    report = check_vjp(lambda x: 2 * x, lambda args, ct: (twice(ct),), (jnp.arange(3.0),), key=7)
    assert "raises NotImplementedError" in report.checks["vmap"]
