"""The core of attention: which one is chosen, one of the user's own, and cuDNN's, with JAX's attention in its place."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.gradcheck import check_layer
from fnn.layers import devices
from fnn.layers.attention import core, cudnn
from fnn.training.description import describe
from tests.support.oracles import assert_close, by_hand, cotangent, normal, spread_params
from tests.support.slow import slow_except

H100 = SimpleNamespace(platform="gpu", client=SimpleNamespace(platform_version="cuda 13000"), compute_capability="9.0")


def softmax_of(q, k, causal):
    s = jnp.einsum("bgqtd,bgkd->bgqtk", q, k) / q.shape[-1] ** 0.5
    return jax.nn.softmax(jnp.where(jnp.tri(q.shape[3], dtype=bool) | (not causal), s, -jnp.inf))


def forward(q, k, v, causal):
    return jnp.einsum("bgqtk,bgkd->bgqtd", softmax_of(q, k, causal), v), (q, k, v)


def backward(saved, o, do, causal, sign=1.0):
    q, k, v = saved
    p, root = softmax_of(q, k, causal), q.shape[-1] ** 0.5
    dp = jnp.einsum("bgqtd,bgkd->bgqtk", do, v)
    ds = p * (dp - sign * jnp.sum(do * o, -1, keepdims=True)) / root
    dq, dk = jnp.einsum("bgqtk,bgkd->bgqtd", ds, k), jnp.einsum("bgqtk,bgqtd->bgkd", ds, q)
    return dq, dk, jnp.einsum("bgqtk,bgqtd->bgkd", p, do)


OWN = fnn.AttentionCore(forward, backward)


@jax.custom_vjp
def kernel(q, k, v, causal):
    """As cuDNN's kernels, it has a backward of its own and nothing else to differentiate."""
    return forward(q, k, v, causal)[0]


def kernel_forward(q, k, v, causal):
    once = lambda o: jax.lax.while_loop(lambda carry: carry[0] < 1, lambda carry: (carry[0] + 1, carry[1]), (0, o))[1]
    o = once(forward(q, k, v, causal)[0])  # a loop has no reverse mode
    return o, (q, k, v, o, causal)


kernel.defvjp(kernel_forward, lambda saved, do: (*backward(saved[:3], saved[3], do, saved[4]), None))


@pytest.fixture
def without_cudnn(monkeypatch):
    """Attention by einsum in the place of cuDNN's kernels, which only a GPU has; returns the calls."""
    calls = []

    def attention(q, k, v, *, implementation, is_causal):
        calls.append((implementation, q.dtype, q.shape, k.shape))
        batch, time, heads, d = q.shape
        q = q.reshape(batch, time, k.shape[2], -1, d).transpose(0, 2, 3, 1, 4)
        o = kernel(q, k.swapaxes(1, 2), v.swapaxes(1, 2), is_causal)
        return o.transpose(0, 3, 1, 2, 4).reshape(batch, time, heads, d)

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    monkeypatch.setattr(cudnn, "is_available", lambda d, dtype: True)
    return calls


def both(make, x, dy, given):
    """Return y, dparams, dx of the layer with the given core and with that which fnn chooses on a CPU."""
    layers = make(core=given), make(core=None)
    params = spread_params(layers[0], 0, "float64")
    return tuple(
        (layer.forward(params, x)[0], jax.jit(functools.partial(by_hand, layer))(params, x, dy)) for layer in layers
    )


@pytest.mark.parametrize(
    ("causal", "time"), slow_except([(c, t) for c in (True, False) for t in (1, 6, 130)], (True, 6))
)
@pytest.mark.parametrize(
    "given",
    [OWN, fnn.cudnn_attention, fnn.stored_attention, fnn.blockwise_attention],
    ids=["own", "cudnn", "stored", "block"],
)
def test_cores_agree(given, causal, time, x64, without_cudnn):
    make = functools.partial(fnn.attention, 8, 4, causal, rotary=True, kv_heads=2)
    x, dy = (normal(seed, (2, time, 8), "float64") for seed in (1, 2))
    got, expected = both(make, x, dy, given)
    assert_close(got, expected, "float64")
    if given is fnn.cudnn_attention:
        assert set(without_cudnn) == {("cudnn", jnp.dtype("float64"), (2, time, 4, 2), (2, time, 2, 2))}


def test_a_core_that_is_wrong_is_caught():
    wrong = fnn.AttentionCore(forward, functools.partial(backward, sign=-1.0))
    layer = fnn.attention(6, 2, core=wrong)
    report = check_layer(layer, spread_params(layer, 0), normal(1, (3, 5, 6)), key=3, checks=("reference",))
    assert {leaf.path for leaf in report.leaves if leaf.status == "FAIL"} == {"[0].w_qkv", "[0].b_qkv", "[1]"}


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["none", "vmap", "mixed_precision", "remat"])
def test_cudnn_inside_a_gpt(wrap, without_cudnn):
    """Its residuals go through the scan over equal blocks, through vmap, and as bits of bfloat16."""
    ids = jnp.arange(2 * 130, dtype=jnp.int32).reshape(2, 130) % 11
    networks = [fnn.gpt(11, 130, 3, 2, 16, core=given) for given in (fnn.cudnn_attention, None)]
    wrappers = {"mixed_precision": lambda f: fnn.mixed_precision(f, "bfloat16"), "remat": fnn.remat}
    networks = [wrappers.get(wrap, lambda f: f)(network) for network in networks]
    params = networks[0].init(jax.random.key(0))
    step = lambda network: lambda p: fnn.value_and_grad(network, fnn.token_cross_entropy())(p, ids, ids)
    if wrap == "vmap":
        params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
        got, expected = (jax.jit(jax.vmap(step(network)))(params) for network in networks)
    else:
        got, expected = (jax.jit(step(network))(params) for network in networks)
    assert without_cudnn
    limit = 0.05 if wrap == "mixed_precision" else 2e-5
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert float(jnp.max(jnp.abs(a - b))) <= limit * largest


