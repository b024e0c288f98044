"""Attention: against PyTorch, long and short, in narrow dtypes; and wrong copies of it are caught."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from fnn.layers.attention import blockwise, stored
from tests.support.oracles import assert_close, by_autodiff, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except
from tests.support.wrong_attention import WRONG


@pytest.fixture(params=slow_except([3, 8], 8))
def blocks_of(request, monkeypatch):
    """Short blocks, so that few positions make many of them."""
    monkeypatch.setattr(blockwise, "BLOCK", request.param)
    return request.param


def inputs(time, keys=None, dtype="float64", groups=2, queries=2, d=4):
    keys = time if keys is None else keys
    shapes = (2, groups, queries, time, d), (2, groups, keys, d), (2, groups, keys, d), (2, groups, queries, time, d)
    return [jnp.asarray(normal(seed, shape, dtype)) for seed, shape in enumerate(shapes)]


def both(q, k, v, do, causal):
    """Return O, dQ, dK, dV of the form that keeps P, and of that which computes it again."""
    visible = stored.up_to(jnp.arange(q.shape[3]), k.shape[2]) if causal else None
    o, p = stored.attend(q, k, v, visible)
    short = (o, *stored.attend_backward(q, k, v, o, p, do))
    o, lse = blockwise.attend(q, k, v, causal)
    return short, (o, *blockwise.attend_backward(q, k, v, o, lse, do, causal))


@pytest.mark.accelerator
@pytest.mark.parametrize(
    ("time", "causal"), slow_except([(t, c) for t in (1, 8, 13, 24, 29) for c in (True, False)], (13, True), (8, False))
)
def test_segments_equal_the_whole(time, causal, blocks_of, x64):
    short, long = jax.jit(functools.partial(both, causal=causal))(*inputs(time))
    assert_close(long, short, "float64")


@pytest.mark.parametrize("form", ["keeps P", "computes P again"])
def test_a_row_without_a_visible_key_is_zero(form, x64):
    """It has a gradient of zero, and gives none to keys and values."""
    q, k, v, do = inputs(5)
    visible = stored.up_to(jnp.arange(5) - 2, 5)  # rows 0 and 1 see no key
    if form == "keeps P":
        o, p = stored.attend(q, k, v, visible)
        gradients = stored.attend_backward(q, k, v, o, p, do)
    else:
        o, lse = blockwise.attend(q, k, v, True, jnp.int32(-2))
        gradients = blockwise.attend_backward(q, k, v, o, lse, do, True, jnp.int32(-2))
    rest = [a[:, :, :, 2:] for a in (q, o, do)]
    o_rest, p = stored.attend(rest[0], k, v, stored.up_to(jnp.arange(3), 5))
    dq, dk, dv = stored.attend_backward(rest[0], k, v, o_rest, p, rest[2])
    zeros = jnp.zeros_like(q[:, :, :, :2])
    expected = jnp.concatenate([zeros, o_rest], 3), jnp.concatenate([zeros, dq], 3), dk, dv
    assert_close((o, *gradients), expected, "float64")


def test_scores_past_the_diagonal_are_not_computed():
    """A segment takes the keys up to its end, and the segments cover all positions once."""
    for time in (1, 63, 64, 65, 256, 1000, 1024):
        cuts = blockwise.cut(time, time, True)
        assert [c.start for c in cuts] == [0, *(c.stop for c in cuts[:-1])]
        assert cuts[-1].stop == time
        assert all(c.keys == c.stop for c in cuts)
        assert len(cuts) <= blockwise.SEGMENTS
    assert sum((c.stop - c.start) * c.keys for c in blockwise.cut(1024, 1024, True)) == 0.625 * 1024**2


@pytest.mark.parametrize("causal", slow_except([True, False], True))
def test_memory_is_linear_in_time(causal):
    """Forward and backward need less than a quarter of what the probabilities alone would take."""
    time, heads = 2048, 4
    q = jax.ShapeDtypeStruct((1, heads, 1, time, 8), "float32")
    k = jax.ShapeDtypeStruct((1, heads, time, 8), "float32")

    def step(q, k, v, do):
        o, lse = blockwise.attend(q, k, v, causal)
        return blockwise.attend_backward(q, k, v, o, lse, do, causal)

    temporary = jax.jit(step).lower(q, k, k, q).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 4 * heads * time * time / 4


@pytest.mark.accelerator
@pytest.mark.parametrize("fault", slow_except(WRONG, "missing D", "rotation by +θ"))
def test_wrong_attention_is_caught(fault):
    """The checker must name every leaf that the fault changes, and no other one."""
    layer, shape, leaves = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, shape), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == leaves, report.summary()


@pytest.mark.parametrize(
    ("time", "dtype"), slow_except([(t, d) for t in (9, 130) for d in ("bfloat16", "float16")], (9, "float16"))
)
def test_mixed_precision_is_close(time, dtype):
    layer = fnn.attention(8, 2, rotary=True)
    params, x = spread_params(layer, 0), normal(1, (2, time, 8))
    dy = cotangent(layer, params, x)
    narrow = fnn.mixed_precision(layer, dtype)
    got, expected = (jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (narrow, layer))
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype("float32")}
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= 12 * float(jnp.finfo(dtype).eps) * largest(expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("time", [5, 130])
def test_equals_pytorch(time, causal, x64):
    torch = pytest.importorskip("torch")
    layer = fnn.attention(8, 2, causal)
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, time, 8), "float64")
    dy = cotangent(layer, params, x)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    weights = theirs.in_proj_weight, theirs.out_proj.weight, theirs.in_proj_bias, theirs.out_proj.bias
    for weight, value in zip(weights, params, strict=True):
        weight.data = torch.tensor(np.array(value.T))
    x_t = torch.tensor(x, requires_grad=True)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(time, dtype=torch.float64) if causal else None
    y_t = theirs(x_t, x_t, x_t, attn_mask=mask, need_weights=False)[0]
    y_t.backward(torch.tensor(dy))
    assert_close(layer.forward(params, x)[0], y_t.detach().numpy(), "float64")
    expected = fnn.Attention(*(weight.grad.numpy().T for weight in weights)), x_t.grad.numpy()
    assert_close(by_hand(layer, params, x, dy), expected, "float64")


@pytest.mark.slow
@pytest.mark.parametrize("time", [4, 130])
def test_explicit_axes_of_a_mesh(time):
    """What a scan carries must have the sharding of the rows. Training uses Auto axes inside."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    layer = fnn.attention(8, 4, rotary=True, kv_heads=2, length=time)
    params, x = spread_params(layer, 0), normal(1, (4, time, 8))
    expected = layer.forward(params, x)[0]
    with jax.set_mesh(mesh):
        x = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
        y = jax.jit(lambda p, x: layer.forward(p, x)[0])(params, x)
        piece = jax.jit(lambda p, x: layer.stream.advance(p, layer.stream.start(p, 4), x)[0])(params, x)
    assert y.sharding.spec[0] == piece.sharding.spec[0] == "data"
    assert_close((y, piece), (expected, expected), "float32")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"heads": 3}, "heads must be a divisor of d = 8"),
        ({"kv_heads": 3}, "kv_heads must be a divisor of heads = 4"),
        ({"kv_heads": 0}, "kv_heads must be a positive"),
        ({"causal": 1}, "causal must be True or False"),
        ({"rotary": "yes"}, "rotary must be True or False"),
        ({"heads": 8, "rotary": True}, "d / heads is even"),
        ({"length": 0}, "length must be a positive"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises((ValueError, TypeError), match=f"^attention: .*{says}"):
        fnn.attention(**{"d": 8, "heads": 4} | arguments)


def test_bad_inputs():
    layer = fnn.attention(8, 4, length=6)
    params = spread_params(layer, 0)
    for shape, says in (
        ((2, 7, 8), "at most 6 positions"),
        ((2, 0, 8), "at least one"),
        ((2, 3, 7), "time, 8"),
        ((3, 8), "time"),
    ):
        with pytest.raises(ValueError, match=f"attention: x must be .*{says}"):
            layer.forward(params, np.zeros(shape, "float32"))
    with pytest.raises(TypeError, match="floating point"):
        layer.forward(params, np.zeros((2, 3, 8), "int32"))
    with pytest.raises(ValueError, match=r"params.w_o"):
        layer.forward(params._replace(w_o=params.w_o[:4]), np.zeros((2, 3, 8), "float32"))
    with pytest.raises(ValueError, match=r"attention: memory.k must be of shape \(2, 4, 6, 2\)"):
        layer.stream.advance(params, layer.stream.start(params, 3), np.zeros((2, 3, 8), "float32"))
    assert fnn.attention(8, 4).stream is None
    assert fnn.attention(8, 4, causal=False, length=6).stream is None


@pytest.mark.slow
@pytest.mark.parametrize("time", [7, 130])
def test_large_scores(time, x64):
    """One key has all the weight, so that dS = P ∘ (dP - D) is 0 but for the rounding of D: ε |dO| |V| |K| |x|."""
    layer = fnn.attention(8, 4, rotary=True, kv_heads=2)
    params, x = spread_params(layer, 0, "float64"), 1e4 * normal(1, (2, time, 8), "float64")
    dy = cotangent(layer, params, x)
    hand, auto = (jax.jit(functools.partial(f, layer))(params, x, dy) for f in (by_hand, by_autodiff))
    assert_close(hand, auto, "float64", slack=float(jnp.finfo(x.dtype).eps) * largest(x) ** 3)


@pytest.mark.slow
def test_backward_in_float32_of_a_long_sequence():
    layer = fnn.attention(8, 4, kv_heads=2)
    params, x = spread_params(layer, 0), normal(1, (1, 200, 8))
    dy = cotangent(layer, params, x)
    hand, auto = (jax.jit(functools.partial(f, layer))(params, x, dy) for f in (by_hand, by_autodiff))
    assert_close(hand, auto, "float32")
