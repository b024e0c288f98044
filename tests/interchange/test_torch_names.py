"""torch_names without PyTorch: names, shapes, the order of features, round trips and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)


def params_of(network):
    """Parameters that all differ."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(network.init, KEY))
    return tree.unflatten(
        [jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape) + i * 0.25 for i, leaf in enumerate(leaves)]
    )


def shapes(network):
    return {name: value.shape for name, value in fnn.torch_names(network, params_of(network)).items()}


def test_names_and_shapes():
    norm = {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()}
    network = fnn.serial(
        fnn.conv2d(3, 4, (5, 2)), fnn.relu, fnn.batch_norm(4), fnn.dropout(0.5), fnn.flatten, fnn.dense(16, 2)
    )
    assert shapes(network) == {
        "0.weight": (4, 3, 5, 2),
        "0.bias": (4,),
        **{f"2.{name}": shape for name, shape in norm.items()},
        "5.weight": (2, 16),
        "5.bias": (2,),
    }
    assert shapes(fnn.serial(fnn.embedding(7, 3), fnn.lstm(3, 5))) == {
        "0.weight": (7, 3),
        "1.weight_ih_l0": (20, 3),
        "1.weight_hh_l0": (20, 5),
        "1.bias_ih_l0": (20,),
        "1.bias_hh_l0": (20,),
    }
    assert shapes(fnn.dense(3, 2)) == {"weight": (2, 3), "bias": (2,)}
    assert [*shapes(fnn.serial(fnn.relu, fnn.repeat(fnn.serial(fnn.tanh, fnn.dense(3, 3)), 2)))] == [
        "1.0.1.weight",
        "1.0.1.bias",
        "1.1.1.weight",
        "1.1.1.bias",
    ]


def test_features_that_are_flattened_come_channel_by_channel():
    network = fnn.serial(fnn.conv2d(1, 2, 1), fnn.max_pool2d(1), fnn.flatten, fnn.relu, fnn.dense(6, 1))
    w = jnp.asarray([[10.0], [20], [11], [21], [12], [22]])  # pixel 0 of both channels, pixel 1, pixel 2
    params = params_of(network)
    names = fnn.torch_names(network, (*params[:4], fnn.Dense(w, params[4].b)))
    assert names["4.weight"].tolist() == [[10, 11, 12, 20, 21, 22]]
    flat = fnn.serial(fnn.flatten, fnn.dense(6, 1))  # no convolution: as the caller flattens
    assert fnn.torch_names(flat, ((), fnn.Dense(w, params[4].b)))["1.weight"].tolist() == w.T.tolist()


@pytest.mark.parametrize(
    "network",
    [
        fnn.serial(fnn.conv2d(2, 4, 3), fnn.flatten, fnn.batch_norm(16), fnn.layer_norm(16), fnn.dense(16, 3)),
        fnn.serial(fnn.conv2d_transpose(4, 6, 2, groups=2), fnn.conv2d(6, 4, 1, groups=2)),
        fnn.serial(fnn.conv1d(2, 3, 3), fnn.flatten, fnn.rms_norm(12), fnn.dense(12, 2)),
        fnn.serial(fnn.gru(3, 4), fnn.lstm(4, 3), fnn.rnn(3, 2), fnn.bidirectional(fnn.lstm(2, 3), fnn.lstm(2, 3))),
        fnn.repeat(fnn.serial(fnn.dense(3, 3), fnn.tanh), 2),
    ],
    ids=["flattened", "groups", "conv1d", "recurrent", "repeat"],
)
def test_round_trip(network):
    params = params_of(network)
    back = fnn.from_torch_names(network, fnn.torch_names(network, params))
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_dtypes_stay_and_bfloat16_becomes_float32():
    network = fnn.dense(2, 1)
    for dtype, expected in ((jnp.float16, "float16"), (jnp.bfloat16, "float32"), (jnp.float32, "float32")):
        params = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), params_of(network))
        assert fnn.torch_names(network, params)["weight"].dtype == expected


