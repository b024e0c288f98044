"""Kinds of wrong numbers: half precision, narrowed integers, rows of weight 0, masks and byte orders, scalar types."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.data import fit_standardization, one_hot, split, standardize
from fnn.losses import squared_error
from fnn.optimizers import apply_updates

K = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
Y = np.arange(9) % 3
HALVES = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])

OPTIMIZERS = {
    "sgd": (fnn.sgd(0.01), optax.sgd(0.01)),
    "momentum": (
        fnn.momentum(0.01, 0.999),
        optax.chain(optax.ema(0.999, debias=False), optax.scale_by_learning_rate(0.01)),
    ),
    "heavy_ball": (fnn.heavy_ball(0.01, 0.999), optax.sgd(0.01, momentum=0.999)),
    "nesterov": (fnn.nesterov(0.01, 0.999), optax.sgd(0.01, momentum=0.999, nesterov=True)),
    "adam": (fnn.adam(0.01), optax.adam(0.01)),
    "add_l2": (
        optax.chain(fnn.add_l2(1e-3), fnn.heavy_ball(0.01)),
        optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.01, momentum=0.9)),
    ),
}


@HALVES
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_of_half_precision_are_those_of_float32_state(name, dtype):
    """The state after 20 updates, and each update, equal those of optax on float32 copies of the same gradients."""
    ours, theirs = OPTIMIZERS[name]
    half, single = {"w": jnp.ones(3, dtype)}, {"w": jnp.ones(3)}
    state, expected = ours.init(half), theirs.init(single)
    for _ in range(20):
        gradient = {"w": jnp.array([0.1, 0.0, -1e-3], dtype)}
        updates, state = ours.update(gradient, state, half)
        with jax.numpy_dtype_promotion("standard"):  # optax's own code needs it
            wanted, expected = theirs.update({"w": gradient["w"].astype(jnp.float32)}, expected, single)
        assert updates["w"].dtype == dtype
        np.testing.assert_allclose(updates["w"].astype(jnp.float32), wanted["w"], rtol=1e-2, atol=1e-7)
    for leaf in jax.tree.leaves(state):
        assert leaf.dtype in (jnp.float32, jnp.int32)


def test_momentum_in_bfloat16_reaches_its_limit():
    optimizer = fnn.momentum(1.0, 0.999)
    params = {"w": jnp.zeros(2, jnp.bfloat16)}
    update = jax.jit(lambda state: optimizer.update({"w": jnp.ones(2, jnp.bfloat16)}, state, params)[1])
    state = optimizer.init(params)
    for _ in range(3000):
        state = update(state)
    np.testing.assert_allclose(state.v["w"], 1 - 0.999**3000, rtol=1e-4)


def test_updates_are_added_in_float32():
    params, updates = {"w": jnp.ones(1, jnp.bfloat16)}, {"w": jnp.array([0.003907])}
    assert float(apply_updates(params, updates)["w"][0]) == 1.0078125  # in bfloat16 the update is a tie, and lost


def pool(x):
    layer = fnn.avg_pool2d(2)
    return layer.forward((), x)


NORMAL = np.array([[0.0, 500, 1000, -500], [100, 900, -300, 40]], "float32")


@HALVES
@pytest.mark.parametrize("mode", ["layer_norm", "training", "evaluation"])
def test_normalization_of_half_precision_is_that_of_float32(mode, dtype):
    """y, dγ, dβ and dx of inputs whose squares overflow float16 equal those of float32, up to half precision."""
    layer = fnn.layer_norm(4) if mode == "layer_norm" else fnn.batch_norm(4)
    params, key = layer.init(K), K if mode == "training" else None
    if mode == "evaluation":
        params = fnn.calibrate(layer, params, jnp.asarray(NORMAL))
    mixed = fnn.mixed_precision(layer, dtype)
    dy = jnp.asarray(np.linspace(-1, 2, 8).reshape(2, 4), jnp.float32)
    y, residuals = mixed.forward(params, jnp.asarray(NORMAL), key)
    wanted, exact = layer.forward(params, jnp.asarray(NORMAL).astype(dtype).astype(jnp.float32), key)
    tolerance = 40 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y, wanted, atol=tolerance)
    assert np.abs(wanted).max() > 0.5
    got, expected = mixed.backward(params, residuals, dy), layer.backward(params, exact, dy)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * (1e-6 + float(jnp.abs(b).max())))


@HALVES
def test_half_parameters_keep_their_dtype_through_normalization(dtype):
    for layer in (fnn.layer_norm(4), fnn.batch_norm(4)):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), layer.init(K))
        y, residuals = layer.forward(params, jnp.asarray(NORMAL, dtype), K)
        dparams, dx = layer.backward(params, residuals, y)
        assert {leaf.dtype for leaf in jax.tree.leaves((y, dparams, dx))} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("stride", [2, 1])
def test_average_pooling_sums_in_float32(stride):
    layer = fnn.avg_pool2d(2, stride)
    x = jnp.full((1, 4, 4, 1), 40000, jnp.float16)
    y, residuals = layer.forward((), x)
    assert y.dtype == jnp.float16
    np.testing.assert_array_equal(y, np.full(y.shape, 40000))
    dy = jnp.full(y.shape, 60000, jnp.float16)
    _, dx = layer.backward((), residuals, dy)
    _, wanted = layer.backward((), residuals, dy.astype(jnp.float32))
    assert dx.dtype == jnp.float16
    np.testing.assert_allclose(dx, wanted, rtol=1e-3)


def test_loss_scales_above_the_range_of_float16():
    layer = fnn.mixed_precision(fnn.dense(2, 2), jnp.float16, 2.0**16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), layer.init(K))
    y, residuals = layer.forward(params, jnp.ones((1, 2), jnp.float16))
    dparams, _ = layer.backward(params, residuals, jnp.full_like(y, 2.0**-14))
    np.testing.assert_allclose(dparams.b, 2.0**-14, rtol=1e-3)
    assert np.isfinite(fnn.dynamic_loss_scale()(jnp.full(3, 6e-8, jnp.float16)))


def test_float64_is_standardized_in_float64():
    x = 1.6e9 + np.arange(100.0)[:, None]
    got = standardize(x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (x - x.mean(0)) / x.std(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(standardize(x + 1, fit_standardization(x))[0], got[1], rtol=1e-6)
    np.testing.assert_array_equal(standardize(np.full((50, 1), 1700000037.0)), 0)
    np.testing.assert_array_equal(standardize(np.full((50, 1), 0.1)), 0)
    np.testing.assert_allclose(standardize(x.tolist()), got)


def test_half_precision_is_standardized_in_float32():
    x = np.array([[-6e4], [6e4], [3e4]], "float16")
    got = standardize(jnp.asarray(x))
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got, (x.astype("f8") - x.astype("f8").mean(0)) / x.astype("f8").std(0), rtol=2e-3)


NET = fnn.mlp([4, 3])
CROSS = fnn.softmax_cross_entropy
WIDE = Y.astype("int64").copy()
WIDE[5] += 2**32
FLAGS = {"epochs": 1, "batch_size": 3, "progress": False}


def fit(data, loss=CROSS, **options):
    network = options.pop("network", NET)
    return fnn.fit(network, loss, fnn.sgd(0.1), data, **FLAGS, key=K, **options)


def layout():
    return fnn.sharding.data_parallel(jax.make_mesh((1,), ("data",)))


ENTRIES = {
    "fit": lambda x, y: fit((x, y)),
    "validation": lambda x, y: fit((X, Y), validation=(x, y)),
    "device_memory": lambda x, y: fit((x, y), device_memory=200),
    "stream": lambda x, y: fit(lambda epoch: iter([(x[:3], y[:3]), (x[3:6], y[3:6]), (x[6:], y[6:])])),
    "mesh": lambda x, y: fit((x, y), sharding=layout()),
    "place": lambda x, y: fnn.sharding.place(layout(), (x, y)),
    "evaluate": lambda x, y: fnn.evaluate(NET, CROSS, NET.init(K), (x, y)),
    "make_run": lambda x, y: fnn.make_run(NET, CROSS, fnn.sgd, (x, y), epochs=1, batch_size=3),
    "value_and_grad": lambda x, y: fnn.value_and_grad(NET, CROSS)(NET.init(K), x, y),
    "loss": lambda x, y: CROSS.forward(jnp.asarray(x)[:, :3], y),
    "accuracy": lambda x, y: fnn.accuracy(jnp.asarray(x)[:, :3], y),
    "one_hot": lambda x, y: one_hot(y, 3),
    "batches": lambda x, y: list(fnn.data.batches(K, (x, y), 3)),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("value", [2**32, -(2**63), 2**31])
def test_integers_are_not_narrowed_before_they_are_checked(entry, value):
    y = Y.astype("int64")
    y[5] = value
    with pytest.raises(ValueError, match=rf"{value}.*row") as caught:
        ENTRIES[entry](X, y)
    assert "row 2 of" in str(caught.value) or "row 5" in str(caught.value) or entry == "stream"


def test_unsigned_integers_and_regression_targets_do_not_wrap():
    with pytest.raises(ValueError, match=r"y must be integers that fit uint32, got 4294967296 in row 8"):
        fit((X, np.array([0, 1, 2, 0, 1, 2, 0, 1, 2**32], "uint64")))
    target = np.array([[0, 1, 2], [0, 0, 3_000_000_000]])
    with pytest.raises(ValueError, match=r"integers that fit int32, got 3000000000 in row 1"):
        fnn.value_and_grad(NET, squared_error)(NET.init(K), X[:2], target)
    with pytest.raises(ValueError, match=r"labels in 0..2, got 0..7, first in row 4: 7"):
        fit((X, np.where(np.arange(9) == 4, 7, Y)))


@pytest.mark.parametrize("kind", ["uint8", "int8", "bool"])
def test_accuracy_compares_in_a_dtype_that_holds_every_class(kind):
    prediction = jnp.zeros((1, 300)).at[0, 256].set(1)
    assert float(fnn.accuracy(prediction, jnp.zeros(1, kind))[0]) == 0
    label = jnp.ones(1, kind)
    assert float(fnn.accuracy(jnp.zeros((1, 300)).at[0, 2].set(1), label)[0]) == 0
    assert float(fnn.accuracy(jnp.zeros((1, 300)).at[0, 1].set(1), label)[0]) == 1
    assert np.isfinite(CROSS.forward(prediction, jnp.zeros(1, "uint8"))[0]).all()


WEIGHT = np.array([0, 1, 2, 1, 0, 1, 1, 3, 0], "float32")


def garbage(value):
    x, y = X.copy(), Y.copy()
    x[WEIGHT == 0], y[WEIGHT == 0] = value, -1
    return x, y


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("micro", [None, 4])
def test_rows_of_weight_0_count_for_nothing(value, micro):
    network = fnn.mlp([4, 5, 3])
    params, gradient = network.init(K), fnn.value_and_grad(network, CROSS, 0.1, micro)
    rows = WEIGHT != 0
    expected = fnn.value_and_grad(network, CROSS, 0.1)(params, X[rows], Y[rows], WEIGHT[rows])
    got = gradient(params, *garbage(value), WEIGHT)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    step = fnn.make_step(network, CROSS, fnn.sgd(0.1))
    state, cost = step(fnn.init_state(network, fnn.sgd(0.1), K), (*map(jnp.asarray, garbage(value)), WEIGHT))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, cost)))


@pytest.mark.parametrize("weight", [np.zeros(9, "float32"), WEIGHT])
def test_a_network_with_statistics_survives_rows_of_weight_0(weight):
    network = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3))
    x, y = X.copy(), Y.copy()
    x[weight == 0], y[weight == 0] = np.nan, -1
    cost, gradient = fnn.value_and_grad(network, CROSS)(network.init(K), x, y, weight, K)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((cost, gradient)))
    assert (float(cost) == 0) == (not weight.any())


def test_targets_and_metrics_of_weight_0_count_for_nothing():
    network, y = fnn.dense(4, 2), np.random.default_rng(1).normal(size=(9, 2)).astype("float32")
    rows, bad = WEIGHT != 0, y.copy()
    bad[~rows] = np.nan
    params = network.init(K)
    got = fnn.value_and_grad(network, squared_error)(params, X, bad, WEIGHT)[0]
    wanted = fnn.value_and_grad(network, squared_error)(params, X[rows], y[rows], WEIGHT[rows])[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    error = {"error": lambda p, y: jnp.sum((p - y) ** 2, axis=1)}
    with_bad = fnn.evaluate(network, squared_error, params, (garbage(np.nan)[0], bad, WEIGHT), metrics=error)
    without = fnn.evaluate(network, squared_error, params, (X[rows], y[rows], WEIGHT[rows]), metrics=error)
    assert with_bad == pytest.approx(without, rel=1e-6)


def test_fit_accepts_rows_of_weight_0_that_hold_nothing():
    network = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3))
    for options in ({}, {"device_memory": 300}):
        result = fit((*garbage(np.nan), WEIGHT), network=network, **options)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.state.params))
        assert np.isfinite(result.history["cost"]).all()
    with pytest.raises(ValueError, match=r"labels in 0..2.*first in row 1"):
        fit((X, np.where(np.arange(9) == 1, 5, Y), WEIGHT))


def test_weights_without_zeros_keep_every_bit():
    gradient = jax.jit(fnn.value_and_grad(NET, CROSS))
    plain, weighted = gradient(NET.init(K), X, Y), gradient(NET.init(K), X, Y, np.ones(9, "float32"))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(weighted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_batch_norm_refuses_a_batch_of_one_example():
    layer, image = fnn.batch_norm(4), jnp.ones((1, 2, 2, 4))
    with pytest.raises(ValueError, match=r"batch_norm: the batch must be of more than one.*\(1, 4\).*batch_size"):
        layer.forward(layer.init(K), X[:1], K)
    layer.forward(layer.init(K), X[:1])
    layer.forward(layer.init(K), image, K)
    network, seen = fnn.serial(layer, fnn.dense(4, 3)), []
    with pytest.raises(ValueError, match=r"batch_norm: the batch .* Choose another batch_size"):
        fit((X[:7], Y[:7]), network=network, callback=lambda *_: seen.append(1))
    assert not seen


MASKED = np.ma.array(X, mask=np.zeros_like(X, bool))
MASKED[2, 1] = np.ma.masked


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name not in ("loss", "accuracy", "one_hot")])
def test_masked_arrays_are_refused_everywhere(entry):
    with pytest.raises(TypeError, match="without a mask"):
        ENTRIES[entry](MASKED, Y)


def test_masked_arrays_are_refused_by_functions_of_data():
    for call in (
        lambda: split(K, (MASKED, Y), (0.5, 0.5)),
        lambda: split(K, (X, Y), (0.5, 0.5), stratify=np.ma.array(Y, mask=Y == 1)),
        lambda: standardize(MASKED),
        lambda: fit_standardization(MASKED.astype("float64")),
        lambda: fnn.predict(NET, NET.init(K), MASKED),
        lambda: fnn.accuracy(X[:, :3], np.ma.array(Y, mask=Y == 1)),
    ):
        with pytest.raises(TypeError, match="without a mask"):
            call()


@pytest.mark.parametrize(
    "entry", [name for name in ENTRIES if name not in ("validation", "batches", "loss", "accuracy")]
)
def test_other_byte_orders_are_converted_everywhere(entry):
    got = ENTRIES[entry](X.astype(">f4"), Y.astype(">i8"))
    wanted = ENTRIES[entry](X, Y)
    if entry in ("fit", "device_memory", "stream", "mesh"):
        got, wanted = got.state.params, wanted.state.params
    if entry not in ("make_run", "place"):
        jax.tree.map(np.testing.assert_array_equal, got, wanted)


SCALARS = [float, np.float32, np.float64, np.float16, np.array, jnp.float32, jnp.array]
REFUSED = {
    "dropout": (fnn.dropout, 1.5),
    "momentum": (lambda beta: fnn.momentum(0.1, beta), 1.5),
    "adam": (lambda beta: fnn.adam(0.1, beta2=beta), 1.0),
    "epsilon": (lambda epsilon: fnn.adam(0.1, epsilon=epsilon), -1.0),
    "negative rate": (fnn.sgd, -0.5),
    "no rate": (fnn.adam, float("nan")),
    "l2": (lambda l2: fnn.value_and_grad(NET, CROSS, l2), -1.0),
    "add_l2": (fnn.add_l2, float("inf")),
    "layer_norm": (lambda epsilon: fnn.layer_norm(3, epsilon), -1.0),
}


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: scalar.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_scalars_of_any_type_are_checked_as_python_floats(name, scalar):
    build, bad = REFUSED[name]
    with pytest.raises(ValueError, match="must be"):
        build(scalar(bad))
    build(scalar(0.25))


def test_traced_scalars_are_not_checked():
    jax.jit(lambda rate: fnn.sgd(rate).update(jnp.ones(2), fnn.sgd(rate).init(jnp.ones(2)))[0])(-1.0)
