"""Parameters split over the data axis: the results of one device, the bytes on each device, and what is sent."""

import functools
import re

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import fnn
from experiments.planning.collectives import collectives, total_bytes
from fnn import sharding
from fnn.sharding import placement
from fnn.split_params import Split, for_layer
from tests.sharding.test_sharding import NARROW, RTOL, WIDE, all_cases
from tests.support.children import over_virtual_devices

over = functools.partial(over_virtual_devices, "tests.support.fully_sharded")
MESH = Mesh(np.array(jax.devices()[:2]), ("data",))


def test_twenty_steps_equal_those_of_one_device():
    found = over("trajectory", 8, WIDE)
    assert found["deep"] < RTOL[WIDE]


@pytest.mark.slow
def test_twenty_steps_of_some_networks_equal_those_of_one_device():
    found = over("some_trajectories", 8, NARROW)
    assert len(found) == 2
    assert np.max([*found.values()]) < RTOL[NARROW], found


@pytest.mark.exhaustive
@pytest.mark.parametrize(("devices", "x64"), all_cases((8, WIDE)))
def test_twenty_steps_of_all_networks_equal_those_of_one_device(devices, x64):
    found = over("trajectories", devices, x64)
    assert len(found) == 12
    # bfloat16 keeps 8 bits, so that an order of sums counts there, whatever the dtype of the parameters
    mixed = found.pop("mixed")
    assert mixed < RTOL[NARROW]
    assert np.max([*found.values()]) < RTOL[x64], found


@pytest.mark.slow
def test_each_device_holds_an_eighth_whatever_trains():
    """All live arrays of the shape of a parameter are in shards: parameters, optimizer state, and the best so far."""
    found = over("held", 8)
    looks = [value for name, value in found.items() if name.startswith(("inside", "after"))]
    assert len(looks) == 6
    assert all(share == 1 and count >= 6 for share, count in looks), found
    assert [8 * size for size in found["bytes"]] == [found["all bytes"]] * 2
    assert found["evaluated"] < RTOL[NARROW]


def entries(text: str, kind: str) -> list[tuple[int, int, int]]:
    """Return (bytes, executions, devices in a group) of each collective of a kind, in order."""
    return sorted((c.bytes, c.times, c.group_size) for c in collectives(text) if c.kind == kind)


@pytest.fixture(scope="module")
def programs():
    """Compiled programs for eight devices."""
    return over("programs", 8)


@pytest.mark.slow
def test_what_a_step_sends_to_the_byte(programs):
    found = programs
    w_in, w_1, w_2, w_out = 4 * 12 * 16, 4 * 16 * 32, 4 * 32 * 16, 4 * 16 * 8
    b_in, b_1, b_2, b_out = 4 * 16, 4 * 32, 4 * 16, 4 * 8
    copy = found["bytes of a copy"]
    assert copy == w_1 + b_1 + w_2 + b_2
    # each copy in a loop of its own: its weights for forward and for backward, its biases for forward alone
    in_loops = 5 * (2 * (w_1 + w_2) + b_1 + b_2)
    outside = w_in + b_in + 2 * w_out + b_out  # the gradient of the examples is not computed, so W is not needed
    kinds = {one.kind for one in collectives(found["step"])}
    assert kinds == {"all-gather", "all-reduce"}
    assert total_bytes(collectives(found["step"]), "all-gather") == in_loops + outside
    assert (w_1, 5 * 4, 8) in entries(found["step"], "all-gather"), "four for each copy: its two weights, twice"
    assert max(size for size, *_ in entries(found["step"], "all-gather")) == w_1, "never all copies at once"
    # gradients, and the cost; XLA's CPU backend has no reduce-scatter: the sum is sliced
    rest = w_in + b_in + w_out + b_out
    assert entries(found["step"], "all-reduce") == [(rest + 4, 1, 8), (copy, 5, 8)]
    assert copy * 5 + rest == found["bytes"]
    # evaluation gathers for forward alone, an epoch what its four steps gather
    once = 5 * (w_1 + w_2 + b_1 + b_2) + w_in + b_in + w_out + b_out
    assert total_bytes(collectives(found["predict"])) == once
    assert {one.kind for one in collectives(found["predict"])} == {"all-gather"}
    assert (w_1, 4 * 5 * 4, 8) in entries(found["epoch"], "all-gather")
    assert entries(found["epoch"], "all-reduce") == [(rest + 4, 4, 8), (copy, 4 * 5, 8)]


