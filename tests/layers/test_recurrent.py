"""Recurrent layers: against PyTorch and in narrow dtypes; and wrong copies of them are caught."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except
from tests.support.wrong_recurrent import WRONG

CELLS = {
    "rnn": fnn.rnn(6, 4),
    "gru": fnn.gru(6, 4),
    "gru_reset_before": fnn.gru(6, 4, reset_after=False),
    "lstm": fnn.lstm(6, 4),
}


def set_torch(theirs, suffix, params, gates):
    """Copy parameters of `gates` gates into a layer of PyTorch, whose second bias is 0 but for the gate n of a GRU."""
    b_hh = np.zeros_like(params.b)
    if gates == 3:
        b_hh[8:] = params.c
    parts = {"weight_ih": params.w.T, "weight_hh": params.u.T, "bias_ih": params.b, "bias_hh": b_hh}
    for part, value in parts.items():
        getattr(theirs, f"{part}_{suffix}").data = sys.modules["torch"].tensor(np.array(value))


def torch_gradients(theirs, suffix, params, gates):
    """Return PyTorch's gradients in the form of our parameters."""
    grad = lambda part: getattr(theirs, f"{part}_{suffix}").grad.numpy()
    c = [grad("bias_hh")[8:]] * (gates == 3)
    return type(params)(grad("weight_ih").T, grad("weight_hh").T, grad("bias_ih"), *c)


@pytest.mark.parametrize("form", ["one layer", "two layers", "both directions"])
@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_equals_pytorch(name, gates, form, x64):
    torch = pytest.importorskip("torch")
    two, both = form == "two layers", form == "both directions"
    cell = CELLS[name]
    network = fnn.bidirectional(cell, cell) if both else fnn.serial(cell, *[getattr(fnn, name)(4, 4)] * two)
    params, x = spread_params(network, 0, "float64"), normal(1, (3, 5, 6), "float64")
    dy = cotangent(network, params, x)
    options = {"num_layers": 1 + two, "bidirectional": both, "batch_first": True, "dtype": torch.float64}
    theirs = getattr(torch.nn, name.upper())(6, 4, **options)
    suffixes = ("l0", "l0_reverse") if both else ("l0", "l1")
    for suffix, p in zip(suffixes, params, strict=False):
        set_torch(theirs, suffix, p, gates)
    x_t = torch.tensor(x, requires_grad=True)
    y_t = theirs(x_t)[0]
    y_t.backward(torch.tensor(dy))
    assert_close(network.forward(params, x)[0], y_t.detach().numpy(), "float64")
    expected = [torch_gradients(theirs, suffix, p, gates) for suffix, p in zip(suffixes, params, strict=False)]
    expected = type(params)(*expected) if both else tuple(expected)
    assert_close(by_hand(network, params, x, dy), (expected, x_t.grad.numpy()), "float64")


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_except([(n, d) for n in ("rnn", "gru", "lstm") for d in ("bfloat16", "float16")], ("lstm", "float16")),
)
def test_mixed_precision_is_close(name, dtype):
    layer = CELLS[name]
    narrow = fnn.mixed_precision(layer, dtype)
    params, x = spread_params(layer, 0), normal(1, (3, 9, 6))
    dy = cotangent(layer, params, x)
    got, expected = (jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (narrow, layer))
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype("float32")}
    difference = largest(jax.tree.map(jnp.subtract, got, expected))
    assert difference <= 6 * float(jnp.finfo(dtype).eps) * largest(expected)


def test_the_cell_of_an_lstm_is_in_float32():
    params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), spread_params(CELLS["lstm"], 0))
    memory = jax.eval_shape(lambda p: CELLS["lstm"].stream.start(p, 2), params)
    after = jax.eval_shape(CELLS["lstm"].stream.advance, params, memory, jnp.zeros((2, 3, 6), "bfloat16"))
    assert after[0].dtype == memory.h.dtype == jnp.bfloat16
    assert after[2].c.dtype == memory.c.dtype == jnp.float32


def test_initial_parameters(key):
    params = fnn.lstm(6, 4, forget_bias=2.0).init(key)
    np.testing.assert_array_equal(params.b, [0] * 4 + [2] * 4 + [0] * 8)
    for u in (*np.split(params.u, 4, axis=1), *np.split(fnn.gru(6, 4).init(key).u, 3, axis=1)):
        np.testing.assert_allclose(u @ u.T, np.eye(4), atol=1e-6)
    assert fnn.gru(6, 4, reset_after=False).init(key).c is None


def test_the_inner_bias_of_a_gru_must_fit_reset_after():
    x, after, before = normal(1, (3, 5, 6)), CELLS["gru"], CELLS["gru_reset_before"]
    params, zeros = spread_params(after, 0), jnp.zeros(4)
    for layer, c, message in (
        (after, None, r"gru: params.c must be of shape \(4,\), got None"),
        (after, zeros[:3], r"gru: params.c must be of shape \(4,\), got float32 of shape \(3,\)"),
        (before, zeros, r"gru: params.c must be None if reset_after is False, got float32 of shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.forward(params._replace(c=c), x)


def test_explicit_axes_of_a_mesh(key):
    """The memory that a scan carries must have the sharding of the rows."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    layer, x = CELLS["lstm"], normal(1, (4, 3, 6))
    params = spread_params(layer, 0)
    expected = layer.forward(params, x)[0]
    with jax.set_mesh(mesh):
        rows = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
        y = jax.jit(lambda params, x: layer.forward(params, x)[0])(params, rows)
    assert y.sharding.spec[0] == "data"
    assert_close(y, expected, "float32")


@pytest.mark.parametrize("fault", slow_except(WRONG, "lstm: h_t for h_{t-1} in dU"))
def test_wrong_recurrent_layers_are_caught(fault):
    """The checker must name every leaf that the fault changes, and no other one."""
    layer, leaves = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, (3, 5, 6)), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == leaves, report.summary()
