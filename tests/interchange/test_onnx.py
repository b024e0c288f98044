"""ONNX: onnxruntime computes what the network does. Plain functions without jax2onnx."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.interchange import to_onnx
from fnn.interchange.plain_jaxpr import plain

KEY = jax.random.key(0)
CASES = {
    "mlp": (fnn.mlp([4, 8, 3]), (4,)),
    "activations": (
        fnn.serial(fnn.gelu, fnn.dense(4, 4), fnn.dropout(0.5), fnn.silu, fnn.dense(4, 3), fnn.softmax),
        (4,),
    ),
    "convnet": (
        fnn.serial(
            fnn.conv2d(1, 4, 3, padding="SAME"),
            fnn.batch_norm(4),
            fnn.relu,
            fnn.max_pool2d(2),
            fnn.conv2d(4, 2, 2, 2),
            fnn.flatten,
            fnn.dense(8, 3),
        ),
        (8, 8, 1),
    ),
    "pooling": (fnn.serial(fnn.max_pool2d(2), fnn.avg_pool2d(3, 2)), (15, 11, 2)),
    "norms": (fnn.serial(fnn.layer_norm(4), fnn.residual(fnn.dense(4, 4)), fnn.rms_norm(4), fnn.swiglu(4, 8)), (4,)),
    "repeat": (fnn.repeat(fnn.serial(fnn.dense(4, 4), fnn.leaky_relu(0.1)), 3), (4,)),
    "lstm": (fnn.serial(fnn.lstm(3, 5), fnn.last(), fnn.dense(5, 2)), (7, 3)),
    "gru": (fnn.serial(fnn.bidirectional(fnn.gru(3, 4), fnn.gru(3, 4)), fnn.rnn(8, 2)), (7, 3)),
    "conv1d": (fnn.serial(fnn.conv1d(3, 4, 3), fnn.relu), (9, 3)),
    "gpt": (fnn.gpt(17, length=8, layers=2, heads=2, d=16), (8,)),
}


def inputs(network, n, shape):
    rng = np.random.default_rng(n)
    if network.vocabulary is not None:
        return rng.integers(0, network.vocabulary, (n, *shape)).astype(np.int32)
    return rng.standard_normal((n, *shape)).astype(np.float32)


def need_jax2onnx():
    if importlib.util.find_spec("jax2onnx") is None:
        pytest.skip("needs jax2onnx: pip install 'fnn[onnx]'")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_computes_what_the_network_does(name, tmp_path):
    need_jax2onnx()
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    network, shape = CASES[name]
    params = network.init(KEY)
    to_onnx(network, params, (None, *shape), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for n in (1, 5):
        x = inputs(network, n, shape)
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        expected = fnn.predict(network, params, x)
        np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_what_jax2onnx_does_not_convert_is_an_error(tmp_path):
    need_jax2onnx()
    network = fnn.conv2d_transpose(2, 3, 3)
    with pytest.raises(ValueError, match=r"to_onnx: network must be one that jax2onnx converts, got .*conv"):
        to_onnx(network, network.init(KEY), (2, 5, 5, 2), tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="Give the number of examples in input_shape"):
        to_onnx(fnn.max_pool2d(2, 3), (), (None, 7, 5, 2), tmp_path / "model.onnx")
    to_onnx(fnn.max_pool2d(2, 3), (), (2, 7, 5, 2), tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n != "mlp")])
def test_plain_functions_compute_the_same(name):
    network, shape = CASES[name]
    params, x = network.init(KEY), jnp.asarray(inputs(network, 3, shape))
    forward = lambda x: network.forward(params, x)[0]
    found = str(jax.make_jaxpr(plain(forward))(x))
    assert "platform_index" not in found
    assert "jit[" not in found
    expected = forward(x)
    np.testing.assert_allclose(plain(forward)(x), expected, atol=1e-5 * np.abs(expected).max())


def test_errors(tmp_path, monkeypatch):
    network = fnn.dense(4, 2)
    params = network.init(KEY)
    with pytest.raises(ValueError, match=r"dense: x must be of shape \(batch, ..., 4\)"):
        to_onnx(network, params, (None, 5), tmp_path / "model.onnx")
    with pytest.raises(TypeError, match="to_onnx: input_shape must be a shape, batch first"):
        to_onnx(network, params, 4, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"to_onnx: needs jax2onnx.*pip install 'fnn\[onnx\]'"):
        to_onnx(network, params, (None, 4), tmp_path / "model.onnx")
