"""conv2d_transpose against the transpose of a convolution and PyTorch, and its texts."""

import collections
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.layers.test_conv_forms import operations
from tests.support.convolutions import assert_equals_reference, assert_same_on_two_devices
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except


class Case(NamedTuple):
    """The shape of the images, and the arguments of `fnn.conv2d_transpose`."""

    shape: tuple[int, int, int, int]
    filters: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Any = "VALID"
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def layer(self):
        options = {"dilation": self.dilation, "groups": self.groups, "output_padding": self.output_padding}
        return fnn.conv2d_transpose(self.shape[3], self.filters, self.kernel, self.strides, self.padding, **options)


CASES = {
    "plain": Case((2, 4, 5, 3), 2, (3, 2)),
    "strides": Case((2, 3, 4, 2), 3, (3, 4), (2, 3)),
    "strides above the kernel": Case((2, 3, 4, 2), 3, (2, 1), (3, 2), output_padding=(1, 0)),
    "padding": Case((2, 4, 5, 2), 3, (3, 3), (2, 1), ((1, 0), (2, 1)), (1, 0)),
    "same": Case((2, 4, 5, 2), 1, (4, 3), (2, 3), "SAME"),
    "same, strides above the kernel": Case((1, 4, 5, 2), 1, (1, 2), (2, 3), "SAME"),
    "one pixel": Case((2, 1, 1, 1), 2, (2, 3), (2, 2)),
    "1x1": Case((2, 3, 4, 2), 3, (1, 1), (2, 1), output_padding=(1, 0)),
    "dilation": Case((2, 4, 3, 2), 3, (3, 2), (1, 2), ((1, 1), (0, 0)), (1, 2), (2, 3)),
    "groups": Case((2, 4, 3, 4), 6, (3, 2), (2, 1), ((1, 0), (1, 1)), (0, 0), (1, 1), 2),
    "depthwise": Case((2, 4, 3, 3), 3, (3, 2), (2, 3), ((1, 0), (0, 0)), (1, 0), (1, 2), 3),
    "depthwise multiplier": Case((2, 4, 3, 2), 4, (3, 2), (2, 2), "SAME", (0, 0), (1, 1), 2),
    "decoder": Case((2, 4, 5, 2), 3, (4, 4), (2, 2), ((1, 1), (1, 1))),
    "decoder to an even size": Case((2, 4, 5, 2), 4, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), (1, 1), 2),
    "wide": Case((2, 5, 6, 40), 36, (3, 3), (2, 2), "SAME"),
}


def of_convolution(case, w):
    """Return the kernel of the convolution that the layer transposes, which has c_in filters."""
    return jnp.concatenate([part.swapaxes(2, 3) for part in jnp.split(w, case.groups, axis=3)], axis=3)


def convolution(case, w, z):
    """The library's convolution, which the layer transposes."""
    reach = [(k - 1) * d + 1 for k, d in zip(case.kernel, case.dilation, strict=True)]
    pads = case.padding
    if isinstance(pads, str):
        pads = jax.lax.padtype_to_pads(z.shape[1:3], reach, case.strides, pads)
    return jax.lax.conv_general_dilated(
        z,
        w,
        case.strides,
        [
            (low, high - more if more >= s else high)  # or there would be one more output
            for (low, high), more, s in zip(pads, case.output_padding, case.strides, strict=True)
        ],
        rhs_dilation=case.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=case.groups,
    )


def transposed_convolution(case, params, x, size):
    """The derivative of the library's convolution, from images of this size to those of x, applied to x."""
    image = jnp.zeros((case.shape[0], *size, case.filters), x.dtype)
    transpose = jax.vjp(lambda z: convolution(case, of_convolution(case, params.w), z), image)[1]
    return transpose(x)[0] + params.b.reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_except(
        [(name, dtype) for dtype in ("float64", "float32") for name in CASES],
        *[(name, "float64") for name in ("padding", "dilation", "groups", "depthwise", "same")],
        ("wide", "float32"),
    ),
)
def test_is_the_transpose_of_a_convolution(name, dtype, x64):
    case = CASES[name]
    reference = lambda params, x, dy: transposed_convolution(case, params, x, dy.shape[1:3])
    assert_equals_reference(case.layer(), case.shape, reference, dtype)


PYTORCH = [name for name, case in CASES.items() if case.padding == "VALID" or name.startswith("decoder")]


