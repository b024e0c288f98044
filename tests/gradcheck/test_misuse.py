"""Invalid calls of the gradient checker: errors name the function, the argument, and what is wrong with it."""

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


BAD = [
    (TypeError, "args must be a tuple", lambda: check_vjp(jnp.sin, COS, X)),
    (TypeError, "args must be a tuple", lambda: check_grad(jnp.sum, jnp.cos, [X])),
    (TypeError, "must contain an inexact leaf", lambda: check_vjp(jnp.sin, COS, (np.arange(3),))),
    (TypeError, "must return an inexact output", lambda: check_vjp(jnp.argmax, COS, (X,))),
    (ValueError, "must return a scalar", lambda: check_grad(jnp.sin, jnp.cos, (X,))),
    (ValueError, "checks must be", lambda: check_vjp(jnp.sin, COS, (X,), checks=("refrence",))),
    (ValueError, "precision must be", lambda: check_vjp(jnp.sin, COS, (X,), precision="float64")),
    (ValueError, "kinks must be", lambda: check_vjp(jnp.sin, COS, (X,), kinks="ignore")),
    (ValueError, "reference must be", lambda: check_vjp(jnp.sin, COS, (X,), reference="jax")),
    (ValueError, "order must be", lambda: check_vjp(jnp.sin, COS, (X,), order=3)),
    (ValueError, "argnums must be", lambda: check_vjp(jnp.sin, COS, (X,), argnums=1)),
    (ValueError, "num_points must be", lambda: check_vjp(jnp.sin, COS, (X,), num_points=0)),
    (ValueError, "rtol must be", lambda: check_vjp(jnp.sin, COS, (X,), rtol=-1.0)),
    (ValueError, "in_axes must be", lambda: check_vjp(jnp.sin, COS, (X,), in_axes=0)),
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
