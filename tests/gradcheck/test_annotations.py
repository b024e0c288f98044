"""Arguments drawn from annotations with shapes."""

import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float, Float64, Int, Key

from fnn.gradcheck.annotations import CannotDrawError, drawn_arguments, why_not_drawn


def cube(x):
    return x**3


class Weights(NamedTuple):
    w: Float[Array, "n_in n_out"]
    b: Float64[Array, " n_out"]


def annotated(
    p: Weights,
    x: Float[Array, "batch n_in"],
    n: Int[Array, " batch"],
    keep: Bool[Array, "batch 2"],
    key: Key[Array, ""],
    wide: Float[Array, "... n_in+1 rows=2"],
    rate: float,
    shape,
    power=2,
):
    return x


annotated.__annotations__["shape"] = jax.ShapeDtypeStruct((3,), jnp.float16)


def test_arguments_from_annotations():
    with jax.enable_x64(True):
        p, x, n, keep, key, wide, rate, shape = drawn_arguments(annotated, 7)
    assert (p.w.shape, p.b.shape, p.b.dtype, x.shape, x.dtype) == ((3, 4), (4,), "float64", (5, 3), "float32")
    assert (n.shape, n.dtype, set(np.asarray(n))) == ((5,), "int32", set(np.asarray(n)) & {0, 1})
    assert (keep.dtype, keep.shape, wide.shape, shape.dtype) == ("bool", (5, 2), (4, 2), "float16")
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert isinstance(rate, float)


def test_arguments_are_drawn_where_the_function_is_finite():
    def f(x: Float[Array, " n"], y: "Float[Array, ' n']"):
        return jnp.arccosh(x) + jnp.log(y)

    assert all(bool(jnp.all(x > 1)) for x in drawn_arguments(f, 7))


@pytest.mark.parametrize(
    ("fun", "message"),
    [
        (lambda x: x, "x has no annotation with a shape"),
        (lambda *, x: x, "x is keyword-only"),
        (types.FunctionType(cube.__code__, {}, "f"), "x has no annotation"),
    ],
)
def test_annotations_without_shapes(fun, message):
    assert message in why_not_drawn(fun)
    with pytest.raises(CannotDrawError, match=message):
        drawn_arguments(fun, 7)


def test_an_axis_without_a_value():
    def f(x: "Float[Array, ' n//0']"):
        return x

    def g(x: "Float[Array, ' n-4']"):
        return x

    assert "axis 'n//0' without a value" in why_not_drawn(f)
    assert "axis 'n-4' of size -1" in why_not_drawn(g)


def test_annotations_that_cannot_be_evaluated():
    class Params(NamedTuple):
        w: "Unknown"  # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    def f(p: Params):
        return p.w

    assert "p has annotations that cannot be evaluated: name 'Unknown'" in why_not_drawn(f)
