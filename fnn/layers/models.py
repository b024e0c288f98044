"""Builders of common networks.

All end in logits, because the losses on logits are the numerically stable ones.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from fnn import checks
from fnn.init import Initializer, he_normal, zeros
from fnn.layers.activations import relu
from fnn.layers.combinators import serial
from fnn.layers.conv import conv2d
from fnn.layers.dense import dense, flatten
from fnn.layers.pooling import max_pool2d
from fnn.types import Layer


def logistic_regression(n_in: int) -> Layer:
    """Logistic regression: z = X w + b, P(y=1|x) = σ(z) (Cox 1958).

    Train it with `fnn.sigmoid_cross_entropy`. The cost is convex, so w and b start at 0.

    Args:
      n_in: number of features.

    Returns:
      A dense layer from x (batch, n_in) to logits z (batch, 1).

    >>> import jax
    >>> logistic_regression(3).init(jax.random.key(0)).w.shape
    (3, 1)
    """
    return dense(n_in, 1, w_init=zeros)


def softmax_regression(n_in: int, n_classes: int) -> Layer:
    """Softmax regression: Z = X W + b, P(y=k|x) = softmax(z)_k.

    Also called multinomial logistic regression. Train it with `fnn.softmax_cross_entropy`. The cost is convex, so W
    and b start at 0.

    Args:
      n_in: number of features.
      n_classes: number of classes.

    Returns:
      A dense layer from x (batch, n_in) to logits z (batch, n_classes).

    >>> import jax
    >>> softmax_regression(3, 5).init(jax.random.key(0)).w.shape
    (3, 5)
    """
    return dense(n_in, n_classes, w_init=zeros)


def _sizes(function: str, argument: str, sizes: Any) -> tuple[Any, ...]:
    """The sizes as a tuple. Sizes that are given one by one are an error."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        advice = f"Pass the sizes as one list: {function}([2, 3, 2])." if function == "mlp" else None
        raise checks.fail(function, argument, "a list of sizes", sizes, TypeError, advice=advice)
    return tuple(sizes)


def mlp(sizes: Sequence[int], activation: Layer = relu, w_init: Initializer = he_normal) -> Layer:
    """A multilayer perceptron: dense layers with an activation between them.

    There is no activation after the last layer.

    Args:
      sizes: the number of inputs, of units in each hidden layer, and of outputs.
      activation: the layer after each hidden layer, such as `fnn.relu`.
      w_init: initialiser of the weights. The default suits ReLU.

    Returns:
      A `serial` of 2 L - 1 layers for L + 1 sizes, from x (batch, sizes[0]) to logits (batch, sizes[-1]).

    Raises:
      ValueError: if there are fewer than two sizes, or one is not positive.

    >>> [layer.name for layer in mlp([784, 30, 10]).layers]
    ['dense(784, 30)', 'relu', 'dense(30, 10)']
    """
    sizes = _sizes("mlp", "sizes", sizes)
    if len(sizes) < 2:
        raise checks.fail("mlp", "sizes", "at least two sizes, (n_in, ..., n_out)", tuple(sizes))
    layers: list[Layer] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [dense(n_in, n_out, w_init=w_init), checks.layer("mlp", "activation", activation)]
    return serial(*layers[:-1])


def convnet(
    image_shape: tuple[int, int, int],
    filters: Sequence[int],
    kernel_size: int | tuple[int, int],
    sizes: Sequence[int],
    activation: Layer = relu,
    w_init: Initializer = he_normal,
) -> Layer:
    """A convolutional network in the manner of LeNet-5 (LeCun et al. 1998).

    For each entry of `filters` it has a convolution, the activation and 2x2 max pooling; then dense layers.

    Args:
      image_shape: (height, width, channels) of the images.
      filters: number of filters of each convolution.
      kernel_size: height and width of the kernels, as a pair or as one number for both.
      sizes: number of units of each dense layer; the last is the number of outputs.
      activation: the layer after each convolution and each hidden dense layer.
      w_init: initialiser of the weights. The default suits ReLU.

    Returns:
      A `serial` from x (batch, height, width, channels) to logits (batch, sizes[-1]).

    Raises:
      ValueError: if the images are too small for the convolutions, or a size is not positive.

    >>> network = convnet((28, 28, 1), filters=(20, 40), kernel_size=5, sizes=(100, 10))
    >>> [layer.name for layer in network.layers][-3:]
    ['dense(640, 100)', 'relu', 'dense(100, 10)']
    """
    if len(image_shape) != 3:
        raise checks.fail("convnet", "image_shape", "(height, width, channels)", tuple(image_shape))
    if not isinstance(filters, Sequence) or not isinstance(sizes, Sequence):
        raise checks.fail(
            "convnet", "filters and sizes", "sequences of integers", error=TypeError, came=f"{filters!r}, {sizes!r}"
        )
    if len(sizes) < 1:
        raise checks.fail("convnet", "sizes", "at least the number of outputs", tuple(sizes))
    height, width, channels = (checks.positive_int("convnet", "image_shape", n) for n in image_shape)
    kh, kw = checks.pair("convnet", "kernel_size", kernel_size)
    layers: list[Layer] = []
    for c_out in filters:
        layers += [conv2d(channels, c_out, (kh, kw), w_init=w_init), activation, max_pool2d(2)]
        height, width, channels = (height - kh + 1) // 2, (width - kw + 1) // 2, c_out
        if height < 1 or width < 1:
            raise checks.fail("convnet", "image_shape", "large enough for the convolutions", tuple(image_shape))
    head = mlp([height * width * channels, *sizes], activation, w_init)
    return serial(*layers, flatten, *head.layers)
