"""A classifier that trains in a moment, for the tests of estimators."""

from fnn.estimators import NetworkClassifier


def quick(**changes) -> NetworkClassifier:
    options = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.05, "max_iter": 30, "random_state": 0}
    return NetworkClassifier(**options | changes)
