"""conv2d and pooling against jax.lax, and both forms of a convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.layers import correlation
from fnn.layers.windows import pad_widths
from tests.support.oracles import assert_close, by_hand, cotangent, normal, spread_params
from tests.support.slow import slow_except

CASES = [  # image (batch, height, width, channels), kernel, stride, filters, padding
    ((2, 6, 5, 3), (3, 3), (1, 1), 4, "VALID"),
    ((2, 6, 5, 3), (3, 2), (2, 1), 4, "SAME"),
    ((1, 7, 7, 1), (2, 4), (3, 2), 1, "VALID"),
    ((3, 8, 7, 2), (5, 3), (2, 3), 2, "SAME"),
    ((2, 5, 5, 2), (1, 1), (2, 2), 3, "VALID"),
    ((2, 3, 4, 2), (3, 4), (1, 1), 2, "VALID"),
    ((1, 4, 4, 1), (4, 5), (1, 2), 1, "SAME"),
    ((1, 6, 8, 2), (2, 3), (1, 2), 3, "SAME"),
    ((2, 6, 7, 11), (3, 3), (1, 1), 4, "SAME"),  # enough channels for one product per row of the kernel
    ((2, 7, 9, 16), (2, 3), (2, 3), 3, "VALID"),
]


def lax_convolution(params, x, strides, padding):
    z = jax.lax.conv_general_dilated(x, params.w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return z + params.b.reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("dtype", "shape", "kernel", "strides", "filters", "padding"),
    slow_except(
        [(dtype, *case) for dtype in ("float64", "float32") for case in CASES],
        *[("float64", *CASES[i]) for i in (0, 8)],
        ("float32", *CASES[3]),
    ),
)
def test_conv2d_equals_the_library_convolution(dtype, shape, kernel, strides, filters, padding, x64):
    layer = fnn.conv2d(shape[-1], filters, kernel, strides, padding)
    params, x = spread_params(layer, 0, dtype), normal(1, shape, dtype)
    dy = cotangent(layer, params, x)
    y, vjp = jax.vjp(lambda p, x: lax_convolution(p, x, strides, padding), params, x)
    assert_close(layer.forward(params, x)[0], y, dtype)
    assert_close(by_hand(layer, params, x, dy), vjp(dy), dtype)


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "filters", "padding"), slow_except(CASES, CASES[1], CASES[5], CASES[9])
)
def test_the_form_for_accelerators_gives_the_same(shape, kernel, strides, filters, padding, monkeypatch, x64):
    """Run the branch for a GPU or TPU on this machine."""
    layer = fnn.conv2d(shape[-1], filters, kernel, strides, padding)
    params, x = spread_params(layer, 0, "float64"), normal(1, shape, "float64")
    dy = cotangent(layer, params, x)
    expected = layer.forward(params, x)[0], by_hand(layer, params, x, dy)
    calls = []

    def choose_default(*args, cpu, default):
        calls.append(default)
        return default(*args)

    monkeypatch.setattr(correlation.jax.lax, "platform_dependent", choose_default)
    assert_close((layer.forward(params, x)[0], by_hand(layer, params, x, dy)), expected, "float64")
    assert len(calls) == 3


def test_each_platform_gets_its_own_form(key):
    layer = fnn.conv2d(2, 3, 3)
    params, x = layer.init(key), jnp.zeros((1, 5, 5, 2))
    traced = jax.jit(layer.forward).trace(params, x)
    assert "convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("window", "strides"),
    slow_except([((2, 2), (2, 2)), ((3, 2), (1, 2)), ((2, 3), (3, 1)), ((1, 1), (2, 2))], ((3, 2), (1, 2))),
)
@pytest.mark.parametrize("dtype", slow_except(["float64", "float32"], "float64"))
def test_pools_equal_reduce_window(window, strides, dtype, x64):
    x = np.round(2 * normal(0, (2, 7, 6, 3), dtype))  # with ties
    dims, steps = (1, *window, 1), (1, *strides, 1)

    def largest(x):
        return jax.lax.reduce_window(x, np.array(-np.inf, x.dtype), jax.lax.max, dims, steps, "VALID")

    def mean(x):
        total = jax.lax.reduce_window(x, np.array(0, x.dtype), jax.lax.add, dims, steps, "VALID")
        return total / (window[0] * window[1])

    for layer, reference in ((fnn.max_pool2d(window, strides), largest), (fnn.avg_pool2d(window, strides), mean)):
        y, vjp = jax.vjp(reference, x)
        dy = cotangent(layer, (), x)
        assert_close(layer.forward((), x)[0], y, dtype)
        assert_close(by_hand(layer, (), x, dy)[1], vjp(dy)[0], dtype)


def test_max_pool_gives_ties_to_the_first_and_keeps_nan():
    x = jnp.array([[3.0, 3.0, 1.0, 2.0], [3.0, 3.0, 2.0, jnp.nan]]).reshape(1, 2, 4, 1)
    y, residuals = fnn.max_pool2d(2).forward((), x)
    np.testing.assert_array_equal(y.ravel(), [3.0, np.nan])
    dx = fnn.max_pool2d(2).backward((), residuals, jnp.ones_like(y))[1]
    np.testing.assert_array_equal(dx.reshape(2, 4), [[1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("position", range(4))
def test_max_pool_finds_nan_anywhere(position):
    x = np.arange(4.0, dtype="float32")
    x[position] = np.nan
    assert np.isnan(fnn.max_pool2d(2).forward((), jnp.asarray(x).reshape(1, 2, 2, 1))[0]).all()


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "filters", "padding"), slow_except(CASES, CASES[3], CASES[6], CASES[8])
)
def test_im2col_and_kernel_matrices_have_their_adjoints(shape, kernel, strides, filters, padding, x64):
    """<f(x), other> = <x, f_backward(other)> for a linear f."""
    pads = pad_widths("test", shape[1:3], kernel, strides, padding)
    x = jnp.asarray(normal(0, shape, "float64"))
    w = jnp.asarray(normal(1, (*kernel, shape[3], filters), "float64"))
    tiling = correlation._choose_tiling(x, w, strides, pads)

    def check(value, seen, backward):
        other = [jnp.asarray(normal(2 + i, leaf.shape, "float64")) for i, leaf in enumerate(seen)]
        left, right = sum(map(jnp.vdot, seen, other)), jnp.vdot(value, backward(other))
        assert abs(float(left - right)) < 1e-12 * sum(
            float(jnp.linalg.norm(a) * jnp.linalg.norm(b)) for a, b in zip(seen, other, strict=True)
        )

    check(x, correlation.im2col(x, tiling), lambda columns: correlation.col2im(columns, shape[1:3], tiling))
    factors = list(correlation.kernel_matrices(w, tiling))
    check(w, factors, lambda f: correlation.kernel_matrices_backward(jnp.stack(f), w.shape, tiling))


@pytest.mark.claim("C233")
def test_a_shared_filter_collects_the_gradient_of_all_its_copies(x64):
    """All copies of a filter share their weights: its gradient is the sum over positions."""
    layer = fnn.conv2d(1, 1, 2)
    params, x = spread_params(layer, 0, "float64"), normal(1, (1, 4, 4, 1), "float64")
    dy = cotangent(layer, params, x)
    dw = by_hand(layer, params, x, dy)[0].w[:, :, 0, 0]
    copies = [dy[0, i, j, 0] * x[0, i : i + 2, j : j + 2, 0] for i in range(3) for j in range(3)]
    assert_close(dw, sum(copies), "float64")
    assert layer.forward(params, jnp.zeros((1, 64, 64, 1)))[0].shape == (1, 63, 63, 1)
