"""Every backward against jax.vjp of its forward: edge inputs, jit, vmap, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from tests.support.devices import two_devices
from tests.support.oracles import (
    assert_close,
    assert_same_structure,
    by_autodiff,
    by_hand,
    conditioning,
    cotangent,
    normal,
    spread_params,
)
from tests.support.sequence_layers import SEQUENCE_LAYERS, SLOW
from tests.support.slow import slow_except

pytestmark = pytest.mark.usefixtures("slow_cases_compile_quickly")

VECTOR, IMAGE = (5, 6), (3, 7, 6, 2)

ACTIVATIONS = {
    "identity": fnn.identity,
    "sigmoid": fnn.sigmoid,
    "tanh": fnn.tanh,
    "relu": fnn.relu,
    "leaky_relu": fnn.leaky_relu(0.1),
    "softplus": fnn.softplus,
    "gelu": fnn.gelu,
    "gelu_tanh": fnn.gelu_tanh,
    "silu": fnn.silu,
    "softmax": fnn.softmax,
    "elementwise": fnn.elementwise(jnp.sin, jnp.cos),
}
LAYERS = {name: (layer, VECTOR) for name, layer in ACTIVATIONS.items()} | {
    "dense": (fnn.dense(6, 4), VECTOR),
    "dense_one_output": (fnn.dense(6, 1), VECTOR),
    "flatten": (fnn.flatten, IMAGE),
    "dropout": (fnn.dropout(0.4), VECTOR),
    "serial": (fnn.serial(fnn.dense(6, 4), fnn.tanh, fnn.dropout(0.3), fnn.dense(4, 3), fnn.softmax), VECTOR),
    "residual": (fnn.residual(fnn.serial(fnn.dense(6, 6), fnn.gelu)), VECTOR),
    "residual_shortcut": (fnn.residual(fnn.serial(fnn.dense(6, 4), fnn.tanh), fnn.dense(6, 4)), VECTOR),
    "add": (fnn.add(fnn.dense(6, 4), fnn.serial(fnn.dense(6, 3), fnn.silu, fnn.dense(3, 4))), VECTOR),
    "repeat": (fnn.repeat(fnn.serial(fnn.dense(6, 6), fnn.tanh, fnn.dropout(0.2)), 3), VECTOR),
    "repeat_residual": (fnn.repeat(fnn.residual(fnn.serial(fnn.dense(6, 6), fnn.silu)), 2), VECTOR),
    "conv2d": (fnn.conv2d(2, 3, 3), IMAGE),
    "conv2d_same_stride": (fnn.conv2d(2, 3, (3, 2), stride=2, padding="SAME"), IMAGE),
    "conv2d_1x1": (fnn.conv2d(2, 4, 1), IMAGE),
    "conv2d_dilated_groups": (fnn.conv2d(2, 4, (3, 2), (2, 1), ((1, 1), (0, 2)), dilation=(1, 2), groups=2), IMAGE),
    "conv2d_depthwise": (fnn.conv2d(2, 2, 3, padding="SAME", groups=2), IMAGE),
    "conv2d_transpose": (fnn.conv2d_transpose(2, 3, (3, 2), 2, ((0, 1), (0, 0)), output_padding=(1, 0)), IMAGE),
    "conv2d_transpose_groups": (fnn.conv2d_transpose(2, 4, 3, 2, "SAME", dilation=2, groups=2), IMAGE),
    "max_pool2d": (fnn.max_pool2d(2), IMAGE),
    "max_pool2d_overlapping": (fnn.max_pool2d(3, stride=(2, 1)), IMAGE),
    "avg_pool2d": (fnn.avg_pool2d(2), IMAGE),
    "avg_pool2d_overlapping": (fnn.avg_pool2d((3, 2), stride=1), IMAGE),
    "convnet": (fnn.convnet((7, 6, 2), (3,), 2, (5, 4), fnn.tanh), IMAGE),
    "batch_norm": (fnn.batch_norm(6), VECTOR),
    "batch_norm_images": (fnn.batch_norm(2), IMAGE),
    "layer_norm": (fnn.layer_norm(6), VECTOR),
    "layer_norm_images": (fnn.layer_norm(2), IMAGE),
    "batch_norm_network": (fnn.serial(fnn.dense(6, 6), fnn.batch_norm(6), fnn.tanh), VECTOR),
    **SEQUENCE_LAYERS,
}
SLOW_IMAGES = {"conv2d_dilated_groups", "conv2d_transpose_groups"}  # their options are tested one by one elsewhere
# layers that behave differently with a key and without one
RANDOM = {"dropout", "serial", "repeat", "batch_norm", "batch_norm_images", "batch_norm_network", "transformer_block"}
MODES = [(name, training) for name in LAYERS for training in ((True, False) if name in RANDOM else (False,))]
# these amplify rounding errors where a variance is small: their tolerance is the measured conditioning
NORMALISERS = {name for name in LAYERS if "norm" in name or "block" in name}
# in training, they refuse a batch of one vector
ONE_VALUE_REFUSED = {"batch_norm", "batch_norm_network"}

INPUTS = {
    "random": lambda shape, dtype: normal(1, shape, dtype),
    "one example": lambda shape, dtype: normal(2, (1, *shape[1:]), dtype),
    "zeros": np.zeros,
    "signed zeros": lambda shape, dtype: np.copysign(np.zeros(shape, dtype), normal(3, shape, dtype)),
    "large": lambda shape, dtype: 1e4 * normal(4, shape, dtype),
    "ties": lambda shape, dtype: np.round(normal(5, shape, dtype)),
}


def pick(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


BACKWARD = slow_except(
    [(*mode, dtype) for dtype in ("float64", "float32") for mode in MODES],
    *[(*mode, "float64") for mode in MODES if mode[0] not in {*SLOW, *SLOW_IMAGES}],
    *[(*mode, "float32") for mode in MODES if mode[0] in ("softplus", "softmax", "conv2d", "dropout", "batch_norm")],
)


def on_accelerators(case):
    """Mark the case: all in float64, and in float32 those of the default run. test_verified.py has all in float32."""
    marks = [pytest.mark.accelerator] if case.values[2] == "float64" or not case.marks else []
    return pytest.param(*case.values, marks=[*case.marks, *marks])


@pytest.mark.parametrize(("name", "training", "dtype"), [on_accelerators(case) for case in BACKWARD])
def test_backward_is_the_derivative_of_forward(name, dtype, training, key, x64):
    """Compare under jit, at every kind of input."""
    layer, shape = LAYERS[name]
    params, layer_key = spread_params(layer, 0, dtype), key if training else None
    hand, auto = (jax.jit(functools.partial(gradient, layer, key=layer_key)) for gradient in (by_hand, by_autodiff))
    for kind, make in INPUTS.items():
        if kind == "large" and name.startswith("attention"):
            continue  # dP - D cancels: see test_attention.py
        x = make(shape, dtype)
        if training and name in ONE_VALUE_REFUSED and len(x) == 1:
            with pytest.raises(ValueError, match="more than one value per feature"):
                hand(params, x, x)
            continue
        dy = cotangent(layer, params, x, layer_key)
        got, expected = hand(params, x, dy), auto(params, x, dy)
        slack = conditioning(auto, params, x, dy) if name in NORMALISERS else 0.0
        assert_same_structure(got, (params, x))
        assert_close(got, expected, dtype, slack, f"{name}, {kind}")


@pytest.mark.parametrize("name", slow_except(LAYERS, "dense", "dropout", "conv2d_1x1", "batch_norm"))
def test_jit_vmap_and_two_devices_change_nothing(name, key, x64):
    layer, shape = LAYERS[name]
    shape = (4, *shape[1:])
    params = stack(lambda seed: spread_params(layer, seed, "float64"))
    x = stack(lambda seed: normal(seed, shape, "float64"))
    dy = cotangent(layer, pick(params, 0), x[0], key)
    gradient = functools.partial(by_hand, layer, dy=dy, key=key)
    expected = gradient(pick(params, 0), x[0])
    compiled = jax.jit(lambda params, x, dy: by_hand(layer, params, x, dy, key))
    assert_close(compiled(pick(params, 0), x[0], dy), expected, "float64", what="jit")

    for axes in ((0, None), (None, 0), (0, 0)) if jax.tree.leaves(params) else ((None, 0),):
        args = [arg if axis == 0 else pick(arg, 0) for arg, axis in zip((params, x), axes, strict=True)]
        got = jax.jit(jax.vmap(gradient, in_axes=axes))(*args)
        for i in range(2):
            one = [pick(arg, i) if axis == 0 else arg for arg, axis in zip(args, axes, strict=True)]
            assert_close(pick(got, i), compiled(*one, dy), "float64", what=f"vmap {axes}")

    mesh = Mesh(np.array(two_devices()), ("data",), axis_types=(AxisType.Auto,))
    replicated, rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    args = jax.device_put(pick(params, 0), replicated), *jax.device_put((x[0], dy), rows)
    got = compiled(*args)
    assert {device.id for leaf in jax.tree.leaves(got) for device in leaf.devices()} == {0, 1}
    assert_close(got, expected, "float64", what="two devices")


def stack(make):
    return jax.tree.map(lambda *leaves: np.stack(leaves), make(0), make(1))


@pytest.mark.parametrize("name", ["dense", "serial", "conv2d", "repeat", "residual", "batch_norm", "layer_norm"])
@pytest.mark.parametrize(("param_dtype", "x_dtype"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_gradients_have_the_dtypes_of_what_they_are_gradients_of(name, param_dtype, x_dtype, key):
    layer, shape = LAYERS[name]
    params, x = spread_params(layer, 0, param_dtype), normal(1, shape, x_dtype)

    def both(params, x):
        y, residuals = layer.forward(params, x, key)
        return y, layer.backward(params, residuals, jnp.ones_like(y))

    y, gradients = jax.eval_shape(both, params, x)
    assert y.dtype == jnp.float32
    assert_same_structure(gradients, (params, x))


def random_sizes(draw, n, largest=6):
    return [draw(st.integers(1, largest)) for _ in range(n)]


@st.composite
def layers_and_shapes(draw):
    """Draw a layer, and an input shape that fits it."""
    kind = draw(
        st.sampled_from(
            ["dense", "conv2d", "transpose", "max_pool2d", "avg_pool2d", "flatten", "layer_norm", "batch_norm"]
        )
    )
    batch, n, m = random_sizes(draw, 3)
    window, strides, extra = random_sizes(draw, 2, 4), random_sizes(draw, 2, 3), random_sizes(draw, 2)
    image = (batch, window[0] + extra[0] - 1, window[1] + extra[1] - 1, n)
    if kind == "dense":
        return kind, fnn.dense(n, m), (batch, n)
    if kind in ("conv2d", "transpose"):
        dilation, groups = tuple(random_sizes(draw, 2, 2)), draw(st.integers(1, 2))
        padding = draw(st.sampled_from(["VALID", "SAME", ((1, 0), (0, 2))]))
        build = fnn.conv2d if kind == "conv2d" else fnn.conv2d_transpose
        layer = build(n * groups, m * groups, tuple(window), tuple(strides), padding, dilation=dilation, groups=groups)
        height, width = ((k - 1) * (d - 1) + size for k, d, size in zip(window, dilation, image[1:3], strict=True))
        return kind, layer, (batch, height + 1, width + 2, n * groups)
    if kind in ("max_pool2d", "avg_pool2d"):
        return kind, getattr(fnn, kind)(tuple(window), tuple(strides)), image
    if kind == "flatten":
        return kind, fnn.flatten, image[: draw(st.integers(2, 4))]
    return kind, getattr(fnn, kind)(n), draw(st.sampled_from([(batch, n), image]))


@pytest.mark.slow
@settings(max_examples=10)
@given(layers_and_shapes(), st.integers(0, 2**31 - 1))
def test_any_shape(case, seed):
    name, layer, shape = case
    with jax.enable_x64(True):
        params, x, key = spread_params(layer, seed, "float64"), normal(seed, shape, "float64"), jax.random.key(0)
        dy = cotangent(layer, params, x, key)
        auto = jax.jit(functools.partial(by_autodiff, layer, key=key))
        slack = conditioning(auto, params, x, dy) if "norm" in name else 0.0
        assert_close(by_hand(layer, params, x, dy, key), auto(params, x, dy), "float64", slack)
