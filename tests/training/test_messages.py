"""Errors say what was meant: the shape that labels must have, the column that is no number, the field to pass."""

import jax
import numpy as np
import pytest
import scipy.sparse

import fnn

X, Y = np.ones((9, 4), "float32"), np.arange(9) % 3
NETWORK = fnn.mlp([4, 3])


def train(x=X, y=Y, loss=fnn.softmax_cross_entropy, **options):
    options = {"epochs": 1, "batch_size": 9, "key": jax.random.key(0), "progress": False} | options
    return fnn.fit(NETWORK, loss, fnn.sgd(0.1), (x, y), **options)


@pytest.mark.parametrize("loss", [fnn.softmax_cross_entropy, fnn.negative_log_likelihood])
def test_labels_in_a_column_are_told_their_shape(loss):
    message = r"target must be labels of shape \(9,\), or distributions of shape \(9, 3\), got int.* of shape \(9, 1\)"
    with pytest.raises(ValueError, match=message):
        train(y=Y[:, None], loss=loss)
    with pytest.raises(ValueError, match=message):
        fnn.evaluate(NETWORK, loss, NETWORK.init(jax.random.key(0)), (X, Y[:, None]))


class Table:
    """What a table of pandas has."""

    columns, dtypes = ("age", "city"), (np.dtype("float64"), np.dtype("O"))

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, "Bern"]] * 9, object)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.array([["1", "b", "c", "d"]] * 9), "dtype <U1, column 0 of row 0 is '1'"),
        (np.array([[1.0, 2.0, "c", 4.0]] * 9, object), "dtype object, column 2 of row 0 is 'c'"),
        (Table(), "Table whose column 'city' has dtype object"),
        (scipy.sparse.csr_matrix(X), "a sparse csr_matrix. Convert it with its method toarray"),
    ],
)
def test_what_is_no_array_of_numbers_is_named_with_dtype_and_column(x, says):
    with pytest.raises(TypeError) as error:
        train(x)
    assert str(error.value).startswith("fit: data: x must be an array of numbers, got ")
    assert says in str(error.value)
    with pytest.raises(TypeError, match="predict: x must be an array of numbers"):
        fnn.predict(NETWORK, NETWORK.init(jax.random.key(0)), x)


def test_sizes_are_one_list():
    for sizes in (2, "2", 3.0):
        with pytest.raises(TypeError, match=r"mlp: sizes must be a list of sizes.*as one list: mlp\(\[2, 3, 2\]\)"):
            fnn.mlp(sizes, 3, 2)


def test_results_and_states_are_not_parameters():
    result = train()
    for value, field in ((result, "result.state.params"), (result.state, "state.params")):
        for call in (
            lambda value: fnn.predict(NETWORK, value, X),
            lambda value: fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, value, (X, Y)),
        ):
            with pytest.raises(TypeError, match=f"params must be the parameters of the network.*Pass {field}"):
                call(value)


@pytest.mark.parametrize("y", [[2**70] * 9, np.array(["a"] * 9), np.array([1.5] * 9, object)])
def test_a_mesh_and_device_memory_refuse_what_arrays_in_memory_do(y):
    mesh = fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))
    for options in ({}, {"sharding": mesh}, {"device_memory": 10**6}):
        with pytest.raises((TypeError, ValueError), match=r"fit: data: y must be (an array of num|integers)"):
            train(X, y, **options)


def test_the_function_that_was_called_is_named():
    no_key = NETWORK._replace(forward=lambda params, x: NETWORK.forward(params, x))
    with pytest.raises(TypeError, match=r"^evaluate: the forward of network"):
        fnn.evaluate(no_key, fnn.softmax_cross_entropy, NETWORK.init(jax.random.key(0)), (X, Y))


def test_parameters_are_not_inputs():
    with pytest.raises(TypeError, match=r"predict: x must be an array of numbers, got a tree.*Check the order"):
        fnn.predict(NETWORK, X, NETWORK.init(jax.random.key(0)))


def test_parameters_may_be_scalars():
    scale = fnn.Layer(lambda key: 2.0, lambda s, x, key=None: (x * s, x), lambda s, x, dy: ((x * dy).sum(), dy * s))
    for s in (2.0, np.float32(2.0)):
        np.testing.assert_array_equal(fnn.predict(scale, s, X), 2 * X)
