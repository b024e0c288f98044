"""The table of layers: its counts, and that the names of layers decide nothing."""

import jax
import jax.numpy as jnp
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


def test_summary_counts_convolutions():
    """Two FLOPs for each weight and output; a depthwise convolution has one weight per pixel of the kernel."""
    shape, pixels = (1, 8, 8, 32), 36
    full, grouped, depthwise = (fnn.summary(fnn.conv2d(32, 32, 3, groups=g), shape) for g in (1, 4, 32))
    assert [table.num_params for table in (full, grouped, depthwise)] == [9 * 32 * n + 32 for n in (32, 8, 1)]
    assert [table.flops for table in (full, grouped, depthwise)] == [
        (2 * 9 * n + 1) * 32 * pixels  # one more for the bias
        for n in (32, 8, 1)
    ]
    transposed = fnn.summary(fnn.conv2d_transpose(32, 16, 3, 2), shape)
    assert transposed.flops == 2 * 9 * 32 * 16 * 64 + 17 * 17 * 16


def test_summary_counts_what_only_this_platform_has():
    """Neither a callback nor `eig` can be lowered for a TPU from here."""

    def squares(params, x, key=None):
        jax.debug.print("{}", x)
        return x * x, x

    def eigenvalues(params, x, key=None):
        return jnp.real(jnp.linalg.eigvals(x)), x

    layers = [fnn.identity._replace(forward=forward) for forward in (squares, eigenvalues)]
    rows = fnn.summary(fnn.serial(*layers), (4, 4)).rows
    assert rows[0].flops == pytest.approx(16, abs=1)  # XLA counts the callback as -1 (jax 0.10)
    assert rows[1].output_shape == (4,)


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
