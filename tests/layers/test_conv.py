"""conv2d and pooling against jax.lax and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.layers import windows
from tests.support.convolutions import CASES, assert_equals_reference, assert_same_on_two_devices
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except

QUICK = ("plain", "a product per row", "dilated stride", "groups", "depthwise stride")


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_except(
        [(name, dtype) for dtype in ("float64", "float32") for name in CASES],
        *[(name, "float64") for name in QUICK],
        ("large kernel", "float32"),
        ("depthwise", "float32"),
    ),
)
def test_conv2d_equals_the_library_convolution(name, dtype, x64):
    case = CASES[name]
    assert_equals_reference(case.layer(), case.shape, lambda params, x, dy: case.reference(params, x), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_conv2d_equals_pytorch(name, x64):
    torch = pytest.importorskip("torch")
    case = CASES[name]
    layer = case.layer()
    params, x = spread_params(layer, 0, "float64"), normal(1, case.shape, "float64")
    dy = cotangent(layer, params, x)
    reach = [(k - 1) * d + 1 for k, d in zip(case.kernel, case.dilation, strict=True)]
    (top, bottom), (left, right) = (
        jax.lax.padtype_to_pads(case.shape[1:3], reach, case.strides, case.padding)
        if isinstance(case.padding, str)
        else case.padding
    )
    w, b, x_t = (torch.tensor(np.array(a), requires_grad=True) for a in (*params, x))
    padded = torch.nn.functional.pad(x_t.permute(0, 3, 1, 2), (left, right, top, bottom))
    options = {"stride": case.strides, "dilation": case.dilation, "groups": case.groups}
    y = torch.nn.functional.conv2d(padded, w.permute(3, 2, 0, 1), b, **options).permute(0, 2, 3, 1)
    y.backward(torch.tensor(dy))
    assert_close(layer.forward(params, x)[0], y.detach().numpy(), "float64")
    expected = fnn.Conv2d(w.grad.numpy(), b.grad.numpy()), x_t.grad.numpy()
    assert_close(by_hand(layer, params, x, dy), expected, "float64")


@pytest.mark.parametrize("name", slow_except(["plain", "groups stride", "depthwise"], "depthwise"))
@pytest.mark.parametrize("kind", slow_except(["Auto", "Explicit"], "Explicit"))
def test_examples_on_two_devices(name, kind, x64):
    layer, shape = CASES[name].layer(), (4, *CASES[name].shape[1:])
    assert_same_on_two_devices(layer, spread_params(layer, 0, "float64"), normal(1, shape, "float64"), kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["many channels", "dilated stride", "groups", "depthwise stride"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_is_close(name, dtype):
    case = CASES[name]
    layer = case.layer()
    params, x = spread_params(layer, 0), normal(1, case.shape)
    dy = cotangent(layer, params, x)
    got, expected = (
        jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (fnn.mixed_precision(layer, dtype), layer)
    )
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= 8 * float(jnp.finfo(dtype).eps) * largest(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["same", "groups", "depthwise"])
def test_no_examples(name):
    """A batch of none, as an empty shard is."""
    layer, shape = CASES[name].layer(), (0, *CASES[name].shape[1:])
    params, x = spread_params(layer, 0), np.zeros(shape, "float32")
    y, _ = layer.forward(params, x)
    dparams, dx = by_hand(layer, params, x, jnp.zeros_like(y))
    assert y.shape[0] == 0
    assert dx.shape == shape
    assert largest(dparams) == 0


@pytest.mark.slow
def test_remat_and_repeat_of_a_depthwise_block():
    block = fnn.serial(fnn.conv2d(3, 3, 3, padding="SAME", groups=3), fnn.tanh, fnn.conv2d(3, 3, 1))
    x = normal(1, (2, 5, 4, 3))
    for layer in (fnn.repeat(block, 2), fnn.remat(block)):
        params = spread_params(layer, 0)
        dy = cotangent(layer, params, x)
        expected = jax.vjp(lambda p, x, f=layer: f.forward(p, x)[0], params, x)[1](dy)
        assert_close(jax.jit(functools.partial(by_hand, layer))(params, x, dy), expected, "float32")


def test_a_depthwise_convolution_acts_on_each_channel_alone():
    layer = fnn.conv2d(2, 4, 3, groups=2)
    params, x = spread_params(layer, 0), normal(1, (1, 5, 5, 2))
    y, changed = (layer.forward(params, a)[0] for a in (x, x * np.array([1, 2], "float32")))
    np.testing.assert_array_equal(y[..., :2], changed[..., :2])
    assert (np.abs(y - changed)[..., 2:] > 1e-3).all()


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


def test_both_forms_of_fold_give_the_same():
    for size, window, stride in ((7, 3, 1), (9, 3, 2), (10, 5, 3), (4, 4, 1)):
        n = (size - window) // stride + 1
        parts = [normal(p, (2, n, 3)) for p in range(window)]
        got, expected = (
            jax.jit(functools.partial(form, axis=1, size=size, stride=stride))(parts)
            for form in (windows._add_spread_slices, windows.add_shifted_slices)
        )
        assert_close(got, expected, "float32")


@pytest.mark.parametrize("pool", [fnn.max_pool2d, fnn.avg_pool2d])
def test_overlapping_pools_update_no_array_in_place_on_accelerators(pool):
    """Each update would be a kernel of its own there."""
    layer, x = pool(3, 1), jnp.zeros((2, 6, 6, 3))
    traced = jax.jit(lambda x: layer.backward((), *layer.forward((), x)[::-1])).trace(x)
    assert "dynamic_update_slice" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "dynamic_update_slice" not in traced.lower(lowering_platforms=("cuda",)).as_text()


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
