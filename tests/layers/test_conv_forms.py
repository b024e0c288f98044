"""The forms of a convolution on accelerators and on the CPU: their texts, and that they compute the same."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.layers import correlation, depthwise, im2col
from tests.support.convolutions import CASES, Case
from tests.support.oracles import assert_close, cotangent, normal, spread_params
from tests.support.slow import slow_except

FORMS = {
    **CASES,
    "even kernel": Case((8, 9, 9, 4), (4, 4), (1, 1), 8, "SAME"),
    "one filter": Case((8, 9, 9, 4), (3, 3), (1, 1), 1),
    "one example": Case((1, 9, 9, 4), (3, 3), (2, 2), 8),
}
KINDS = ("convolution", "reverse", "transpose", "pad", "convert", "slice", "concatenate", "gather", "scatter", "dot")


def operations(function, *args, platform):
    """Return the operations of a lowered program that move or multiply data, without the names of values."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    lines = [line.strip() for line in text.splitlines() if re.search(rf"stablehlo\.({'|'.join(KINDS)})\b", line)]
    return collections.Counter(re.sub(r"%\w+(#\d+)?", "%", line) for line in lines)


def arguments(case, dtype, param_dtype=None):
    """Return the layer, and the shapes of its parameters, inputs and gradients."""
    layer = case.layer()
    params, x = jax.eval_shape(layer.init, jax.random.key(0)), jax.ShapeDtypeStruct(case.shape, dtype)
    params = jax.tree.map(lambda leaf: leaf.update(dtype=param_dtype or dtype), params)
    dz = jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x).update(dtype=dtype)
    return layer, (params, x, dz)


@pytest.mark.parametrize(
    ("name", "platform", "dtype"),
    slow_except(
        [(name, "cuda", "float32") for name in FORMS]
        + [(name, "tpu", "bfloat16") for name in FORMS]
        + [("groups", "cuda", "bfloat16"), ("groups", "tpu", "float32"), ("groups", "cuda", "float16")],
        *[(name, "cuda", "float32") for name in FORMS],
        ("groups", "tpu", "float32"),
        ("groups", "cuda", "bfloat16"),
    ),
)
def test_the_backward_is_two_convolutions_those_of_jax_grad(name, platform, dtype):
    """XLA turns them into backward-filter and backward-data convolutions, as it does for `jax.grad`."""
    layer, args = arguments(FORMS[name], dtype)
    hand = operations(lambda p, x, dz: layer.backward(p, x, dz), *args, platform=platform)
    grad = operations(lambda p, x, dz: jax.vjp(FORMS[name].reference, p, x)[1](dz), *args, platform=platform)
    assert hand == grad - operations(FORMS[name].reference, *args[:2], platform=platform)
    assert sum("stablehlo.convolution" in line for line in hand.elements()) == 2
    forward = [*operations(lambda p, x: layer.forward(p, x)[0], *args[:2], platform=platform).elements()]
    assert len(forward) == 1
    assert "stablehlo.convolution" in forward[0]


def test_the_windows_of_the_backward():
    """A 3x2 kernel with stride (2, 1) and dilation (1, 2), in two groups, and a row that no output depends on."""
    case = Case((2, 6, 5, 4), (3, 2), (2, 1), 6, ((1, 1), (0, 1)), (1, 2), 2)
    layer, args = arguments(case, "float32")
    text = "\n".join(operations(lambda p, x, dz: layer.backward(p, x, dz), *args, platform="cuda"))
    for part in (
        "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f], window = {stride = [1, 2], pad = [[1, 0], [0, 1]]",
        "rhs_dilate = [2, 1], reverse = [false, false]} {batch_group_count = 2",
        "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f], window = {stride = [1, 1], pad = [[1, 2], [2, 1]]",
        "lhs_dilate = [2, 1], rhs_dilate = [1, 2], reverse = [false, false]} {batch_group_count = 1",
    ):
        assert part in text


def test_float32_masters_of_bfloat16():
    """dW comes out of its convolution in float32; the kernel is cast before it is flipped, not after."""
    layer, args = arguments(CASES["groups"], "bfloat16", "float32")
    text = "\n".join(operations(lambda p, x, dz: layer.backward(p, x, dz), *args, platform="cuda"))
    assert re.search(r"convolution.*bf16>\) -> tensor<3x2x2x6xf32>", text)
    assert re.search(r"stablehlo.reverse.*bf16", text)
    assert not re.search(r"stablehlo.reverse.*xf32", text)


