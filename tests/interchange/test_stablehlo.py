"""StableHLO: the program computes what the network does, in a process that does not import fnn."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.interchange import from_stablehlo, to_stablehlo

KEY = jax.random.key(0)
CONVNET = fnn.serial(
    fnn.conv2d(1, 3, 3, padding="SAME"), fnn.batch_norm(3), fnn.relu, fnn.max_pool2d(2), fnn.flatten, fnn.dense(12, 2)
)
ALL = {
    "convolutions": (CONVNET, (4, 4, 1)),
    "transposed and groups": (fnn.serial(fnn.conv2d(2, 4, 3, groups=2), fnn.conv2d_transpose(4, 2, 3)), (5, 5, 2)),
    "recurrent": (fnn.serial(fnn.gru(3, 4), fnn.lstm(4, 2), fnn.last()), (5, 3)),
    "gpt": (fnn.gpt(11, length=6, layers=1, heads=2, d=4), (6,)),
    "norms": (fnn.repeat(fnn.residual(fnn.serial(fnn.layer_norm(4), fnn.dense(4, 4), fnn.relu)), 2), (4,)),
}


@pytest.fixture(autouse=True)
def flatbuffers():
    return pytest.importorskip("flatbuffers")


def inputs(network, n, shape):
    rng = np.random.default_rng(n)
    if network.vocabulary is not None:
        return rng.integers(0, network.vocabulary, (n, *shape)).astype(np.int32)
    return rng.standard_normal((n, *shape)).astype(np.float32)


def check(network, shape, path, sizes):
    params = network.init(KEY)
    to_stablehlo(network, params, (None, *shape), path)
    call = from_stablehlo(path)
    for n in sizes:
        x = inputs(network, n, shape)
        expected = fnn.predict(network, params, x)
        np.testing.assert_allclose(call(x), expected, atol=1e-6 * np.abs(expected).max())


_SERVE = """
import sys
import jax, numpy as np

predict = jax.jit(jax.export.deserialize(open(sys.argv[1], "rb").read()).call)
np.save(sys.argv[2], predict(np.load(sys.argv[3])))
assert "fnn" not in sys.modules
"""


MLP = fnn.serial(fnn.dense(4, 3), fnn.batch_norm(3), fnn.relu)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(MLP, (4,)), pytest.param(CONVNET, (4, 4, 1), marks=pytest.mark.slow)],
    ids=["mlp", "convnet"],
)
def test_a_process_without_fnn_runs_the_program_for_any_batch(network, shape, tmp_path, flatbuffers):
    params = fnn.calibrate(network, network.init(KEY), jnp.asarray(inputs(network, 50, shape)))
    to_stablehlo(network, params, (None, *shape), tmp_path / "program")
    x = inputs(network, 7, shape)
    np.save(tmp_path / "x.npy", x)
    script, root = tmp_path / "serve.py", Path(fnn.__file__).parents[1]
    script.write_text(_SERVE)
    others = [str(Path(flatbuffers.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(others), "JAX_PLATFORMS": "cpu"}
    assert str(root) not in others
    subprocess.run(
        [sys.executable, "-P", str(script), *(str(tmp_path / name) for name in ("program", "y.npy", "x.npy"))],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    expected = fnn.predict(network, params, x)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6 * np.abs(expected).max())
    with pytest.raises(ValueError, match="mismatch"):
        from_stablehlo(tmp_path / "program")(x[:, :2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_programs_of_all_kinds_for_several_batches(name, tmp_path):
    network, shape = ALL[name]
    check(network, shape, tmp_path / "program", (1, 3))


def test_platforms_dtypes_and_the_batch(tmp_path):
    network, path = fnn.mlp([4, 8, 3]), tmp_path / "program"
    params = network.init(KEY)
    to_stablehlo(network, params, (2, 4), path, dtype=jnp.bfloat16, platforms=["cpu"])
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu",)
    assert exported.in_avals[0].shape == (2, 4)
    assert exported.in_avals[0].dtype == jnp.bfloat16
    to_stablehlo(network, params, [None, 4], path)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert "precision_config" not in exported.mlir_module() or "HIGHEST" in exported.mlir_module()
    assert "HIGHEST" in exported.mlir_module(), "float32 products in full, also on a GPU"


def by_size(params, x, key=None):
    return (x if len(x) > 3 else 2 * x), x  # needs to know the batch


def test_errors(tmp_path, monkeypatch):
    network, path = fnn.dense(4, 2), tmp_path / "program"
    params = network.init(KEY)
    for shape, options, message in (
        ((None, 0), {}, "input_shape must be a positive integer"),
        ((0, 4), {}, "input_shape must be a positive integer"),
        ((None, None), {}, "input_shape must be a positive integer"),
        ((None, 4), {"platforms": "cpu"}, "platforms must be names out of"),
        ((None, 4), {"platforms": ["gpu"]}, "platforms must be names out of"),
        ((None, 5), {}, r"dense: x must be of shape \(batch, ..., 4\)"),
        (4, {}, "input_shape must be a shape, batch first"),
        ("4", {}, "input_shape must be a shape, batch first"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            to_stablehlo(network, params, shape, path, **options)
    with pytest.raises(ValueError, match=r"input_shape must be one that .* Give the number of examples"):
        to_stablehlo(fnn.relu._replace(forward=by_size), (), (None, 4), path)
    to_stablehlo(fnn.relu._replace(forward=by_size), (), (2, 4), path)
    for content in (b"", b"text", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(fnn.checkpoint.DamagedError, match="is not a program of to_stablehlo"):
            from_stablehlo(path)
    with pytest.raises(FileNotFoundError):
        from_stablehlo(tmp_path / "none")
    with pytest.raises(OSError, match="none"):
        to_stablehlo(network, params, (None, 4), tmp_path / "none" / "program")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for function in (lambda: to_stablehlo(network, params, (1, 4), path), lambda: from_stablehlo(path)):
        with pytest.raises(ImportError, match=r"stablehlo: needs flatbuffers.*pip install 'fnn\[stablehlo\]'"):
            function()
