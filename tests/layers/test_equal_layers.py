"""The initial parameters of equal layers: computed in one loop, and bitwise those of each layer by itself."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn

KEY = jax.random.key(3)


def one_by_one(layers):
    return lambda key: tuple(layer.init(jax.random.fold_in(key, i)) for i, layer in enumerate(layers))


def assert_equal_bits(layers):
    expected, got = jax.jit(one_by_one(layers))(KEY), jax.jit(fnn.serial(*layers).init)(KEY)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_the_program_of_many_equal_layers_draws_in_one_place():
    calls = lambda n: jax.jit(fnn.mlp([7] * n + [3]).init).lower(KEY).as_text().count("call @")
    assert 0 < calls(44) <= calls(12)


def test_equal_layers_have_the_bits_of_each_by_itself():
    assert_equal_bits([fnn.dense(5, 5, fnn.init.he_normal) for _ in range(4)] + [fnn.relu, fnn.dense(5, 2)])


def test_layers_that_differ_in_a_number_or_an_array_share_no_loop():
    scaled = [lambda key, shape, s=s: s * jax.random.uniform(key, shape) for s in (0.1, 0.1000001, 2, 3)]
    tables = [np.full((3, 3), i, "float32") for i in range(4)]
    given = [lambda key, shape, table=table: jnp.asarray(table) for table in tables]
    assert_equal_bits([fnn.dense(3, 3, w_init) for w_init in scaled + given])
