"""A layer or loss that breaks its protocol: `fit` and every combinator name it, instead of ending in errors of JAX."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.slow import slow_except

X = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
Y = np.arange(9) % 3
Y_ROWS = np.zeros((9, 4), np.float32)


def scale(forward=None, backward=None, shape=(4,)) -> fnn.Layer:
    """Return the layer y = w x with parameters of the given shape, with a wrong forward or backward."""
    right = lambda params, x, key=None: (x * params[None], x)
    rule = lambda params, x, dy: (jnp.sum(dy * x, 0), dy * params[None])
    return fnn.Layer(lambda key: jnp.ones(shape), forward or right, backward or rule, name="scale")


WRONG = {
    "no key": (
        scale(forward=lambda params, x: (x * params[None], x)),
        TypeError,
        r"the forward of .*\(scale\) must take \(params, x, key=None\), got \(params, x\)",
    ),
    "no residuals": (
        scale(forward=lambda params, x, key=None: x * params[None]),
        TypeError,
        r"the forward of .*\(scale\) must return \(y, residuals\), got float32 of shape",
    ),
    "three values": (
        scale(forward=lambda params, x, key=None: (x * params[None], x, x)),
        TypeError,
        r"the forward of .*\(scale\) must return \(y, residuals\), got 3 values",
    ),
    "dx first": (
        scale(backward=lambda params, x, dy: (dy * params[None], jnp.sum(dy * x, 0))),
        ValueError,
        r"the backward of .*\(scale\) must return \(dparams, dx\), got \(dx, dparams\)",
    ),
    "dparams alone": (
        scale(backward=lambda params, x, dy: jnp.sum(dy * x, 0)),
        TypeError,
        r"the backward of .*\(scale\) must return \(dparams, dx\), got float32 of shape",
    ),
    "no sum over the batch": (
        scale(backward=lambda params, x, dy: (dy * x, dy * params[None])),
        ValueError,
        r"the backward of .*\(scale\) must return dparams of shape \(4,\), got \(., 4\). A sum over the batch is",
    ),
    "summed over everything": (
        scale(backward=lambda params, x, dy: (jnp.sum(dy * x), dy * params[None])),
        ValueError,
        r"the backward of .*\(scale\) must return dparams of shape \(4,\), got \(\)",
    ),
    "another tree": (
        scale(backward=lambda params, x, dy: ({"w": jnp.sum(dy * x, 0)}, dy * params[None])),
        ValueError,
        r"the backward of .*\(scale\) must return dparams with the tree of params",
    ),
    "backward without dy": (
        scale(backward=lambda params, x: (params, x)),
        TypeError,
        r"the backward of .*\(scale\) must take \(params, residuals, dy\), got \(params, x\)",
    ),
    "dx first, no parameters": (
        fnn.Layer(lambda key: (), lambda params, x, key=None: (2 * x, ()), lambda p, r, dy: (2 * dy, ()), name="scale"),
        ValueError,
        r"the backward of .*\(scale\) must return \(dparams, dx\), got \(dx, dparams\)",
    ),
    "init without a key": (
        scale()._replace(init=lambda: jnp.ones(4)),
        TypeError,
        r"the init of .*\(scale\) must take \(key\), got \(\)",
    ),
    "init returns text": (
        scale()._replace(init=lambda key: ("a", jnp.ones(4))),
        TypeError,
        r"the init of .*\(scale\) must return a tree of arrays, got str 'a' at params\[0\]",
    ),
    "gradient of integers": (
        scale(backward=lambda params, x, dy: (jnp.sum(dy * x, 0).astype(jnp.int32), dy * params[None])),
        TypeError,
        r"the backward of .*\(scale\) must return a floating point array for dparams, got int32 of shape \(4,\)",
    ),
    "gradient of Python": (
        scale(backward=lambda params, x, dy: (0.0, dy * params[None]), shape=()),
        TypeError,
        r"the backward of .*\(scale\) must return a floating point array for dparams, got float 0.0",
    ),
    "no backward": (scale()._replace(backward=None), TypeError, r"\.?backward must be a function, got NoneType None"),
}  # fmt: skip
QUICK = "no key", "dx first", "no sum over the batch"


def scale_of(layer: fnn.Layer, case: str) -> fnn.Layer:
    """Return the layer; for a gradient of Python, with parameters and a forward for one number."""
    if case != "gradient of Python":
        return layer
    return layer._replace(
        forward=lambda params, x, key=None: (x * params, x), backward=lambda params, x, dy: (0.0, dy * params)
    )


def fit(network, **options):
    loss, data = options.pop("loss", fnn.squared_error), options.pop("data", (X, Y_ROWS))
    options = {"epochs": 1, "batch_size": 3, "key": jax.random.key(0)} | options
    return fnn.fit(network, loss, fnn.sgd(0.1), data, **options)


@pytest.mark.parametrize("case", slow_except(WRONG, *QUICK, "init without a key", "gradient of integers"))
def test_a_network_of_one_layer(case):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        fit(scale_of(layer, case))


@pytest.mark.parametrize("case", slow_except(WRONG, *QUICK, "init returns text", "no backward"))
def test_the_second_of_three_layers(case):
    layer, kind, message = WRONG[case]
    network = lambda: fnn.serial(fnn.dense(4, 4), scale_of(layer, case), fnn.dense(4, 3))
    with pytest.raises(kind, match=message) as error:
        fit(network(), loss=fnn.softmax_cross_entropy, data=(X, Y))
    assert str(error.value).startswith("serial: ")
    assert "layers[1]" in str(error.value)


COMBINED = {
    "residual": lambda layer: fnn.residual(layer),
    "shortcut": lambda layer: fnn.residual(fnn.dense(4, 4), layer),
    "repeat": lambda layer: fnn.repeat(layer, 2),
    "remat": fnn.remat,
    "mixed_precision": lambda layer: fnn.mixed_precision(layer, jnp.float32),
}


@pytest.mark.parametrize(
    ("case", "combine"),
    slow_except(
        [(case, combine) for case in (*QUICK, "no residuals") for combine in COMBINED],
        *zip((*QUICK, *QUICK), COMBINED, strict=False),
    ),
)
def test_combinators_and_wrappers(case, combine):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message.replace("float32", r"\w+")):
        fit(COMBINED[combine](layer))


@pytest.mark.parametrize("case", slow_except(["no key", "no residuals"], "no residuals"))
def test_autodiff(case):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        fit(fnn.autodiff(layer))


@pytest.mark.parametrize("case", slow_except(["no key", "no residuals", "dx first"], "dx first"))
def test_as_custom_vjp(case):
    layer, kind, message = WRONG[case]
    f = fnn.as_custom_vjp(layer)
    with pytest.raises(kind, match=message):
        jax.grad(lambda params: f(params, X, jax.random.key(0)).sum())(layer.init(jax.random.key(0)))


@pytest.mark.parametrize("case", slow_except([*QUICK, "no residuals"], "no residuals"))
def test_value_and_grad_and_make_step(case):
    layer, kind, message = WRONG[case]
    params = layer.init(jax.random.key(0))
    with pytest.raises(kind, match=message):
        fnn.value_and_grad(layer, fnn.squared_error)(params, X, Y_ROWS, key=jax.random.key(0))
    step = fnn.make_step(layer, fnn.squared_error, fnn.sgd(0.1))
    with pytest.raises(kind, match=message):
        step(fnn.init_state(layer, fnn.sgd(0.1), jax.random.key(0)), (X, Y_ROWS))


def test_an_unnamed_layer_is_named_by_its_function():
    def my_forward(params, x):
        return x, ()

    layer = fnn.Layer(lambda key: (), my_forward, lambda params, residuals, dy: ((), dy))
    with pytest.raises(TypeError, match="my_forward"):
        fit(fnn.serial(fnn.dense(4, 4), layer))


def test_a_loss_without_residuals():
    loss = fnn.Loss(lambda a, y: 0.5 * jnp.sum(jnp.square(a - y), 1), lambda r, d: r, name="half")
    with pytest.raises(TypeError, match=r"the forward of loss \(half\) must return \(values, residuals\), got float32"):
        fnn.fit(fnn.mlp([4, 4]), loss, fnn.sgd(0.1), (X[:2], Y_ROWS[:2]), epochs=1, batch_size=2, key=jax.random.key(0))


HALF = lambda a, y: (0.5 * jnp.sum(jnp.square(a - y), 1), a - y)
LOSSES = {
    "one argument": (
        lambda a: (a, a),
        None,
        r"the forward of loss \(half\) must take \(prediction, target\), got \(a\)",
    ),
    "no dvalues": (HALF, lambda r: r, r"the backward of loss \(half\) must take \(residuals, dvalues\), got \(r\)"),
    "a pair": (HALF, lambda r, d: (d[:, None] * r, None), r"must return dprediction of .* shape \(2, 4\), got tuple"),
    "one row": (HALF, lambda r, d: jnp.sum(d[:, None] * r, 0, keepdims=True), r"shape \(2, 4\), got .* \(1, 4\)"),
    "no function": (None, lambda r, d: r, r"fit: loss.forward must be a function, got NoneType None"),
}


@pytest.mark.parametrize("case", slow_except(LOSSES, "one row", "one argument"))
def test_losses_of_another_form(case):
    forward, backward, message = LOSSES[case]
    loss = fnn.Loss(forward, backward or (lambda r, d: r), name="half")
    with pytest.raises((TypeError, ValueError), match=message):
        fnn.fit(fnn.mlp([4, 4]), loss, fnn.sgd(0.1), (X[:2], Y_ROWS[:2]), epochs=1, batch_size=2, key=jax.random.key(0))


def test_predict_and_evaluate_name_a_layer_without_residuals():
    layer, kind, message = WRONG["no residuals"]
    with pytest.raises(kind, match="predict: " + message):
        fnn.predict(layer, jnp.ones(4), X)
    with pytest.raises(kind, match="evaluate: " + message):
        fnn.evaluate(layer, fnn.squared_error, jnp.ones(4), (X, Y_ROWS))


def test_the_layer_before_one_that_returns_another_dx():
    for dx, kind, text in ((lambda dy: None, TypeError, "NoneType"), (lambda dy: dy.T, ValueError, r"\(4, .\)")):
        layer = scale(backward=lambda params, x, dy, dx=dx: (jnp.sum(dy * x, 0), dx(dy)))
        with pytest.raises(kind) as error:
            fit(fnn.serial(fnn.dense(4, 4), layer))
        notes = "\n".join(error.value.__notes__) + str(error.value)
        assert re.search(r"(the backward of layers\[1\] \(scale\) returned as dx|layers\[0\]).*" + text, notes)


def test_an_error_inside_a_forward_stays_as_it_is():
    def forward(params, x, key=None):
        raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        fit(scale(forward=forward))


def test_a_right_layer_trains_to_the_same_bits():
    alone, (in_serial,) = fit(scale()).state.params, fit(fnn.serial(scale())).state.params
    np.testing.assert_array_equal(alone, in_serial)
    assert not np.array_equal(alone, np.ones(4))
