"""Training on 1, 2, 4 and 8 virtual CPU devices equals training on one; what the devices communicate."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

import fnn
from experiments.planning.collectives import collectives, total_bytes
from fnn import sharding
from tests.support import over_devices
from tests.support.children import over_virtual_devices

over = functools.partial(over_virtual_devices, "tests.support.over_devices")
NARROW, WIDE = False, True
RTOL = {NARROW: 1e-5, WIDE: 1e-12}


def all_cases(case: tuple[int, bool], *marks: pytest.MarkDecorator) -> list[Any]:
    """Return all device counts in both precisions; all but `case` are marked exhaustive, `case` gets the marks."""
    every = [(n, x64) for n in (1, 2, 4, 8) for x64 in (NARROW, WIDE)]
    return [pytest.param(*one, marks=marks if one == case else pytest.mark.exhaustive) for one in every]


@pytest.mark.parametrize(("devices", "x64"), all_cases((8, WIDE), pytest.mark.slow))
def test_twenty_steps_equal_those_of_one_device(devices, x64):
    found = over("trajectories", devices, x64)
    assert len(found) == (9 if devices == 1 else 11)
    assert np.max([*found.values()]) < RTOL[x64], found


def test_twenty_steps_of_two_layouts_equal_those_of_one_device():
    found = over("some_trajectories", 8, WIDE)
    assert len(found) == 2
    assert np.max([*found.values()]) < RTOL[WIDE], found


@pytest.mark.parametrize(("devices", "x64"), all_cases((4, WIDE), pytest.mark.slow))
def test_epochs_evaluation_and_prediction_equal_those_of_one_device(devices, x64):
    found = over("epochs", devices, x64)
    assert "sharded examples" in found
    assert np.max([*found.values()]) < RTOL[x64], found


@pytest.mark.parametrize(("devices", "x64"), all_cases((8, WIDE), pytest.mark.slow))
def test_a_sweep_of_64_runs_equals_that_of_one_device(devices, x64):
    found = over("sweeps", devices, x64)
    assert np.max([*found.values()]) < RTOL[x64], found


@pytest.mark.parametrize(("devices", "x64"), all_cases((4, NARROW)))
def test_resume_is_exact_on_the_same_devices_and_possible_on_one(devices, x64):
    found = over("resumes", devices, x64)
    assert found["resumed"] == 0
    assert found["alone"] < RTOL[x64]
    assert devices == 1 or "P('data',)" in found["specs"]


@pytest.mark.parametrize(("devices", "x64"), all_cases((4, NARROW)))
def test_init_state_makes_the_same_parameters_in_shards(devices, x64):
    found = over("layout_of_init", devices, x64)
    assert found["distance"] == 0
    assert found["shapes"] == [str((12, 16 // devices))]


@pytest.mark.slow
def test_the_communication_of_a_step():
    found = over("programs", 8)
    sent = {case: collectives(text) for case, text in found.items() if "bytes" not in case}
    bytes_of_params = found["bytes"]
    for size in (32, 27):
        # data-parallel: one sum of the gradient and the cost, whether or not the devices divide the batch
        here = sent[f"data AxisType.Auto {size}"]
        assert {one.kind for one in here} == {"all-reduce"}, here
        assert total_bytes(here) == bytes_of_params + 4
        # sharded optimizer state: the new parameters are gathered from their shards, too
        here = sent[f"zero AxisType.Auto {size}"]
        assert {one.kind for one in here} == {"all-reduce", "all-gather"}, here
        assert total_bytes(here, "all-reduce") == bytes_of_params + 4
        assert total_bytes(here, "all-gather") == bytes_of_params
        # pairs of dense layers: Z of the second forward, and dX of the first backward; 16 numbers per example
        here = sent[f"tensor AxisType.Auto {size}"]
        assert {one.kind for one in here} == {"all-reduce"}, here
        assert total_bytes(here) == 4 * 16 * size
        # both: each axis communicates what it does alone, for the shards of its devices
        here = sent[f"both AxisType.Auto {size}"]
        over_model, over_data = ([one for one in here if one.group_size == group] for group in (4, 2))
        assert {one.kind for one in over_model} == {"all-reduce"}, here
        assert total_bytes(over_model) == 4 * 16 * math.ceil(size / 2), here
        own = found["both AxisType.Auto bytes of a device"]  # of each sum a device keeps half, and sends the other half
        assert {one.kind for one in over_data} == {"all-reduce", "all-gather", "collective-permute"}
        assert total_bytes(over_data, "all-reduce") + total_bytes(over_data, "collective-permute") == own + 4, here
        assert total_bytes(over_data, "all-gather") == own, here
        assert len(over_data) + len(over_model) == len(here)
    # an epoch over replicated examples: its steps communicate the same, the shuffle nothing
    here = sent["data AxisType.Auto place"]
    assert {one.kind for one in here} == {"all-reduce"}, here
    assert total_bytes(here) == 4 * (bytes_of_params + 4)
    here = sent["zero AxisType.Auto place"]
    assert {one.kind for one in here} == {"all-reduce", "all-gather"}, here
    assert total_bytes(here, "all-reduce") == 4 * (bytes_of_params + 4)
    # sharded examples: each row of a batch is a sum whose terms are zero but for one; 13 numbers of 4 bytes
    here = sent["data AxisType.Auto shard_rows"]
    assert total_bytes(here, "all-reduce") == 4 * (bytes_of_params + 4) + 4 * 13 * over_devices.SIZE
    split, whole = found["zero AxisType.Auto optimizer bytes"], found["data AxisType.Auto optimizer bytes"]
    assert split - 4 == (whole - 4) / 8  # the step counter has four bytes


@pytest.mark.slow
def test_micro_batches_are_sharded_over_the_devices():
    """Each device has its shard of each micro-batch: gradients are communicated, examples are not."""
    network, loss, optimizer = over_devices.MLP, over_devices.LOSS, over_devices.OPTIMIZER
    layout = sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    step = fnn.make_step(network, loss, optimizer, micro_batch_size=8)
    state, data = over_devices.state_of(network), tuple(part[:32] for part in over_devices.examples("mlp"))
    over = jax.jit(sharding.constrained(layout, step))
    args = sharding.place_state(layout, state), sharding.place(layout, data).arrays
    sent = collectives(over.lower(*args).compile().as_text())
    assert {one.kind for one in sent} == {"all-reduce"}
    bytes_of_params = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    row = data[0][:1].nbytes + data[1][:1].nbytes + 2 * 4  # and its index, for x and for y
    sums = 4 * (bytes_of_params + 16)  # of the four micro-batches
    assert total_bytes(sent) == sums + row, "besides the sums, the row that replaces rows of weight 0 is sent once"
    (expected, _), (got, _) = jax.jit(step)(state, data), over(*args)
    assert over_devices.distance(expected.params, got.params) < 1e-5


@pytest.mark.slow
def test_in_this_process_over_two_devices():
    """Both axis types also run in this process, for a debugger; a mesh without "data" replicates examples."""
    data = over_devices.examples("mlp")
    options = {"epochs": 2, "batch_size": 40, "progress": False}
    network, loss, optimizer = over_devices.MLP, over_devices.LOSS, over_devices.OPTIMIZER
    alone = fnn.fit(network, loss, optimizer, data, state=over_devices.state_of(network), **options)
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = Mesh(np.array(jax.devices()[:2]), ("model",), axis_types=(kind,))
        layout = sharding.tensor_parallel(mesh, [(r".*\.w", PartitionSpec(None, "model"))])
        sharded = fnn.fit(network, loss, optimizer, data, key=None, state=alone.state, sharding=layout, **options)
        single = fnn.fit(network, loss, optimizer, data, state=alone.state, **options)
        assert over_devices.distance(single.state.params, sharded.state.params) < 1e-5
        assert sharded.state.params[0].w.sharding.spec == PartitionSpec(None, "model")
        assert {shard.data.shape for shard in sharded.state.params[0].w.addressable_shards} == {(12, 8)}


def test_callbacks_get_states_on_the_users_mesh():
    mesh = jax.make_mesh((2,), ("data",))
    seen = []
    x = jnp.ones((5, 3))
    layout = sharding.data_parallel(mesh)
    callback = lambda epoch, logs, state: seen.append(state.params.w.sharding.mesh)
    fnn.fit(
        fnn.dense(3, 1), fnn.squared_error, fnn.sgd(0.1), (x, x[:, :1]),
        epochs=2, batch_size=2, key=jax.random.key(0), progress=False, sharding=layout, callback=callback,
    )  # fmt: skip
    assert seen == [mesh, mesh]


def test_under_a_mesh_that_is_set_and_step_by_step():
    """Users of Explicit axes set the mesh outside, put the state on it, and jit a step of their own."""
    network, loss, optimizer = over_devices.MLP, over_devices.LOSS, over_devices.OPTIMIZER
    data = tuple(part[:32] for part in over_devices.examples("mlp")[:2])
    step = fnn.make_step(network, loss, optimizer)
    alone = fnn.init_state(network, optimizer, jax.random.key(0))
    expected = fnn.fit(network, loss, optimizer, data, epochs=1, batch_size=32, state=alone, progress=False)
    mesh = jax.make_mesh((1, 2), ("data", "model"))
    layout = sharding.tensor_parallel(mesh, sharding.dense_pairs(network))
    rows = jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        state = fnn.init_state(network, optimizer, jax.random.key(0), sharding=layout)
        compiled = jax.jit(sharding.constrained(layout, step)).lower(state, jax.device_put(data, rows)).compile()
        stepped, _ = compiled(state, jax.device_put(data, rows))
        fitted = fnn.fit(
            network, loss, optimizer, data,
            epochs=1, batch_size=32, state=state, progress=False, sharding=layout,
            callback=lambda epoch, logs, state: state.params[0].w + 1 is None,
        )  # fmt: skip
        fnn.evaluate(network, loss, fitted.state.params, data, sharding=layout)
    sent = collectives(compiled.as_text())
    assert {one.kind for one in sent} == {"all-reduce"}
    assert total_bytes(sent) == 4 * 16 * 32  # as with Auto axes
    for state in (stepped, fitted.state):
        assert over_devices.distance(expected.state.params, state.params) < 1e-5
        assert state.params[0].w.sharding == jax.sharding.NamedSharding(mesh, PartitionSpec(None, "model"))
        assert state.opt_state.v[0].w.sharding == state.params[0].w.sharding


def test_a_cost_that_is_not_finite_is_found_over_devices():
    x = jnp.ones((6, 3)).at[4].set(1e30)
    layout = sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    with pytest.raises(FloatingPointError, match="epoch 1, step"):
        fnn.fit(
            fnn.dense(3, 1), fnn.squared_error, fnn.sgd(0.1), (x, x[:, :1]),
            epochs=2, batch_size=2, key=jax.random.key(0), progress=False, sharding=layout,
        )  # fmt: skip


@pytest.mark.slow
def test_data_on_a_mesh_that_is_set():
    """Arrays made under the mesh or put onto it have Explicit axes: fit, evaluate and predict take both."""
    network, loss, optimizer = over_devices.MLP, over_devices.LOSS, over_devices.OPTIMIZER
    data = tuple(part[:32] for part in over_devices.examples("mlp"))
    options = {"epochs": 2, "batch_size": 12, "key": jax.random.key(0), "progress": False}
    alone = fnn.fit(network, loss, optimizer, data, validation=data, **options)
    expected = fnn.evaluate(network, loss, alone.state.params, data)
    mesh = jax.make_mesh((2,), ("data",))
    layout, rows = sharding.data_parallel(mesh), jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        for given in (tuple(map(jnp.asarray, map(np.asarray, data))), jax.device_put(data, rows)):
            assert jax.typeof(given[0]).sharding.mesh.axis_types == (AxisType.Explicit,)
            result = fnn.fit(network, loss, optimizer, given, validation=given, sharding=layout, **options)
            assert over_devices.distance(alone.state.params, result.state.params) < 1e-5
            found = fnn.evaluate(network, loss, result.state.params, given, sharding=layout)
            assert found["cost"] == pytest.approx(expected["cost"], rel=1e-5)
            assert fnn.predict(network, result.state.params, given[0], sharding=layout).shape == (32, 8)


@pytest.mark.slow
def test_a_sweep_under_a_mesh_that_is_set():
    x, y, _ = over_devices.examples("mlp")
    run = fnn.make_run(over_devices.MLP, over_devices.LOSS, fnn.sgd, (x, y), epochs=2, batch_size=50)
    hypers, mesh = jnp.array([0.1, 0.2, 0.3]), Mesh(np.array(jax.devices()[:2]), ("data",))
    alone = fnn.sweep(run, hypers, jax.random.key(0))
    with jax.set_mesh(jax.make_mesh((2,), ("other",))):
        over = fnn.sweep(run, hypers, jax.random.key(0), mesh=mesh)
    assert over_devices.distance(alone.params, over.params) < 1e-5


def test_no_device_holds_more_than_its_shard_of_the_examples(monkeypatch):
    """If examples are sharded, a device holds only its shards of the training and the validation examples."""
    monkeypatch.setattr("fnn.sharding.rows._MAX_REPLICATED_BYTES", 10_000)
    x = np.ones((1001, 50), np.float32)
    held: list[int] = []

    def look(epoch: int, logs: dict[str, float], state: fnn.TrainState) -> None:
        arrays = [array for array in jax.live_arrays() if array.ndim == 2 and array.shape[1] == 50]
        shards = [shard for array in arrays for shard in array.addressable_shards]
        rows = {(s.device, s.data.unsafe_buffer_pointer()): s.data.shape[0] for s in shards}
        held.append(max(sum(n for (on, _), n in rows.items() if on == device) for device in jax.devices()[:2]))

    fnn.fit(
        fnn.dense(50, 1), fnn.squared_error, fnn.sgd(0.001), (x, x[:, :1]), validation=(x[:101], x[:101, :1]),
        epochs=2, batch_size=100, key=jax.random.key(0), progress=False, callback=look,
        sharding=sharding.data_parallel(jax.make_mesh((2,), ("data",))),
    )  # fmt: skip
    assert held == [501 + 51] * 2
