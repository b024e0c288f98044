"""reduce_on_plateau: against a computation by hand, in fit, on resume, on a mesh, and in chains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests.support.training import SMALL, VALIDATION, bits, small_fit

COSTS = [5.0, 4.0, 4.0, 3.9999, 4.1, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0]


def scales_by_hand(values, *, factor, patience, threshold=1e-4, cooldown=0, min_scale=0.0, higher=False):
    """Return the scale after each epoch, in plain Python."""
    scale, best, waited, cooling, scales = 1.0, None, 0, 0, []
    for value in values:
        if best is None:
            improved = True
        elif higher:
            improved = value > best + threshold * abs(best)
        else:
            improved = value < best - threshold * abs(best)
        if improved:
            best, waited = value, 0
        elif cooling:
            waited = 0
        else:
            waited += 1
        cooling = max(cooling - 1, 0)
        if waited >= patience:
            scale, waited, cooling = max(scale * factor, min_scale), 0, cooldown
        scales.append(scale)
    return scales


def scales(values, name="cost", **options):
    """Return the scale after each epoch, from the optimizer."""
    optimizer = fnn.reduce_on_plateau(name, **options)
    one = {"w": jnp.ones(())}

    @jax.jit
    def epoch(state, value):
        state = fnn.report_epoch(state, {name: value, "other": value})
        updates, state = optimizer.update(one, state, one)
        return updates["w"], optimizer.update(one, state, one)[1]  # a second step changes nothing

    state, found = optimizer.init(one), []
    for value in values:
        scale, state = epoch(state, jnp.float32(value))
        assert scale == state.scale
        found.append(float(scale))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 0.25, "patience": 1, "cooldown": 2},
        pytest.param({"factor": 0.5, "patience": 1}, marks=pytest.mark.slow),
        pytest.param({"factor": 0.5, "patience": 2}, marks=pytest.mark.slow),
        pytest.param({"factor": 0.5, "patience": 2, "threshold": 0.0}, marks=pytest.mark.slow),
        pytest.param({"factor": 0.5, "patience": 1, "min_scale": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_the_scale_is_that_of_a_computation_by_hand(options):
    expected = scales_by_hand(COSTS, **options)
    assert len({*expected}) > 1
    np.testing.assert_allclose(scales(COSTS, **options), expected, rtol=1e-6)
    flipped = scales_by_hand([-cost for cost in COSTS], higher=True, **options)
    np.testing.assert_allclose(scales([-cost for cost in COSTS], "accuracy", **options), flipped, rtol=1e-6)
    assert flipped == expected


def test_values_written_out():
    assert scales([3, 2, 2, 2, 2, 1], factor=0.5, patience=2) == [1, 1, 1, 0.5, 0.5, 0.5]
    assert scales([3, 2, 2, 2, 2, 2], factor=0.5, patience=1, cooldown=1) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert scales([np.nan, 2, np.nan, 3, 3], factor=0.5, patience=2) == [1, 1, 1, 0.5, 0.5]
    assert scales([1, 2, 3, 4], "squared_error", factor=0.5, patience=1) == [1, 0.5, 0.25, 0.125]
    assert scales([1, 2, 3, 4], "accuracy", factor=0.5, patience=1, lower_is_better=True) == [1, 0.5, 0.25, 0.125]


OPTIMIZER = optax.chain(fnn.momentum(2.0), fnn.reduce_on_plateau(factor=0.5, patience=1, threshold=0.02))
OPTIONS = {"optimizer": OPTIMIZER, "validation": VALIDATION, "epochs": 9}


@functools.cache
def uninterrupted():
    return small_fit(**OPTIONS)


def test_fit_makes_the_steps_of_a_schedule_computed_by_hand():
    result = uninterrupted()
    by_hand = scales_by_hand(result.history["validation_cost"], factor=0.5, patience=1, threshold=0.02)
    assert len({*by_hand[:-1]}) > 2, "the scale must fall within the training for this test to say anything"
    of_epoch = jnp.asarray([1.0, *by_hand[:-1]])
    schedule = optax.chain(fnn.momentum(lambda step: 2.0 * of_epoch[step // 2]))
    expected = small_fit(**OPTIONS | {"optimizer": schedule})
    np.testing.assert_allclose(result.history["validation_cost"], expected.history["validation_cost"], rtol=1e-5)
    np.testing.assert_allclose(result.state.params.w, expected.state.params.w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.state.opt_state[1].scale, by_hand[-2], rtol=1e-6)  # as of the last step


def test_a_training_that_resumes_computes_the_same_bits(tmp_path):
    whole = uninterrupted()
    stop = lambda epoch, *_: epoch == 4
    small_fit(**OPTIONS, checkpoint_dir=tmp_path, checkpoint_every_steps=3, callback=stop)
    resumed = small_fit(**OPTIONS, checkpoint_dir=tmp_path, resume=True)
    assert bits(resumed) == bits(whole)
    other = optax.chain(fnn.momentum(2.0), fnn.reduce_on_plateau(factor=0.4, patience=1, threshold=0.02))
    with pytest.raises(ValueError, match="optimizer"):
        small_fit(**OPTIONS | {"optimizer": other}, checkpoint_dir=tmp_path, resume=True)


@pytest.mark.slow
def test_a_mesh_and_the_state_of_wrappers():
    layout = fnn.sharding.data_parallel(jax.make_mesh((2,), ("data",)))
    single, sharded = uninterrupted(), small_fit(**OPTIONS, sharding=layout)
    np.testing.assert_allclose(sharded.state.opt_state[1].scale, single.state.opt_state[1].scale)
    wrapped = small_fit(**OPTIONS | {"optimizer": optax.apply_if_finite(OPTIMIZER, 3)})
    np.testing.assert_allclose(wrapped.state.params.w, single.state.params.w, rtol=1e-5)
    assert single.state.opt_state[1].scale < 1


def test_half_precision_stays_and_is_scaled_in_float32():
    optimizer = fnn.reduce_on_plateau("cost", factor=0.1, patience=1)
    state, gradients = optimizer.init({"w": jnp.ones(2, jnp.bfloat16)}), {"w": jnp.full(2, 3, jnp.bfloat16)}
    updates, state = optimizer.update(gradients, fnn.report_epoch(state, {"cost": jnp.ones(())}))
    updates, state = optimizer.update(updates, fnn.report_epoch(state, {"cost": jnp.ones(())}))
    assert updates["w"].dtype == jnp.bfloat16
    assert updates["w"][0] == jnp.bfloat16(0.3)


def test_errors():
    with pytest.raises(
        ValueError, match=r"reduce_on_plateau: name must be one of accuracy, cost, got 'validation_cost'"
    ):
        small_fit(optimizer=OPTIMIZER)
    for options, error in (
        ({"factor": 1.0}, ValueError),
        ({"factor": 0.0}, ValueError),
        ({"patience": 0}, ValueError),
        ({"cooldown": -1}, ValueError),
        ({"threshold": -1.0}, ValueError),
        ({"min_scale": -0.5}, ValueError),
        ({"name": 3}, TypeError),
        ({"lower_is_better": "no"}, TypeError),
    ):
        with pytest.raises(error, match=f"reduce_on_plateau: {next(iter(options))} must be"):
            fnn.reduce_on_plateau(**options)


def test_other_optimizers_keep_their_state():
    state = fnn.init_state(SMALL, fnn.adam(0.1), jax.random.key(0))
    assert bits(fnn.report_epoch(state.opt_state, {})) == bits(state.opt_state)
