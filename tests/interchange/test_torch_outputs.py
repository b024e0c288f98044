"""Parameters in PyTorch: the same nn.Sequential loads them and computes the same, and back."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

torch = pytest.importorskip("torch")
nn = torch.nn


class Case(NamedTuple):
    network: fnn.Layer
    module: Callable
    shape: tuple[int, ...]
    images: bool = False


def first_conv(*more):
    return fnn.serial(fnn.conv2d(3, 4, 3, padding="SAME"), fnn.relu, fnn.max_pool2d(2), *more)


def torch_conv(*more):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), *more)


CASES = {
    "mlp": Case(
        fnn.mlp([4, 8, 3], fnn.gelu),
        lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)),
        (5, 4),
    ),
    "dense": Case(fnn.dense(4, 3), lambda: nn.Linear(4, 3), (5, 4)),
    "positions of all": Case(
        fnn.serial(fnn.dropout(0.5), fnn.dense(4, 4), fnn.identity, fnn.leaky_relu(0.1), fnn.silu, fnn.dense(4, 2)),
        lambda: nn.Sequential(
            nn.Dropout(0.5), nn.Linear(4, 4), nn.Identity(), nn.LeakyReLU(0.1), nn.SiLU(), nn.Linear(4, 2)
        ),
        (5, 4),
    ),
    "more activations": Case(
        fnn.serial(fnn.sigmoid, fnn.dense(4, 4), fnn.softplus, fnn.tanh, fnn.gelu_tanh, fnn.dense(4, 4), fnn.softmax),
        lambda: nn.Sequential(
            nn.Sigmoid(), nn.Linear(4, 4), nn.Softplus(), nn.Tanh(), nn.GELU("tanh"), nn.Linear(4, 4), nn.Softmax(-1)
        ),
        (5, 4),
    ),
    "convolutions, flattened": Case(
        first_conv(
            fnn.batch_norm(4), fnn.flatten, fnn.dropout(0.1), fnn.dense(4 * 4 * 3, 5), fnn.relu, fnn.dense(5, 2)
        ),
        lambda: torch_conv(
            nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.1), nn.Linear(4 * 4 * 3, 5), nn.ReLU(), nn.Linear(5, 2)
        ),
        (2, 8, 6, 3),
        True,
    ),
    "norms after flatten": Case(
        first_conv(
            fnn.flatten, fnn.batch_norm(48), fnn.layer_norm(48), fnn.rms_norm(48, epsilon=1e-6), fnn.dense(48, 2)
        ),
        lambda: torch_conv(
            nn.Flatten(), nn.BatchNorm1d(48), nn.LayerNorm(48), nn.RMSNorm(48, eps=1e-6), nn.Linear(48, 2)
        ),
        (2, 8, 6, 3),
        True,
    ),
    "stride, dilation and groups": Case(
        fnn.serial(
            fnn.conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2), fnn.avg_pool2d(2), fnn.conv2d(6, 3, 1)
        ),
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2), nn.AvgPool2d(2), nn.Conv2d(6, 3, 1)
        ),
        (2, 9, 8, 4),
        True,
    ),
    "transposed": Case(
        fnn.serial(fnn.conv2d_transpose(4, 6, (3, 2), stride=2, groups=2), fnn.flatten, fnn.dense(7 * 6 * 6, 2)),
        lambda: nn.Sequential(
            nn.ConvTranspose2d(4, 6, (3, 2), stride=2, groups=2), nn.Flatten(), nn.Linear(7 * 6 * 6, 2)
        ),
        (2, 3, 3, 4),
        True,
    ),
    "conv1d": Case(
        fnn.serial(fnn.conv1d(3, 4, 3, padding="VALID"), fnn.relu, fnn.flatten, fnn.dense(5 * 4, 2)),
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4, 2)),
        (2, 7, 3),
        True,
    ),
    "nested": Case(
        fnn.serial(
            fnn.dense(4, 4), fnn.repeat(fnn.serial(fnn.dense(4, 4), fnn.tanh), 3), fnn.serial(fnn.layer_norm(4))
        ),
        lambda: nn.Sequential(
            nn.Linear(4, 4),
            nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3)]),
            nn.Sequential(nn.LayerNorm(4)),
        ),
        (5, 4),
    ),
    "lstm": Case(fnn.lstm(3, 5), lambda: nn.LSTM(3, 5, batch_first=True), (2, 7, 3)),
    "gru": Case(fnn.gru(3, 5), lambda: nn.GRU(3, 5, batch_first=True), (2, 7, 3)),
    "rnn": Case(fnn.rnn(3, 5), lambda: nn.RNN(3, 5, batch_first=True), (2, 7, 3)),
    "rnn of relu": Case(
        fnn.rnn(3, 5, fnn.relu), lambda: nn.RNN(3, 5, nonlinearity="relu", batch_first=True), (2, 7, 3)
    ),
    "both directions": Case(
        fnn.bidirectional(fnn.gru(3, 5), fnn.gru(3, 5)),
        lambda: nn.GRU(3, 5, batch_first=True, bidirectional=True),
        (2, 7, 3),
    ),
}


def to_torch(x):
    x = np.array(x)
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def drawn(network, dtype):
    """Parameters without zeros, so that each of them shows in the output."""
    rng = np.random.default_rng(0)
    like = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.5, leaf.shape) * rng.choice([-1, 1], leaf.shape), like)
    positive = lambda path, leaf: abs(leaf) if path[-1:] and getattr(path[-1], "name", "") == "var" else leaf
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), jax.tree_util.tree_map_with_path(positive, params))


def outputs(case, params, module, x):
    ours = np.array(case.network.forward(params, x)[0])
    with torch.no_grad():
        theirs = module(to_torch(x) if case.images else torch.from_numpy(np.array(x)))
    theirs = (theirs[0] if isinstance(theirs, tuple) else theirs).numpy()
    return ours, np.moveaxis(theirs, 1, -1) if case.images and theirs.ndim == len(case.shape) else theirs


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)])
def test_the_same_sequential_loads_the_parameters_and_computes_the_same(case, dtype, tolerance):
    with jax.enable_x64(dtype == jnp.float64):
        params = drawn(case.network, dtype)
        x = jnp.asarray(np.random.default_rng(1).standard_normal(case.shape), dtype)
        module = case.module().to(torch.float64 if dtype == jnp.float64 else torch.float32).eval()
        names = fnn.torch_names(case.network, params)
        assert [*names] == [*module.state_dict()]
        module.load_state_dict({name: torch.from_numpy(value) for name, value in names.items()}, strict=True)
        ours, theirs = outputs(case, params, module, x)
        np.testing.assert_allclose(theirs, ours, atol=tolerance * np.abs(ours).max(), rtol=0)
        back = fnn.from_torch_names(case.network, module.state_dict())
        for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["mlp", "convolutions, flattened", "lstm", "gru", "both directions"])
def test_fnn_computes_what_a_module_of_pytorch_does(name):
    case = CASES[name]
    torch.manual_seed(0)
    module = case.module()
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    params = fnn.from_torch_names(case.network, module.eval().state_dict())
    x = jnp.asarray(np.random.default_rng(1).standard_normal(case.shape), jnp.float32)
    ours, theirs = outputs(case, params, module, x)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


def test_embedding_and_half_precision():
    network = fnn.serial(fnn.embedding(11, 4), fnn.dense(4, 2))
    module = nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 2))
    params = drawn(network, jnp.float32)
    names = fnn.torch_names(network, params)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in names.items()})
    ids = np.random.default_rng(0).integers(0, 11, (3, 5))
    with torch.no_grad():
        theirs = module(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(theirs, network.forward(params, jnp.asarray(ids, jnp.int32))[0], rtol=1e-5)
    halves = fnn.from_torch_names(network, module.to(torch.bfloat16).state_dict())
    np.testing.assert_array_equal(halves[1].w, params[1].w.astype(jnp.bfloat16).astype(jnp.float32))
