"""Layers and losses of another form than that of fnn, and gradients without a sum over the batch."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import GradientError, check_layer, check_loss

RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 4)).astype(np.float32)
W = RNG.standard_normal(4).astype(np.float32)


def layer(forward=None, backward=None):
    right = lambda params, x, key=None: (x * params[None], x)
    rule = lambda params, x, dy: (jnp.sum(dy * x, 0), dy * params[None])
    return fnn.Layer(lambda key: jnp.ones(4), forward or right, backward or rule, name="scale")


FORWARD, BACKWARD = "the forward of scale must ", "the backward of scale must "
LAYERS = [
    (layer(forward=lambda p, x: (x * p[None], x)), TypeError, FORWARD + r"take \(params, x, key=None\), got \(p, x\)"),
    (layer(forward=lambda p, x, key: (x * p[None], x)), TypeError, FORWARD + r"take \(params, x, key=None\)"),
    (layer(forward=lambda p, x, key=None: x * p[None]), TypeError, FORWARD + r"return \(y, residuals\), got float32"),
    (layer(backward=lambda p, x, dy: jnp.sum(dy * x, 0)), TypeError, BACKWARD + r"return \(dparams, dx\), got float32"),
    (layer(backward=lambda p, x: (p, x)), TypeError, BACKWARD + r"take \(params, residuals, dy\)"),
    (layer()._replace(backward=None), TypeError, "layer must have a function `backward`, got Layer without one"),
    (
        layer(backward=lambda p, x, dy: (dy * p[None], jnp.sum(dy * x, 0))),
        GradientError, BACKWARD + r"return \(dparams, dx\), got \(dx, dparams\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "message"), LAYERS, ids=range(len(LAYERS)))
def test_layers_of_another_form(wrong, kind, message):
    with pytest.raises(kind, match="check_layer: " + message):
        check_layer(wrong, W, X, key=1)


def test_a_missing_sum_over_the_batch():
    report = check_layer(layer(backward=lambda p, x, dy: (dy * x, dy * p[None])), W, X, key=1)
    assert "the batch, is missing" in report.leaves[0].hint
    assert check_layer(layer(), W, X, key=1).ok


def test_a_loss_without_residuals():
    loss = fnn.Loss(lambda a, y: 0.5 * jnp.sum(jnp.square(a - y), 1), lambda r, d: r, name="half")
    with pytest.raises(
        TypeError, match=r"check_loss: the forward of half must return \(value, residuals\), got float32"
    ):
        check_loss(loss, X, np.zeros_like(X), key=1)


def test_a_function_in_place_of_a_loss():
    with pytest.raises(TypeError, match="check_loss: loss must have a function `forward`, got function without one"):
        check_loss(lambda a, y: jnp.sum(jnp.square(a - y), 1), X, np.zeros_like(X), key=1)