def test_a_call_outside_of_jit_is_one_program():
    """XLA sees the flipped kernel together with its convolution; inside of jit the program is inlined."""
    layer, (params, x, dz) = arguments(CASES["plain"], "float32")
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (params, x, dz))
    layer.backward(*zeros)
    before = correlation.correlate_backward._cache_size()
    layer.backward(*zeros)
    assert correlation.correlate_backward._cache_size() == before > 0
    assert "call" not in jax.jit(layer.backward).trace(params, x, dz).lower(lowering_platforms=("cuda",)).as_text()


def test_each_platform_gets_its_own_form(key):
    layer = fnn.conv2d(2, 3, 3)
    params, x = layer.init(key), jnp.zeros((1, 5, 5, 2))
    traced = jax.jit(layer.forward).trace(params, x)
    assert "convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("name", slow_except(CASES, "same", "groups stride"))
def test_the_forms_for_accelerators_give_the_same(name, x64):
    """Run them on this machine."""
    case = CASES[name]
    layer, window = case.layer(), case.window()
    params, x = spread_params(layer, 0, "float64"), normal(1, case.shape, "float64")
    dy = cotangent(layer, params, x)

    @jax.jit
    def run(w, x, dz):
        z, (dw, dx) = correlation.correlate(x, w, window), correlation.correlate_backward(x, w, dz, window)
        gradients = correlation.xla_correlate_backward(x, w, dz, window)
        return (correlation.xla_correlate(x, w, window), gradients), (z, (dw, dx))

    assert_close(*run(params.w, x, dy), "float64")


def assert_adjoint(value, seen, backward):
    """<f(x), other> = <x, f_backward(other)> for a linear f."""
    other = [normal(2 + i, leaf.shape, "float64") for i, leaf in enumerate(seen)]
    left, right = sum(map(np.vdot, seen, other)), np.vdot(value, jax.jit(backward)(other))
    assert abs(float(left - right)) < 1e-12 * sum(
        float(np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(seen, other, strict=True)
    )


UNGROUPED = [name for name, case in CASES.items() if case.groups == 1]


@pytest.mark.parametrize("name", slow_except(UNGROUPED, "large kernel", "a product per row", "dilated stride"))
def test_im2col_and_kernel_matrices_have_their_adjoints(name, x64):
    case = CASES[name]
    x, w = normal(0, case.shape, "float64"), normal(1, (*case.kernel, case.shape[3], case.filters), "float64")
    outputs = arguments(case, "float64")[1][2].shape[2]
    tiling = im2col.choose_tiling(w, outputs, case.window())
    size = (case.shape[1], case.shape[2])
    columns = jax.jit(lambda x: im2col.im2col(x, tiling))(x)
    assert_adjoint(x, columns, lambda columns: im2col.col2im(columns, size, tiling))
    factors = list(jax.jit(lambda w: im2col.kernel_matrices(w, tiling))(w))
    assert_adjoint(w, factors, lambda f: im2col.kernel_matrices_backward(jnp.stack(f), w.shape, tiling))


@pytest.mark.parametrize("name", slow_except(["depthwise", "depthwise stride"], "depthwise stride"))
def test_both_forms_for_the_cpu_give_the_same(name, x64):
    """A depthwise convolution as shifted multiply-adds, and as a batch of matrix products."""
    case, window = CASES[name], CASES[name].window()
    _, (params, x, dz) = arguments(case, "float64")
    size = (case.shape[1], case.shape[2])

    @functools.partial(jax.jit, static_argnums=0)
    def run(module, x, w, dz):
        both = module.correlate_backward(x, w, dz, window)
        separate = module.kernel_gradient(x, w, dz, window), module.image_gradient(w, dz, window, size)
        return module.correlate(x, w, window), both, separate

    x, w, dz = (normal(i, leaf.shape, "float64") for i, leaf in enumerate((x, params.w, dz)))
    (z, both, separate), expected = run(depthwise, x, w, dz), run(im2col, x, w, dz)
    assert_close((z, both, separate), expected, "float64")
    assert_close(separate, both, "float64")
