"""scikit-learn's own checks of estimators, and what they leave out: pickles, metadata, pandas, processes."""

import pickle
import warnings

import jax
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import fnn
from fnn.estimators import NetworkClassifier, NetworkRegressor
from tests.support.estimating import quick

# those of which each looks at something that no other test does, and that need few programs
QUICK = (
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimator_tags_renamed",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimators_unfitted",
    "check_estimator_sparse_tag",
    "check_complex_data",
    "check_all_zero_sample_weights_error",
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("estimator", [NetworkClassifier(), NetworkRegressor()], ids=["classifier", "regressor"])
def test_quick_checks_of_sklearn(estimator):
    run = []
    for checked, check in estimator_checks_generator(estimator, mark=None):  # pyright: ignore[reportAssignmentType]
        if check.func.__name__ in QUICK:
            check(checked)
            run.append(check.func.__name__)
    assert len(set(run)) >= len(QUICK) - 2, "scikit-learn renamed its checks"


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [NetworkClassifier(), NetworkRegressor()], ids=["classifier", "regressor"])
def test_every_check_of_sklearn(estimator):
    """None is excepted; the one skipped needs an environment variable of SciPy's."""
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] not in ("passed", "skipped")} == set()
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 50


def test_pickle_keeps_activation_and_loss_of_fnn(iris):
    x, y = iris
    model = quick(activation=fnn.tanh, loss=fnn.softmax_cross_entropy).fit(x, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(x), model.predict_proba(x))
    assert copy.activation == fnn.tanh
    assert copy.loss == fnn.softmax_cross_entropy
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(copy.params_))
    before = len(copy.loss_curve_)
    copy.set_params(warm_start=True, max_iter=2).fit(x, y)  # a pickled state trains on
    assert len(copy.loss_curve_) == before + 2


def test_pickle_of_a_layer_says_what_to_do_instead(iris):
    model = quick(network=fnn.mlp([4, 3, 3]), max_iter=1).fit(*iris)
    with pytest.raises(TypeError, match="network=build"):
        pickle.dumps(model)


def _build(n_in: int, n_out: int) -> fnn.Layer:
    return fnn.serial(fnn.dense(n_in, 5), fnn.tanh, fnn.dense(5, n_out))


def test_network_of_a_function_is_pickled(iris, tmp_path):
    x, y = iris
    model = quick(network=_build).fit(x, y)
    joblib.dump(model, tmp_path / "model.joblib")
    copy = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(copy.predict_proba(x), model.predict_proba(x))
    assert copy.network_.layers[1].name == "tanh"


def test_predictions_depend_on_the_parameters_of_the_fit(iris):
    """`set_params` takes effect in the next `fit`, in a copy from a pickle too."""
    x, y = iris
    model = quick(activation=fnn.tanh, loss=fnn.softmax_cross_entropy).fit(x, y)
    expected = model.predict_proba(x)
    changes = {"hidden_layer_sizes": (3,), "activation": fnn.relu, "loss": fnn.squared_error, "network": _build}
    for changed in (model, pickle.loads(pickle.dumps(model))):
        changed.set_params(**changes)
        np.testing.assert_array_equal(changed.predict_proba(x), expected)
        assert changed.network_.layers[1].name == "tanh"
    assert not np.array_equal(model.fit(x, y).predict_proba(x), expected)
    assert model.network_.layers[0].name == "dense(4, 5)"


def test_huber_loss_is_pickled(iris):
    x, y = iris
    options = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
    model, other = (NetworkRegressor(**options, loss=fnn.huber(delta)).fit(x, y) for delta in (0.5, 1.5))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.fit(x, y).predict(x), model.predict(x))
    assert not np.array_equal(other.predict(x), model.predict(x))


@pytest.mark.slow
def test_clone_keeps_parameters_alone(iris):
    model = quick(optimizer=fnn.adam(0.1), activation=fnn.leaky_relu(0.1)).fit(*iris)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(iris[0])


def test_pandas_in(iris):
    x, y = load_iris(return_X_y=True, as_frame=True)
    names = pd.Categorical.from_codes(y, ["setosa", "versicolor", "virginica"]).astype(str)
    model = quick().fit(x, pd.Series(names))
    assert list(model.feature_names_in_) == list(x.columns)
    assert model.predict(x.iloc[:2]).tolist() == ["setosa", "setosa"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(x[x.columns[::-1]])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.drop(columns=x.columns[0]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(x.to_numpy())


def test_sparse_is_refused_by_name(iris):
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        quick().fit(sparse.csr_matrix(iris[0]), iris[1])


def test_metadata_is_routed(iris):
    x, y = iris
    with sklearn.config_context(enable_metadata_routing=True):
        weight = np.where(y == 0, 0.0, 1.0)
        model = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        scores = cross_val_score(make_pipeline(scaler, model), x, y, cv=2, params={"sample_weight": weight})
    # class 0 counts neither in the training nor in the score
    assert scores.min() > 0.85


@pytest.mark.slow
def test_tools_of_sklearn(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), quick(standardize=False))
    grid = {"networkclassifier__hidden_layer_sizes": [(2,), (8,)], "networkclassifier__alpha": [0.0, 1e-2]}
    assert GridSearchCV(pipeline, grid, cv=2).fit(x, y).best_score_ > 0.9
    calibrated = CalibratedClassifierCV(quick(), cv=2).fit(x, y)
    np.testing.assert_allclose(calibrated.predict_proba(x).sum(axis=1), 1, rtol=1e-6)
    importance = permutation_importance(quick().fit(x, y), x, y, n_repeats=3, random_state=0).importances_mean
    assert importance.argmax() >= 2, "the petals tell the irises apart"
    voting = VotingClassifier([("a", quick()), ("b", quick(activation=fnn.tanh))], voting="soft").fit(x, y)
    assert voting.score(x, y) > 0.9


@pytest.mark.slow
def test_two_processes(iris):
    scores = cross_val_score(quick(activation=fnn.tanh, network=None), *iris, cv=4, n_jobs=2)
    np.testing.assert_allclose(scores, cross_val_score(quick(activation=fnn.tanh), *iris, cv=4))


def test_nothing_is_printed_unless_verbose(iris, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        quick(max_iter=2).fit(*iris)
    assert capsys.readouterr() == ("", "")
    quick(max_iter=2, verbose=True).fit(*iris)
    assert "epoch 1/2" in capsys.readouterr().out
