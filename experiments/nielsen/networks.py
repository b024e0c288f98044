"""The networks of `nielsen`: dense, convolutional and residual."""

import itertools

import jax.numpy as jnp

import fnn
from experiments.nielsen.augmentation import distortions, shifts
from fnn.init import Initializer, he_normal, lecun_normal, normal, zeros
from fnn.types import Layer

IMAGE = (28, 28, 1)
MEAN, STD = 0.1307, 0.3081  # mean and standard deviation of MNIST's training pixels


def sigmoid_net(sizes: tuple[int, ...], w_init: Initializer) -> Layer:
    """Build dense layers with sigmoids between them; the outputs are logits.

    Biases are drawn from N(0, 1).

    >>> [layer.name for layer in sigmoid_net((784, 30, 10), lecun_normal).layers]
    ['dense(784, 30)', 'sigmoid', 'dense(30, 10)']
    """
    pairs = [(fnn.dense(*pair, w_init, normal(1.0)), fnn.sigmoid) for pair in itertools.pairwise(sizes)]
    return fnn.serial(*itertools.chain(*pairs[:-1]), pairs[-1][0])


def softmax_net(sizes: tuple[int, ...]) -> Layer:
    """Build the same with weights from N(0, 1/n_in), and 0 in the last layer."""
    *hidden, n_in, n_out = sizes
    return fnn.serial(*sigmoid_net((*hidden, n_in), lecun_normal).layers, fnn.sigmoid, fnn.dense(n_in, n_out, zeros))


def sigmoid_convnet(*filters: int) -> Layer:
    """Build 5x5 convolutions with sigmoids, 100 sigmoid units and 10 logits.

    Each convolution is followed by 2x2 max pooling.
    """
    return fnn.convnet(IMAGE, filters, 5, (100, 10), fnn.sigmoid, lecun_normal)


def relu_convnet(*hidden: int, first: tuple[Layer, ...] = ()) -> Layer:
    """Build 20 and 40 filters of 5x5, dense layers and 10 logits.

    Each convolution is followed by ReLU and 2x2 max pooling.
    """
    return fnn.serial(*first, *fnn.convnet(IMAGE, (20, 40), 5, (*hidden, 10)).layers)


def shifted_convnet(*hidden: int) -> Layer:
    """Build a `relu_convnet` that trains on randomly shifted images."""
    return relu_convnet(*hidden, first=(shifts,))


def dropout_convnet(*hidden: int) -> Layer:
    """Build a `shifted_convnet` with dropout before each dense layer.

    Half of the inputs are dropped.

    >>> [layer.name for layer in dropout_convnet(1000).layers][-5:]
    ['dropout(0.5)', 'dense(640, 1000)', 'relu', 'dropout(0.5)', 'dense(1000, 10)']
    """
    layers = shifted_convnet(*hidden).layers
    first_dense = layers.index(fnn.flatten) + 1
    dense, activations = layers[first_dense::2], layers[first_dense + 1 :: 2]
    head = [(fnn.dropout(0.5), *pair) for pair in zip(dense, activations, strict=False)]
    return fnn.serial(*layers[:first_dense], *itertools.chain(*head), fnn.dropout(0.5), dense[-1])


def record_convnet() -> Layer:
    """Build five convolutions and a dense layer, all with batch norm.

    Three of the convolutions are residual. The network trains on distorted images with standardised pixels. Strides of
    2 replace pooling, because layers at the full resolution would cost the most.

    >>> [layer.name for layer in record_convnet().layers if "2d" in layer.name or layer.name == "residual"]
    ['conv2d(1, 32, 5x5)', 'residual', 'conv2d(32, 64, 3x3)', 'residual', 'residual', 'max_pool2d(2x2)']
    """
    standardised = fnn.elementwise(lambda x: (x - MEAN) / STD, lambda x: jnp.full_like(x, 1 / STD))
    first = fnn.conv2d(1, 32, 5, stride=2, w_init=he_normal)
    second = fnn.conv2d(32, 64, 3, stride=2, padding="SAME", w_init=he_normal)
    layers = [distortions, standardised, first, fnn.batch_norm(32), fnn.relu, _residual(32)]
    layers += [second, fnn.batch_norm(64), fnn.relu, _residual(64), _residual(64), fnn.max_pool2d(2), fnn.flatten]
    head = [fnn.dense(576, 128, he_normal), fnn.batch_norm(128), fnn.relu, fnn.dropout(0.4), fnn.dense(128, 10)]
    return fnn.serial(*layers, *head)


def _residual(c: int) -> Layer:
    """x + relu(batch_norm(conv(x)))"""
    conv = fnn.conv2d(c, c, 3, padding="SAME", w_init=he_normal)
    return fnn.residual(fnn.serial(conv, fnn.batch_norm(c), fnn.relu))
