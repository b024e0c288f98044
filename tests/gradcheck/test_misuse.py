"""Calls of the gradient checker that cannot be meant: errors that name the function, the argument and what came."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import GradientError, check_custom_vjp, check_grad, check_vjp
from tests.gradcheck.test_gradcheck import COS, X


def test_wrong_tree():
    fun = lambda p: p["a"] * p["b"]
    with pytest.raises(ValueError, match=r"check_vjp: vjp_fun: expected gradients.*missing: \['b'\]"):
        check_vjp(fun, lambda args, ct: {"a": ct}, ({"a": X, "b": X},), key=1)
    with pytest.raises(GradientError):
        check_vjp(fun, lambda args, ct: [ct, ct], ({"a": X, "b": X},), key=1)


BAD = [
    (TypeError, "args: expected a tuple", lambda: check_vjp(jnp.sin, COS, X)),
    (TypeError, "args: expected a tuple", lambda: check_grad(jnp.sum, jnp.cos, [X])),
    (TypeError, "expected an inexact leaf", lambda: check_vjp(jnp.sin, COS, (np.arange(3),))),
    (TypeError, "complex is not supported", lambda: check_vjp(jnp.sin, COS, (X.astype(np.complex64),))),
    (TypeError, "complex is not supported", lambda: check_vjp(lambda x: jax.lax.complex(x, x), COS, (X,))),
    (TypeError, "expected an inexact output", lambda: check_vjp(jnp.argmax, COS, (X,))),
    (ValueError, "expected a scalar output", lambda: check_grad(jnp.sin, jnp.cos, (X,))),
    (ValueError, "checks: expected", lambda: check_vjp(jnp.sin, COS, (X,), checks=("refrence",))),
    (ValueError, "precision: expected", lambda: check_vjp(jnp.sin, COS, (X,), precision="float64")),
    (ValueError, "kinks: expected", lambda: check_vjp(jnp.sin, COS, (X,), kinks="ignore")),
    (ValueError, "reference: expected", lambda: check_vjp(jnp.sin, COS, (X,), reference="jax")),
    (ValueError, "order: expected", lambda: check_vjp(jnp.sin, COS, (X,), order=3)),
    (ValueError, "argnums: expected", lambda: check_vjp(jnp.sin, COS, (X,), argnums=1)),
    (ValueError, "num_points: expected", lambda: check_vjp(jnp.sin, COS, (X,), num_points=0)),
    (ValueError, "rtol: expected", lambda: check_vjp(jnp.sin, COS, (X,), rtol=-1.0)),
    (ValueError, "in_axes: expected", lambda: check_vjp(jnp.sin, COS, (X,), in_axes=0)),
    (TypeError, "key: expected", lambda: check_vjp(jnp.sin, COS, (X,), key="seven")),
    (TypeError, "vjp_fun: expected a function", lambda: check_vjp(jnp.sin, X, (X,))),
    (TypeError, "made with jax.custom_vjp", lambda: check_custom_vjp(jnp.sin, (X,))),
    (TypeError, "expected keyword arguments", lambda: check_vjp(jnp.sin, COS, (X,), tol=1)),
    (ValueError, "expected finite", lambda: check_vjp(jnp.sin, COS, (X * np.nan,))),
]


@pytest.mark.parametrize(("kind", "message", "call"), BAD, ids=[b[1] for b in BAD])
def test_bad_use(kind, message, call):
    with np.errstate(all="ignore"), pytest.raises(kind, match=message) as error:
        call()
    assert "check_" in str(error.value)


def test_without_x64(monkeypatch):
    monkeypatch.delattr(jax, "enable_x64")
    with pytest.raises(ValueError, match="check_vjp: precision: expected"):
        check_vjp(jnp.sin, COS, (X,), key=1)
