"""What the options of `make_run` mean: weights, held-out rows, outputs, stop, keep, seed, and a budget in steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.data.order import epoch_key, init_key, seeded_key
from tests.support.folding import (
    FOLD,
    HELD_OUT,
    HYPERS,
    ONE,
    assert_same,
    everything,
    hyper_of,
    make_run,
    network,
    of,
    results,
)
from tests.support.slow import slow_except
from tests.support.sweeping import KEY, LOSS, X, Y, keys

NETWORK = fnn.mlp([4, 6, 3], fnn.tanh)
PLAIN = {"network": NETWORK, "make_optimizer": lambda h: fnn.momentum(0.3), "held_out": None}


def fitted(weight, epochs=3, batch_size=6, key=KEY, **options):
    options = {"l2": 1e-3, "progress": False} | options
    data = (X, Y, weight.astype(np.float32))
    return fnn.fit(NETWORK, LOSS, fnn.momentum(0.3), data, epochs=epochs, batch_size=batch_size, key=key, **options)


def test_a_run_with_weights_is_a_fit_with_these_weights():
    """In epochs with a smaller last batch, and held-out rows as validation."""
    run = make_run(epochs=3, **PLAIN | {"held_out": lambda h: h["held_out"]})
    found = fnn.sweep(run, HYPERS, KEY)
    for i in (0, 3):
        rows = HELD_OUT[i][HELD_OUT[i] >= 0]
        expected = fitted(i != FOLD, validation=(X[rows], Y[rows]))
        assert_same(of(found.params, i, 0), jax.device_get(expected.state.params))
        for name, values in expected.history.items():
            np.testing.assert_allclose(found.history[name][i, 0], values, rtol=1e-5)


@pytest.mark.slow
def test_steps_are_those_of_epochs_where_batches_divide_the_data():
    options = PLAIN | {"data": (X[:18], Y[:18]), "weight": None}
    by_step = make_run(steps=9, report_at=(3, 6, 9), **options)(ONE, KEY)
    by_epoch = make_run(epochs=3, **options)(ONE, KEY)
    assert_same(by_step, by_epoch)


def test_batches_of_steps_wrap_into_the_next_epoch():
    """23 examples in batches of 6: each epoch's examples occur once, in the order of its shuffle, and none is lost."""

    y = 2.0 ** np.arange(23, dtype=np.float64)[:, None] / 2**12
    options = {"metrics": {"sum": lambda z, t: t[:, 0]}, "steps": 9, "report_at": range(1, 10), "batch_size": 6}
    run = fnn.make_run(fnn.dense(4, 1), fnn.squared_error, lambda h: fnn.sgd(0.0), (X, np.float32(y)), **options)
    sums = np.asarray(run(0.0, KEY).history["sum"], np.float64) * 6
    order = np.concatenate([jax.random.permutation(epoch_key(KEY, e), 23) for e in range(3)])
    np.testing.assert_allclose(sums, y[order[:54], 0].reshape(9, 6).sum(1), rtol=1e-6)


@pytest.mark.slow
def test_the_cost_of_a_report_is_the_mean_since_the_last():
    each, few = (
        make_run(steps=8, report_at=report_at, weight=None, **PLAIN)(ONE, KEY).history["cost"]
        for report_at in (range(1, 9), (3, 4, 8))
    )
    np.testing.assert_allclose(few, [each[:3].mean(), each[3], each[4:].mean()], rtol=1e-5)


def test_keep_returns_the_parameters_of_the_best_report_and_outputs_are_its_predictions():
    """`predict` of the kept parameters gives the outputs of the report with the least cost; -1 has outputs of 0."""
    found = results()
    assert found.outputs["label"].shape == (5, 2, 3, 5)
    assert found.outputs["label"].dtype == np.int32
    best = found.history["validation_cost"].argmin(-1)
    assert len(set(best.ravel())) > 1
    for i in (0, 3):
        rows = HELD_OUT[i]
        prediction = fnn.predict(network(hyper_of(i)), of(found.params, i, 0), X[np.maximum(rows, 0)])
        expected = np.where((rows >= 0)[:, None], jax.nn.softmax(prediction), 0)
        outputs = of(found.outputs["probability"], i, 0)
        np.testing.assert_allclose(outputs[best[i, 0]], expected, rtol=1e-5, atol=1e-6)
        cost = -np.log(outputs[:, np.arange(5), Y[np.maximum(rows, 0)]][:, rows >= 0])
        np.testing.assert_allclose(cost.mean(1), found.history["validation_cost"][i, 0], rtol=1e-5)
        np.testing.assert_array_equal(outputs.argmax(-1)[:, rows >= 0], found.outputs["label"][i, 0][:, rows >= 0])


