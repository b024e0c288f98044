"""The architecture in the files of export_params."""

import json
import struct

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.checkpoint import architecture, export_params, import_params
from tests.support.training import bits

NETWORK = fnn.serial(
    fnn.conv2d(1, 2, 3, stride=2, padding="SAME"),
    fnn.max_pool2d(2),
    fnn.flatten,
    fnn.dropout(0.25),
    fnn.repeat(fnn.serial(fnn.dense(8, 8), fnn.leaky_relu(0.1)), 3),
)


def test_the_file_says_what_the_layers_are(tmp_path):
    params = NETWORK.init(jax.random.key(0))
    export_params(tmp_path / "file", params, NETWORK)
    found = architecture(tmp_path / "file")
    assert found["name"] == "serial"
    conv, pool, flatten, dropout, repeat = found["layers"]
    assert conv["arguments"]["c_in"] == 1
    assert conv["arguments"]["strides"] == [2, 2]
    assert conv["arguments"]["padding"] == "SAME"
    assert conv["parameters"] == {"w": ["float32", [3, 3, 1, 2]], "b": ["float32", [2]]}
    assert pool["name"] == "max_pool2d(2x2)"
    assert flatten == {"name": "flatten"}
    assert dropout["arguments"]["rate"] == 0.25
    assert repeat["copies"] == 3
    assert [layer["name"] for layer in repeat["layers"][0]["layers"]] == ["dense(8, 8)", "leaky_relu(0.1)"]
    assert bits(import_params(tmp_path / "file", params)) == bits(params)


def test_a_file_without_it_has_the_bytes_that_it_had(tmp_path):
    params = {"w": jnp.arange(3.0)}
    export_params(tmp_path / "file", params)
    data = (tmp_path / "file").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    assert {*json.loads(data[8 : 8 + size])["__metadata__"]} == {"fnn.sha256", "fnn.sha256.again"}
    with pytest.raises(
        ValueError, match=r"architecture: path must be that of a file with an architecture.*Pass the net"
    ):
        architecture(tmp_path / "file")


def test_another_network_is_refused_and_nothing_is_written(tmp_path):
    params = fnn.mlp([3, 2]).init(jax.random.key(0))
    for network, message in (
        (
            fnn.mlp([3, 4]),
            r"the layer of these parameters, got one with shape \(4,\) where params has shape \(2,\): '0.b'",
        ),
        (fnn.dense(3, 2), "no such leaf where params has shape"),
        (3, "network must be a Layer"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"export_params: .*{message}"):
            export_params(tmp_path / "file", params, network)
    assert not [*tmp_path.iterdir()]
    halves = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    export_params(tmp_path / "file", halves, fnn.mlp([3, 2]))  # other dtypes are fine
    assert import_params(tmp_path / "file", halves)[0].w.dtype == jnp.bfloat16


def test_a_damaged_architecture_is_refused_and_the_parameters_are_not(tmp_path):
    network = fnn.dense(3, 2)
    params = network.init(jax.random.key(0))
    export_params(tmp_path / "file", params, network)
    data = (tmp_path / "file").read_bytes()
    assert data.count(b"dense(3, 2)") == 1
    for wrong in (data.replace(b"dense(3, 2)", b"dense(3, 3)"), data.replace(b"fnn.network", b"fnn.netwerk", 1)):
        (tmp_path / "file").write_bytes(wrong)
        with pytest.raises(fnn.checkpoint.DamagedError, match=r"architecture: .* does not have its SHA-256"):
            architecture(tmp_path / "file")
        assert bits(import_params(tmp_path / "file", params)) == bits(params)
    with pytest.raises(FileNotFoundError):
        architecture(tmp_path / "none")
