"""The diagram of a network, and the sizes of its gradients layer by layer."""

import jax
import numpy as np
import pytest

import fnn
from fnn.plot import blocks


def ones(network: fnn.Layer):
    """Return parameters of a network: ones."""
    return jax.tree.map(lambda leaf: np.ones(leaf.shape), jax.eval_shape(network.init, jax.random.key(0)))


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_boxes_and_shapes_of_a_network():
    ax = fnn.plot.diagram(fnn.mlp([784, 30, 10]), (32, 784))
    boxes = ["dense(784, 30)", "23,550 parameters", "(32, 30)", "relu", "(32, 30)", "dense(30, 10)", "310 parameters"]
    assert texts(ax) == ["input (32, 784)", *boxes, "output (32, 10)"]
    assert len(ax.patches) == 3
    assert not ax.axison
    assert "(32, 30)" not in texts(fnn.plot.diagram(fnn.mlp([784, 30, 10])))


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (fnn.residual(fnn.dense(8, 8)), (2, 8), {"+": 1, "dense(8, 8)": 1}),
        (fnn.add(fnn.dense(8, 3), fnn.dense(8, 3), fnn.mlp([8, 4, 3])), (2, 8), {"+": 1, "dense(8, 3)": 2, "relu": 1}),
        (fnn.repeat(fnn.dense(4, 4), 7), (2, 4), {"7 ×": 1, "dense(4, 4)": 1}),
        (fnn.serial(*[fnn.dense(4, 4)] * 3, fnn.relu), (2, 4), {"3 ×": 1, "dense(4, 4)": 1, "(2, 4)": 1}),
        (fnn.serial(fnn.relu, fnn.relu), (2, 4), {"relu": 2}),
        (fnn.bidirectional(fnn.lstm(3, 4), fnn.lstm(3, 4)), (2, 5, 3), {"bidirectional": 1, "lstm(3, 4)": 2}),
        (fnn.remat(fnn.mlp([4, 4])), (2, 4), {"remat(serial(dense(4, 4)))": 1, "20 parameters": 1}),
        (fnn.gpt(65, 32, 3, 2, 16), (1, 32), {"3 ×": 1, "+": 2, "embedding(65, 16)": 1, "(1, 32, 64)": 2}),
    ],
    ids=lambda value: value.name if isinstance(value, fnn.Layer) else "",
)
def test_combinators_have_branches_and_frames(network, shape, expected):
    shown = texts(fnn.plot.diagram(network, shape))
    assert {text: shown.count(text) for text in expected} == expected
    fnn.plot.diagram(network).figure.canvas.draw()


def test_nothing_of_a_diagram_lies_outside_of_its_axes():
    parts = [fnn.repeat(fnn.residual(fnn.mlp([8, 32, 8])), 3), fnn.add(*[fnn.mlp([8, 8])] * 5), fnn.dense(8, 1)]
    ax = fnn.plot.diagram(fnn.serial(*parts), (1, 8))
    ax.figure.canvas.draw()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    to_data = ax.transData.inverted()
    lines = np.concatenate([line.get_xydata() for line in ax.lines])
    corners = np.concatenate([patch.get_window_extent().transformed(to_data).get_points() for patch in ax.patches])
    for points in (lines, corners):
        assert points[:, 0].min() >= left
        assert points[:, 0].max() <= right
        assert points[:, 1].max() <= bottom
        assert points[:, 1].min() >= top


def test_long_texts_are_wrapped():
    block = blocks.box("word " * 60, "note")
    assert block.width < 3.5
    assert block.height < 1.5


def test_a_diagram_refuses_what_is_no_network():
    with pytest.raises(TypeError, match="diagram: network must be a Layer"):
        fnn.plot.diagram([fnn.relu])
    with pytest.raises(ValueError, match="dense"):
        fnn.plot.diagram(fnn.dense(3, 4), (2, 5))


def test_gradients_have_a_bar_for_each_array():
    network = fnn.serial(fnn.dense(2, 3), fnn.relu, fnn.residual(fnn.dense(3, 3)), fnn.repeat(fnn.dense(3, 3), 2))
    params = ones(network)
    grads = jax.tree.map(lambda p: 0.01 * p, params)
    ax = fnn.plot.gradients(network, grads)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["dense(2, 3)  w", "b", "dense(3, 3)  w", "b", "2 × dense(3, 3)  w", "b"]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(ends, 0.01, rtol=1e-6)
    assert ax.get_xscale() == "log"
    assert ax.get_ylim() == (5.5, -0.5), "the first layer is at the top"
    both = fnn.plot.gradients(network, grads, params)
    assert len(both.patches) == 12
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["gradient", "parameters"]


def test_gradients_that_are_zero_or_not_finite_say_so():
    network = fnn.mlp([2, 3, 1])
    grads = ones(network)
    zero, infinite = (jax.tree.map(lambda p, factor=factor: p * factor, grads[0]) for factor in (0.0, np.inf))
    assert texts(fnn.plot.gradients(network, (zero, (), grads[2]))) == [" 0", " 0"]
    assert texts(fnn.plot.gradients(network, (infinite, (), grads[2]))) == [" not finite", " not finite"]
    gpt = fnn.gpt(9, 8, 1, 2, 4)
    rows = fnn.plot.gradients(gpt, ones(gpt)).get_yticklabels()
    assert rows[0].get_text() == "tied_embedding(9, 4)  w"
    with pytest.raises(ValueError, match="gradients: grads must be a tree with arrays"):
        fnn.plot.gradients(fnn.relu, ())
    with pytest.raises(ValueError, match="gradients: params must be a tree like that of grads"):
        fnn.plot.gradients(network, grads, params=grads[:2])
