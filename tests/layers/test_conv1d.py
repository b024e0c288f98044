"""conv1d against jax.lax and PyTorch, in pieces, and wrong copies that are caught."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except

CASES = [  # kernel, stride, padding, dilation, causal
    (3, 1, "VALID", 1, False),
    (3, 2, "SAME", 1, False),
    (4, 1, "SAME", 1, False),
    (2, 1, "SAME", 3, False),
    (3, 2, "VALID", 2, False),
    (2, 3, "SAME", 3, False),
    (3, 1, "VALID", 2, True),
    (3, 2, "VALID", 1, True),
    (1, 2, "VALID", 1, True),
]
CAUSAL, DILATED = fnn.conv1d(2, 3, 3, causal=True), fnn.conv1d(2, 3, 2, dilation=3, causal=True)


def lax_convolution(params, x, kernel, stride, padding, dilation, causal):
    padding = [((kernel - 1) * dilation, 0)] if causal else padding
    form = {"rhs_dilation": (dilation,), "dimension_numbers": ("NWC", "WIO", "NWC")}
    return jax.lax.conv_general_dilated(x, params.w, (stride,), padding, **form) + params.b.reshape(1, 1, -1)


@pytest.mark.parametrize("case", slow_except([(case,) for case in CASES], (CASES[6],)))
def test_equals_the_library_convolution(case, x64):
    layer = fnn.conv1d(2, 3, case[0], *case[1:])
    for time, dtype in ((9, "float64"), (8, "float32"), (1 if case[2] == "SAME" or case[4] else 5, "float64")):
        params, x = spread_params(layer, 0, dtype), normal(1, (2, time, 2), dtype)
        dy = cotangent(layer, params, x)

        @jax.jit
        def run(params, x, dy):
            y, vjp = jax.vjp(lambda p, x: lax_convolution(p, x, *case), params, x)
            return (layer.forward(params, x)[0], by_hand(layer, params, x, dy)), (y, vjp(dy))

        got, expected = run(params, x, dy)
        assert_close(got, expected, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case, x64):
    torch = pytest.importorskip("torch")
    kernel, stride, padding, dilation, causal = case
    layer = fnn.conv1d(2, 3, kernel, *case[1:])
    params, x = spread_params(layer, 0, "float64"), normal(1, (2, 10, 2), "float64")
    dy, reach = cotangent(layer, params, x), (kernel - 1) * dilation
    total = max((-(-10 // stride) - 1) * stride + reach + 1 - 10, 0) if padding == "SAME" else 0
    around = (reach, 0) if causal else (total // 2, total - total // 2)
    w, b, x_t = (torch.tensor(np.array(a), requires_grad=True) for a in (*params, x))
    padded = torch.nn.functional.pad(x_t.transpose(1, 2), around)
    y = torch.nn.functional.conv1d(padded, w.permute(2, 1, 0), b, stride=stride, dilation=dilation).transpose(1, 2)
    y.backward(torch.tensor(dy))
    assert_close(layer.forward(params, x)[0], y.detach().numpy(), "float64")
    expected = fnn.Conv1d(w.grad.numpy(), b.grad.numpy()), x_t.grad.numpy()
    assert_close(by_hand(layer, params, x, dy), expected, "float64")


@pytest.mark.slow
def test_an_output_depends_on_no_later_position():
    params, x = spread_params(DILATED, 0), normal(1, (1, 9, 2))
    y, moved = (DILATED.forward(params, a)[0] for a in (x, np.concatenate([x[:, :5], x[:, 5:] + 1], axis=1)))
    np.testing.assert_array_equal(y[:, :5], moved[:, :5])
    assert (np.abs(y[:, 5:] - moved[:, 5:]) > 1e-3).any(-1).all()
    sees = fnn.conv1d(2, 3, 3, padding="SAME").forward(spread_params(CAUSAL, 0), x)[0]
    assert not np.allclose(sees, CAUSAL.forward(spread_params(CAUSAL, 0), x)[0]), "SAME sees the next position"


@pytest.mark.parametrize("name", slow_except(["causal", "dilated"], "dilated"))
def test_pieces_equal_the_whole(name, x64):
    """Also pieces that are shorter than the memory; the gradient stops at the memory."""
    layer = {"causal": CAUSAL, "dilated": DILATED}[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, 8, 2), "float64")
    dy = cotangent(layer, params, x)

    @jax.jit
    def run(params, x, dy):
        memory, y, dparams, dx = layer.stream.start(params, 3), [], [], []
        for part, d in zip(jnp.split(x, [1, 3], axis=1), jnp.split(dy, [1, 3], axis=1), strict=True):
            piece, residuals, memory = layer.stream.advance(params, memory, part)
            dp, d = layer.backward(params, residuals, d)
            y, dparams, dx = [*y, piece], [*dparams, dp], [*dx, d]
        return jnp.concatenate(y, axis=1), jax.tree.map(lambda *d: sum(d), *dparams), jnp.concatenate(dx, axis=1)

    def truncated(params, x):
        memory, y = layer.stream.start(params, 3), []
        for part in jnp.split(x, [1, 3], axis=1):
            piece, _, memory = layer.stream.advance(params, jax.lax.stop_gradient(memory), part)
            y.append(piece)
        return jnp.concatenate(y, axis=1)

    y, dparams, dx = run(params, x, dy)
    assert_close(y, layer.forward(params, x)[0], "float64")
    assert_close((dparams, dx), jax.jit(lambda p, x, dy: jax.vjp(truncated, p, x)[1](dy))(params, x, dy), "float64")


def test_explicit_axes_of_a_mesh():
    """The memory takes the sharding of the rows."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    params, x = spread_params(DILATED, 0), normal(1, (4, 6, 2))

    def read(params, x):
        memory, pieces = DILATED.stream.start(params, 4), []
        for piece in (x[:, :2], x[:, 2:]):
            y, _, memory = DILATED.stream.advance(params, memory, piece)
            pieces.append(y)
        return jnp.concatenate(pieces, axis=1), memory

    with jax.set_mesh(mesh):
        rows = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
        y, memory = jax.jit(read)(params, rows)
    assert y.sharding.spec[0] == memory.sharding.spec[0] == "data"
    assert_close(y, DILATED.forward(params, x)[0], "float32")


