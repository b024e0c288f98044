"""evaluate and predict: the same numbers for every batch size, and no randomness."""

import numpy as np
import pytest

import fnn
from tests.support.classifying import LOSS, NETWORK, TRAIN, X


@pytest.mark.accelerator
@pytest.mark.parametrize("batch_size", [None, 1, 7, 150, 1000])
def test_predict_and_evaluate_do_not_depend_on_the_batch_size(batch_size, key):
    params = NETWORK.init(key)
    y = fnn.predict(NETWORK, params, TRAIN[0], batch_size)
    np.testing.assert_allclose(y, NETWORK.forward(params, TRAIN[0])[0], rtol=1e-5, atol=1e-6)
    got = fnn.evaluate(NETWORK, LOSS, params, TRAIN, batch_size)
    values = np.asarray(LOSS.forward(y, TRAIN[1])[0])
    np.testing.assert_allclose(got["cost"], values.mean(), rtol=1e-5)
    np.testing.assert_allclose(got["accuracy"], (np.argmax(y, 1) == TRAIN[1]).mean(), rtol=1e-6)
    assert all(type(value) is float for value in got.values())


@pytest.mark.accelerator
def test_predict_and_evaluate_draw_nothing(key):
    network = fnn.serial(fnn.dropout(0.9), fnn.dense(4, 3))
    params = network.init(key)
    np.testing.assert_allclose(
        fnn.predict(network, params, X), X @ params[1].w + params[1].b.reshape(1, 3), rtol=1e-4, atol=1e-5
    )


@pytest.mark.accelerator
def test_weighted_evaluation(key):
    params, weight = NETWORK.init(key), (np.arange(150) < 50).astype("float32")
    got = fnn.evaluate(NETWORK, LOSS, params, (*TRAIN, weight))
    expected = fnn.evaluate(NETWORK, LOSS, params, (TRAIN[0][:50], TRAIN[1][:50]))
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)
