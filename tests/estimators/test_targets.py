"""Labels and quantities of every kind: what the loss gets, and what users get back."""

import jax
import numpy as np
import pytest
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import fnn
from fnn.estimators import NetworkRegressor, targets
from tests.support.estimating import quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("loss", "takes", "probabilities"),
    [
        (fnn.softmax_cross_entropy, True, [0.0090, 0.2447, 0.7464]),
        (fnn.smoothed_cross_entropy(0.1), True, [0.0090, 0.2447, 0.7464]),
        (fnn.sigmoid_cross_entropy, False, [0.0871, 0.4101, 0.5028]),
        (fnn.negative_log_likelihood, True, [0.0, 0.4444, 0.5556]),
        (fnn.binary_cross_entropy, False, [0.0, 0.4444, 0.5556]),
        (fnn.squared_error, False, [0.0, 0.4444, 0.5556]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_targets_and_probabilities_of_each_loss(loss, takes, probabilities):
    labels = np.array([2, 0])
    with jax.enable_x64(True):  # as `fit` does for float64 features
        target = targets.class_targets(loss, labels, 3, 3, np.float64)
    assert target.tolist() == ([2, 0] if takes else [[0, 0, 1], [1, 0, 0]])
    logits = 0 not in probabilities
    outputs = np.array([[-1.7, 1.6, 2.715]]) if logits else np.array([[-0.1, 0.8, 1.2]])
    found = targets.class_probabilities(loss, outputs, 3)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(targets.log_probabilities(loss, outputs, 3)), found, rtol=1e-12)
    if logits and takes:
        np.testing.assert_allclose(found, jax.nn.softmax(outputs), rtol=1e-6)
    elif logits:
        sigmoid = 1 / (1 + np.exp(-outputs))
        np.testing.assert_allclose(found, sigmoid / sigmoid.sum(), rtol=1e-12)
    else:
        np.testing.assert_allclose(found, [probabilities], atol=1e-4)


@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [-5, 7], np.array(["no", "yes"], object), np.array([1, 2], np.uint8)]
)
def test_labels_of_any_type(iris, names):
    x, y = iris
    x, y = x[50:], y[50:] - 1
    labels = np.asarray(names)[y]
    model = quick(activation=fnn.identity).fit(x, labels)
    predicted = model.predict(x)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).mean() > 0.9
    decision = model.decision_function(x)
    np.testing.assert_array_equal(decision > 0, predicted == model.classes_[1])
    np.testing.assert_allclose(1 / (1 + np.exp(-decision)), model.predict_proba(x)[:, 1], rtol=1e-6)


def test_column_of_labels_warns(iris):
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        model = quick().fit(iris[0], iris[1][:, None])
    assert model.predict(iris[0]).shape == (150,)


def test_class_weights(iris):
    x, y = iris
    rare = np.concatenate([np.arange(50, 60), np.arange(100, 150)])
    x, y = x[rare], np.asarray(["rare", "often"])[(y[rare] == 2).astype(int)]
    balanced = quick(class_weight="balanced").fit(x, y)
    plain = quick().fit(x, y)
    assert balanced.predict_proba(x)[:, 1].mean() > plain.predict_proba(x)[:, 1].mean(), "classes_[1] is rare"
    by_hand = quick(class_weight={"rare": 3.0, "often": 0.6}).fit(x, y)
    np.testing.assert_allclose(balanced.predict_proba(x), by_hand.predict_proba(x), rtol=1e-9)
    each = np.where(y == "rare", 3.0, 0.6)
    np.testing.assert_allclose(
        quick().fit(x, y, sample_weight=each).predict_proba(x), by_hand.predict_proba(x), rtol=1e-9
    )
    with pytest.raises(ValueError, match="class_weight must be a dict or None for partial_fit, got 'balanced'"):
        quick(class_weight="balanced").partial_fit(x, y, classes=["often", "rare"])


@pytest.mark.slow
def test_several_labels():
    x, y = make_multilabel_classification(200, 5, n_classes=4, random_state=0)[:2]
    model = quick().fit(x, y)
    predicted = model.predict(x)
    assert predicted.shape == y.shape
    np.testing.assert_array_equal(predicted, model.predict_proba(x) > 0.5)
    np.testing.assert_array_equal(predicted, model.decision_function(x) > 0)
    assert (predicted == y).mean() > 0.75, "logistic regression"
    stopped = quick(early_stopping=True).fit(x, y)
    _, held_out = train_test_split(np.arange(len(x)), test_size=0.1, random_state=np.random.RandomState(0))
    all_right = (stopped.predict(x[held_out]) == y[held_out]).all(axis=1).mean()
    assert stopped.best_validation_score_ == pytest.approx(all_right)