def with_x(change):
    return CAUSAL._replace(backward=lambda p, r, dz: CAUSAL.backward(p, r._replace(x=change(r.x)), dz))


def db_of_the_last_position(params, residuals, dz):
    dparams, dx = CAUSAL.backward(params, residuals, dz)
    return dparams._replace(b=dz[:, -1].sum(0)), dx


WRONG = {
    "one position late": (with_x(lambda x: jnp.roll(x, 1, axis=1)), {"[0].w"}),
    "the kernel is flipped in dX": (
        CAUSAL._replace(
            backward=lambda p, r, dz: (CAUSAL.backward(p, r, dz)[0], CAUSAL.backward(p._replace(w=p.w[::-1]), r, dz)[1])
        ),
        {"[1]"},
    ),
    "the gradient of the next position": (
        CAUSAL._replace(backward=lambda p, r, dz: CAUSAL.backward(p, r, jnp.roll(dz, -1, axis=1))),
        {"[0].w", "[1]"},
    ),
    "db of the last position only": (CAUSAL._replace(backward=db_of_the_last_position), {"[0].b"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", WRONG)
def test_wrong_layers_are_caught(fault):
    layer, leaves = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, (3, 5, 2)), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == leaves, report.summary()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [*itertools.product(["causal", "dilated"], ["bfloat16", "float16"])])
def test_mixed_precision_is_close(name, dtype):
    layer = {"causal": CAUSAL, "dilated": DILATED}[name]
    params, x = spread_params(layer, 0), normal(1, (3, 6, 2))
    dy = cotangent(layer, params, x)
    got, expected = (
        jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (fnn.mixed_precision(layer, dtype), layer)
    )
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= 6 * float(jnp.finfo(dtype).eps) * largest(expected)


def test_refused():
    params, x = spread_params(CAUSAL, 0), np.zeros((2, 4, 2), "float32")
    for call, error, message in (
        (lambda: fnn.conv1d(2, 3, 0), ValueError, "conv1d: kernel_size must be a positive integer, got int 0"),
        (lambda: fnn.conv1d(2, 3, 2, dilation=1.5), TypeError, "conv1d: dilation must be a positive integer"),
        (lambda: fnn.conv1d(2, 3, 2, padding="FULL"), ValueError, 'conv1d: padding must be "VALID" or "SAME", got'),
        (lambda: fnn.conv1d(2, 3, 2, padding="SAME", causal=True), ValueError, "padding must be left out if `causal`"),
        (lambda: fnn.conv1d(2, 3, 2, causal=1), TypeError, "conv1d: causal must be True or False, got int 1"),
        (lambda: CAUSAL.forward(params, x[0]), ValueError, r"x must be of shape \(batch, time, 2\)"),
        (lambda: CAUSAL.forward(params, x[:, :0]), ValueError, "x must be of at least 1 positions"),
        (lambda: fnn.conv1d(2, 3, 3, dilation=2).forward(params, x), ValueError, "x must be of at least 5 positions"),
        (lambda: CAUSAL.stream.advance(params, x[:, :1], x), ValueError, r"memory must be of shape \(2, 2, 2\)"),
        (
            lambda: CAUSAL.forward(fnn.Dense(params.w, params.b), x),
            TypeError,
            r"params must be Conv1d\(w, b\), got Dense",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
    assert fnn.conv1d(2, 3, 3).stream is None
    assert fnn.conv1d(2, 3, 3, stride=2, causal=True).stream is None
