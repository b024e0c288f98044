"""The table of layers: its counts, and that the names of layers decide nothing."""

import pytest

import fnn

BLOCK = fnn.serial(fnn.dense(64, 64), fnn.relu)
NETWORKS = {
    "serial": fnn.serial(BLOCK, fnn.dense(64, 3)),
    "repeat": fnn.repeat(BLOCK, 10),
    "residual": fnn.residual(BLOCK),
    "nested": fnn.serial(fnn.residual(fnn.repeat(BLOCK, 3)), BLOCK),
    "remat": fnn.serial(fnn.remat(BLOCK), fnn.mixed_precision(fnn.repeat(BLOCK, 3), "bfloat16")),
}


def test_summary_counts_every_layer_of_repeat():
    once, ten = (fnn.summary(layer, (1, 64)) for layer in (BLOCK, fnn.repeat(BLOCK, 10)))
    assert ten.flops == 10 * once.flops
    assert ten.num_params == 10 * once.num_params
    assert fnn.summary(fnn.residual(fnn.repeat(BLOCK, 10)), (1, 64)).flops == 10 * once.flops + 64


def renamed(layer):
    """The same network with other names, also inside."""
    return layer._replace(name="repeat(serial)", layers=tuple(map(renamed, layer.layers)))


@pytest.mark.parametrize("name", NETWORKS)
def test_names_decide_nothing(name):
    table, other = (fnn.summary(network, (2, 64)) for network in (NETWORKS[name], renamed(NETWORKS[name])))
    assert {row.name for row in other.rows} == {"repeat(serial)"}
    assert [row[1:] for row in other.rows] == [row[1:] for row in table.rows]
    assert other[1:] == table[1:]


def test_wrapped_networks_have_one_row():
    for wrap in (fnn.remat, fnn.autodiff, lambda layer: fnn.mixed_precision(layer, "bfloat16")):
        assert len(fnn.summary(wrap(BLOCK), (1, 64)).rows) == 1
        assert wrap(BLOCK).layers == BLOCK.layers


def test_combinators_say_what_they_are():
    made = {fnn.serial: BLOCK, fnn.residual: fnn.residual(BLOCK), fnn.repeat: fnn.repeat(BLOCK, 2)}
    assert all(layer.combinator is combinator for combinator, layer in made.items())
    assert all(layer.combinator is None for layer in (fnn.relu, fnn.dense(3, 2), fnn.remat(BLOCK)))
