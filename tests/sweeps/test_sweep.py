"""Sweeps: each run equals the run alone, for any hyperparameters, in any chunks and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.sweeps import chunks, sweep
from tests.support.devices import two_devices
from tests.support.slow import slow_except
from tests.support.sweeping import HYPERS, KEY, Hyper, X, Y, keys, make_run

RUN = make_run()


@functools.cache
def expected(n=5, n_keys=3):
    """The sweep of RUN over the first n of HYPERS and the first n_keys keys. One compiled program serves all calls."""
    if (n, n_keys) == (5, 3):
        results = fnn.sweep(RUN, HYPERS, keys(3))
        return fnn.RunResult(results.params, results.history)
    return jax.tree.map(lambda leaf: leaf[:n, :n_keys], expected())


def run_alone(run, hypers, keys):
    """Call run() in a Python loop: leaves (n, n_keys, …)."""
    n = len(jax.tree.leaves(hypers)[0])
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], hypers) for i in range(n)]
    results = [run(hyper, key) for hyper in each for key in keys]
    return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(n, len(keys), *leaves[0].shape), *results)


def assert_same_runs(results, expected, rtol=1e-6):
    for got, want in zip(
        jax.tree.leaves((results.params, results.history)),
        jax.tree.leaves((expected.params, expected.history)),
        strict=True,
    ):
        assert isinstance(got, np.ndarray)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [6, 23])
def test_a_sweep_is_a_loop_of_runs(batch_size):
    """For shuffled batches with a remainder, and for the full batch. Keys and hyperparameters are not exchanged."""
    run = make_run(batch_size)
    results = fnn.sweep(run, HYPERS, keys(2))
    assert results.history["validation_cost"].shape == (5, 2, 3)
    assert results.params[0].w.shape == (5, 2, 4, 6)
    assert isinstance(results.hypers, Hyper)
    assert_same_runs(results, run_alone(run, HYPERS, keys(2)))
    assert not np.allclose(results.params[0].w[:, 0], results.params[0].w[:, 1], atol=1e-3)


NORMALIZED = fnn.serial(fnn.dense(4, 6), fnn.batch_norm(6), fnn.tanh, fnn.dense(6, 3))
DEEP = fnn.serial(fnn.repeat(fnn.serial(fnn.dense(4, 4), fnn.tanh), 2), fnn.dropout(0.2), fnn.dense(4, 3))
WEIGHT = np.linspace(0.0, 2.0, 23, dtype=np.float32)
CASES = {
    "adam": {"make_optimizer": lambda h: fnn.adam(h.alpha * 0.1, h.beta)},
    "batch_norm": {"network": NORMALIZED},
    "batch_norm without validation": {"network": NORMALIZED, "validation": None},
    "a stack with dropout": {"network": DEEP},
    "weights": {"data": (X, Y, WEIGHT), "validation": (X[:7], Y[:7], WEIGHT[:7])},
    "convolution": {
        "network": fnn.convnet((4, 4, 1), (2,), 3, (3,)),
        "data": (np.tile(X[:, :, None, None], (1, 1, 4, 1)), Y),
        "validation": None,
    },
    "no metrics, one epoch, one batch": {"metrics": {}, "epochs": 1, "batch_size": 23},
}


LONG = set(CASES) - {"weights"}  # run with the slow ones


@pytest.mark.accelerator
@pytest.mark.parametrize(
    "changes", [pytest.param(CASES[name], id=name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES]
)
def test_a_sweep_is_a_vmap_of_runs(changes):
    """vmap maps all of the state, a sweep only a part. Momentum, moments, statistics and masks must agree."""
    run = make_run(**changes)
    over_hypers = jax.vmap(run, in_axes=(0, None))
    expected = jax.jit(jax.vmap(over_hypers, in_axes=(None, 0), out_axes=1))(HYPERS, keys(2))
    results = fnn.sweep(run, HYPERS, keys(2))
    assert_same_runs(results, jax.device_get(expected), 1e-5)
    assert set(results.history) == set(expected.history)
    costs = results.history["cost"][:, :, -1].ravel()
    assert len(np.unique(costs)) == 10


def test_matrices_of_all_runs_are_kept_ready_for_one_product():
    text = jax.jit(RUN.func.many, static_argnums=0).lower(True, *RUN.args, HYPERS, KEY).as_text()
    assert "(tensor<6x4xf32>, tensor<4x5x6xf32>) -> tensor<6x5x6xf32>" in text


@pytest.mark.slow
def test_a_run_can_be_differentiated():
    """The derivative of the last cost by the learning rate agrees with central differences."""
    run = make_run(make_optimizer=fnn.sgd, l2=0.0)
    final = jax.jit(lambda alpha: run(alpha, KEY).history["cost"][-1])
    slope = jax.grad(final)(jnp.float32(0.3))
    np.testing.assert_allclose(slope, (final(jnp.float32(0.31)) - final(jnp.float32(0.29))) / 0.02, rtol=0.01)


@pytest.mark.parametrize("chunk_size", [4, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 7, 15, 1000))])
def test_chunks_change_nothing_and_compile_once(chunk_size):
    whole = expected()
    before = sweep._run_on_one_device._cache_size()
    results = fnn.sweep(RUN, HYPERS, keys(3), chunk_size=chunk_size)
    assert sweep._run_on_one_device._cache_size() <= before + 1
    assert_same_runs(results, whole)


@pytest.mark.parametrize(
    ("size", "limit", "multiple", "expected"),
    [(10, 8, 1, 5), (10, 10, 1, 10), (10, 99, 1, 10), (10, 1, 1, 1), (7, 3, 1, 3), (3, 99, 2, 4), (5, 4, 2, 4)],
)
def test_chunks_are_equal_and_within_the_limit(size, limit, multiple, expected):
    assert chunks.chunk_length(size, limit, multiple) == expected


def test_no_chunk_is_larger_than_asked_for(monkeypatch):
    sizes = []

    def spy(on_cpu, run, hypers, keys):
        shape = len(hypers.alpha), len(keys)
        sizes.append(shape[0] * shape[1])
        return fnn.RunResult((), {"cost": np.zeros((*shape, 1))})

    monkeypatch.setattr(sweep, "_run_on_one_device", spy)
    for chunk_size in (1, 2, 3, 4, 5, 6, 9, 14):
        sizes.clear()
        fnn.sweep(RUN, HYPERS, keys(3), chunk_size=chunk_size)
        assert max(sizes) <= chunk_size
        assert len(set(sizes)) == 1
        assert sum(sizes) <= 2 * 15


def test_another_sweep_compiles_nothing_and_data_are_arguments():
    expected()
    before = sweep._run_on_one_device._cache_size()
    fnn.sweep(RUN, jax.tree.map(lambda leaf: leaf * 0.5, HYPERS), keys(3)[::-1])
    fnn.sweep(RUN, jax.tree.map(np.asarray, HYPERS), keys(3))
    assert sweep._run_on_one_device._cache_size() == before
    text = sweep._run_on_one_device.lower(True, RUN, HYPERS, keys(2)).as_text()
    assert "dense<[[" not in text.replace(" ", ""), "the data have become a constant of the program"


@pytest.mark.slow
def test_one_key_keeps_its_axis_and_raw_keys_work():
    one = fnn.sweep(RUN, HYPERS, keys(2)[0])
    assert one.history["cost"].shape == (5, 1, 3)
    assert_same_runs(one, expected(5, 1))
    raw = jax.random.key_data(keys(3))
    assert_same_runs(fnn.sweep(RUN, HYPERS, raw[0]), one)
    assert_same_runs(fnn.sweep(RUN, HYPERS, raw), expected())


@pytest.mark.slow
def test_bare_arrays_dicts_and_vectors_are_hypers():
    run = make_run(make_optimizer=fnn.sgd, l2=0.0)
    bare = fnn.sweep(run, np.array([0.1, 0.2]), keys(1))
    run = make_run(make_optimizer=lambda h: fnn.sgd(h["a"][0]), l2=0.0)
    vector = fnn.sweep(run, {"a": jnp.array([[0.1, 9.0], [0.2, 9.0]])}, keys(1))
    assert_same_runs(bare, vector)
    assert {"value"} < set(bare.table().columns)
    assert {"a[0]", "a[1]"} < set(vector.table().columns)


@pytest.mark.slow
@pytest.mark.claim("C237", "C238")
def test_scale_and_network_may_be_swept():
    """`network`, `l2` and `init` may be functions of the hyperparameters, here of the initial scale."""
    run = make_run(
        network=lambda s: fnn.mlp([4, 6, 3], fnn.tanh, fnn.init.normal(s)),
        make_optimizer=lambda s: fnn.sgd(0.1),
        l2=0.0,
    )
    scales = jnp.array([0.0, 0.1, 2.0])
    results = fnn.sweep(run, scales, keys(2))
    assert_same_runs(results, run_alone(run, scales, keys(2)))
    starts = make_run(
        make_optimizer=lambda h: fnn.sgd(0.1), l2=0.0, init=lambda h: jax.tree.map(lambda leaf: leaf * h["s"], h["p"])
    )
    params = jax.vmap(fnn.mlp([4, 6, 3], fnn.tanh).init)(keys(3))
    hypers = {"p": params, "s": scales}
    results = fnn.sweep(starts, hypers, keys(1))
    assert_same_runs(results, run_alone(starts, hypers, keys(1)))
    # leaves of 24 and 18 numbers per run have no columns; the biases and the scale do
    assert set(results.table().columns) & {"p.0.w[0,0]", "p.0.b[0]", "s"} == {"p.0.b[0]", "s"}


@pytest.mark.accelerator
@pytest.mark.parametrize(
    ("n", "n_keys", "chunk_size", "axis_type"),
    slow_except(
        [(5, 1, None, "Explicit"), (1, 3, None, "Auto"), (5, 3, 2, "Auto"), (2, 3, 1, "Explicit")], (5, 3, 2, "Auto")
    ),
)
def test_a_mesh_changes_nothing(n, n_keys, chunk_size, axis_type):
    mesh = jax.make_mesh((2,), ("x",), devices=two_devices(), axis_types=(getattr(jax.sharding.AxisType, axis_type),))
    hypers = jax.tree.map(lambda leaf: leaf[:n], HYPERS)
    before = sweep._run_on_mesh._cache_size()
    results = fnn.sweep(RUN, hypers, keys(n_keys), chunk_size=chunk_size, mesh=mesh)
    assert sweep._run_on_mesh._cache_size() <= before + 1
    assert_same_runs(results, expected(n, n_keys))


@pytest.mark.slow
def test_a_mesh_uses_each_of_its_devices():
    mesh = jax.make_mesh((1, 2), ("a", "b"))
    flat = jax.sharding.Mesh(mesh.devices.reshape(-1), ("runs",))
    out = sweep._run_on_mesh(flat, False, True, RUN, jax.tree.map(lambda leaf: leaf[:4], HYPERS), keys(2))
    shards = out.history["cost"].addressable_shards
    assert {shard.device.id for shard in shards} == {0, 1}
    assert [shard.data.shape for shard in shards] == [(2, 2, 3)] * 2
    text = sweep._run_on_mesh.lower(flat, False, True, RUN, jax.tree.map(lambda leaf: leaf[:4], HYPERS), keys(2))
    assert not {"all-gather", "all-reduce", "collective"} & set(text.compile().as_text().replace("(", " ").split())


@pytest.mark.slow
def test_with_autodiff_inside_and_a_mesh():
    """The gradient of replicated arrays must not be summed over devices."""
    run = make_run(network=fnn.autodiff(fnn.mlp([4, 6, 3], fnn.tanh)))
    mesh = jax.make_mesh((2,), ("x",))
    assert_same_runs(fnn.sweep(run, HYPERS, keys(1), mesh=mesh), expected(5, 1))


BAD = [
    ({"run": lambda h, k: None}, TypeError, "sweep: run must be a run of fnn.make_run"),
    ({"run": jax.tree_util.Partial(lambda h, k: 3)}, TypeError, "make_run, got Partial"),
    ({"hypers": {}}, ValueError, "sweep: hypers must be a pytree of stacked arrays .* without leaves"),
    ({"hypers": {"a": jnp.ones(3), "b": jnp.ones(4)}}, ValueError, r"leading axis, got hypers\['a'\]: 3, .*: 4"),
    ({"hypers": [0.1, 0.2]}, ValueError, r"sweep: hypers\[0\] must be a stacked array .* got float 0.1"),
    ({"hypers": {"a": jnp.ones((0, 2))}}, ValueError, r"hypers\['a'\] must be a stacked array .* of shape \(0, 2\)"),
    ({"hypers": "fast"}, TypeError, "sweep: hypers must be an array of numbers, got str"),
    ({"keys": 0}, TypeError, "sweep: keys must be a key or an array of keys .* got int 0"),
    ({"keys": None}, TypeError, "sweep: keys must be a key"),
    ({"keys": jnp.arange(4)}, TypeError, "sweep: keys must be a key"),
    ({"keys": jax.random.split(KEY, (2, 2))}, TypeError, "sweep: keys must be a key"),
    ({"keys": keys(3)[:0]}, ValueError, "sweep: keys must be at least one key"),
    ({"chunk_size": 0}, ValueError, "sweep: chunk_size must be a positive integer, got int 0"),
    ({"chunk_size": 2.5}, TypeError, "sweep: chunk_size must be a positive integer, got float 2.5"),
    ({"mesh": 2}, TypeError, "sweep: mesh must be a jax.sharding.Mesh, got int 2"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_wrong_input(changes, error, message):
    with pytest.raises(error, match=message):
        fnn.sweep(**{"run": RUN, "hypers": HYPERS, "keys": keys(2)} | changes)
