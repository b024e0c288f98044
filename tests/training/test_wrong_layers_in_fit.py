"""A layer or loss that breaks its protocol: `fit` and every combinator name it, instead of ending in errors of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

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
}  # fmt: skip


def fit(network, **options):
    options = {"epochs": 1, "batch_size": 3, "key": jax.random.key(0)} | options
    return fnn.fit(network, fnn.squared_error, fnn.sgd(0.1), (X, Y_ROWS), **options)


@pytest.mark.parametrize("case", WRONG)
def test_a_network_of_one_layer(case):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        fit(layer)


@pytest.mark.parametrize("case", WRONG)
def test_the_second_of_three_layers(case):
    layer, kind, message = WRONG[case]
    network = fnn.serial(fnn.dense(4, 4), layer, fnn.dense(4, 3))
    with pytest.raises(kind, match=message) as error:
        fnn.fit(network, fnn.softmax_cross_entropy, fnn.sgd(0.1), (X, Y), epochs=1, batch_size=3, key=jax.random.key(0))
    assert str(error.value).startswith("serial: ")
    assert "layers[1]" in str(error.value)


COMBINED = {
    "residual": lambda layer: fnn.residual(layer),
    "shortcut": lambda layer: fnn.residual(fnn.dense(4, 4), layer),
    "repeat": lambda layer: fnn.repeat(layer, 2),
    "remat": fnn.remat,
    "mixed_precision": lambda layer: fnn.mixed_precision(layer, jnp.float32),
}


@pytest.mark.parametrize("combine", COMBINED)
@pytest.mark.parametrize("case", ["no key", "no residuals", "dx first", "no sum over the batch"])
def test_combinators_and_wrappers(case, combine):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message.replace("float32", r"\w+")):
        fit(COMBINED[combine](layer))


@pytest.mark.parametrize("case", ["no key", "no residuals"])
def test_autodiff(case):
    layer, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        fit(fnn.autodiff(layer))


@pytest.mark.parametrize("case", ["no key", "no residuals", "dx first"])
def test_as_custom_vjp(case):
    layer, kind, message = WRONG[case]
    f = fnn.as_custom_vjp(layer)
    with pytest.raises(kind, match=message):
        jax.grad(lambda params: f(params, X, jax.random.key(0)).sum())(layer.init(jax.random.key(0)))


@pytest.mark.parametrize("case", ["no key", "no residuals", "dx first", "no sum over the batch"])
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


def test_an_error_inside_a_forward_stays_as_it_is():
    def forward(params, x, key=None):
        raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        fit(scale(forward=forward))


def test_a_right_layer_trains_to_the_same_bits():
    alone, (in_serial,) = fit(scale()).state.params, fit(fnn.serial(scale())).state.params
    np.testing.assert_array_equal(alone, in_serial)
    assert not np.array_equal(alone, np.ones(4))
