"""Claims on vectorised code and on NumPy: array functions and broadcasting."""

import math

import jax
import numpy as np
import pytest

import fnn
from tests.support.columns import same
from tests.support.oracles import normal


@pytest.mark.claim("C206")
def test_the_loop_over_features_is_the_dot_product(x64):
    w, x, b = normal(0, (400, 1), "float64"), normal(1, (1, 400), "float64"), 0.7
    z = b
    for i in range(400):
        z += w[i, 0] * x[0, i]
    assert z == pytest.approx(float(np.dot(x[0], w[:, 0]) + b), rel=1e-12)
    assert z == pytest.approx(float(fnn.dense(400, 1).forward(fnn.Dense(w, np.array([b])), x)[0][0, 0]), rel=1e-12)


@pytest.mark.claim("C207")
def test_functions_of_arrays_go_entry_by_entry():
    x = np.abs(normal(0, (3, 4), "float64")) + 0.1
    for whole, single in (
        (np.exp, math.exp),
        (np.log, math.log),
        (np.abs, abs),
        (lambda v: np.maximum(v, 1), lambda v: max(v, 1)),
    ):
        assert same(whole(x), np.array([[single(v) for v in row] for row in x]), 1e-14)


@pytest.mark.claim("C211")
def test_the_loop_over_iterations_stays_as_a_scan():
    """Each step needs the previous one: a scan of 6 steps equals a loop of 6 steps."""
    x, y = normal(0, (8, 3)), normal(1, (8, 1))
    step = fnn.make_step(fnn.dense(3, 1), fnn.squared_error, fnn.sgd(0.1))
    state = fnn.init_state(fnn.dense(3, 1), fnn.sgd(0.1), jax.random.key(0))
    scanned, costs = jax.jit(lambda state: jax.lax.scan(lambda s, _: step(s, (x, y)), state, None, length=6))(state)
    one = jax.jit(step)
    for cost in costs:
        state, expected = one(state, (x, y))
        assert float(cost) == pytest.approx(float(expected), rel=1e-5)
    assert same(state.params.w, scanned.params.w, 1e-5)


@pytest.mark.claim("C212")
def test_broadcasting_is_automatic_and_reshape_is_not_broadcasting():
    row, matrix = np.arange(3), np.ones((2, 3))
    with pytest.raises(ValueError, match="reshape"):
        row.reshape(2, 3)
    np.testing.assert_array_equal(np.broadcast_to(row, (2, 3)), [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(matrix + row, matrix + np.broadcast_to(row, (2, 3)))
    assert np.arange(6).reshape(2, 3).shape == (2, 3), "it makes sure of a size"
    column, vector = np.zeros((6, 1)), np.zeros(6)
    assert (column - vector).shape == (6, 6), "what NumPy does in silence"
    for loss in (fnn.squared_error, fnn.sigmoid_cross_entropy, fnn.binary_cross_entropy):
        with pytest.raises(ValueError, match="shape"):
            loss.forward(column.astype("float32"), vector.astype("float32"))


@pytest.mark.claim("C213", "C214", "C261")
def test_arrays_of_rank_one():
    a, b = normal(0, (5,)), normal(0, (5, 1))
    assert a.T.shape == a.shape
    assert np.dot(a, a.T).shape == ()
    assert np.dot(b, b.T).shape == (5, 5)
    with pytest.raises(AssertionError):
        assert a.shape == (5, 1)
    assert b.shape == (5, 1)
    layer = fnn.dense(5, 1)
    params = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match="dense: x must be of shape"):
        layer.forward(params, a)
    assert layer.forward(params, b.T)[0].shape == (1, 1)


@pytest.mark.claim("C214")
def test_a_bias_along_the_wrong_axis():
    """With four examples and four outputs as columns, (4,) is silently added along the examples."""
    z, b = normal(0, (4, 4)), normal(1, (4,))
    assert not np.array_equal(z + b, z + b[:, None])
    layer = fnn.dense(4, 4)
    with pytest.raises(ValueError, match=r"b must be of shape \(4,\)"):
        layer.forward(fnn.Dense(normal(2, (4, 4)), b[:, None]), z)


@pytest.mark.claim("C260")
def test_importing_numpy_does_not_name_it_np():
    with pytest.raises(NameError, match="np"):
        exec("import numpy\nnp.dot([1], [1])", {})
    exec("import numpy as np\nassert np.dot([1], [2]) == 2", {})
