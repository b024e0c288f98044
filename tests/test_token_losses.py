"""Losses on tokens: ignored labels, the mean over all tokens, label smoothing; wrong copies are caught."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from fnn.gradcheck import check_loss
from tests.support.devices import two_devices
from tests.support.oracles import assert_close, loss_by_autodiff, loss_by_hand, normal, spread_params
from tests.support.slow import slow_except

IGNORE, K = -100, 5
LABELS = np.random.default_rng(3).integers(0, K, (4, 6)).astype("int32")
LABELS[1, 2:], LABELS[2] = IGNORE, IGNORE  # six tokens, two, none, six
PLAIN, SMOOTHED = fnn.token_cross_entropy(), fnn.token_cross_entropy(label_smoothing=0.1)
LOSSES = {"plain": PLAIN, "smoothed": SMOOTHED, "ignores a class": fnn.token_cross_entropy(ignore=0)}


def one_by_one(z, y, epsilon=0.0, ignore=IGNORE):
    """The textbook's loss in NumPy, token by token."""
    out = np.zeros(len(z))
    for i in range(len(z)):
        terms = []
        for logits, label in zip(z[i], y[i], strict=True):
            if label != ignore:
                target = (1 - epsilon) * np.eye(K)[label] + epsilon / K
                terms.append(-(target * (logits - np.log(np.exp(logits).sum()))).sum())
        out[i] = np.mean(terms) if terms else 0
    return out


@pytest.mark.accelerator
@pytest.mark.parametrize("name", slow_except(LOSSES, "smoothed"))
def test_values_and_gradient(name, x64):
    loss, z, dvalue = LOSSES[name], normal(1, (4, 6, K), "float64"), normal(2, 4, "float64")
    epsilon, ignore = 0.1 * (name == "smoothed"), 0 if "class" in name else IGNORE
    y = np.abs(LABELS) % K if "class" in name else LABELS
    hand, auto = jax.jit(loss_by_hand, static_argnums=0), jax.jit(loss_by_autodiff, static_argnums=0)
    assert_close(loss.forward(z, y)[0], one_by_one(z, y, epsilon, ignore), "float64")
    assert_close(hand(loss, z, y, dvalue), auto(loss, z, y, dvalue), "float64")
    np.testing.assert_array_equal(loss.backward(loss.forward(z, y)[1], dvalue)[y == ignore], 0)
    np.testing.assert_array_equal(
        loss.metrics[0][1](z, y)[0], (z.argmax(-1) == y)[0][y[0] != ignore].mean().astype("float32")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 1), "float32"), ((5,), "float64"), ((2, 3, 4), "float32"), ((3, 0), "float64")], ids=str
)
def test_any_shape(shape, dtype, x64):
    hand, auto = jax.jit(loss_by_hand, static_argnums=0), jax.jit(loss_by_autodiff, static_argnums=0)
    z, dvalue = normal(1, (*shape, K), dtype), normal(2, shape[0], dtype)
    y = np.random.default_rng(0).integers(0, K, shape)
    expected = auto(SMOOTHED, z, y, dvalue)
    assert_close(hand(SMOOTHED, z, y, dvalue), expected, dtype)
    got = jax.jit(jax.vmap(lambda z: loss_by_hand(SMOOTHED, z, y, dvalue)))(jnp.stack([-z, z]))
    assert_close(got[1], expected, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_values_and_gradients_equal_pytorch_and_optax(epsilon, x64):
    torch = pytest.importorskip("torch")
    z, y = normal(1, (4, 6, K), "float64"), LABELS
    logits = torch.tensor(z, requires_grad=True)
    cost = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(y.reshape(-1)).long(), label_smoothing=epsilon
    )
    cost.backward()
    loss, weight = fnn.token_cross_entropy(label_smoothing=epsilon), fnn.data.token_weights(y)
    values, residuals = loss.forward(z, y)
    share = np.asarray(weight, "float64") / weight.sum().item()
    assert_close(values @ share, np.float64(cost.item()), "float64")
    assert_close(loss.backward(residuals, share), logits.grad.numpy(), "float64")
    rows, targets = z.reshape(-1, K), np.eye(K)[np.maximum(y, 0).reshape(-1)]
    expected = optax.losses.softmax_cross_entropy(rows, optax.losses.smooth_labels(targets, epsilon))
    got = fnn.smoothed_cross_entropy(epsilon)
    for target in (np.maximum(y, 0).reshape(-1), targets):
        assert_close(got.forward(rows, target)[0], np.asarray(expected), "float64")
        dvalue = normal(2, len(rows), "float64")
        assert_close(loss_by_hand(got, rows, target, dvalue), loss_by_autodiff(got, rows, target, dvalue), "float64")