SCALE = fnn.Layer(lambda key: {"a": jnp.ones(())}, lambda p, x, key=None: (p["a"] * x, x), lambda p, r, dy: (p, dy))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fnn.residual(fnn.dense(3, 3)), "residual, which has no twin"),
        (fnn.attention(4, 2), r"attention.*, which has no twin"),
        (fnn.swiglu(4, 8), r"swiglu.*, which has no twin"),
        (fnn.learned_positions(4, 3), "which has no twin"),
        (fnn.tied_embedding(4, 3, fnn.identity), "which has no twin"),
        (SCALE, "a layer, which has no twin"),
        (fnn.last(), "last, which has no twin"),
        (fnn.elementwise(jnp.sin, jnp.cos), "elementwise.*, which has no twin"),
        (fnn.autodiff(fnn.dense(3, 3)), "which has no twin"),
        (fnn.remat(fnn.mlp([3, 3])), "which has no twin.*Pass the network without the wrapper"),
        (fnn.gru(3, 3, reset_after=False), "applies its reset gate before"),
        (fnn.rnn(3, 3, fnn.sigmoid), "has an activation that nn.RNN does not have"),
        (fnn.bidirectional(fnn.gru(3, 3), fnn.lstm(3, 3)), "must be of two lstm, gru or rnn of one size"),
        (fnn.bidirectional(fnn.gru(3, 3), fnn.gru(3, 2)), "must be of two lstm, gru or rnn of one size"),
    ],
)
def test_layers_without_a_twin_are_named(layer, message):
    network = fnn.serial(fnn.identity, fnn.serial(layer))
    for function in (fnn.torch_names, fnn.from_torch_names):
        with pytest.raises(
            ValueError, match=rf"torch_names: network .* got network.layers\[1\].layers\[0\], .*{message}"
        ):
            function(network, {})


def test_images_that_pytorch_reads_otherwise_are_refused():
    for layers, message in (
        ((fnn.conv2d(1, 2, 1), fnn.dense(2, 2)), "Put fnn.flatten before it"),
        ((fnn.conv2d(1, 2, 1), fnn.layer_norm(2)), "Put fnn.flatten before it"),
        ((fnn.conv1d(1, 2, 1), fnn.relu, fnn.lstm(2, 2)), "Put fnn.flatten before it"),
        ((fnn.max_pool2d(2), fnn.flatten, fnn.dense(2, 2)), "number of channels is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            fnn.torch_names(fnn.serial(*layers), params_of(fnn.serial(*layers)))


def test_other_parameters_and_other_state_dicts():
    network = fnn.mlp([3, 2])
    with pytest.raises(ValueError, match="torch_names: params must be the parameters of the network"):
        fnn.torch_names(network, fnn.dense(3, 2).init(KEY))
    with pytest.raises(ValueError, match=r"torch_names: the leaf '0.w' of params must be of shape \(3, 2\)"):
        fnn.torch_names(network, fnn.mlp([4, 2]).init(KEY))
    names = fnn.torch_names(network, network.init(KEY))
    for wrong, message in (
        ({"0.weight": names["0.weight"]}, "missing 0.bias"),
        (names | {"1.weight": 0}, "unknown 1.weight"),
        (names | {"0.bias": np.zeros(3)}, r"state_dict\['0.bias'\] must be of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=f"from_torch_names: .*{message}"):
            fnn.from_torch_names(network, wrong)
    with pytest.raises(TypeError, match="from_torch_names: state_dict must be a mapping"):
        fnn.from_torch_names(network, [names])
    norm = fnn.batch_norm(2)
    without = {name: v for name, v in fnn.torch_names(norm, norm.init(KEY)).items() if name != "num_batches_tracked"}
    assert fnn.from_torch_names(norm, without).mean.shape == (2,)
