"""Cross-validation as one program: each run of a sweep is the run alone, on devices, in chunks, under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.devices import two_devices
from tests.support.folding import HELD_OUT, HYPERS, RUN, assert_same, everything, hyper_of, make_run, of, results
from tests.support.slow import slow_except
from tests.support.sweeping import KEY, X, Y, keys

WEIGHT = np.linspace(0.0, 2.0, 23, dtype=np.float32)


def part(found):
    return found.params, found.history, found.outputs


def test_each_run_of_a_sweep_is_the_run_alone():
    found = results()
    assert {name: values.shape for name, values in found.history.items()} == dict.fromkeys(
        ("cost", "accuracy", "validation_cost", "validation_accuracy"), (5, 2, 3)
    )
    for i in range(5):
        assert_same(of(part(found), i, 1), part(RUN(hyper_of(i), keys(2)[1])))


# the bias before batch_norm has a gradient of zero, of which Adam would normalise the rounding error
NORMALIZED = {
    "network": fnn.serial(fnn.dense(4, 5), fnn.batch_norm(5), fnn.tanh, fnn.dense(5, 3)),
    "make_optimizer": lambda h: fnn.momentum(h["rate"]),
}
CASES = {
    "epochs": {"epochs": 2},
    "epochs with reports": {"epochs": 5, "report_at": (1, 2, 5)},
    "no report at the end": {"steps": 9, "report_at": (2, 5)},
    "a batch of all": {"steps": 6, "report_at": (1, 6), "batch_size": 23},
    "batch_norm": NORMALIZED | {"steps": 7, "data": (X, Y, WEIGHT), "keep": "validation_cost"},
    "batch_norm, epochs": NORMALIZED | {"epochs": 2, "seed": lambda h: h["seed"], "stop": lambda h: h["stop"]},
    "validation": {"steps": 7, "held_out": None, "validation": (X[:7], Y[:7], WEIGHT[:7]), "outputs": lambda z: z},
    "keep the accuracy": {"steps": 12, "report_at": (2, 4, 12), "keep": "accuracy", "held_out": None},
}


@pytest.mark.parametrize("name", slow_except(list(CASES)))
def test_each_option_alone(name):
    run = make_run(**CASES[name])
    found = fnn.sweep(run, HYPERS, keys(1))
    for i in (0, 2, 4):
        assert_same(of(part(found), i, 0), part(run(hyper_of(i), keys(1)[0])))


@pytest.mark.slow
def test_both_forms_of_the_program():
    many = jax.jit(RUN.func.many, static_argnums=0)
    assert_same(*(many(on_cpu, *RUN.args, HYPERS, KEY) for on_cpu in (True, False)))


@pytest.mark.slow
def test_chunks():
    found = fnn.sweep(RUN, HYPERS, keys(2), chunk_size=3)
    assert_same(found, results())


@pytest.mark.slow
def test_two_devices():
    """Five runs and two keys: each device has one key."""
    mesh = jax.sharding.Mesh(two_devices(), ("x",))
    assert_same(part(fnn.sweep(RUN, HYPERS, keys(2), mesh=mesh)), part(results()))


@pytest.mark.slow
def test_results_stay_on_the_device():
    found = fnn.sweep(RUN, HYPERS, keys(2), on_device=True)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))
    assert_same(found, results())
    assert str(found.table()) == str(results().table())


@pytest.mark.slow
def test_jit_and_vmap_of_a_run():
    over_hypers = jax.jit(lambda run, hypers, key: jax.vmap(run, in_axes=(0, None))(hypers, key))
    assert_same(part(over_hypers(RUN, HYPERS, keys(2)[0])), of(part(results()), slice(None), 0))
    over_keys = jax.vmap(RUN, in_axes=(None, 0))(hyper_of(2), keys(2))
    assert_same(part(over_keys), of(part(results()), 2, slice(None)))


@pytest.mark.slow
def test_gradients_through_reports_at_equal_distances():
    """The derivative by the rate agrees with central differences; JAX refuses loops of unequal lengths."""

    def final(report_at):
        run = everything(report_at=report_at, make_optimizer=lambda h: fnn.sgd(h["rate"]), keep=None)
        return lambda rate: run(hyper_of(0) | {"rate": rate}, KEY).history["validation_cost"][-1]

    cost = final((10, 20))
    slope = jax.grad(cost)(jnp.float32(0.3))
    np.testing.assert_allclose(slope, (cost(jnp.float32(0.31)) - cost(jnp.float32(0.29))) / 0.02, rtol=0.02)
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.grad(final((5, 20)))(jnp.float32(0.3))


def test_a_batch_times_the_weights_of_all_runs_is_one_product():
    """X (6, 4) times W of the five runs, and Xᵀ times their gradients, though the weights of the rows differ."""
    text = jax.jit(RUN.func.many, static_argnums=0).lower(True, *RUN.args, HYPERS, KEY).as_text()
    assert "(tensor<6x4xf32>, tensor<4x5x6xf32>) -> tensor<6x5x6xf32>" in text
    copies = [line for line in text.splitlines() if line.endswith("tensor<5x6x4xf32>") and "dot_general" not in line]
    assert not any("select" in line or "gather" in line for line in copies), "a batch was copied for each run"


def test_reports_share_a_compiled_body():
    """Nine reports at unequal distances make no larger program than two."""
    few, many = (
        everything(report_at=steps).func.one.lower(*RUN.args, hyper_of(0), KEY).as_text().count("dot_general")
        for steps in ((2, 20), (1, 2, 4, 6, 9, 12, 14, 17, 20))
    )
    assert few == many


def test_a_table_names_the_steps():
    found = results()
    columns = found.table().columns
    assert found.reports is not None
    assert found.reports["step"].tolist() == [2, 5, 20]
    best = found.history["validation_cost"].argmin(-1).ravel()
    np.testing.assert_array_equal(columns["best_validation_cost_step"], np.array([2, 5, 20])[best])
    np.testing.assert_array_equal(columns["validation_cost"], found.history["validation_cost"][..., -1].ravel())
    assert not any(name.endswith("_epoch") for name in columns)
    means = found.means().columns
    np.testing.assert_allclose(means["validation_cost"], found.history["validation_cost"][..., -1].mean(1), rtol=1e-6)


def test_held_out_rows_of_the_fixture():
    assert sorted(HELD_OUT[HELD_OUT >= 0].tolist()) == list(range(23))
    assert (HELD_OUT == -1).sum() == 2
