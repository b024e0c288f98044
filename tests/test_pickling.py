"""Pickling: what pickle can write it writes; for the rest the error says what to do."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.types import GradientTransformation, Layer, Loss

KEY = jax.random.key(0)


def no_params(key):
    return ()


def double(params, x, key=None):
    return 2 * x, ()


def double_backward(params, residuals, dy):
    return (), 2 * dy


def square(prediction, target):
    return jnp.sum((prediction - target) ** 2, -1), prediction - target


def square_backward(residuals, dvalues):
    return 2 * residuals * dvalues[:, None]


def no_state(params):
    return ()


def descend(gradients, state, params=None, **extra):
    return jax.tree.map(jnp.negative, gradients), state


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("network", fnn.relu),
        ("network", fnn.dense(3, 2)),
        ("network", fnn.mlp([4, 8, 3])),
        ("network", fnn.residual(fnn.dense(3, 3))),
        ("network", fnn.repeat(fnn.dense(3, 3), 2)),
        ("network", fnn.mixed_precision(fnn.dense(3, 3), jnp.bfloat16)),
        ("network", fnn.serial(Layer(no_params, double, double_backward), fnn.relu)),
        ("loss", fnn.softmax_cross_entropy),
        ("optimizer", fnn.sgd(0.1)),
        ("optimizer", fnn.adam(0.1)),
        ("optimizer", fnn.momentum(0.1)),
    ],
)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_what_cannot_be_pickled_says_what_to_do(kind, value, protocol):
    for wrapped in (value, {"a": [value]}):
        with pytest.raises(TypeError, match=f"pickle: {kind} must be made of functions that can be imported") as raised:
            pickle.dumps(wrapped, protocol)
        message = str(raised.value)
        assert "fnn.checkpoint.export_params" in message
        assert f"build the {kind} again in code" in message
        assert "\n" not in message


def test_what_is_made_of_importable_functions_is_pickled():
    layer = Layer(no_params, double, double_backward, name="double")
    loss = Loss(square, square_backward, metrics=(("a", square),), name="square")
    optimizer = GradientTransformation(no_state, descend)
    nested = layer._replace(layers=(layer,))
    for value in (layer, loss, optimizer, nested, fnn.squared_error):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(value, protocol))
            assert type(again) is type(value)
            assert again == value


def test_copies_are_as_before():
    network = fnn.mlp([4, 3])
    for value in (network, fnn.softmax_cross_entropy, fnn.adam(0.1)):
        for again in (copy.copy(value), copy.deepcopy(value), copy.deepcopy({"a": value})["a"]):
            assert type(again) is type(value)
            assert again == value


def test_picklers_by_value_work_as_before():
    cloudpickle = pytest.importorskip("cloudpickle")
    network = fnn.mlp([4, 3])
    again = pickle.loads(cloudpickle.dumps({"network": network, "loss": fnn.softmax_cross_entropy}))
    params, x = network.init(KEY), jnp.ones((2, 4))
    np.testing.assert_array_equal(again["network"].forward(params, x)[0], network.forward(params, x)[0])


def make_descent(hyper):
    return GradientTransformation(no_state, descend)


def test_runs_are_copied_and_pickled():
    x, y = jnp.ones((6, 4)), jnp.zeros((6, 4))
    layer = Layer(no_params, double, double_backward, name="double")
    run = fnn.make_run(layer, Loss(square, square_backward), make_descent, (x, y), epochs=1, batch_size=6)
    result = run(jnp.ones(()), KEY)
    for again in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert again.func.one._cache_size() == 0
        np.testing.assert_array_equal(again(jnp.ones(()), KEY).history["cost"], result.history["cost"])
    np.testing.assert_allclose(fnn.sweep(again, jnp.ones(1), KEY).history["cost"][0, 0], result.history["cost"])
    of_builders = fnn.make_run(fnn.mlp([4, 4]), fnn.squared_error, fnn.sgd, (x, y), epochs=1, batch_size=6)
    copy.deepcopy(of_builders)
    with pytest.raises(TypeError, match="pickle: network must be made of functions that can be imported"):
        pickle.dumps(of_builders)


def test_results_are_pickled():
    x, y = jnp.ones((6, 4)), jnp.zeros(6, jnp.int32)
    result = fnn.fit(
        fnn.mlp([4, 3]), fnn.softmax_cross_entropy, fnn.adam(0.1), (x, y),
        epochs=1, batch_size=6, key=KEY, progress=False,
    )  # fmt: skip
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is fnn.FitResult
    np.testing.assert_array_equal(again.state.params[0].w, result.state.params[0].w)
    np.testing.assert_array_equal(again.history["cost"], result.history["cost"])
