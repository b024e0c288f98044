"""Combinators: random draws, repeat against layers written out, deep networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.init import he_normal
from tests.support.oracles import assert_close, normal, spread_params


def test_layers_of_a_network_draw_differently(key):
    network = fnn.serial(fnn.dropout(0.5), fnn.dropout(0.5))
    _, (first, second) = network.forward(((), ()), jnp.ones((10, 10)), key)
    assert not np.array_equal(first, second)
    _, (masks, _) = fnn.repeat(fnn.dropout(0.5), 3).forward((), jnp.ones((10, 10)), key)
    assert not np.array_equal(masks[0], masks[1])
    dense = fnn.serial(fnn.dense(4, 4), fnn.dense(4, 4)).init(key)
    assert not np.array_equal(dense[0].w, dense[1].w)


@pytest.mark.claim("C067")
def test_repeat_equals_the_layers_written_out(key, x64):
    block = fnn.serial(fnn.dense(5, 5), fnn.tanh)
    deep = fnn.repeat(block, 4)
    params, x = spread_params(deep, 0, "float64"), normal(1, (3, 5), "float64")
    unrolled = fnn.serial(*[block] * 4)
    separate = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(4))
    dy = normal(2, (3, 5), "float64")
    outcomes = []
    for network, p in ((deep, params), (unrolled, separate)):
        y, residuals = network.forward(p, x)
        dparams, dx = network.backward(p, residuals, dy)
        if network is unrolled:
            dparams = jax.tree.map(lambda *leaves: jnp.stack(leaves), *dparams)
        outcomes.append((y, dparams, dx))
    assert_close(*outcomes, "float64")


def test_repeat_compiles_to_the_same_program_size_at_any_depth(key):
    def program(n):
        layer = fnn.repeat(fnn.serial(fnn.dense(4, 4), fnn.tanh), n)
        params = layer.init(key)

        def both(params, x):
            y, residuals = layer.forward(params, x)
            return layer.backward(params, residuals, y)

        return jax.jit(both).lower(params, jnp.ones((2, 4))).as_text()

    assert program(2).count("\n") == program(200).count("\n")


@pytest.mark.slow
@pytest.mark.claim("C078")
def test_one_hundred_layers_stay_finite(key):
    network = fnn.repeat(fnn.serial(fnn.dense(64, 64, w_init=he_normal), fnn.relu), 100)
    params, x = network.init(key), normal(1, (32, 64), "float32")
    y, residuals = network.forward(params, x)
    dparams, dx = network.backward(params, residuals, jnp.ones_like(y))
    assert 1e-8 < float(jnp.mean(y * y)) < 1e8
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves((dparams, dx)))
