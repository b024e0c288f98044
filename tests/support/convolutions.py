"""Cases of convolutions, the library's convolution to compare with, and comparisons."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from fnn.layers.windows import Window, pad_widths, reach
from tests.support.oracles import assert_close, by_hand, cotangent, normal, spread_params


class Case(NamedTuple):
    """The shape of the images (batch, height, width, channels), and the arguments of `fnn.conv2d`."""

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    filters: int = 2
    padding: Any = "VALID"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def layer(self) -> fnn.Layer:
        return fnn.conv2d(
            self.shape[3],
            self.filters,
            self.kernel,
            self.strides,
            self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def window(self) -> Window:
        pads = pad_widths("test", self.shape[1:3], reach(self.kernel, self.dilation), self.strides, self.padding)
        return Window(self.strides, pads, self.dilation, self.groups)

    def reference(self, params, x):
        """The library's convolution."""
        z = jax.lax.conv_general_dilated(
            x,
            params.w,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return z + params.b.reshape(1, 1, 1, -1)


CASES = {
    "plain": Case((2, 6, 5, 3), (3, 3), filters=4),
    "same": Case((2, 6, 5, 3), (3, 2), (2, 1), 4, "SAME"),
    "stride leaves a rest": Case((1, 7, 7, 1), (2, 4), (3, 2), 1),
    "large kernel": Case((3, 8, 7, 2), (5, 3), (2, 3), 2, "SAME"),
    "1x1": Case((2, 5, 5, 2), (1, 1), (2, 2), 3),
    "covers the image": Case((2, 3, 4, 2), (3, 4)),
    "larger than the image": Case((1, 4, 4, 1), (4, 5), (1, 2), 1, "SAME"),
    "tiles": Case((1, 6, 8, 2), (2, 3), (1, 2), 3, "SAME"),
    "a product per row": Case((2, 6, 7, 11), (3, 3), (1, 1), 4, "SAME"),
    "many channels": Case((2, 7, 9, 16), (2, 3), (2, 3), 3),
    "explicit": Case((2, 5, 6, 2), (3, 2), (2, 1), 3, ((2, 0), (1, 3))),
    "wider than the kernel": Case((1, 4, 3, 2), (2, 2), (1, 3), 3, ((3, 4), (2, 2))),
    "dilated": Case((2, 8, 9, 2), (3, 2), dilation=(2, 3)),
    "dilated stride": Case((2, 9, 8, 2), (2, 3), (3, 2), 3, "SAME", (2, 2)),
    "groups": Case((2, 6, 5, 4), (3, 2), (1, 1), 6, "SAME", (1, 2), 2),
    "groups stride": Case((2, 7, 6, 6), (2, 3), (2, 2), 3, ((0, 1), (1, 1)), (1, 1), 3),
    "depthwise": Case((3, 6, 5, 3), (3, 2), (1, 1), 3, "SAME", (1, 1), 3),
    "depthwise stride": Case((2, 7, 8, 2), (2, 3), (3, 2), 2, ((1, 0), (2, 1)), (2, 1), 2),
    "depthwise multiplier": Case((2, 5, 5, 2), (3, 3), (2, 1), 6, "SAME", (1, 1), 2),
}


def assert_equals_reference(layer, shape, reference, dtype):
    """Compare forward and backward with reference(params, x, dy) and its derivative, on images of this shape."""
    params, x = spread_params(layer, 0, dtype), normal(1, shape, dtype)
    dy = cotangent(layer, params, x)

    @jax.jit
    def run(params, x, dy):
        y, vjp = jax.vjp(lambda params, x: reference(params, x, dy), params, x)
        return (layer.forward(params, x)[0], by_hand(layer, params, x, dy)), (y, vjp(dy))

    assert_close(*run(params, x, dy), dtype)


def assert_same_on_two_devices(layer, params, x, kind):
    """Compare forward and backward with those of examples over an axis of this kind, Auto or Explicit."""
    dy = cotangent(layer, params, x)

    @jax.jit
    def run(params, x, dy):
        return layer.forward(params, x)[0], by_hand(layer, params, x, dy)

    expected = run(params, x, dy)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",), axis_types=(getattr(AxisType, kind),))
    with jax.set_mesh(mesh):
        y, (dparams, dx) = run(params, *jax.device_put((x, dy), NamedSharding(mesh, PartitionSpec("data"))))
    if kind == "Explicit":
        assert y.sharding.spec[0] == dx.sharding.spec[0] == "data"
        assert dparams.w.is_fully_replicated
    assert_close((y, (dparams, dx)), expected, "float64")
