"""Trainings of the estimators: against fit itself, weights, early stopping, warm starts, compiled programs."""

import functools
import math

import jax
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import fnn
from fnn.estimators import NetworkClassifier, NetworkRegressor
from fnn.estimators.known import known, with_dtype
from tests.support.estimating import quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def compiled(function) -> int:
    """Return how many programs XLA compiles while the function runs."""
    count = 0

    def listen(event: str, seconds: float, **kwargs) -> None:
        nonlocal count
        count += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        function()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return count


def test_one_batch_equals_fit_with_l2_and_no_padding(iris):
    x, y = iris
    alpha, n = 0.3, len(x)
    model = quick(alpha=alpha, max_iter=20, n_iter_no_change=math.inf).fit(x, y)
    with jax.enable_x64(True):
        seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
        network, scaled = with_dtype(fnn.mlp([4, 8, 3]), np.float64), (x - x.mean(axis=0)) / x.std(axis=0)
        key = jax.random.PRNGKey(seed)
        data = scaled, y.astype(np.int32)
        options = {"epochs": 20, "batch_size": n, "key": key, "l2": alpha / n, "progress": False}
        result = fnn.fit(network, fnn.softmax_cross_entropy, fnn.adam(0.05), data, **options)
    for ours, theirs in zip(jax.tree.leaves(model.params_), jax.tree.leaves(result.state.params), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert model.loss_curve_[0] < result.history["cost"][0], "without the penalty"


def _has_effect_of_rate(iris, optimizer) -> bool:
    fits = [quick(optimizer=optimizer, learning_rate_init=rate, batch_size=40).fit(*iris) for rate in (0.05, 0.01)]
    assert fits[0].loss_curve_[-1] < 0.7 * fits[0].loss_curve_[0]
    return fits[0].loss_curve_ != fits[1].loss_curve_


@pytest.mark.slow
def test_optimizers_of_fnn(iris):
    assert _has_effect_of_rate(iris, functools.partial(fnn.heavy_ball, beta=0.5))
    assert not _has_effect_of_rate(iris, fnn.adam(0.05)), "a made optimizer has its own learning rate"


@pytest.mark.slow
def test_optimizers_of_optax(iris):
    with jax.numpy_dtype_promotion("standard"):
        assert _has_effect_of_rate(iris, optax.adamw)
        assert _has_effect_of_rate(iris, lambda rate: optax.chain(optax.clip(1.0), optax.nadam(rate)))


@pytest.mark.slow
def test_line_search_sees_the_penalty(iris):
    """L-BFGS finds the minimum of the cost with the penalty: there the gradient of the cost is -λ W."""
    alpha = 15.0
    with jax.numpy_dtype_promotion("standard"):
        model = quick(hidden_layer_sizes=(), optimizer=lambda rate: optax.lbfgs(), alpha=alpha, tol=1e-12).fit(*iris)
    x = (iris[0] - iris[0].mean(axis=0)) / iris[0].std(axis=0)
    gradient = x.T @ (model.predict_proba(iris[0]) - np.eye(3)[iris[1]])
    np.testing.assert_allclose(gradient, -alpha * model.params_[0].w, atol=1e-4)


def test_second_fit_compiles_nothing(iris):
    x, y = iris
    quick().fit(x, y).predict_proba(x)

    def more() -> None:
        quick(alpha=0.5, learning_rate_init=0.1, max_iter=40, tol=0.0, random_state=1).fit(x, y).predict_proba(x)
        quick(activation=None, n_iter_no_change=3).fit(x[::-1][:140], y[::-1][:140], np.arange(140)).predict(x[:130])

    assert compiled(more) == 0


def test_equal_networks_of_a_function_compile_nothing(iris):
    build = lambda width: lambda n_in, n_out: fnn.mlp([n_in, width, n_out], fnn.tanh)
    fit = lambda width: quick(network=build(width)).fit(*iris)
    assert fit(7).params_[0].w.shape == (4, 7)
    assert compiled(lambda: fit(7)) == 0
    assert fit(9).params_[0].w.shape == (4, 9)


def test_networks_that_differ_are_not_taken_for_equal():
    square, cube = (
        fnn.elementwise(f, df) for f, df in ((lambda z: z**2, lambda z: 2 * z), (lambda z: z**3, lambda z: 3 * z * z))
    )
    networks = [
        fnn.mlp([2, 3, 2]),
        fnn.mlp([2, 3, 2], fnn.tanh),
        fnn.mlp([2, 3, 2], square),
        fnn.mlp([2, 3, 2], cube),
        fnn.mlp([2, 3, 2], w_init=fnn.init.zeros),
        fnn.mlp([2, 3, 2], fnn.leaky_relu(0.1)),
        fnn.mlp([2, 3, 2], fnn.leaky_relu(0.2)),
        fnn.serial(fnn.dense(2, 3), fnn.dropout(0.1), fnn.dense(3, 2)),
        fnn.serial(fnn.dense(2, 3), fnn.dropout(0.2), fnn.dense(3, 2)),
        fnn.serial(fnn.dense(2, 3), fnn.dense(3, 2)),
        fnn.residual(fnn.dense(2, 2)),
        fnn.dense(2, 2),
        with_dtype(fnn.dense(2, 2), np.float64),
        with_dtype(fnn.dense(2, 2, w_init=fnn.init.zeros), np.float64),
    ]
    assert len({id(known(network)) for network in networks}) == len(networks)


def test_integer_weights_repeat_rows_and_zero_removes_them():
    x, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 3, 150)
    x, y = x[:150], y[:150]
    options = {"hidden_layer_sizes": (5,), "batch_size": 1000, "max_iter": 40, "random_state": 0, "alpha": 0.1}
    weighted = NetworkRegressor(**options).fit(x, y, weight)
    repeated = NetworkRegressor(**options).fit(np.repeat(x, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), rtol=1e-9)