def test_the_choice(monkeypatch):
    """cuDNN's kernels are for long sequences in half precision on an NVIDIA GPU from Ampere on."""
    bfloat16, float32 = jnp.dtype("bfloat16"), jnp.dtype("float32")
    assert core.choose(1024, 64, bfloat16) is fnn.blockwise_attention  # on this CPU
    assert core.choose(127, 64, bfloat16) is fnn.stored_attention
    monkeypatch.setattr(cudnn, "default_device", lambda: H100)
    for time, d, dtype, expected in (
        (1024, 64, bfloat16, fnn.cudnn_attention),
        (128, 128, jnp.dtype("float16"), fnn.cudnn_attention),
        (127, 64, bfloat16, fnn.stored_attention),
        (1024, 64, float32, fnn.blockwise_attention),
        (1024, 60, bfloat16, fnn.blockwise_attention),
        (1024, 136, bfloat16, fnn.blockwise_attention),
    ):
        assert core.choose(time, d, dtype) is expected, (time, d, dtype)
    with jax.set_mesh(jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))):
        assert core.choose(1024, 64, bfloat16) is fnn.blockwise_attention
    for other in (
        {"compute_capability": "7.5"},
        {"client": SimpleNamespace(platform_version="rocm 60000"), "compute_capability": "gfx942"},
        {"platform": "tpu"},
    ):
        monkeypatch.setattr(cudnn, "default_device", lambda other=other: SimpleNamespace(**(vars(H100) | other)))
        assert core.choose(1024, 64, bfloat16) is fnn.blockwise_attention


def test_the_chosen_core_is_used_in_both_directions(monkeypatch, without_cudnn):
    monkeypatch.setattr(cudnn, "default_device", lambda: H100)
    layer = fnn.mixed_precision(fnn.attention(16, 2), "bfloat16")
    params, x = spread_params(layer, 0), normal(1, (2, 128, 16))
    got = jax.jit(functools.partial(by_hand, layer))(params, x, cotangent(layer, params, x))
    assert {call[:2] for call in without_cudnn} == {("cudnn", jnp.dtype("bfloat16"))}
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(got))


def test_autodiff_of_the_forward(x64, without_cudnn):
    """`fnn.autodiff` and `jax.grad` differentiate the forward of a network, whichever core it has."""
    layer = fnn.attention(8, 4, kv_heads=2, core=fnn.cudnn_attention)
    params, x = spread_params(layer, 0, "float64"), normal(1, (2, 6, 8), "float64")
    dy = cotangent(layer, params, x)
    hand, auto = (jax.jit(functools.partial(by_hand, f))(params, x, dy) for f in (layer, fnn.autodiff(layer)))
    assert_close(hand, auto, "float64")
    assert_close(auto, by_hand(fnn.attention(8, 4, kv_heads=2), params, x, dy), "float64")


def test_the_device_that_computes():
    """`jax.default_device` may name a platform or be a device."""
    cpu = jax.devices("cpu")[-1]
    assert devices.default_device() == jax.devices()[0]
    for given, expected in (("cpu", jax.devices("cpu")[0]), (cpu, cpu)):
        with jax.default_device(given):
            assert devices.default_device() == expected


def test_bad_core():
    with pytest.raises(TypeError, match=r"^attention: core must be an AttentionCore or None"):
        fnn.attention(8, 4, core="flash")
    layer = fnn.attention(8, 4, core=fnn.cudnn_attention)
    with pytest.raises(ValueError, match=r"^attention: core must be cudnn_attention only for .*, got float32 .*Leave"):
        layer.forward(layer.init(jax.random.key(0)), jnp.ones((2, 3, 8)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"forward": lambda *a: forward(*a)[0]}, r"core.forward must be a function that returns \(o, saved\)"),
        ({"forward": lambda *a: (forward(*a)[0][..., 0], ())}, r"returns o of shape \(2, 2, 2, 6, 2\)"),
        ({"forward": lambda *a: (forward(*a)[0].astype("bfloat16"), ())}, "o in the dtype of q, float32"),
        ({"backward": lambda *a: backward(*a)[:2]}, r"core.backward must be a function that returns \(dq, dk, dv\)"),
        ({"backward": lambda *a: (a[2], *(g.swapaxes(1, 2) for g in backward(*a)[1:]))}, r"dk of shape \(2, 2, 6, 2\)"),
    ],
)
def test_what_a_core_returns(wrong, says):
    """Also (batch, time, heads, d), the order that most kernels have, which a reshape would take without a word."""
    layer = fnn.attention(8, 4, kv_heads=2, core=OWN._replace(**wrong))
    params, x = spread_params(layer, 0), normal(1, (2, 6, 8))
    with pytest.raises(ValueError, match=f"^attention: .*{says}"):
        by_hand(layer, params, x, x)


def test_another_core_is_another_training():
    cores = fnn.stored_attention, fnn.blockwise_attention, fnn.cudnn_attention, OWN, None
    assert len({describe(fnn.attention(8, 4, core=given)) for given in cores}) == len(cores)
