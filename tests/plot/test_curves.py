"""Learning curves and confusion matrices: what they draw, on which axes, and what they refuse."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot

import fnn

HISTORY = {
    "accuracy": np.array([0.5, 0.7, 0.8]),
    "cost": np.array([1.0, 0.5, 0.25]),
    "validation_accuracy": np.array([0.4, 0.6, 0.6]),
    "validation_cost": np.array([1.1, 0.8, 0.9]),
}
WITHOUT = """
import sys
sys.modules["matplotlib"] = None
import fnn
for draw in (fnn.FitResult(None, {"cost": [1.0]}).plot, lambda: fnn.plot.diagram(fnn.relu),
             lambda: fnn.plot.confusion([0], [0]), lambda: fnn.plot.gradients(fnn.relu, [1.0])):
    try:
        draw()
    except ImportError as error:
        print(error.name, error)
"""


def test_training_and_validation_are_drawn():
    ax = fnn.plot.learning_curves(HISTORY, kept=2)
    training, validation, kept = ax.lines
    np.testing.assert_array_equal(training.get_xydata(), [[1, 1.0], [2, 0.5], [3, 0.25]])
    np.testing.assert_array_equal(validation.get_ydata(), HISTORY["validation_cost"])
    np.testing.assert_array_equal(kept.get_xdata(), [2, 2])
    assert fnn.plot.learning_curves(HISTORY, legend=False).get_legend() is None
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "validation", "epoch 2, whose parameters were kept"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "cost", "linear")


def test_a_wide_cost_has_a_logarithmic_axis_and_plain_numbers():
    ax = fnn.plot.learning_curves({"cost": np.array([1.0, 0.1, 0.004, np.nan])})
    assert ax.get_yscale() == "log"
    ax.figure.canvas.draw()
    assert {"0.01", "0.1", "1"} <= {label.get_text() for label in ax.get_yticklabels()}
    assert fnn.plot.learning_curves({"accuracy": np.array([0.01, 1.0])}).get_yscale() == "linear"
    assert fnn.plot.learning_curves({"cost": np.array([np.nan])}).lines[0].get_marker() == "o"


def test_axes_of_the_caller_are_used():
    figure, (left, right) = pyplot.subplots(1, 2)
    assert fnn.plot.learning_curves(HISTORY, "accuracy", ax=right) is right
    assert fnn.plot.confusion([0, 1], [1, 1], ax=left) is left
    assert pyplot.get_fignums() == [figure.number], "no other figure"
    with pytest.raises(TypeError, match="learning_curves: ax must be an Axes of matplotlib, got Figure"):
        fnn.plot.learning_curves(HISTORY, ax=figure)


def test_a_result_draws_a_panel_for_each_quantity():
    axes = fnn.FitResult(fnn.TrainState((), (), 0, 0), HISTORY).plot()
    assert [ax.get_ylabel() for ax in axes] == ["cost", "accuracy"]
    assert len({ax.figure for ax in axes}) == 1
    (only,) = fnn.FitResult((), {"validation_cost": np.ones(2)}).plot()
    assert len(only.lines) == 1


@pytest.mark.parametrize(
    ("history", "name", "message"),
    [
        (HISTORY, "loss", "name must be one of cost, accuracy, got 'loss'"),
        ({}, None, "history must be a result of fnn.fit or its history, got an empty one"),
        ([1.0], None, "history must be a result of fnn.fit or its history, got list"),
        ({"cost": np.ones((2, 3))}, None, r".*got 'cost' of shape \(2, 3\)"),
    ],
)
def test_histories_that_cannot_be_drawn(history, name, message):
    with pytest.raises((TypeError, ValueError), match=f"learning_curves: {message}"):
        fnn.plot.learning_curves(history, name)
    assert pyplot.get_fignums() == []


def test_counts_of_the_confusion_matrix():
    y, logits = jnp.array([0, 1, 2, 2, 2]), jax.nn.one_hot(jnp.array([0, 2, 2, 2, 0]), 3)
    ax = fnn.plot.confusion(y, logits, ["cat", "<dog>", "a name that is much too long for an axis"])
    cells = {text.get_position()[::-1]: text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "1", (1, 2): "1", (2, 2): "2", (2, 0): "1"}
    assert ax.get_title() == "3 of 5 right (60.0 %)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "<dog>", "a name that is much too…"]


def test_labels_that_are_not_indices():
    ax = fnn.plot.confusion(["a", "b"], np.array(["b", "b"]), ["b", "a"])
    assert {text.get_position() for text in ax.texts} == {(0, 0), (0, 1)}
    ax = fnn.plot.confusion([10, 20], [10, 10], [10, 20])
    assert {text.get_position() for text in ax.texts} == {(0, 0), (0, 1)}
    assert fnn.plot.confusion([True, False], [True, True]).get_title() == "1 of 2 right (50.0 %)"
    dollars = fnn.plot.confusion([0, 1], [0, 1], ["US$ 1", "US$ 2$"])
    dollars.figure.canvas.draw()  # not as mathematics
    assert [label.get_text() for label in dollars.get_xticklabels()] == [r"US\$ 1", r"US\$ 2\$"]
    assert not fnn.plot.confusion(np.arange(40), np.arange(40)).texts, "too many classes for numbers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0, 1, 1]), r"predicted must be of shape \(2,\)"),
        (([], []), "y must be labels of shape"),
        (([0, -1], [0, 0]), "y must be classes from 0 to k - 1, got -1"),
        (([0, 2], [0, 0], ["a", "b"]), "y must be classes from 0 to 2 - 1, got 2"),
        ((["a"], ["a"]), "y must be integers if there are no names"),
        ((["a"], ["b"], ["a"]), "predicted must be labels that names has, got 'b'"),
    ],
)
def test_labels_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=f"confusion: {message}"):
        fnn.plot.confusion(*arguments)


def test_without_matplotlib_the_error_names_the_extra():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    functions = ["plot", "diagram", "confusion", "gradients"]
    advice = "needs matplotlib, which is not installed; install it with pip install 'fnn[plot]'"
    assert lines == [f"matplotlib {name}: {advice}" for name in functions], done.stderr
