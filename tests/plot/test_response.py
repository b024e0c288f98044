"""The response of a sweep, over one and two hyperparameters, on grids and at random places, with runs that diverged."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.display.figures import are_log_spaced


def results(hypers, score) -> fnn.SweepResult:
    """Return a sweep with the given last costs (n, n_keys), whose first epoch is worse."""
    cost = np.stack([np.asarray(score) + 1.0, np.asarray(score)], axis=-1)
    return fnn.SweepResult({"w": jnp.zeros((*cost.shape[:2], 3))}, {"cost": cost}, hypers)


def test_over_one_hyperparameter_there_is_a_line_with_a_band():
    score = np.array([[3.0, 5.0], [1.0, 2.0], [np.nan, 1.0], [0.5, 0.5]])
    ax = results({"alpha": np.array([0.1, 0.01, 1.0, 10.0])}, score).plot()
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "alpha", "cost")
    line, gap = ax.lines
    np.testing.assert_allclose(line.get_xydata(), [[0.01, 1.5], [0.1, 4.0], [1.0, np.nan], [10.0, 0.5]])
    assert np.array_equal(gap.get_xdata(), [1.0, 1.0])
    (band,) = ax.collections
    heights = np.concatenate([np.asarray(path.vertices)[:, 1] for path in band.get_paths()])
    np.testing.assert_allclose(heights.max(), 4.0 + 2 * np.std([3, 5], ddof=1) / np.sqrt(2))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mean of 2 keys", "± 2 standard errors"]


def test_over_two_hyperparameters_of_a_grid_there_are_cells():
    a, b = (part.ravel() for part in np.meshgrid([1.0, 2.0, 3.0], [0.01, 0.1, 1.0], indexing="ij"))
    score = (a + b)[:, None]
    score[4] = np.inf
    ax = results({"a": a, "b": b}, score).plot()
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale(), ax.get_yscale()) == ("a", "b", "linear", "log")
    cells, failed = ax.collections
    expected = np.array([1.0, 2.0, 3.0])[None] + np.array([0.01, 0.1, 1.0])[:, None]
    expected[1, 1] = np.nan
    np.testing.assert_allclose(np.ma.filled(cells.get_array(), np.nan).reshape(3, 3), expected)
    corners = cells.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(corners[:, 0, 1], np.sqrt(10) ** np.array([-5, -3, -1, 1]))
    assert failed.get_hatch() == "xxx"
    assert ax.figure.axes[1].get_ylabel() == "cost"


def test_other_places_are_points_and_failed_ones_crosses():
    rng = np.random.default_rng(0)
    a, score = 10 ** rng.uniform(-3, 0, 9), rng.uniform(1, 2, (9, 3))
    score[2] = np.nan
    ax = results({"a": a, "b": rng.uniform(0, 1, 9)}, score).plot()
    points, crosses = ax.collections
    assert len(points.get_offsets()) == 8
    assert len(crosses.get_offsets()) == 1
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(np.delete(score.mean(1), 2)))
    assert ax.figure.axes[1].get_ylabel() == "cost, mean of 3 keys"


def test_the_best_over_hyperparameters_that_are_not_drawn():
    a, b = (part.ravel() for part in np.meshgrid([1.0, 2.0, 3.0], [1.0, 2.0], indexing="ij"))
    score = np.array([5.0, 4.0, np.nan, 2.0, 1.0, 3.0])[:, None]
    np.testing.assert_allclose(results({"a": a, "b": b}, score).plot("a").lines[0].get_ydata(), [4, 2, 1])
    found = results({"a": a, "b": b}, score)
    found.history["accuracy"] = found.history["cost"]
    np.testing.assert_allclose(found.plot("a", score="accuracy").lines[0].get_ydata(), [5, 2, 3])


def test_validation_is_the_default_score_and_constant_hyperparameters_are_left_out():
    found = results({"constant": np.ones(3), "width": np.array([4, 8, 16])}, np.ones((3, 1)))
    found.history["validation_cost"] = found.history["cost"] + 1
    ax = found.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "validation cost")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 2)
    assert not ax.collections, "no band for one key"


def test_what_cannot_be_drawn():
    found = results({"a": np.array([1.0, 2.0])}, np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"response: x must be a column \(hyper, keys, a, cost.*\), got 'b'"):
        found.plot("b")
    with pytest.raises(ValueError, match="response: score must be a column"):
        found.plot(score="accuracy")
    with pytest.raises(ValueError, match="response: results must be of several values of a hyperparameter"):
        results({"a": np.ones(2)}, np.ones((2, 1))).plot()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, 0.01, 0.1], True),
        ([0.1, 0.3, 1.0, 3.0, 10.0], True),
        ([8, 16, 32, 64], True),
        ([1, 2, 3, 4, 5], False),
        ([0.0, 0.1, 1.0], False),
        ([0.1, 1.0], False),
        ([1.0, 1.0, 1.0], False),
        ([1e-3, 1e-2, np.nan, 1e-1], True),
    ],
)
def test_log_spaced(values, expected):
    assert are_log_spaced(values) == expected
