"""`deterministic`: an option of XLA for programs on a GPU, and for no others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.sweeps import sweep as sweeping
from fnn.training import compiled, epoch, numerics
from fnn.training.numerics import Numerics, compiler_options, platform_of
from tests.support.training import LOSS, SGD, SMALL, X, Y, bits, small_fit

OPTION = {"xla_gpu_deterministic_ops": True, "xla_gpu_enable_triton_gemm": False}
DATA = X[:32], Y[:32]


@pytest.fixture
def options(monkeypatch):
    """The options of each program that is compiled at the top level, by its name, as if the device were a GPU."""
    found = []
    jit = jax.jit

    def spy(function, **kwargs):
        found.append((getattr(function, "__name__", ""), kwargs.get("compiler_options")))
        return jit(function, **kwargs)

    on_gpu = lambda leaves: None if platform_of(leaves) is None else "gpu"
    monkeypatch.setattr(compiled, "platform_of", on_gpu)
    monkeypatch.setattr(jax, "jit", spy)
    return found


def test_only_programs_on_a_gpu_get_the_option():
    assert compiler_options(Numerics(deterministic=True), "gpu") == OPTION
    for platform in ("cpu", "tpu", None):
        assert compiler_options(Numerics(deterministic=True), platform) == {}
    assert compiler_options(Numerics(), "gpu") == {}


def test_the_platform_is_that_of_the_arguments():
    assert platform_of([np.ones(2), jnp.ones(2)]) == platform_of([]) == "cpu"
    assert platform_of([jax.device_put(jnp.ones(2), jax.devices()[1])]) == "cpu"
    seen = []
    jax.jit(lambda x: seen.append(platform_of([x])) or x)(jnp.ones(2))
    jax.vmap(lambda x: seen.append(platform_of([x])) or x)(jnp.ones(2))
    assert seen == [None, None]


def test_every_program_of_fit_has_the_option_but_the_one_inside_another(options):
    network = fnn.serial(fnn.dense(4, 2))  # of this test alone: nothing is compiled yet
    result = small_fit(network=network, epochs=1, deterministic=True)
    assert ("run_epochs", OPTION) in options
    assert ("init_carry", OPTION) in options
    assert ("reported_epoch", OPTION) not in options
    del options[:]
    assert bits(small_fit(network=network, epochs=1).state) == bits(result.state)
    assert {name: option for name, option in options if option}.keys() <= {"_init_state"}


def test_epochs_runs_and_sweeps_have_the_option(options, key):
    step, state = fnn.make_step(SMALL, LOSS, SGD), fnn.init_state(SMALL, SGD, key)
    run_epoch = fnn.make_epoch(step, 16, deterministic=True)
    run_epoch(state, DATA)
    run = fnn.make_run(SMALL, LOSS, fnn.sgd, DATA, epochs=1, batch_size=16, deterministic=True)
    run.func.one.jitted(*run.args, 0.1, key)
    sweeping._run_on_one_device.jitted(True, run, jnp.ones(2), key[None])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("runs",))
    sweeping._run_on_mesh.jitted(mesh, True, True, run, jnp.ones(2), key[None])
    names = "_epoch", "run_one", "_runs", "_run_on_mesh"
    assert [entry for entry in options if entry[0] in names] == [(name, OPTION) for name in names]


@pytest.mark.slow
def test_inside_programs_of_the_user_there_are_no_options(options, key):
    step, state = fnn.make_step(SMALL, LOSS, SGD), fnn.init_state(SMALL, SGD, key)
    run_epoch = fnn.make_epoch(step, 16, deterministic=True)
    assert jax.jit(run_epoch)(state, tuple(map(jnp.asarray, DATA)))[1].shape == (2,)
    run = fnn.make_run(SMALL, LOSS, fnn.sgd, DATA, epochs=1, batch_size=16, deterministic=True)
    assert jax.vmap(run, in_axes=(0, None))(jnp.array([0.1]), key).history["cost"].shape == (1, 1)
    assert np.isfinite(jax.grad(lambda rate: run(rate, key).history["cost"][-1])(0.1))
    results = fnn.sweep(run, jnp.array([0.1, 0.2]), key)
    np.testing.assert_allclose(results.history["cost"][0, 0], run(0.1, key).history["cost"], rtol=1e-5)


def test_on_a_cpu_nothing_is_compiled_for_it(key):
    state = fnn.init_state(SMALL, SGD, key)
    step = fnn.make_step(SMALL, LOSS, SGD)
    texts = {
        epoch._epoch.lower(Numerics("highest", deterministic), step, 16, state, DATA).as_text()
        for deterministic in (False, True)
    }
    assert len(texts) == 1


def test_flags():
    for wrong in (1, "yes", None):
        for function in (
            lambda wrong: small_fit(deterministic=wrong),
            lambda wrong: fnn.make_epoch(fnn.make_step(SMALL, LOSS, SGD), 4, deterministic=wrong),
            lambda wrong: fnn.make_run(SMALL, LOSS, fnn.sgd, DATA, epochs=1, batch_size=4, deterministic=wrong),
        ):
            with pytest.raises(TypeError, match="deterministic must be True or False"):
                function(wrong)
    assert numerics.check_numerics("fit", None, True) == Numerics(None, True)
