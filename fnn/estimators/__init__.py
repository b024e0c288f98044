"""Networks as scikit-learn estimators, for pipelines, cross-validation and grid search.

`NetworkClassifier` and `NetworkRegressor` train with `fnn.fit` and keep scikit-learn's contract. Their parameters are
named as those of `MLPClassifier` where they mean the same; activations, losses, optimizers and networks are passed as
the functions and layers of fnn, not by name. The package needs scikit-learn (`pip install 'fnn[sklearn]'`), and is
imported when `fnn.estimators` is first used.

    classifier, regressor   the two estimators
    base                    what both share: checks, the network, pickling, outputs
    training                fit with padded rows, and the rule that ends a training
    tuned                   an optimizer whose learning rate and penalty are data
    targets                 labels as targets of a loss, outputs as probabilities
    known                   equal networks, losses and optimizers made one, so that nothing is compiled twice
"""

try:
    import sklearn as _  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError(
        "fnn.estimators: scikit-learn must be installed, got No module named 'sklearn'. "
        "Install the extra `sklearn`: pip install 'fnn[sklearn]'",
        name="sklearn",
    ) from error

from fnn.estimators.classifier import NetworkClassifier as NetworkClassifier
from fnn.estimators.regressor import NetworkRegressor as NetworkRegressor
