"""Convolutions with a fault planted in the backward pass: {fault: (layer, paths of the wrong leaves)}."""

from unittest import mock

import jax.numpy as jnp

import fnn
from fnn.layers import conv, conv_transpose
from fnn.layers.correlation import image_gradient
from fnn.layers.windows import Window

SHAPE = (2, 7, 6, 4)
GROUPS = fnn.conv2d(4, 4, (3, 2), (2, 1), ((1, 0), (0, 1)), dilation=(1, 2), groups=2)
DEPTHWISE = fnn.conv2d(4, 4, 3, padding="SAME", groups=4)
TRANSPOSE = fnn.conv2d_transpose(4, 4, (3, 2), (2, 1), ((1, 0), (0, 0)), dilation=(1, 2), groups=2)


def with_window(layer, module, name, **change):
    """Return the layer with another window in one of the convolutions of its backward."""
    right = getattr(module, name)
    return with_patch(layer, module, name, lambda *args: right(*args[:-1], args[-1]._replace(**change)))


def with_patch(layer, module, name, value):
    """Return the layer with a name of a module replaced while its backward runs."""

    def backward(params, residuals, dy):
        with mock.patch.object(module, name, value):
            return layer.backward(params, residuals, dy)

    return layer._replace(backward=backward)


def only(layer, index, wrong):
    """Return the layer with one part of its gradients, (dparams, dx), taken from a wrong layer."""

    def backward(params, residuals, dy):
        right, other = layer.backward(params, residuals, dy), wrong.backward(params, residuals, dy)
        return (other[0], right[1]) if index == 0 else (right[0], other[1])

    return layer._replace(backward=backward)


def with_kernel(layer, change):
    """Return the layer with another kernel in its backward."""
    return layer._replace(backward=lambda p, r, dy: layer.backward(p._replace(w=change(p.w)), r, dy))


def with_gradient(layer, change):
    """Return the layer with another gradient of its kernel."""

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return dparams._replace(w=change(dparams.w)), dx

    return layer._replace(backward=backward)


def strides_forgotten(params, x, dz):
    """dX with dZ next to each other, instead of as far apart as the kernel was put."""
    window = Window((1, 1), ((1, 0), (0, 1)), (1, 2), 2)
    return GROUPS.backward(params, x, dz)[0], image_gradient(params.w, dz, window, (x.shape[1], x.shape[2]))


def db_of_the_first_row(params, x, dz):
    dparams, dx = TRANSPOSE.backward(params, x, dz)
    return dparams._replace(b=jnp.sum(dz[:, 0], (0, 1))), dx


BACKWARD = "correlate_backward"
WRONG = {
    "dilation forgotten in dX": (
        only(GROUPS, 1, with_window(GROUPS, conv, BACKWARD, dilation=(1, 1), pads=((1, 0), (0, 0)))),
        {"[1]"},
    ),
    "dilation forgotten in dW": (
        only(GROUPS, 0, with_window(GROUPS, conv, BACKWARD, dilation=(1, 1), pads=((1, 0), (0, 0)))),
        {"[0].w"},
    ),
    "padding on the other side": (with_window(GROUPS, conv, BACKWARD, pads=((0, 1), (1, 0))), {"[0].w", "[1]"}),
    "the kernel is flipped in dX": (with_kernel(GROUPS, lambda w: w[::-1, ::-1]), {"[1]"}),
    "groups mixed up in dX": (with_kernel(GROUPS, lambda w: jnp.roll(w, 2, axis=3)), {"[1]"}),
    "the channels of a group are mixed up in dX": (with_kernel(GROUPS, lambda w: w[:, :, ::-1]), {"[1]"}),
    "the filters of a group are mixed up in dW": (
        with_gradient(GROUPS, lambda w: w.reshape(*w.shape[:3], 2, 2).swapaxes(3, 4).reshape(w.shape)),
        {"[0].w"},
    ),
    "strides forgotten in dX": (GROUPS._replace(backward=strides_forgotten), {"[1]"}),
    "dZ is one row off": (
        GROUPS._replace(backward=lambda p, x, dz: GROUPS.backward(p, x, jnp.roll(dz, 1, axis=1))),
        {"[0].w", "[1]"},
    ),
    "a depthwise kernel is flipped in dX": (with_kernel(DEPTHWISE, lambda w: w[::-1, ::-1]), {"[1]"}),
    "the channels of a depthwise kernel are shifted": (
        with_gradient(DEPTHWISE, lambda w: jnp.roll(w, 1, axis=3)),
        {"[0].w"},
    ),
    "transpose: the kernel is not transposed": (
        with_patch(TRANSPOSE, conv_transpose, "_transposed", lambda w, groups: w),
        {"[0].w", "[1]"},
    ),
    "transpose: the kernel is flipped in dX": (with_kernel(TRANSPOSE, lambda w: w[::-1, ::-1]), {"[1]"}),
    "transpose: groups mixed up in dX": (
        with_kernel(TRANSPOSE, lambda w: jnp.roll(w, 2, axis=3)),
        {"[1]"},
    ),
    "transpose: cropped one row off": (
        TRANSPOSE._replace(backward=lambda p, x, dz: TRANSPOSE.backward(p, x, jnp.roll(dz, 1, axis=1))),
        {"[0].w", "[1]"},
    ),
    "transpose: dilation forgotten in dX": (
        only(
            TRANSPOSE, 1, with_window(TRANSPOSE, conv_transpose, "correlate", dilation=(1, 1), pads=((1, 0), (0, -1)))
        ),
        {"[1]"},
    ),
    "transpose: db of the first row only": (TRANSPOSE._replace(backward=db_of_the_first_row), {"[0].b"}),
}
