"""Tied embeddings, transformer blocks and gpt: gradients, PyTorch, pieces, initial values; wrong copies are caught."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, by_hand, cotangent, largest, spread_params
from tests.support.slow import slow_except

IDS = np.array([[0, 3, 3, 6, 1], [6, 0, 3, 2, 3]])
TIED = fnn.tied_embedding(7, 4, fnn.serial(fnn.gru(4, 4), fnn.tanh))
SMALL = fnn.gpt(7, length=6, layers=1, heads=2, d=4)
GATED = {"rotary": True, "kv_heads": 2, "norm": fnn.rms_norm, "feed_forward": fnn.swiglu(8, 5)}
NETWORKS = {
    "tied": TIED,
    "gpt": SMALL,
    "gpt_two_layers_dropout": fnn.gpt(7, length=5, layers=2, heads=2, d=8, dropout=0.2),
    "gpt_gated": fnn.gpt(7, length=5, layers=2, heads=4, d=8, **GATED),
    "gpt_repeat": fnn.tied_embedding(7, 8, fnn.repeat(fnn.transformer_block(8, 2, length=5), 2)),
    "gpt_remat": fnn.remat(SMALL),
}


def by_autodiff(network, params, ids, dz, key=None):
    return jax.vjp(lambda p: network.forward(p, ids, key)[0], params)[1](dz)[0]


@pytest.mark.accelerator
@pytest.mark.parametrize("dtype", slow_except(["float64", "float32"], "float64"))
@pytest.mark.parametrize("name", slow_except(NETWORKS, "gpt"))
def test_backward_is_the_derivative_of_forward(name, dtype, x64):
    network, key = NETWORKS[name], jax.random.key(3) if "dropout" in name else None
    params = spread_params(network, 0, dtype)
    dz = cotangent(network, params, IDS)
    hand = jax.jit(lambda params, dz: by_hand(network, params, IDS, dz, key)[0])
    auto = jax.jit(lambda params, dz: by_autodiff(network, params, IDS, dz, key))
    assert_close(hand(params, dz), auto(params, dz), dtype)
    assert network.vocabulary == 7


@pytest.mark.slow
def test_vmap_and_two_devices_change_nothing(x64):
    params = jax.tree.map(lambda *a: np.stack(a), *(spread_params(SMALL, seed, "float64") for seed in (0, 1)))
    first = jax.tree.map(lambda a: a[0], params)
    dz = cotangent(SMALL, first, IDS)
    gradient = lambda params, ids, dz: by_hand(SMALL, params, ids, dz)[0]
    expected = jax.jit(gradient)(first, IDS, dz)
    every = jax.jit(jax.vmap(gradient, in_axes=(0, None, None)))(params, IDS, dz)
    assert_close(jax.tree.map(lambda a: a[0], every), expected, "float64")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    assert_close(jax.jit(gradient)(first, *jax.device_put((IDS, dz), rows)), expected, "float64")


def without_the_output(params, residuals, dz):
    """dE = Σ of the rows alone"""
    dparams, dx = TIED.backward(params, residuals, dz)
    _, _, h = residuals
    return dparams._replace(w=dparams.w - jnp.einsum("btk,btd->kd", dz, h)), dx


def output_alone(params, residuals, dz):
    """dE = dZᵀ H"""
    dparams, dx = TIED.backward(params, residuals, dz)
    return dparams._replace(w=jnp.einsum("btk,btd->kd", dz, residuals[2])), dx


def drops_the_last_id(params, residuals, dz):
    ids, *rest = residuals
    return TIED.backward(params, (jnp.where(ids == 6, 7, ids), *rest), dz)


@pytest.mark.accelerator
@pytest.mark.parametrize(
    "fault", slow_except([without_the_output, output_alone, drops_the_last_id], without_the_output)
)
def test_wrong_tied_embeddings_are_caught(fault):
    layer = TIED._replace(backward=fault)
    report = check_layer(layer, spread_params(TIED, 0), IDS, key=3, checks=("reference",))
    assert [leaf.path for leaf in report.leaves if leaf.status == "FAIL"] == ["[0].w"], report.summary()


@pytest.mark.accelerator
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tied", "gpt"])
def test_gradcheck_passes(name):
    network = NETWORKS[name]
    report = check_layer(network, spread_params(network, 0), IDS, key=3)
    assert report.ok, report.summary()


@pytest.mark.parametrize("name", slow_except(["tied", "gpt", "gpt_gated", "gpt_repeat", "gpt_remat"], "gpt"))
def test_a_prompt_and_single_ids_equal_the_whole(name, x64):
    network = NETWORKS[name]
    params = spread_params(network, 0, "float64")
    advance, memory, pieces = jax.jit(network.stream.advance), network.stream.start(params, 2), []
    for piece in np.split(IDS, [3, 4], axis=1):
        z, _, memory = advance(params, memory, piece)
        pieces.append(z)
    assert_close(jnp.concatenate(pieces, axis=1), jax.jit(network.forward)(params, IDS)[0], "float64")


def test_initial_values_and_number_of_parameters(key):
    d, layers, v, length = 32, 2, 65, 16
    network = fnn.gpt(v, length, layers, heads=4, d=d)
    params = jax.jit(network.init)(key)
    assert fnn.count_params(params) == v * d + length * d + layers * (12 * d * d + 13 * d) + 2 * d
    positions, block, *_ = params.layer
    attention, (_, first, _, second) = block[0].layer[1], block[1].layer
    scaled = 0.02 / math.sqrt(2 * layers)
    for w, deviation in (
        (params.w, 0.02),
        (positions.w, 0.02),
        (attention.w_qkv, 0.02),
        (attention.w_o, scaled),
        (first.w, 0.02),
        (second.w, scaled),
    ):
        assert abs(float(w.std()) / deviation - 1) < 0.12
    assert not any(np.any(b) for b in (attention.b_qkv, attention.b_o, first.b, second.b))
    weights = [path for path, leaf in jax.tree.leaves_with_path(params) if fnn.is_weight(path, leaf)]
    assert len(weights) == 2 + 4 * layers
    logits = jax.eval_shape(network.forward, params, jnp.zeros((3, 5), jnp.int32))[0]
    assert logits.shape == (3, 5, v)


def test_summary_has_a_row_for_each_branch(key):
    summary = fnn.summary(SMALL, (2, 5))
    assert [row.name for row in summary.rows] == [
        "tied_embedding(7, 4)",
        "learned_positions(6, 4)",
        "residual",
        "residual",
        "layer_norm(4)",
    ]
    assert [row.output_shape for row in summary.rows] == [(2, 5, 7), *[(2, 5, 4)] * 4]
    assert summary.num_params == fnn.count_params(SMALL.init(key))
    assert 560 <= summary.rows[0].flops < 700  # 2 (2·5) 4·7 and the checks of ids


def test_a_residual_of_two_embeddings(x64):
    """The ids have no gradient to add."""
    network = fnn.residual(fnn.embedding(7, 4), fnn.embedding(9, 4))
    params = spread_params(network, 0, "float64")
    dy = cotangent(network, params, IDS)
    dparams, dx = by_hand(network, params, jnp.asarray(IDS), dy)
    assert_close(dparams, by_autodiff(network, params, IDS, dy), "float64")
    assert dx.dtype == jax.dtypes.float0
    assert network.vocabulary == 7


def test_ids_and_lengths_are_checked():
    params = SMALL.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"ids in 0..6, got 7"):
        SMALL.forward(params, np.full((1, 2), 7))
    with pytest.raises(ValueError, match="at most 6"):
        SMALL.forward(params, np.zeros((1, 7), int))
    with pytest.raises(ValueError, match="gpt: layers must be a positive"):
        fnn.gpt(7, 6, 0, 2, 4)
    with pytest.raises(ValueError, match="dropout must be a number in"):
        fnn.transformer_block(4, 2, dropout=1.0)
    with pytest.raises(TypeError, match="feed_forward must be a Layer"):
        fnn.transformer_block(4, 2, feed_forward=fnn.swiglu)
    wide = fnn.tied_embedding(7, 4, fnn.dense(4, 5))
    with pytest.raises(ValueError, match=r"tied_embedding: the layer's output must be of shape \(batch, ..., 4\)"):
        wide.forward(wide.init(jax.random.key(0)), IDS)


@pytest.mark.slow
def test_it_learns_in_bfloat16():
    """After id k comes id k + 1."""
    x = (np.arange(32)[:, None] + np.arange(5)) % 7
    network = fnn.mixed_precision(fnn.gpt(7, 5, 1, 2, 8), jnp.bfloat16)
    options = {"epochs": 20, "batch_size": 8, "key": jax.random.key(0), "progress": False}
    result = fnn.fit(network, fnn.softmax_cross_entropy, fnn.adam(0.03), (x, (x + 1) % 7), **options)
    assert result.history["accuracy"][-1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_is_close(dtype):
    network = fnn.gpt(7, 5, 2, 2, 8)
    params = spread_params(network, 0)
    dz = cotangent(network, params, IDS)
    narrow = fnn.mixed_precision(network, dtype)
    got, expected = (jax.jit(lambda p, dz, f=f: by_hand(f, p, IDS, dz)[0])(params, dz) for f in (narrow, network))
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= 40 * float(jnp.finfo(dtype).eps) * largest(expected)


@pytest.mark.slow
def test_equals_pytorch(x64):
    """A GPT of two blocks, with copied weights: logits and all gradients."""
    torch = pytest.importorskip("torch")
    d, heads = 8, 2
    network = fnn.gpt(7, 5, 2, heads, d, feed_forward=fnn.serial(fnn.dense(d, 4 * d), fnn.gelu, fnn.dense(4 * d, d)))
    params = spread_params(network, 0, "float64")
    dz = cotangent(network, params, IDS)
    leaves, tree = jax.tree.flatten(params)
    copies = [torch.tensor(np.array(leaf), requires_grad=True) for leaf in leaves]
    theirs = jax.tree.unflatten(tree, copies)
    norm = lambda p, x: torch.nn.functional.layer_norm(x, (d,), p.gamma, p.beta, 1e-5)
    split = lambda a: a.view(*IDS.shape, heads, d // heads).transpose(1, 2)
    x = theirs.w[torch.tensor(IDS)] + theirs.layer[0].w[: IDS.shape[1]]
    for first, second in theirs.layer[1:-1]:
        gamma, attention = first.layer
        q, k, v = map(split, (norm(gamma, x) @ attention.w_qkv + attention.b_qkv).split(d, dim=2))
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + o.transpose(1, 2).reshape(x.shape) @ attention.w_o + attention.b_o
        gamma, up, _, down = second.layer
        x = x + torch.nn.functional.gelu(norm(gamma, x) @ up.w + up.b) @ down.w + down.b
    z = norm(theirs.layer[-1], x) @ theirs.w.T
    z.backward(torch.tensor(dz))
    assert_close(network.forward(params, IDS)[0], z.detach().numpy(), "float64")
    expected = jax.tree.unflatten(tree, [copy.grad.numpy() for copy in copies])
    assert_close(jax.jit(functools.partial(by_hand, network))(params, IDS, dz)[0], expected, "float64")


def test_blocks_of_layers():
    block = fnn.transformer_block(8, 2, dropout=0.1, norm=fnn.rms_norm, feed_forward=fnn.swiglu(8, 5))
    names = [[layer.name for layer in branch.layers[0].layers] for branch in block.layers]
    assert names == [
        ["rms_norm(8)", "attention(8, 2)", "dropout(0.1)"],
        ["rms_norm(8)", "swiglu(8, 5)", "dropout(0.1)"],
    ]
