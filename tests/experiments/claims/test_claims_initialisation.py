"""Claims on initial parameters: symmetry, scales, and code that does not run as printed."""

import functools

import jax
import numpy as np
import pytest

import fnn
from tests.support.columns import same
from tests.support.oracles import normal

X = normal(0, (12, 2), "float64")
Y = (np.arange(12) % 2)[:, None].astype(float)


@functools.cache
def gradient(activation):
    """Cost and gradient of a network 2-3-2-1 on 12 labelled points."""
    return jax.jit(fnn.value_and_grad(fnn.mlp((2, 3, 2, 1), activation), fnn.sigmoid_cross_entropy))


def start(first=0.0, second=0.0, third=0.0, b=0.0):
    """Parameters filled with constants, or with weights to broadcast."""
    sizes, weights = (2, 3, 2, 1), (first, second, third)
    layers = [
        fnn.Dense(np.broadcast_to(w, (n, k)).astype(float), np.full(k, float(b)))
        for n, k, w in zip(sizes, sizes[1:], weights, strict=False)
    ]
    return layers[0], (), layers[1], (), layers[2]


def spread(dw) -> float:
    """The largest difference between gradients of a layer's units, the columns of w."""
    dw = np.asarray(dw)
    return float(np.abs(dw - dw[:, :1]).max())


@pytest.mark.claim("C150", "C151")
def test_all_zeros_give_the_same_output_for_every_x_and_no_gradient_to_hidden_layers(x64):
    for activation, hidden in ((fnn.sigmoid, 0.5), (fnn.tanh, 0.0)):
        network, zeros = fnn.mlp((2, 3, 2, 1), activation), start()
        np.testing.assert_array_equal(activation.forward((), X @ zeros[0].w)[0], hidden)
        np.testing.assert_array_equal(network.forward(zeros, X)[0], 0, "the output is ½ for every x")
        cost, (d1, _, d2, _, d3) = gradient(activation)(zeros, X, Y)
        assert float(cost) == pytest.approx(np.log(2))
        assert not np.any(d1.w)
        assert not np.any(d2.w)
        assert spread(np.asarray(d3.w).T) == 0


@pytest.mark.claim("C152", "C153", "C154", "C151")
def test_what_keeps_units_equal():
    random = [normal(seed, shape, "float64") for seed, shape in enumerate(((2, 3), (3, 2), (2, 1)), 1)]
    with jax.enable_x64(True):
        constant = gradient(fnn.sigmoid)(start(0.3, 0.3, 0.3, 0.3), X, Y)[1]
        incoming = gradient(fnn.sigmoid)(start(0.3, *random[1:]), X, Y)[1]
        biases = gradient(fnn.sigmoid)(start(*random, b=0.7), X, Y)[1]
    assert spread(constant[0].w) < 1e-16 > spread(constant[2].w)
    assert np.abs(constant[0].w).max() > 1e-4, "it is equal, not zero"
    assert spread(incoming[0].w) > 1e-4, "equal incoming weights part where the outgoing ones differ"
    assert min(spread(biases[0].w), spread(biases[2].w)) > 1e-4, "equal biases do not matter"


@pytest.mark.claim("C155", "C156")
def test_code_for_random_weights(key):
    for function in (np.random.rand, np.random.randn):
        with pytest.raises(TypeError):
            function((2, 2))
    uniform = np.random.RandomState(0).rand(200, 200) * 0.01
    assert uniform.min() >= 0
    assert uniform.mean() == pytest.approx(0.005, rel=0.02)
    w = np.asarray(fnn.init.normal(0.01)(key, (200, 200)))
    assert abs(w.mean()) < 4 * 0.01 / 200, "around zero"
    assert (w < 0).mean() == pytest.approx(0.5, abs=0.02)
    assert np.random.RandomState(0).randn(*(2, 2)).shape == (2, 2)


@pytest.mark.claim("C149", "C157")
def test_the_demonstrations_start(key):
    network = fnn.mlp((2, 4, 1), fnn.tanh, w_init=fnn.init.normal(0.01))
    state = fnn.init_state(network, fnn.sgd(1.2), key)
    (w1, b1), _, (w2, b2) = state.params
    assert [p.shape for p in (w1, b1, w2, b2)] == [(2, 4), (4,), (4, 1), (1,)]
    assert not np.any(b1)
    assert not np.any(b2)
    assert 0.003 < np.std(np.concatenate([np.ravel(w1), np.ravel(w2)])) < 0.03
    cost, _ = fnn.value_and_grad(network, fnn.sigmoid_cross_entropy)(
        state.params, X.astype("float32"), Y.astype("float32")
    )
    assert float(cost) == pytest.approx(np.log(2), abs=1e-3)
    assert int(state.step) == 0


@pytest.mark.claim("C158")
def test_an_inner_seed_decides_and_a_key_is_passed(key):
    def model(seed):
        np.random.seed(seed)  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        return np.random.randn(3)  # noqa: NPY002

    np.testing.assert_array_equal(model(3), model(99))
    layer = fnn.dense(3, 3)
    draws = [np.asarray(layer.init(k).w) for k in (key, key, jax.random.fold_in(key, 1))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 0.01
    two = fnn.serial(layer, layer).init(key)
    assert not np.array_equal(two[0].w, two[1].w)


@pytest.mark.claim("C159", "C161", "C162", "C163", "C167")
def test_variances_of_a_layers_input(key):
    """With 784 inputs of variance 1, Var z = 784 Var w; it determines how many tanh units are saturated."""
    n, units = 784, 300
    x = normal(0, (200, n))

    def z(initializer):
        return x @ np.asarray(initializer(key, (n, units)))

    expected = {
        fnn.init.normal(0.1): 7.84,  # N(0, 0.1) if 0.1 is the deviation
        fnn.init.normal(np.sqrt(0.1)): 78.4,  # N(0, 0.1) if 0.1 is the variance
        fnn.init.lecun_normal: 1.0,  # √(1/n), a variance of 1/n
        fnn.init.normal(1 / n): 1 / n,  # a deviation of 1/n
        fnn.init.xavier_normal: 2 * n / (n + units),  # √(2/(n + n_out)) is the deviation
        fnn.init.normal((2 / (n + units)) ** 0.25): 33.6,  # √(2/(n + n_out)) is the variance
    }
    for initializer, variance in expected.items():
        assert z(initializer).var() == pytest.approx(variance, rel=0.1)
    saturated = [np.mean(np.abs(np.tanh(z(fnn.init.normal(scale)))) > 0.99) for scale in (0.01, 1.0, 10.0)]
    assert saturated[0] == 0
    assert saturated[1] > 0.9
    assert saturated[2] > 0.99


@pytest.mark.claim("C165", "C166")
def test_which_rule_has_whose_name(key):
    """LeCun's √(1/n_in), Xavier's √(2/(n_in + n_out)), He's √(2/n_in): the first two agree on equal widths only."""
    square, wide = (256, 256), (256, 1024)
    lecun, xavier, he = (
        lambda shape, rule=rule: np.asarray(rule(key, shape))
        for rule in (fnn.init.lecun_normal, fnn.init.xavier_normal, fnn.init.he_normal)
    )
    assert same(xavier(square), lecun(square), 1e-6)
    assert same(he(square), np.float32(np.sqrt(2)) * lecun(square), 1e-6)
    assert same(he(wide), np.float32(np.sqrt(2)) * lecun(wide), 1e-6)
    assert xavier(wide).std() == pytest.approx(np.sqrt(2 / 1280), rel=0.02)
    assert he(wide).std() == pytest.approx(np.sqrt(2 / 256), rel=0.02)
