"""The labels that users pass: what kind they are of, and which classes there are."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fnn import checks


def kind_of(function: str, y: np.ndarray) -> tuple[bool, np.ndarray]:
    """Return whether y is an indicator of several labels, and the classes: the labels in order, or column numbers.

    >>> kind_of("fit", np.array(["b", "a", "b"])), kind_of("fit", np.array([[0, 1], [1, 1]]))
    ((False, array(['a', 'b'], dtype='<U1')), (True, array([0, 1])))
    """
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multiclass-multioutput":
        expected = "one label per row, or an indicator (n, labels) of zeros and ones"
        raise checks.fail(function, "y", expected, came="several columns with other values")
    multilabel = kind == "multilabel-indicator"
    return multilabel, np.arange(y.shape[1]) if multilabel else np.unique(y)
