"""The rule of a custom_jvp: checked in reverse mode, in forward mode, and for linearity in the tangent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_derivatives import linear_call

from fnn.gradcheck import GradientError, assert_custom_jvp, check_custom_jvp
from tests.support.slow import slow_except

X = jnp.linspace(-2.0, 2.0, 5)
W = 0.3 * jnp.arange(5, dtype=jnp.float32)


def loop(factor):
    """Return a rule that JAX cannot transpose."""
    step = lambda x: lambda c: (c[0] + 1, factor * c[1] * jnp.cos(x))
    return lambda p, t: (jnp.sin(p[0]), jax.lax.while_loop(lambda c: c[0] < 1, step(p[0]), (0, t[0]))[1])


def transposed(forward, reverse):
    """Return a rule whose transpose is written by hand."""
    one, other = (
        (lambda factor: lambda r, t: factor * r * t)(forward),
        (lambda factor: lambda r, t: factor * r * t)(reverse),
    )
    return lambda p, t: (jnp.sin(p[0]), linear_call(one, other, jnp.cos(p[0]), t[0]))


RULES = {
    "right": (lambda p, t: (jnp.sin(p[0]), jnp.cos(p[0]) * t[0]), ""),
    "a loop": (loop(1.0), ""),
    "a right transpose": (transposed(1.0, 1.0), ""),
    "doubled": (lambda p, t: (jnp.sin(p[0]), 2 * jnp.cos(p[0]) * t[0]), "2 × expected"),
    "a wrong loop": (loop(1.1), "1.1 × expected"),
    "absolute tangent": (
        lambda p, t: (jnp.sin(p[0]), jnp.cos(p[0]) * jnp.abs(t[0])),
        "linearity: FAIL: the rule is not",
    ),
    "clipped tangent": (lambda p, t: (jnp.sin(p[0]), jnp.cos(p[0]) * jnp.clip(t[0], -1, 1)), "linearity: FAIL"),
    "an offset": (lambda p, t: (jnp.sin(p[0]), jnp.cos(p[0]) * t[0] + 1e-9), "J 0 = 1e-09 in output 0"),
    "another value": (lambda p, t: (jnp.cos(p[0]), jnp.cos(p[0]) * t[0]), "the forward rule differs from fun"),
    "a wrong transpose": (transposed(1.0, 2.0), "adjoint: FAIL: forward and reverse mode differ"),
    "wrong forward mode": (transposed(2.0, 1.0), "adjoint: FAIL: forward and reverse mode differ"),
}


@pytest.mark.parametrize("name", slow_except(list(RULES), "a wrong loop", "wrong forward mode"))
def test_rules(name):
    rule, message = RULES[name]
    f = jax.custom_jvp(jnp.sin)
    f.defjvp(rule)
    checks = ("structure", "reference", "differences", "adjoint", "linearity")
    report = check_custom_jvp(f, (X,), key=7, checks=checks, num_points=1)
    assert report.ok is (message == ""), report.summary()
    assert message in report.summary()


def test_trees_integers_and_static_arguments():
    f = jax.custom_jvp(lambda n, p, k: {"y": (p["w"] + n) * k.astype(p["w"].dtype), "k": k}, nondiff_argnums=(0,))

    @f.defjvp
    def rule(n, primals, tangents):
        (p, k), (dp, _) = primals, tangents
        return f(n, p, k), {"y": dp["w"] * k.astype(dp["w"].dtype), "k": np.zeros((), jax.dtypes.float0)}

    report = assert_custom_jvp(f, (2.0, {"w": X}, jnp.int32(3)), key=7)
    assert [(leaf.path, leaf.status) for leaf in report.leaves] == [("[1]['w']", "PASS"), ("[2]", "SKIPPED")]


@pytest.mark.slow
def test_arrays_that_a_rule_closes_over_do_not_round():
    f = jax.custom_jvp(lambda x: (x * W).astype(W.dtype) * 0.1)
    f.defjvp(lambda p, t: (f(p[0]), (t[0] * W).astype(W.dtype) * 0.1))
    assert check_custom_jvp(f, (X,), key=7).ok
    g = jax.custom_jvp(lambda x: (x * W).astype(jnp.float32) * 0.1)
    g.defjvp(lambda p, t: (g(p[0]), (t[0] * W).astype(jnp.float32) * 0.1))
    report = check_custom_jvp(g, (X,), key=7)
    assert report.ok, report.summary()
    assert "unit roundoff of 6e-08" in report.summary()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_rule_that_cannot_be_compiled(factor):
    f = jax.custom_jvp(jnp.sin)

    @f.defjvp
    def rule(primals, tangents):
        (x,), (v,) = primals, tangents
        return jnp.sin(x), factor * jnp.cos(x) * v if x > 0 else v

    report = check_custom_jvp(f, (1.0,), key=7, num_points=1)
    assert report.checks["jit"].startswith("FAIL: the backward raises TracerBoolConversionError")
    assert report.leaves[0].hint == ("2 × expected" if factor == 2 else "")
    assert report.checks["linearity"] == "PASS"


def test_misuse():
    with pytest.raises(TypeError, match=r"f must be a function made with jax\.custom_jvp, got function"):
        check_custom_jvp(lambda x: x, (X,))
    f = jax.custom_jvp(jnp.sin)
    f.defjvp(RULES["doubled"][0])
    with pytest.raises(GradientError, match="2 × expected"):
        assert_custom_jvp(f, (X,), key=7, checks=("reference",))
