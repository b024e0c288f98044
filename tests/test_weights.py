"""Which parameters an L2 penalty acts on, and networks that have none of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests.layers.test_layers import LAYERS
from tests.support.oracles import normal
from tests.support.slow import slow_except

X, Y = normal(0, (8, 4)), normal(1, (8, 2))


class Attention(NamedTuple):
    w_q: jax.Array
    w_out: jax.Array
    b_out: jax.Array
    width: jax.Array


class Kernel(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


def renamed(n_in, n_out):
    """A dense layer whose parameters have names that fnn does not know."""
    dense = fnn.dense(n_in, n_out)

    def backward(params, residuals, dy):
        dparams, dx = dense.backward(fnn.Dense(*params), residuals, dy)
        return Kernel(*dparams), dx

    return fnn.Layer(
        lambda key: Kernel(*dense.init(key)), lambda p, x, key=None: dense.forward(fnn.Dense(*p), x, key), backward
    )


def is_kernel(path, leaf):
    return path[-1].name == "kernel"


def is_matrix(path, leaf):
    return leaf.ndim == 2


NETWORK = renamed(4, 2)


def names(params, is_weight=fnn.is_weight):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path[-1:], simple=True) for path, leaf in leaves if is_weight(path, leaf)}


def test_a_weight_is_named_w_or_begins_with_w_():
    assert names(Attention(*jnp.ones(4))) == {"w_q", "w_out"}
    assert names({"w": 1.0, "w_hidden": 1.0, "W": 1.0, "weight": 1.0, "b": 1.0, "b_w": 1.0}) == {"w", "w_hidden"}
    assert names({"u": 1.0, "U": 1.0, "unit": 1.0}) == {"u"}
    assert not fnn.is_weight((), jnp.ones(3))
    assert names([jnp.ones(3)]) == set()


@pytest.mark.parametrize("name", LAYERS)
def test_the_weights_of_every_layer_are_its_matrices_and_kernels(name):
    layer = LAYERS[name][0]
    params = jax.eval_shape(layer.init, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    repeated = name.startswith("repeat")
    for path, leaf in leaves:
        assert fnn.is_weight(path, leaf) == (leaf.ndim - repeated >= 2), path
    assert names(params) <= {"w", "u", "w_1", "w_2", "w_qkv", "w_o"}


def test_the_weights_of_a_masked_layer_are_those_of_a_dense_layer():
    assert names(fnn.masked_dense(4, 3, 2, 2).init(jax.random.key(0))) == {"w"}


@pytest.mark.parametrize("rule", slow_except([is_kernel, is_matrix], is_kernel))
def test_a_rule_of_the_caller_in_each_function(rule, key):
    """Compare with a dense layer, whose weight the default rule finds."""
    dense, optimizer, l2 = fnn.dense(4, 2), fnn.sgd(0.1), 0.5
    params = dense.init(key)
    theirs = Kernel(*params)
    expected = fnn.value_and_grad(dense, fnn.squared_error, l2)(params, X, Y)
    got = fnn.value_and_grad(NETWORK, fnn.squared_error, l2, is_weight=rule)(theirs, X, Y)
    assert_equal(got, expected)

    expected, _ = fnn.make_step(dense, fnn.squared_error, optimizer, l2)(fnn.init_state(dense, optimizer, key), (X, Y))
    step = fnn.make_step(NETWORK, fnn.squared_error, optimizer, l2, is_weight=rule)
    got, _ = step(fnn.init_state(NETWORK, optimizer, key), (X, Y))
    assert_equal(got.params, expected.params)

    options = {"epochs": 2, "batch_size": 4, "l2": l2}
    fitted = [
        fnn.fit(network, fnn.squared_error, optimizer, (X, Y), key=key, progress=False, **options, **given)
        for network, given in ((dense, {}), (NETWORK, {"is_weight": rule}))
    ]
    assert_equal(fitted[1].state.params, fitted[0].state.params)
    assert_equal(fitted[1].history, fitted[0].history)

    run = fnn.make_run(dense, fnn.squared_error, fnn.sgd, (X, Y), **options)
    theirs_run = fnn.make_run(NETWORK, fnn.squared_error, fnn.sgd, (X, Y), is_weight=rule, **options)
    assert_equal(theirs_run(0.1, key), run(0.1, key))

    gradients = jax.tree.map(jnp.ones_like, params)
    expected, _ = fnn.add_l2(l2).update(gradients, (), params)
    got, _ = fnn.add_l2(l2, is_weight=rule).update(Kernel(*gradients), (), theirs)
    assert_equal(got, expected)


def assert_equal(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


PARAMS = NETWORK.init(jax.random.key(0))
OPTIONS = {"epochs": 1, "batch_size": 4, "l2": 0.1}
NOTHING_TO_PENALISE = {
    "value_and_grad": lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, 0.1)(PARAMS, X, Y),
    "value_and_grad, an array": lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, jnp.array(0.1))(PARAMS, X, Y),
    "value_and_grad, under jit": lambda: jax.jit(fnn.value_and_grad(NETWORK, fnn.squared_error, 0.1))(PARAMS, X, Y),
    "value_and_grad, micro-batches": lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, 0.1, 2)(PARAMS, X, Y),
    "value_and_grad, a rule": lambda: fnn.value_and_grad(
        fnn.dense(4, 2), fnn.squared_error, 0.1, is_weight=lambda path, leaf: False
    )(fnn.Dense(*PARAMS), X, Y),
    "value_and_grad, in make_step": lambda: fnn.make_step(NETWORK, fnn.squared_error, fnn.sgd(0.1), 0.1)(
        fnn.init_state(NETWORK, fnn.sgd(0.1), jax.random.key(0)), (X, Y)
    ),
    "fit": lambda: fnn.fit(NETWORK, fnn.squared_error, fnn.sgd(0.1), (X, Y), key=jax.random.key(0), **OPTIONS),
    "make_run": lambda: fnn.make_run(NETWORK, fnn.squared_error, fnn.sgd, (X, Y), **OPTIONS),
    "value_and_grad, in a run": lambda: fnn.make_run(
        lambda hyper: NETWORK, fnn.squared_error, fnn.sgd, (X, Y), **OPTIONS
    )(0.1, jax.random.key(0)),
    "add_l2": lambda: fnn.add_l2(0.1).update(PARAMS, (), PARAMS),
    "add_l2, in init": lambda: optax.chain(fnn.add_l2(0.1), fnn.sgd(0.1)).init(PARAMS),
}


@pytest.mark.parametrize("name", NOTHING_TO_PENALISE)
def test_a_penalty_on_a_network_without_weights_is_an_error(name):
    function = name.split(",")[0]
    argument = "strength" if function == "add_l2" else "l2"
    expected = (
        f"{function}: {argument} must be 0 for a network without weights, got 0.1 with the parameters .*is_weight"
    )
    with pytest.raises(ValueError, match=expected) as caught:
        NOTHING_TO_PENALISE[name]()
    assert ("['w', 'b']" if name.endswith("a rule") else "['kernel', 'bias']") in str(caught.value)


def test_without_a_penalty_a_network_needs_no_weights(key):
    fnn.value_and_grad(NETWORK, fnn.squared_error)(PARAMS, X, Y)
    fnn.value_and_grad(NETWORK, fnn.squared_error, jnp.array(0.0))(PARAMS, X, Y)
    fnn.add_l2(0.0).update(PARAMS, (), PARAMS)
    jax.jit(lambda l2: fnn.value_and_grad(NETWORK, fnn.squared_error, l2)(PARAMS, X, Y))(0.1)  # unknown while traced
    fnn.fit(NETWORK, fnn.squared_error, fnn.sgd(0.1), (X, Y), epochs=1, batch_size=4, key=key, progress=False)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("value_and_grad", lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, is_weight="w")),
        ("value_and_grad", lambda: fnn.make_step(NETWORK, fnn.squared_error, fnn.sgd(0.1), is_weight="w")),
        ("fit", lambda: fnn.fit(NETWORK, fnn.squared_error, fnn.sgd(0.1), (X, Y), is_weight="w", **OPTIONS)),
        ("make_run", lambda: fnn.make_run(NETWORK, fnn.squared_error, fnn.sgd, (X, Y), is_weight="w", **OPTIONS)),
        ("add_l2", lambda: fnn.add_l2(0.1, is_weight="w")),
    ],
)
def test_a_rule_must_be_a_function(function, call):
    with pytest.raises(TypeError, match=f"{function}: is_weight must be a function .*, got str 'w'"):
        call()


def test_a_checkpoint_of_another_rule_is_refused(tmp_path, key):
    options = {"key": key, "epochs": 1, "batch_size": 4, "l2": 0.1, "progress": False, "checkpoint_dir": tmp_path}
    fnn.fit(fnn.dense(4, 2), fnn.squared_error, fnn.sgd(0.1), (X, Y), **options)
    with pytest.raises(ValueError, match="is_weight was"):
        fnn.fit(fnn.dense(4, 2), fnn.squared_error, fnn.sgd(0.1), (X, Y), resume=True, is_weight=is_matrix, **options)
