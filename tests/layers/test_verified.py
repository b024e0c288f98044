"""The library's layers, losses and networks under all of gradcheck's checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import assert_grad, assert_layer, assert_loss, check_layer
from tests.layers.test_layers import LAYERS
from tests.support.oracles import normal, spread_params
from tests.support.slow import slow_except
from tests.test_losses import CASES

pytestmark = pytest.mark.usefixtures("slow_cases_compile_quickly")

# One layer of each kind: with and without parameters, kinks and randomness, and one of each combinator.
QUICK = (
    "relu", "softmax", "dense", "dropout", "residual_shortcut", "conv2d", "max_pool2d", "batch_norm",
    "layer_norm",
)  # fmt: skip
CHECKS = ("structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap")
# test_layers.py compares each layer with itself under jit and vmap too, so that here the quick ones are enough.
SLOW_CHECKS = CHECKS[:-2]


def checked(report):
    return {leaf.status for leaf in report.leaves if leaf.status != "SKIPPED"}


@pytest.mark.parametrize("name", slow_except(LAYERS, *QUICK))
def test_layers(name, key):
    layer, shape = LAYERS[name]
    checks = CHECKS if name in QUICK else SLOW_CHECKS
    report = assert_layer(layer, spread_params(layer, 0), normal(1, shape), layer_key=key, checks=checks, key=3)
    assert checked(report) == {"PASS"}, report.summary()


@pytest.mark.parametrize(
    "name", slow_except(["dropout", "batch_norm", "batch_norm_images", "batch_norm_network"], "dropout", "batch_norm")
)
def test_layers_without_a_key(name):
    layer, shape = LAYERS[name]
    report = assert_layer(layer, spread_params(layer, 0), normal(1, shape), checks=CHECKS, key=3)
    assert checked(report) == {"PASS"}, report.summary()


@pytest.mark.parametrize("name", slow_except(CASES, "squared_error", "softmax_cross_entropy"))
def test_losses(name):
    loss, prediction, target = CASES[name]
    assert_loss(loss, prediction((6, 4), "float32"), target((6, 4), "float32"), checks=CHECKS, key=3)


NETWORKS = {
    "mlp": (fnn.mlp([20, 30, 10]), (8, 20)),
    "convnet": (fnn.convnet((10, 10, 1), (3, 4), 3, (12, 10)), (4, 10, 10, 1)),
    "batch_norm and dropout": (
        fnn.serial(fnn.dense(20, 16), fnn.batch_norm(16), fnn.relu, fnn.dropout(0.3), fnn.dense(16, 10)),
        (8, 20),
    ),
}


def check_cost(name, key, **options):
    network, shape = NETWORKS[name]
    x, y = jnp.asarray(normal(1, shape)), jnp.arange(shape[0]) % 10
    gradient = fnn.value_and_grad(network, fnn.softmax_cross_entropy, l2=0.01)

    def cost(params):
        return gradient(params, x.astype(jax.tree.leaves(params)[0].dtype), y, key=key)[0]

    def by_hand(params):
        return gradient(params, x.astype(jax.tree.leaves(params)[0].dtype), y, key=key)[1]

    return assert_grad(cost, by_hand, (spread_params(network, 0),), key=3, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_costs_of_whole_networks(name, key):
    report = check_cost(name, key)
    assert report.ok, report.summary()


# The checks that only run compiled programs: an accelerator would compile every operation of the others for itself.
COMPILED = ("reference", "differences", "adjoint", "linearity")
each_precision = pytest.mark.parametrize("precision", ["x64", "native"])


@pytest.mark.accelerator
@pytest.mark.exhaustive
@each_precision
@pytest.mark.parametrize("name", LAYERS)
def test_layers_on_accelerators(name, precision, key):
    layer, shape = LAYERS[name]
    params, x = spread_params(layer, 0), normal(1, shape)
    report = assert_layer(layer, params, x, layer_key=key, checks=COMPILED, key=3, precision=precision)
    assert checked(report) == {"PASS"}, report.summary()


@pytest.mark.accelerator
@pytest.mark.exhaustive
@each_precision
@pytest.mark.parametrize("name", CASES)
def test_losses_on_accelerators(name, precision):
    loss, prediction, target = CASES[name]
    args = prediction((6, 4), "float32"), target((6, 4), "float32")
    assert_loss(loss, *args, checks=COMPILED, key=3, precision=precision)


@pytest.mark.accelerator
@pytest.mark.exhaustive
@each_precision
@pytest.mark.parametrize("name", NETWORKS)
def test_costs_on_accelerators(name, precision, key):
    check_cost(name, key, checks=COMPILED[:2], precision=precision)


@pytest.mark.accelerator
def test_a_wrong_layer_is_named():
    wrong = fnn.dense(3, 2)
    backward = wrong.backward

    def forgets_the_sum(params, x, dz):
        dparams, dx = backward(params, x, dz)
        return dparams._replace(b=dz[0]), dx

    params = wrong.init(jax.random.key(0))
    report = check_layer(wrong._replace(backward=forgets_the_sum), params, normal(1, (5, 3)), key=3)
    assert [leaf.path for leaf in report.leaves if leaf.status == "FAIL"] == ["[0].b"]
    assert np.isfinite(report.leaves[0].max_error)
