"""Sweeps on accelerators: the form of the program for them, and results that stay on the device."""

import re

import jax
import numpy as np
import pytest

import fnn
from fnn.sweeps import forms, sweep
from tests.support.slow import slow_except
from tests.support.sweeping import HYPERS, KEY, keys, make_run

RUN = make_run(epochs=4)
TOKENS = np.random.default_rng(0).integers(0, 5, (12, 6))
IMAGES, LABELS = np.random.default_rng(1).random((12, 8, 8, 1), np.float32), np.arange(12) % 3
SEQUENCES = np.random.default_rng(2).random((12, 5, 4), np.float32)
ROWS, WEIGHT = IMAGES[:, :, 0, 0], np.arange(12.0, dtype=np.float32)
NETWORKS = {
    "mlp": {"network": fnn.mlp([8, 6, 3], fnn.tanh), "data": (ROWS, LABELS, WEIGHT)},
    "convnet": {"network": fnn.convnet((8, 8, 1), (2, 3), 2, (3,)), "data": (IMAGES, LABELS)},
    "lstm": {"network": fnn.serial(fnn.lstm(4, 6), fnn.last(), fnn.dense(6, 3)), "data": (SEQUENCES, LABELS)},
    "gpt": {"network": fnn.gpt(5, 6, 1, 2, 8), "data": (TOKENS, TOKENS)},
}


CASES = [("mlp", 1), ("mlp", 2), ("convnet", 1), ("lstm", 1), ("gpt", 1)]


@pytest.mark.parametrize(("name", "n_keys"), slow_except(CASES, ("mlp", 1)))
def test_both_forms_of_the_program_give_the_same_results(name, n_keys):
    run = make_run(5, 2, validation=None, **NETWORKS[name])
    on_cpu, elsewhere = (sweep._run_on_one_device(form, run, HYPERS, keys(n_keys)) for form in (True, False))
    assert len(np.unique(on_cpu.history["cost"][..., -1])) == 5 * n_keys
    for a, b in zip(jax.tree.leaves(on_cpu), jax.tree.leaves(elsewhere), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def lowered(run, on_cpu=False, platform="cuda"):
    program = sweep._run_on_one_device.jitted(on_cpu, run, HYPERS, keys(1))
    return program.trace(run, HYPERS, keys(1)).lower(lowering_platforms=(platform,)).as_text()


def test_the_program_of_a_gpu_has_no_trick_of_the_cpu():
    """W₁, which multiplies the shared batch, is (4, runs, 6); W₂ is (runs, 6, 3), so that no product copies it."""
    text = lowered(RUN)
    state = next(line for line in text.splitlines() if "stablehlo.while" in line)
    assert "tensor<4x5x6xf32>" in state
    assert "tensor<5x6x3xf32>" in state
    assert "tensor<6x5x3xf32>" not in text
    assert not {"case", "if", "optimization_barrier"} & set(re.findall(r"stablehlo\.(\w+)", text))
    assert "tensor<6x5x3xf32>" in lowered(RUN, True, "cpu")


@pytest.mark.parametrize("name", slow_except(list(NETWORKS), "mlp"))
def test_sweeps_lower_for_accelerators(name):
    run = make_run(5, 2, validation=None, **NETWORKS[name])
    for platform in ("cuda", "tpu"):
        text = lowered(run, False, platform)
        assert "stablehlo.while" in text
        assert ("stablehlo.convolution" in text) == (name == "convnet")


def test_only_steps_of_small_networks_on_rows_are_joined():
    def steps(sizes, n, x, on_cpu=False):
        params = jax.eval_shape(fnn.mlp(sizes).init, jax.random.key(0))
        return forms.steps_per_iteration(fnn.TrainState(params, (), np.zeros(()), KEY), n, x, on_cpu)

    assert steps([784, 30, 10], 64, np.zeros((5, 784))) == 2
    assert steps([784, 30, 10], 64, np.zeros((5, 784)), on_cpu=True) == 1
    assert steps([784, 30, 10], 64, np.zeros((5, 28, 28))) == 1
    assert steps([784, 512, 10], 64, np.zeros((5, 784))) == 1


def test_two_steps_stack_all_their_logs_as_one_array():
    """The cost and the accuracy of 5 runs; the numbers of examples are known without a loop."""
    stacks = [line for line in lowered(RUN).splitlines() if "stablehlo.dynamic_update_slice" in line]
    in_a_loop = [line for line in stacks if line.endswith("-> tensor<1x2x2x5xf32>")]  # 3 steps: two, and one after it
    of_an_epoch = [line for line in stacks if line.endswith("-> tensor<4x5xf32>")]
    assert len(in_a_loop) == len(stacks) - len(of_an_epoch) == 1


@pytest.mark.slow
def test_logs_of_several_dtypes(x64):
    run = make_run(data=(np.float64(IMAGES[:, :, 0, 0]), LABELS), validation=None, network=fnn.mlp([8, 6, 3]))
    history = fnn.sweep(run, jax.tree.map(lambda leaf: leaf[:2], HYPERS), keys(1)).history
    assert {name: values.dtype.name for name, values in history.items()} == {"cost": "float64", "accuracy": "float32"}


@pytest.mark.parametrize("chunk_size", slow_except([None, 4], 4))
def test_results_stay_on_the_device(chunk_size, monkeypatch):
    """Nothing is copied to the host before a table asks for the history."""
    expected = fnn.sweep(RUN, HYPERS, keys(3), chunk_size=chunk_size)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_get", None)
        results = fnn.sweep(RUN, HYPERS, keys(3), chunk_size=chunk_size, on_device=True)
    assert {type(leaf) for leaf in jax.tree.leaves(expected)} == {np.ndarray}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(results))
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in ((results.table(), expected.table()), (results.means(), expected.means())):
        assert str(a) == str(b)


@pytest.mark.slow
def test_results_stay_on_the_devices_of_a_mesh():
    mesh = jax.make_mesh((2,), ("x",))
    expected = fnn.sweep(RUN, HYPERS, keys(1))
    results = fnn.sweep(RUN, HYPERS, keys(1), mesh=mesh, on_device=True)  # 5 runs on 2 devices: one copy pads them
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_results_on_the_host_may_be_changed():
    results = fnn.sweep(RUN, HYPERS, keys(3))
    results.history["cost"][:] = 0
    results.params[0].w[:] = 0
    assert results.history["cost"].sum() == 0


def test_the_data_may_be_on_the_host_and_the_sweep_inside_a_jit():
    run = make_run(network=fnn.dense(4, 3), epochs=1, batch_size=23, validation=None)
    expected = fnn.sweep(run, HYPERS, keys(1)).history["cost"]
    on_host = fnn.sweep(jax.device_get(run), HYPERS, keys(1)).history["cost"]
    np.testing.assert_array_equal(on_host, expected)
    inside = jax.jit(lambda run, hypers, keys: fnn.sweep(run, hypers, keys, on_device=True).history["cost"])
    np.testing.assert_allclose(inside(run, HYPERS, keys(1)), expected, rtol=1e-6)


def test_the_flag_must_be_a_bool():
    with pytest.raises(TypeError, match="sweep: on_device must be a bool, got int 1"):
        fnn.sweep(RUN, HYPERS, keys(1), on_device=1)