@pytest.mark.accelerator
@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_two_devices_change_nothing(axis_type, x64):
    z, dvalue = normal(1, (4, 6, K), "float64"), normal(2, 4, "float64")
    expected = loss_by_hand(SMOOTHED, z, LABELS, dvalue)
    mesh = Mesh(np.array(two_devices()), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        args = jax.device_put((z, LABELS, dvalue), NamedSharding(mesh, PartitionSpec("data")))
        got = jax.jit(loss_by_hand, static_argnums=0)(SMOOTHED, *args)
        share = jax.jit(SMOOTHED.metrics[0][1])(*args[:2])
        count = jax.jit(fnn.data.token_weights)(args[1])
    assert len(got.devices()) == len(count.devices()) == 2
    assert_close(got, expected, "float64")
    np.testing.assert_array_equal(share, SMOOTHED.metrics[0][1](z, LABELS))


def network_and_data(dtype="float32"):
    """An embedding and a dense layer, on sequences of 4 to 1 tokens that are padded with ignored labels."""
    network = fnn.serial(fnn.embedding(K, 3), fnn.dense(3, K))
    x, y = LABELS % K, np.array(LABELS)
    for row, length in enumerate((6, 2, 0, 3)):
        y[row, length:] = IGNORE
    return network, spread_params(network, 0, dtype), x, y


def token_mean(network, x, y):
    """params -> the mean over the tokens of all sequences, each alone and without its padding."""

    def cost(params):
        total = 0.0
        for ids, labels in zip(x, y, strict=True):
            n = int((labels != IGNORE).sum())
            if n:
                z = network.forward(params, ids[None, :n])[0]
                total = total + n * PLAIN.forward(z, labels[None, :n])[0][0]
        return total / int((y != IGNORE).sum())

    return cost


@pytest.mark.parametrize("micro_batch_size", slow_except([None, 3], 3))
def test_token_weights_give_the_mean_over_tokens(micro_batch_size, x64):
    """Padded sequences together equal each sequence alone: cost, gradient, evaluation."""
    network, params, x, y = network_and_data("float64")
    expected, gradient = jax.jit(jax.value_and_grad(token_mean(network, x, y)))(params)
    weight = fnn.data.token_weights(y)
    by_hand = jax.jit(fnn.value_and_grad(network, PLAIN, micro_batch_size=micro_batch_size))
    cost, dparams = by_hand(params, x, y, weight)
    assert_close(cost, expected, "float64")
    assert_close(dparams, gradient, "float64")
    found = fnn.evaluate(network, PLAIN, params, (x, y, weight), batch_size=3)
    np.testing.assert_allclose(found["cost"], expected, rtol=1e-12)
    right = (np.asarray(network.forward(params, x)[0]).argmax(-1) == y)[y != IGNORE]
    np.testing.assert_allclose(found["accuracy"], right.mean(), rtol=1e-6)
    plain = PLAIN.forward(network.forward(params, x)[0], y)[0].mean()
    assert abs(plain - expected) > 1e-3, "the mean of the sequences' means is another number"


@pytest.mark.slow
def test_fit_trains_on_the_token_mean():
    network, params, x, y = network_and_data()
    data = x, y, np.asarray(fnn.data.token_weights(y))
    state = fnn.TrainState(params, fnn.sgd(0.5).init(params), jnp.zeros((), jnp.int32), jax.random.key(0))
    options = {"epochs": 1, "batch_size": 4, "progress": False, "validation": data}
    result = fnn.fit(network, PLAIN, fnn.sgd(0.5), data, state=state, **options)
    gradient = jax.jit(jax.grad(token_mean(network, x, y)))(params)
    assert_close(result.state.params, jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), "float32")
    assert 0 <= result.history["validation_accuracy"][0] <= 1
    y[3, 1] = K
    with pytest.raises(ValueError, match=r"token_cross_entropy: target must be labels in 0..4 or -100.*row 3"):
        fnn.evaluate(network, PLAIN, params, (x, y))