def test_early_stopping_holds_out_rows_with_weight_alone(iris):
    x, y = iris
    weight = np.ones(190)
    weight[150:] = 0
    more = np.concatenate([x, 100 * x[:40]]), np.concatenate([y, y[110:]])
    options = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "early_stopping": True}
    for estimator in (NetworkClassifier, NetworkRegressor):
        plain, weighted = estimator(**options).fit(x, y), estimator(**options).fit(*more, weight)
        assert weighted.validation_scores_ == plain.validation_scores_
        np.testing.assert_array_equal(weighted.predict(x), plain.predict(x))


@pytest.mark.slow
def test_early_stopping_keeps_the_best_epoch(iris):
    x, y = load_diabetes(return_X_y=True)
    model = NetworkRegressor((30,), early_stopping=True, learning_rate_init=0.05, random_state=0).fit(x, y)
    assert model.n_iter_ == len(model.validation_scores_) < 200
    assert model.best_loss_ is None
    assert model.best_validation_score_ == max(model.validation_scores_)
    _, held_out = train_test_split(np.arange(len(x)), test_size=0.1, random_state=np.random.RandomState(0))
    score = r2_score(y[held_out], model.predict(x[held_out]))
    assert score == pytest.approx(model.best_validation_score_, rel=1e-6)


def test_it_stops_as_mlpclassifier_does(iris):
    """The same rule: `n_iter_no_change` epochs in a row that improve the loss by less than tol."""
    for name, model in {
        "ours": quick(tol=0.05, max_iter=200, n_iter_no_change=4).fit(*iris),
        "theirs": MLPClassifier((8,), learning_rate_init=0.05, tol=0.05, n_iter_no_change=4, random_state=0).fit(*iris),
    }.items():
        best, waited = math.inf, 0
        for epoch, cost in enumerate(model.loss_curve_):
            waited = waited + 1 if cost > best - 0.05 else 0
            best = min(best, cost)
            assert (waited > 4) == (epoch == model.n_iter_ - 1), name


def test_convergence_warning_says_what_to_do(iris):
    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs before it converged"):
        quick(max_iter=3).fit(*iris)


def test_warm_start_and_partial_fit_go_on(iris):
    x, y = iris
    whole = quick(max_iter=6, n_iter_no_change=math.inf, batch_size=40).fit(x, y)
    warm = quick(max_iter=3, n_iter_no_change=math.inf, batch_size=40, warm_start=True).fit(x, y).fit(x, y)
    parts = quick(batch_size=40)
    for _ in range(6):
        parts.partial_fit(x, y, classes=[0, 1, 2])
    for other in (warm, parts):
        assert other.n_iter_ == 6
        np.testing.assert_allclose(other.loss_curve_, whole.loss_curve_, rtol=1e-12)


@pytest.mark.slow
def test_float32_is_trained_in_float32(iris):
    x, y = iris
    model = quick(max_iter=2).fit(x.astype(np.float32), y)
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params_)} == {np.dtype(np.float32)}
    assert model.predict_proba(x.astype(np.float32)).dtype == np.float32


@pytest.mark.slow
def test_features_of_any_size():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3)) * [1e9, 1e-9, 0] + [1e12, 0, 5]
    y = (x[:, 0] > 1e12) ^ (x[:, 1] > 0)
    model = NetworkClassifier((16,), learning_rate_init=0.05, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.9
    assert model.classes_.dtype == bool