@pytest.mark.slow
@pytest.mark.parametrize("name", PYTORCH)
def test_equals_pytorch(name, x64):
    torch = pytest.importorskip("torch")
    case = CASES[name]
    layer = case.layer()
    params, x = spread_params(layer, 0, "float64"), normal(1, case.shape, "float64")
    dy = cotangent(layer, params, x)
    w, b, x_t = (torch.tensor(np.array(a), requires_grad=True) for a in (*params, x))
    kh, kw, n, c_out = w.shape
    # (kh, kw, c_in / groups, groups, c_out / groups) -> (groups, c_in / groups, c_out / groups, kh, kw)
    weight = w.reshape(kh, kw, n, case.groups, c_out // case.groups).permute(3, 2, 4, 0, 1)
    module = torch.nn.ConvTranspose2d(
        case.shape[3],
        case.filters,
        case.kernel,
        case.strides,
        padding=0 if case.padding == "VALID" else tuple(low for low, _ in case.padding),
        output_padding=case.output_padding,
        groups=case.groups,
        dilation=case.dilation,
        dtype=torch.float64,
    )
    copied = {"weight": weight.reshape(module.weight.shape), "bias": b}
    y = torch.func.functional_call(module, copied, x_t.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    y.backward(torch.tensor(dy))
    assert_close(layer.forward(params, x)[0], y.detach().numpy(), "float64")
    expected = fnn.Conv2d(w.grad.numpy(), b.grad.numpy()), x_t.grad.numpy()
    assert_close(by_hand(layer, params, x, dy), expected, "float64")


@pytest.mark.parametrize(
    ("name", "platform"),
    slow_except([*[(name, "cuda") for name in CASES], ("groups", "tpu")], ("padding", "cuda"), ("groups", "tpu")),
)
def test_lowers_to_the_convolutions_of_the_layer_it_transposes(name, platform):
    """Forward is that layer's dX, dX its forward, and dW its dW."""
    case = CASES[name]
    layer = case.layer()
    params, x = jax.eval_shape(layer.init, jax.random.key(0)), jax.ShapeDtypeStruct(case.shape, "float32")
    dz = jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x)
    w = jax.eval_shape(lambda w: of_convolution(case, w), params.w)

    def convolutions(function, *args):
        found = operations(function, *args, platform=platform)
        assert not any("stablehlo.pad" in line for line in found)
        return collections.Counter([line for line in found.elements() if "stablehlo.convolution" in line])

    transposed = functools.partial(convolution, case)
    one = convolutions(transposed, w, dz)
    dw, dx = (convolutions(lambda w, z, dy, i=i: jax.vjp(transposed, w, z)[1](dy)[i], w, dz, x) - one for i in range(2))
    assert [each.total() for each in (one, dw, dx)] == [1, 1, 1]
    assert convolutions(lambda p, x: layer.forward(p, x)[0], params, x) == dx
    assert convolutions(lambda p, x, dz: layer.backward(p, x, dz), params, x, dz) == dw + one


@pytest.mark.parametrize("name", slow_except(["padding", "groups", "depthwise"], "groups"))
@pytest.mark.parametrize("kind", slow_except(["Auto", "Explicit"], "Explicit"))
def test_examples_on_two_devices(name, kind, x64):
    layer, shape = CASES[name].layer(), CASES[name].shape
    params, x = spread_params(layer, 0, "float64"), normal(1, shape, "float64")
    assert_same_on_two_devices(layer, params, x, kind)


def output_shape(layer, shape):
    return jax.eval_shape(lambda x: layer.forward(spread_params(layer, 0), x)[0], np.zeros(shape, "float32")).shape


def test_undoes_the_size_of_a_convolution():
    shape = (1, 14, 17, 3)
    for kernel, strides, padding, dilation in (
        (3, (2, 2), ((0, 0), (0, 0)), 1),
        (4, (2, 3), ((1, 1), (2, 0)), 1),
        (2, (3, 3), ((0, 0), (0, 0)), 2),
    ):
        down = fnn.conv2d(3, 5, kernel, strides, padding, dilation=dilation)
        reach = (kernel - 1) * dilation + 1
        rest = tuple((n + sum(p) - reach) % s for n, p, s in zip(shape[1:3], padding, strides, strict=True))
        up = fnn.conv2d_transpose(5, 3, kernel, strides, padding, dilation=dilation, output_padding=rest)
        assert output_shape(up, output_shape(down, shape)) == shape


def test_same_multiplies_the_size_by_the_stride():
    for kernel in (1, 2, 3, 5):
        assert output_shape(fnn.conv2d_transpose(2, 1, kernel, (2, 3), "SAME"), (1, 4, 5, 2)) == (1, 8, 15, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["padding", "groups", "depthwise"])
def test_no_examples_and_mixed_precision(name):
    case = CASES[name]
    layer, none = case.layer(), np.zeros((0, *case.shape[1:]), "float32")
    params, x = spread_params(layer, 0), normal(1, case.shape)
    y, _ = layer.forward(params, none)
    dparams, dx = by_hand(layer, params, none, jnp.zeros_like(y))
    assert (y.shape[0], dx.shape, largest(dparams)) == (0, none.shape, 0)
    dy = cotangent(layer, params, x)
    for dtype in ("bfloat16", "float16"):
        got, expected = (
            jax.jit(lambda p, x, dy, f=f: by_hand(f, p, x, dy))(params, x, dy)
            for f in (fnn.mixed_precision(layer, dtype), layer)
        )
        difference = largest(jax.tree.map(jnp.subtract, got, expected))
        assert difference <= 8 * float(jnp.finfo(dtype).eps) * largest(expected)
