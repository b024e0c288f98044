"""The function that is given a wrong layout refuses it, before any data are placed or trained on."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import fnn
from fnn import sharding
from fnn.sharding import process_rows
from tests.support import over_devices

MESH = Mesh(np.array(jax.devices()[:2]), ("data",))
WITHOUT = Mesh(MESH.devices, ("x",))
BAD = [
    (
        lambda: fnn.predict(fnn.relu, (), jnp.ones((2, 3)), sharding=sharding.Layout(WITHOUT, (), True)),
        ValueError,
        "predict: sharding must be a layout with an axis 'data' to shard the optimizer state over, got axes ('x',)",
    ),
    (lambda: sharding.data_parallel(2), TypeError, "data_parallel: mesh must be a jax.sharding.Mesh, got int 2"),
    (
        lambda: sharding.data_parallel(Mesh(np.array(jax.devices()[:2]), ("x",))),
        ValueError,
        "data_parallel: mesh must be a mesh with an axis named 'data', got axes ('x',)",
    ),
    (lambda: sharding.tensor_parallel(MESH, "w"), TypeError, "tensor_parallel: rules must be pairs (regular"),
    (lambda: sharding.tensor_parallel(MESH, [("w", 1)]), TypeError, "tensor_parallel: rules must be pairs (regular"),
    (
        lambda: sharding.tensor_parallel(MESH, [("(", PartitionSpec())]),
        ValueError,
        "tensor_parallel: rules must be regular expressions, got '('",
    ),
    (
        lambda: sharding.tensor_parallel(MESH, [("w", PartitionSpec("model"))]),
        ValueError,
        "tensor_parallel: rules must be PartitionSpecs over the mesh's axes ('data',), got 'model'",
    ),
    (
        lambda: fnn.init_state(
            fnn.dense(3, 5), fnn.sgd(0.1), jax.random.key(0),
            sharding=sharding.tensor_parallel(MESH, [("w", PartitionSpec("data"))]),
        ),
        ValueError,
        "tensor_parallel: rules must be specs whose axes divide the parameter 'w' of shape (3, 5), got size 3 over 2",
    ),
    (
        lambda: fnn.init_state(
            fnn.dense(4, 4), fnn.sgd(0.1), jax.random.key(0),
            sharding=sharding.tensor_parallel(MESH, [("b", PartitionSpec(None, "data"))]),
        ),
        ValueError,
        "tensor_parallel: rules must be specs of at most 1 entries for the parameter 'b' of shape (4,)",
    ),
    (
        lambda: sharding.place_params(
            sharding.tensor_parallel(MESH, [(r"1\.w", PartitionSpec("data"))]), fnn.dense(4, 4).init(jax.random.key(0))
        ),
        ValueError,
        "tensor_parallel: rules must be patterns that each match one of the parameters ['w', 'b'], got '1\\\\.w'",
    ),
    (lambda: sharding.dense_pairs(fnn.serial(fnn.dense(3, 2))), ValueError, "dense_pairs: network must be a `serial`"),
    (
        lambda: fnn.make_epoch(lambda state, batch: (state, 0.0), 2, sharding=sharding.data_parallel(MESH))(
            fnn.init_state(fnn.dense(3, 1), fnn.sgd(0.1), jax.random.key(0)),
            sharding.place(sharding.data_parallel(Mesh(np.array(jax.devices()[:1]), ("data",))), (jnp.ones((4, 3)),)),
        ),
        ValueError,
        "make_epoch: the data must be rows with the layout given by `sharding`, got Rows",
    ),
    (lambda: sharding.place(MESH, (jnp.ones(3),)), TypeError, "place: sharding must be a Layout"),
    (
        lambda: sharding.place(sharding.data_parallel(MESH), (jnp.ones(3), jnp.ones(4))),
        ValueError,
        "place: arrays must be of the same length, at least 1, got shapes [(3,), (4,)]",
    ),
    (
        lambda: fnn.predict(fnn.dense(3, 1), (), jnp.ones((2, 3)), sharding=MESH),
        TypeError,
        "predict: sharding must be a Layout",
    ),
    (
        lambda: fnn.make_epoch(lambda state, batch: (state, 0.0), 2, sharding="data"),
        TypeError,
        "make_epoch: sharding must be a Layout",
    ),
    (
        lambda: fnn.fit(
            fnn.dense(3, 1), fnn.squared_error, fnn.sgd(0.1), (jnp.ones((2, 3)), jnp.ones((2, 1))),
            epochs=1, batch_size=1, key=jax.random.key(0), sharding=MESH,
        ),
        TypeError,
        "fit: sharding must be a Layout",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_layouts_are_refused(call, error, message):
    with pytest.raises(error) as refused:
        call()
    assert str(refused.value).startswith(message)


def test_dense_pairs_are_found_by_their_parameters_whatever_their_names():
    network = fnn.mlp([4, 8, 8, 3])
    renamed = network._replace(layers=tuple(layer._replace(name="relu") for layer in network.layers))
    assert sharding.dense_pairs(renamed) == sharding.dense_pairs(network)
    assert sharding.dense_pairs(fnn.mixed_precision(network, "bfloat16")) == sharding.dense_pairs(network)
    wrapped = fnn.serial(fnn.remat(fnn.dense(4, 8)), fnn.repeat(fnn.dense(8, 8), 2), fnn.autodiff(fnn.dense(8, 3)))
    assert [path for path, _ in sharding.dense_pairs(wrapped)] == [r"0\.w", r"0\.b", r"2\.w"]


def test_split_parameters_require_their_layout():
    network = over_devices.MLP
    layout = sharding.tensor_parallel(jax.make_mesh((2,), ("model",)), sharding.dense_pairs(network))
    params = fnn.init_state(network, over_devices.OPTIMIZER, jax.random.key(0), sharding=layout).params
    data = over_devices.examples("mlp")
    for function in (
        lambda: fnn.predict(network, params, data[0]),
        lambda: fnn.evaluate(network, over_devices.LOSS, params, data),
    ):
        with pytest.raises(ValueError, match="sharding must be the layout by which params are sharded"):
            function()


def fake_devices(*processes: int) -> Any:
    """Return stand-ins for devices of these processes, in this order."""
    return [types.SimpleNamespace(process_index=process, id=i) for i, process in enumerate(processes)]


def test_devices_of_a_process_are_adjacent(monkeypatch):
    """On TPU pods `jax.make_mesh` follows the wiring; this is the order on a v5e-16 with four hosts."""
    torus = fake_devices(0, 0, 1, 1, 1, 1, 0, 2, 3, 3, 3, 3, 2, 2, 2, 0)
    monkeypatch.setattr(jax, "devices", lambda: torus)
    assert [device.process_index for device in sharding.devices()] == [p for p in range(4) for _ in range(4)]
    mesh: Any = types.SimpleNamespace(devices=np.array(torus), axis_names=("data",), shape={"data": 16})
    with pytest.raises(ValueError, match=r"see fnn.sharding.devices\), got shards \[0, 1, 6, 15\]"):
        process_rows.rows_of_process(sharding.Layout(mesh), 100)
    mesh.devices = sharding.devices()
    assert process_rows.rows_of_process(sharding.Layout(mesh), 100) == slice(0, 28)
