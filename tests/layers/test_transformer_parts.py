"""rms_norm, swiglu and learned_positions: against PyTorch, in pieces, in narrow dtypes; wrong copies are caught."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params

RMS, GATED, POSITIONS = fnn.rms_norm(6), fnn.swiglu(6, 5), fnn.learned_positions(7, 6)
LAYERS = {"rms_norm": RMS, "swiglu": GATED, "learned_positions": POSITIONS}


def with_residuals(layer, change):
    return layer._replace(backward=lambda params, r, dy: layer.backward(params, change(*r), dy))


def without_the_mean(params, residuals, dy):
    """dx = dx̂ / s"""
    _, inverse, _ = residuals
    return RMS.backward(params, residuals, dy)[0], dy * params.gamma[None, None, :] * inverse


def sigmoid_for_the_slope_of_silu(params, residuals, dy):
    """dA = dh ∘ B ∘ σ(A)"""
    x, a, b = residuals
    s, dh = jax.nn.sigmoid(a), dy @ params.w_2.T
    dab = jnp.concatenate([dh * b * s, dh * a * s], axis=-1)
    dparams, _ = GATED.backward(params, residuals, dy)
    return dparams._replace(w_1=jnp.einsum("bti,bto->io", x, dab)), dab @ params.w_1.T


def one_position_late(params, residuals, dy):
    dparams, dx = POSITIONS.backward(params, residuals, dy)
    return dparams._replace(w=jnp.roll(dparams.w, 1, axis=0)), dx


WRONG = {
    "rms_norm: no mean in dx": (RMS._replace(backward=without_the_mean), {"[1]"}),
    "rms_norm: 1/s twice": (with_residuals(RMS, lambda xhat, inverse, like: (xhat, inverse**2, like)), {"[1]"}),
    "swiglu: σ for the slope of silu": (
        GATED._replace(backward=sigmoid_for_the_slope_of_silu),
        {"[0].w_1", "[1]"},
    ),
    "swiglu: A and B swapped": (with_residuals(GATED, lambda x, a, b: (x, b, a)), {"[0].w_1", "[0].w_2", "[1]"}),
    "learned_positions: one position late": (POSITIONS._replace(backward=one_position_late), {"[0].w"}),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_layers_are_caught(fault):
    layer, leaves = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, (3, 5, 6)), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == leaves, report.summary()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", LAYERS)
def test_mixed_precision_is_close(name, dtype):
    layer = LAYERS[name]
    params, x = spread_params(layer, 0), normal(1, (3, 5, 6))
    dy = cotangent(layer, params, x)
    narrow = fnn.mixed_precision(layer, dtype)
    got, expected = (jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (narrow, layer))
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= 6 * float(jnp.finfo(dtype).eps) * largest(expected)


@pytest.mark.parametrize("name", LAYERS)
def test_pieces_equal_the_whole(name, x64):
    """And their gradients add up to that of the whole, since nothing but a count passes from piece to piece."""
    layer = LAYERS[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, 6, 6), "float64")
    dy = cotangent(layer, params, x)
    y, first, memory = layer.stream.advance(params, layer.stream.start(params, 3), x[:, :4])
    z, second, _ = layer.stream.advance(params, memory, x[:, 4:])
    assert_close(jnp.concatenate([y, z], axis=1), layer.forward(params, x)[0], "float64")
    (dp, dx), (dq, dz) = (layer.backward(params, r, d) for r, d in ((first, dy[:, :4]), (second, dy[:, 4:])))
    got = jax.tree.map(jnp.add, dp, dq), jnp.concatenate([dx, dz], axis=1)
    assert_close(got, by_hand(layer, params, x, dy), "float64")


def test_positions_past_the_last_are_nan():
    params = spread_params(POSITIONS, 0)
    _, _, memory = POSITIONS.stream.advance(params, POSITIONS.stream.start(params, 1), jnp.zeros((1, 6, 6)))
    y, residuals, _ = POSITIONS.stream.advance(params, memory, jnp.zeros((1, 2, 6)))
    np.testing.assert_array_equal(y[0, 0], params.w[6])
    assert np.isnan(y[0, 1]).all()
    dw = POSITIONS.backward(params, residuals, jnp.ones((1, 2, 6)))[0].w
    np.testing.assert_array_equal(np.flatnonzero(np.abs(dw).sum(1)), [6])


@pytest.mark.slow
def test_rms_norm_and_swiglu_equal_pytorch(x64):
    torch = pytest.importorskip("torch")
    x, dy = normal(1, (3, 5, 6), "float64"), normal(2, (3, 5, 6), "float64")
    p, q = spread_params(RMS, 0, "float64"), spread_params(GATED, 0, "float64")
    gamma, w_1, w_2, x_t = (torch.tensor(np.array(a), requires_grad=True) for a in (*p, *q, x))
    normed = torch.nn.functional.rms_norm(x_t, (6,), gamma, eps=1e-5)
    a, b = (normed @ w_1).chunk(2, dim=-1)
    y = (torch.nn.functional.silu(a) * b) @ w_2
    y.backward(torch.tensor(dy))
    network = fnn.serial(RMS, GATED)
    assert_close(network.forward((p, q), x)[0], y.detach().numpy(), "float64")
    expected = (fnn.RMSNorm(gamma.grad.numpy()), fnn.SwiGLU(w_1.grad.numpy(), w_2.grad.numpy())), x_t.grad.numpy()
    assert_close(by_hand(network, (p, q), x, dy), expected, "float64")
