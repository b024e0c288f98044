"""Embeddings: the gradient of the rows, ids that are out of range, and integer inputs from fit to summary."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params

KEY = jax.random.key(0)
IDS = np.array([[0, 3, 3], [6, 0, 3]])
LAYER = fnn.embedding(7, 4)
NETWORK = fnn.serial(LAYER, fnn.gru(4, 4), fnn.dense(4, 7))
FIT = {"epochs": 1, "batch_size": 2, "key": KEY, "progress": False}


@pytest.mark.accelerator
@pytest.mark.parametrize("ids", [IDS, IDS[:1, :1], IDS[:, 0], IDS.astype("uint8")], ids=["2", "1", "flat", "uint8"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backward_is_the_derivative_of_forward(ids, dtype, x64):
    params = spread_params(LAYER, 0, dtype)
    dy = cotangent(LAYER, params, ids)
    dparams, dx = jax.jit(functools.partial(by_hand, LAYER))(params, ids, dy)
    (expected,) = jax.vjp(lambda p: LAYER.forward(p, ids)[0], params)[1](dy)
    assert_close(dparams, expected, dtype)
    assert dx.dtype == jax.dtypes.float0
    assert dx.shape == ids.shape
    np.testing.assert_array_equal(LAYER.forward(params, ids)[0], params.w[ids])


def wrong(change):
    return LAYER._replace(backward=lambda params, ids, dy: change(params, ids, LAYER.backward(params, ids, dy)[0], dy))


def drops_the_last_id(params, ids, dparams, dy):
    return LAYER.backward(params, jnp.where(ids == 6, 7, ids), dy)


def keeps_one_of_equal_ids(params, ids, dparams, dy):
    return fnn.Embedding(jnp.zeros_like(params.w).at[ids].set(dy)), LAYER.backward(params, ids, dy)[1]


@pytest.mark.parametrize(
    "change", [drops_the_last_id, keeps_one_of_equal_ids, None], ids=lambda f: getattr(f, "__name__", "right")
)
def test_wrong_scatters_are_caught(change):
    layer = LAYER if change is None else wrong(change)
    report = check_layer(layer, spread_params(LAYER, 0), IDS, key=3)
    failed = [leaf.path for leaf in report.leaves if leaf.status == "FAIL"]
    assert failed == ([] if change is None else ["[0].w"]), report.summary()
    if change is drops_the_last_id:
        assert (report.leaves[0].worst_index or ())[:1] == (6,)


@pytest.mark.parametrize("bad", [7, -1])
def test_an_id_out_of_range_is_never_another_row(bad):
    """Inside jit it is NaN, and it changes no row of the gradient."""
    params, ids = spread_params(LAYER, 0), np.array([[1, bad]])
    y, _ = jax.jit(LAYER.forward)(params, ids)
    np.testing.assert_array_equal(y[0, 0], params.w[1])
    assert np.isnan(y[0, 1]).all()
    dw = LAYER.backward(params, jnp.asarray(ids), jnp.ones_like(y))[0].w
    np.testing.assert_array_equal(np.flatnonzero(np.abs(dw).sum(1)), [1])


def with_id(bad):
    x = np.zeros((4, 3), "int32")
    x[2, 1] = bad
    return x, np.zeros((4, 3), "int32")


CALLS = {
    "fit": lambda x, y: fnn.fit(NETWORK, fnn.softmax_cross_entropy, fnn.sgd(0.1), (x, y), **FIT),
    "fit, a stream": lambda x, y: fnn.fit(
        NETWORK, fnn.softmax_cross_entropy, fnn.sgd(0.1), lambda epoch: iter([(x[:2], y[:2]), (x[2:], y[2:])]), **FIT
    ),
    "fit, in chunks": lambda x, y: fnn.fit(
        NETWORK, fnn.softmax_cross_entropy, fnn.sgd(0.1), (x, y), **FIT, device_memory=120
    ),
    "evaluate": lambda x, y: fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, NETWORK.init(KEY), (x, y)),
    "predict": lambda x, y: fnn.predict(NETWORK, NETWORK.init(KEY), x),
    "make_run": lambda x, y: fnn.make_run(NETWORK, fnn.softmax_cross_entropy, fnn.sgd, (x, y), epochs=1, batch_size=2)(
        0.1, KEY
    ),
    "value_and_grad": lambda x, y: fnn.value_and_grad(NETWORK, fnn.softmax_cross_entropy)(NETWORK.init(KEY), x, y),
    "embedding": lambda x, y: LAYER.forward(LAYER.init(KEY), x),
    "mixed_precision": lambda x, y: fnn.mixed_precision(LAYER, "bfloat16").forward(LAYER.init(KEY), x),
}


@pytest.mark.parametrize("call", CALLS)
def test_ids_are_checked_on_the_host(call):
    for bad in (7, -1):
        with pytest.raises(
            ValueError, match=rf"{call.split(',')[0]}: .*x must be ids in 0..6, got {bad}, first in row"
        ):
            CALLS[call](*with_id(bad))
    with pytest.raises(TypeError, match="integer ids"):
        CALLS[call](np.zeros((4, 3), "float32"), np.zeros((4, 3), "int32"))


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_valid_ids_pass(call):
    CALLS[call](*with_id(6))


def test_ids_in_other_processes_are_not_read():
    x, y = map(jnp.asarray, with_id(7))
    with mock.patch.object(type(x), "is_fully_addressable", False):
        CALLS["embedding"](x, y)


def test_rows_without_weight_may_hold_any_id():
    x, y = with_id(-1)
    step = fnn.value_and_grad(NETWORK, fnn.softmax_cross_entropy)
    params = spread_params(NETWORK, 0)
    cost, dparams = step(params, x, y, np.array([1, 1, 0, 1], "float32"))
    expected, _ = step(params, x[[0, 1, 3]], y[[0, 1, 3]])
    np.testing.assert_allclose(cost, expected, rtol=1e-6)
    assert np.isfinite(largest(dparams))


def test_a_model_of_characters_learns():
    """After id k comes id k + 1, for a network in bfloat16 with float32 parameters."""
    x = (np.arange(32)[:, None] + np.arange(6)) % 7
    network = fnn.mixed_precision(NETWORK, jnp.bfloat16)
    result = fnn.fit(
        network, fnn.softmax_cross_entropy, fnn.adam(0.03), (x, (x + 1) % 7), **FIT | {"epochs": 20, "batch_size": 8}
    )
    assert result.history["accuracy"][-1] > 0.95
    assert {leaf.dtype for leaf in jax.tree.leaves(result.state.params)} == {np.dtype("float32")}


def test_summary_of_ids():
    rows = fnn.summary(NETWORK, (2, 5)).rows
    assert [row.output_shape for row in rows] == [(2, 5, 4), (2, 5, 4), (2, 5, 7)]
    assert rows[0].num_params == 28


@pytest.mark.slow
def test_equals_pytorch(x64):
    torch = pytest.importorskip("torch")
    params, dy = spread_params(LAYER, 0, "float64"), normal(1, (2, 3, 4), "float64")
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(params.w), freeze=False)
    y = theirs(torch.tensor(IDS))
    y.backward(torch.tensor(dy))
    assert_close(LAYER.forward(params, IDS)[0], y.detach().numpy(), "float64")
    assert_close(by_hand(LAYER, params, jnp.asarray(IDS), dy)[0].w, theirs.weight.grad.numpy(), "float64")