@pytest.mark.slow
def test_what_a_step_over_two_axes_sends(programs):
    """Over "model" it sends what tensor parallelism sends, over "data" the shards of each device."""
    sent = collectives(programs["both"])
    over_model, over_data = ([one for one in sent if one.group_size == size] for size in (4, 2))
    assert [(one.kind, one.bytes, one.times) for one in over_model] == [("all-reduce", 4 * 16 * 32 // 2, 1)]
    own = [4 * size for size in (12 * 4, 4, 4 * 16, 16, 16 * 8, 8)]  # W and b of each layer on a device of "model"
    gathered = [own[0], own[1], 2 * own[2], own[3], 2 * own[4], own[5]]
    assert total_bytes(over_data, "all-gather") == sum(gathered)
    summed = total_bytes(over_data, "all-reduce") + total_bytes(over_data, "collective-permute")
    assert summed == sum(own) + 4
    assert len(over_model) + len(over_data) == len(sent)


@pytest.mark.slow
def test_the_memory_of_a_step_and_of_the_initialisation():
    found = over("memory", 8)
    copy = found["bytes of a copy"]
    assert found["whole"] > copy, "the gradient of each copy, whole"
    assert found["split"] < 0.3 * copy, "two eighths, of the gradient and of the update, and activations"
    assert found["init"] < 0.7, "three eighths are parameters and moments; no device ever has all parameters"


@pytest.mark.parametrize(
    ("task", "count"),
    [
        pytest.param("some_resumes", 2, marks=pytest.mark.slow),
        pytest.param("all_resumes", 4, marks=pytest.mark.exhaustive),
    ],
)
def test_resuming_with_another_layout(task, count):
    found = over(task, 8)
    assert len(found) == count
    assert max(found.values()) < RTOL[NARROW], found


def is_split(params):
    return any(
        isinstance(leaf, Split) for leaf in jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, Split))
    )


@pytest.mark.parametrize("wrapped", ["forward", "backward", None])
def test_only_layers_that_pass_parameters_on_get_them_split(wrapped):
    """functools.wraps copies the mark of a function to the function of a user, which may compute with parameters."""
    network, layout = fnn.serial(fnn.dense(4, 2)), sharding.fully_sharded(MESH)
    params = network.init(jax.random.key(0))
    split = placement.split_params(sharding.with_auto_axes(layout), params)
    assert is_split(split)
    assert not is_split(for_layer(network.layers[0], split[0]))
    if wrapped is not None:
        function = getattr(network, wrapped)
        network = network._replace(**{wrapped: functools.wraps(function)(lambda *arguments: function(*arguments))})
    whole = for_layer(network, split)
    assert is_split(whole) == (wrapped is None)
    assert all(map(np.array_equal, jax.tree.leaves(whole), jax.tree.leaves(params)))


SPECS = [
    ((12, 16), (None, "data")),
    ((16, 12), ("data", None)),
    ((16, 16), (None, "data")),
    ((5, 6), (None, "data")),
    ((3,), ()),
    ((), ()),
    ((5, 7), ()),
    ((8, 6, 4), (None, "data", None)),
    ((8, 5, 3), ("data", None, None)),
    ((8, 6), ("data", None)),
    ((0, 3), ()),
]


@pytest.mark.parametrize(("shape", "spec"), SPECS)
def test_the_largest_axis_is_split(shape, spec):
    params = {"w": jax.ShapeDtypeStruct(shape, np.float32)}
    layout = sharding.fully_sharded(MESH)
    assert sharding.shardings(layout, params, params)["w"].spec == PartitionSpec(*spec)


def test_rules_come_first():
    mesh = Mesh(np.array(jax.devices()[:2]).reshape(2, 1), ("data", "model"))
    params = {"w": jax.ShapeDtypeStruct((4, 8), np.float32), "b": jax.ShapeDtypeStruct((8,), np.float32)}
    layout = sharding.fully_sharded(mesh, [("w", PartitionSpec(None, "model")), ("b", PartitionSpec("model"))])
    specs = jax.tree.map(lambda leaf: tuple(leaf.spec), sharding.shardings(layout, params, params))
    assert specs == {"w": ("data", "model"), "b": (("model", "data"),)}
    given = sharding.fully_sharded(mesh, [("w", PartitionSpec("data"))])
    assert sharding.shardings(given, params, params)["w"].spec == PartitionSpec("data")


REFUSED = [
    (lambda: sharding.fully_sharded(2), TypeError, "fully_sharded: mesh must be a jax.sharding.Mesh, got int 2"),
    (
        lambda: sharding.fully_sharded(Mesh(MESH.devices, ("x",))),
        ValueError,
        "fully_sharded: mesh must be a mesh with an axis named 'data', got axes ('x',)",
    ),
    (
        lambda: sharding.fully_sharded(MESH, [("w", PartitionSpec("model"))]),
        ValueError,
        "fully_sharded: rules must be PartitionSpecs over the mesh's axes ('data',), got 'model'",
    ),
    (
        lambda: sharding.place_params(sharding.fully_sharded(MESH, [("v", PartitionSpec("data"))]), {"w": np.ones(2)}),
        ValueError,
        "fully_sharded: rules must be patterns that each match one of the parameters ['w'], got 'v'",
    ),
    (
        lambda: fnn.predict(
            fnn.relu, (), np.ones((2, 3)), sharding=sharding.Layout(Mesh(MESH.devices, ("x",)), split_params=True)
        ),
        ValueError,
        "predict: sharding must be a layout with an axis 'data' to shard the parameters over, got axes ('x',)",
    ),
    (
        lambda: fnn.sweep(
            fnn.make_run(
                fnn.dense(3, 1), fnn.squared_error, fnn.sgd, (np.ones((4, 3)), np.ones((4, 1))), epochs=1, batch_size=2
            ),
            np.ones(2), jax.random.key(0), mesh=sharding.fully_sharded(MESH),
        ),
        TypeError,
        "sweep: mesh must be a jax.sharding.Mesh",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_layouts_are_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