def test_a_stopped_run_is_frozen_bit_for_bit():
    """Its reports go on with the same predictions, and it equals a run of a shorter budget."""
    found = results()
    assert all(np.isfinite(values).all() for values in found.history.values())
    for name in ("validation_cost", "validation_accuracy"):
        np.testing.assert_array_equal(found.history[name][3, :, 1], found.history[name][3, :, 2])  # it stops at 5
        assert (np.ptp(found.history[name][1], axis=-1) == 0).all()  # at 0
    np.testing.assert_array_equal(found.outputs["probability"][3, :, 1], found.outputs["probability"][3, :, 2])
    shorter = everything(stop=None, steps=5, report_at=(2, 5))
    expected = shorter(hyper_of(3), keys(2)[0])
    assert_same(of(found.params, 3, 0), expected.params, 1e-6)
    assert_same(jax.tree.map(lambda leaf: leaf[:2], of(found.history, 3, 0)), expected.history, 1e-6)
    start = network(hyper_of(1)).init(init_key(seeded_key(keys(2)[0], 1)))
    assert_same(of(found.params, 1, 0), start, 1e-6)


@pytest.mark.slow
def test_what_follows_the_last_report_is_not_kept():
    """Parameters are kept at reports only; without `keep` the run goes on to its last step."""
    options = PLAIN | {"weight": None, "report_at": (2, 5)}
    longer, shorter, last = (
        make_run(steps=steps, keep=keep, **options)(ONE, KEY) for steps, keep in ((9, "cost"), (5, "cost"), (9, None))
    )
    assert_same(longer, shorter)
    assert_same(last.history, longer.history)
    assert not np.allclose(last.params[0].w, longer.params[0].w)


@pytest.mark.slow
def test_a_run_without_held_out_rows_keeps_the_last_parameters():
    hypers = HYPERS | {"held_out": jnp.full((5, 5), -1), "stop": jnp.full(5, 99)}
    found, last = (fnn.sweep(everything(keep=keep), hypers, keys(1)) for keep in ("validation_cost", None))
    assert np.isnan(found.history["validation_cost"]).all()
    assert_same(found.params, last.params)
    assert not found.outputs["probability"].any()


@pytest.mark.slow
def test_an_index_too_large_is_seen_in_the_history():
    hyper = ONE | {"held_out": jnp.array([0, 23, -1, -1, -1])}
    assert np.isnan(make_run(steps=2)(hyper, KEY).history["validation_cost"]).all()


@pytest.mark.parametrize("many", slow_except([False, True], False))
def test_rows_without_weight_may_hold_anything_and_all_zero_weights_move_nothing(many):
    """Rows 3 and 4 have no weight of their own and hold NaN; the last run has no weight at all."""
    own = np.ones(23, np.float32)
    own[3:5] = 0
    x = np.where(own[:, None] == 0, np.nan, X)
    weight = lambda h: jnp.where(h["fold"] == 4, 0.0, (jnp.asarray(FOLD) != h["fold"]).astype(jnp.float32))
    options = PLAIN | {"weight": weight, "l2": 0.0, "epochs": 2}
    run = make_run(data=(x, Y, own), **options)
    clean = jax.tree.unflatten(jax.tree.structure(run), [jnp.asarray(X), *jax.tree.leaves(run)[1:]])  # one program
    if many:
        found, expected = fnn.sweep(run, HYPERS, KEY), fnn.sweep(clean, HYPERS, KEY)
        last = of((found.params, found.history), 4, 0)
    else:
        found, expected = run(hyper_of(1), KEY), clean(hyper_of(1), KEY)
        result = run(hyper_of(4), KEY)
        last = result.params, result.history
    assert_same((found.params, found.history), (expected.params, expected.history))
    params, history = last
    assert_same(params, NETWORK.init(init_key(KEY)), 1e-6)
    assert not history["cost"].any()