@pytest.mark.slow
def test_several_quantities_in_their_own_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = np.stack([1e6 + 1e4 * x[:, 0], 1e-6 * x[:, 1] * x[:, 2]], axis=1)
    model = NetworkRegressor((30,), learning_rate_init=0.05, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.95
    assert model.predict(x).shape == y.shape
    plain = NetworkRegressor((30,), learning_rate_init=0.05, random_state=0, standardize=False).fit(x, y)
    assert plain.score(x, y) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "last"),
    [
        (fnn.sigmoid_cross_entropy, fnn.identity),
        (fnn.binary_cross_entropy, fnn.sigmoid),
        (fnn.squared_error, fnn.sigmoid),
        (fnn.negative_log_likelihood, fnn.softmax),
    ],
    ids=lambda value: value.name,
)
@pytest.mark.parametrize("outputs", [1, 2])
def test_losses_train(iris, loss, last, outputs):
    if outputs == 1 and loss == fnn.negative_log_likelihood:
        pytest.skip("the softmax of one output is 1")
    x, y = iris[0][50:], iris[1][50:]
    network = fnn.serial(fnn.dense(4, outputs), last)
    model = quick(network=network, loss=loss, max_iter=100).fit(x, y)
    assert model.score(x, y) > 0.85
    assert log_loss(y, model.predict_proba(x)) < 0.5


@pytest.mark.slow
def test_search_finds_an_ensemble(iris):
    candidates = fnn.search.linear_candidates()
    original = fnn.search.classes
    try:
        fnn.search.classes = lambda *args, **options: original(*args, **options, candidates=candidates)
        model = quick(search=True).fit(iris[0], iris[1])
    finally:
        fnn.search.classes = original
    assert model.score(*iris) > 0.9
    assert model.search_.out_of_fold.shape == (150, 3)
    probabilities = model.predict_proba(iris[0])
    np.testing.assert_allclose(probabilities, fnn.search.predict(model.ensemble_, iris[0]), rtol=1e-5, atol=1e-12)
    assert not hasattr(model, "loss_curve_")
    with pytest.raises(AttributeError, match="network_ is that of one network; after a search there is ensemble_"):
        _ = model.network_
    assert hasattr(model.set_params(search=False).fit(*iris), "loss_curve_")
    assert not hasattr(model, "ensemble_")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": -1}, "NetworkClassifier: alpha must be finite and at least 0"),
        ({"activation": "relu"}, r"activation must be a Layer \(such as fnn.relu"),
        ({"optimizer": "adam"}, "optimizer must be a function of the learning rate"),
        ({"loss": "log_loss"}, "loss must be a Loss"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be positive integers.*got tuple \(3, 0\)"),
        ({"hidden_layer_sizes": "100"}, "hidden_layer_sizes must be positive integers.*got str '100'"),
        ({"network": fnn.mlp([4, 7])}, r"network must be a layer with 3 outputs \(batch, 3\), got .*\(batch, 7\)"),
        ({"network": lambda n_in, n_out: None}, r"network\(n_in, n_out\) must be a Layer"),
        ({"network": fnn.mlp([4, 3]), "search": True}, "network must be None with search=True"),
        ({"validation_fraction": 0.0}, r"validation_fraction must be a number in \(0, 1\)"),
        ({"early_stopping": "yes"}, "early_stopping must be True or False"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_errors_name_the_parameter(iris, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        quick(**changes).fit(*iris)


def test_errors_name_the_labels(iris):
    x, y = iris
    model = quick(warm_start=True, max_iter=1).fit(x, y)
    with pytest.raises(ValueError, match=r"y must be of the classes \[0, 1, 2\], got also \[3\]"):
        model.fit(x, np.where(y == 0, 3, y))
    with pytest.raises(ValueError, match=r"y must be one label per row, .* got an indicator \(n, labels\)"):
        model.fit(x, np.eye(3, dtype=int)[y])
    for changes in ({"hidden_layer_sizes": (5,)}, {"optimizer": fnn.sgd}):
        other = quick(warm_start=True, max_iter=1).fit(x, y).set_params(**changes)
        with pytest.raises(ValueError, match="those of the fit that warm_start goes on from"):
            other.fit(x, y)
    with pytest.raises(ValueError, match="sample_weight must be not negative, got -1"):
        quick().fit(x, y, np.full(150, -1.0))
    with pytest.raises(ValueError, match="y must be one label per row"):
        quick().fit(x, np.stack([y, y], axis=1))