def forgets_to_ignore(residuals, dvalue):
    """dz_t = dL / n (p_t - 1) also where the label is ignored"""
    e, total, y, n, like = residuals
    return PLAIN.backward((e, total, jnp.where(y == IGNORE, 0, y), n, like), dvalue)


def sums_the_tokens(residuals, dvalue):
    return PLAIN.backward((*residuals[:3], jnp.ones_like(residuals[3]), residuals[4]), dvalue)


WRONG = {
    "the ignored label is forgotten": PLAIN._replace(backward=forgets_to_ignore),
    "a sum over the tokens for their mean": PLAIN._replace(backward=sums_the_tokens),
    "smoothing is forgotten": SMOOTHED._replace(backward=PLAIN.backward),
    "smoothing is forgotten, classes": fnn.smoothed_cross_entropy(0.1)._replace(
        backward=lambda r, d: fnn.softmax_cross_entropy.backward((r[0], r[1], (r[2] > 0.5).astype(r[2].dtype), r[3]), d)
    ),
}


@pytest.mark.parametrize("fault", slow_except(WRONG, "the ignored label is forgotten"))
def test_wrong_backward_passes_are_caught(fault):
    y = np.maximum(LABELS, 0) if "classes" in fault else LABELS
    report = check_loss(WRONG[fault], normal(1, (4, 6, K)), y, key=3, checks=("reference",))
    assert [leaf.status for leaf in report.leaves] == ["FAIL"], report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_checker_passes_the_losses(name):
    y = np.abs(LABELS) % K if "class" in name else LABELS
    assert check_loss(LOSSES[name], normal(1, (4, 6, K)), y, key=3).ok


def test_labels_are_checked_on_the_host():
    assert PLAIN.validate is not None
    y = np.array(LABELS)
    y[3, 1] = K
    with pytest.raises(ValueError, match=r"token_cross_entropy: target must be labels in 0..4 or -100, got 0..5"):
        PLAIN.validate((4, 6, K), y)
    PLAIN.validate((4, 6, K), LABELS)
    values = PLAIN.forward(normal(1, (4, 6, K)), y)[0]
    assert np.isnan(values[3])
    assert np.isfinite(values[:3]).all()
    assert PLAIN.forward(np.zeros((1, 1, K), "float32"), np.full((1, 1), 156, "uint8"))[0].dtype == jnp.float32


@pytest.mark.slow
def test_narrow_predictions_and_logits_of_ten_thousand():
    z = jnp.array([[[1e4, -1e4], [-1e4, 1e4], [jnp.nan, 0]]], jnp.bfloat16)
    y = jnp.array([[0, 0, IGNORE]])
    values, residuals = PLAIN.forward(z, y)
    np.testing.assert_allclose(values, [1e4], rtol=1e-2)
    dz = PLAIN.backward(residuals, jnp.ones(1))
    assert dz.dtype == jnp.bfloat16
    np.testing.assert_array_equal(dz[0].astype("float32"), [[0, 0], [-0.5, 0.5], [0, 0]])


def test_equal_arguments_give_the_same_loss():
    """So that `evaluate` in a loop compiles one program."""
    assert fnn.token_cross_entropy() is fnn.token_cross_entropy(-100, 0.0)
    assert fnn.token_cross_entropy(label_smoothing=0.1) is not PLAIN