def test_a_seed_changes_the_parameters_and_the_dropout_but_not_the_batches():
    """Runs with one seed agree, others do not; the metric, a sum of targets, is that of the same batches."""
    metrics = {"batch": lambda z, y: y.astype(jnp.float32) * jnp.arange(1.0, 7.0)}
    equal = {"width": 6, "dropout": 0.4, "rate": 0.05}
    hypers = hyper_of(jnp.array([0, 1, 3])) | {name: jnp.full(3, value) for name, value in equal.items()}
    options = {"held_out": None, "metrics": metrics, "weight": None, "seed": lambda h: h["seed"]}
    run = make_run(steps=4, report_at=(1, 2, 3, 4), **options)
    found = fnn.sweep(run, hypers, KEY)
    assert np.ptp(found.history["batch"], axis=0).max() == 0
    costs = found.history["cost"][:, 0]
    np.testing.assert_allclose(costs[1], costs[2], rtol=1e-5)
    assert not np.allclose(costs[0], costs[1], rtol=1e-3)


MISUSE = [
    ({}, TypeError, "make_run: one of epochs and steps must be given, and not both, got neither"),
    ({"epochs": 1, "steps": 2}, TypeError, "and not both, got both"),
    ({"steps": 0}, ValueError, "make_run: steps must be a positive integer, got int 0"),
    ({"steps": 9, "report_at": (3, 2)}, ValueError, r"report_at must be increasing steps in 1..9, got \[3, 2\]"),
    ({"epochs": 9, "report_at": (3, 12)}, ValueError, r"report_at must be increasing epochs in 1..9, got \[3, 12\]"),
    ({"steps": 9, "report_at": ()}, ValueError, r"report_at must be increasing steps in 1..9, got \[\]"),
    ({"steps": 9, "report_at": 3}, TypeError, "report_at must be a sequence of steps, got int 3"),
    ({"steps": 9, "report_at": (1.5,)}, TypeError, r"report_at\[0\] must be a positive integer, got float 1.5"),
    ({"steps": 1, "weight": np.ones(23)}, TypeError, "make_run: weight must be a function: hyper -> weights"),
    ({"steps": 1, "held_out": [1]}, TypeError, "make_run: held_out must be a function: hyper -> rows"),
    ({"steps": 1, "stop": 3}, TypeError, "make_run: stop must be a function: hyper -> a number of steps"),
    ({"steps": 1, "seed": 3}, TypeError, "make_run: seed must be a function: hyper -> an integer"),
    ({"steps": 1, "outputs": 3}, TypeError, "make_run: outputs must be a function: prediction -> arrays"),
    ({"steps": 1, "outputs": jnp.sin, "held_out": None}, ValueError, "outputs must be None without held-out rows"),
    ({"steps": 1, "validation": (X, Y)}, ValueError, "make_run: held_out must be None with validation data"),
    ({"steps": 1, "keep": "loss"}, ValueError, r"keep must be a name of the history \(cost, accuracy, .*, got 'loss'"),
    ({"steps": 1, "keep": "validation_cost", "held_out": None}, ValueError, r"history \(cost, accuracy\), got"),
]


@pytest.mark.parametrize(("changes", "error", "message"), MISUSE, ids=[str(i) for i in range(len(MISUSE))])
def test_misuse(changes, error, message):
    with pytest.raises(error, match=message):
        make_run(**changes)


GIVEN = [
    (
        {"weight": lambda h: jnp.ones(22)},
        ValueError,
        r"weight\(hyper\) must be of shape \(23,\), a weight for each row",
    ),
    ({"weight": lambda h: jnp.ones((23, 1))}, ValueError, r"weight\(hyper\) must be of shape \(23,\).* \(23, 1\)"),
    ({"held_out": lambda h: jnp.ones(3)}, TypeError, r"held_out\(hyper\) must be integers \(k,\).* got float32"),
    ({"held_out": lambda h: jnp.ones((3, 1), int)}, ValueError, r"held_out\(hyper\) must be integers \(k,\)"),
    ({"stop": lambda h: jnp.float32(3)}, TypeError, r"stop\(hyper\) must be an integer, got float32"),
    ({"seed": lambda h: jnp.arange(2)}, ValueError, r"seed\(hyper\) must be an integer, got int32 of shape \(2,\)"),
    ({"outputs": lambda z: z.mean(0)}, ValueError, r"outputs\(prediction\) must be of shape \(5, ...\), with a row"),
]


@pytest.mark.parametrize(("changes", "error", "message"), GIVEN, ids=[str(i) for i in range(len(GIVEN))])
def test_misuse_that_is_seen_when_a_run_is_traced(changes, error, message):
    run = everything(**changes)
    with pytest.raises(error, match=message):
        jax.eval_shape(run, ONE, KEY)
