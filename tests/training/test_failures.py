"""A cost or gradient that is not finite stops a training. The error names epoch, step, leaf and last checkpoint."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.checkpoint import store
from fnn.data.order import epoch_key
from fnn.training import failures, loop
from tests.support.training import NETWORK, X, Y, bits, fit

KEY, SIZE, BATCH = jax.random.key(0), 74, 16


class Tagged(NamedTuple):
    w: Any
    unused: Any


@functools.cache
def trapped(dw: float, dunused: float) -> fnn.Layer:
    """The layer x w, whose gradients take these values if a batch holds a 7. The prediction does not use `unused`."""
    inner = fnn.dense(4, 2)

    def forward(params, x, key=None):
        return x @ params.w, (x, params)

    def backward(params, residuals, dy):
        x, _ = residuals
        trap = jnp.any(x == 7)
        poison = lambda value, gradient: jnp.where(trap, jnp.float32(value), gradient)
        return Tagged(poison(dw, x.T @ dy), poison(dunused, jnp.zeros(3))), dy @ params.w.T

    return fnn.Layer(lambda key: Tagged(inner.init(key).w, jnp.zeros(3)), forward, backward, name="trapped")


def trap(index: int) -> tuple:
    """The training data, with a 7 in this example."""
    x = X[:SIZE].copy()
    x[index, 2] = 7
    return x, Y[:SIZE]


def when(index: int, epoch: int) -> int:
    """The number of the step, from 1, whose batch holds this example."""
    order = jax.random.permutation(epoch_key(KEY, epoch - 1), SIZE)
    return int(np.argmax(np.asarray(order) == index)) // BATCH + 1


@pytest.mark.parametrize("index", [0, 70])
@pytest.mark.parametrize("options", [{}, {"checkpoint_every_steps": 2}, {"callback": lambda *_: None}])
def test_a_gradient_that_never_reaches_the_cost_is_found(index, options, tmp_path):
    options = {"patience": None, "network": trapped(0.0, np.nan), "data": trap(index)} | options
    step = when(index, 1)
    with pytest.raises(FloatingPointError) as error:
        fit(checkpoint_dir=tmp_path, checkpoint_every=2, **options)
    message = str(error.value)
    assert "fit: cost and gradient must be finite" in message
    assert f"first in epoch 1, step {step} of 5: the gradient of params.unused" in message
    saved = store.list_checkpoints(tmp_path)
    if "checkpoint_every_steps" in options and step > 2:
        assert [path.name for path in saved] == [f"step-{i:08d}" for i in range(2, step, 2)]
        assert f"the last good checkpoint is {saved[-1]}" in message
    else:
        assert saved == []
        assert "no checkpoint was saved before" in message


@pytest.mark.parametrize(
    ("value", "optimizer"),
    [(np.nan, fnn.momentum(0.01)), pytest.param(-np.inf, fnn.adam(0.01), marks=pytest.mark.slow)],
)
def test_a_gradient_is_found_before_the_costs_that_follow(value, optimizer):
    """The failure follows two epochs without one."""
    data = trap(5)
    start = fnn.init_state(trapped(0.0, 0.0), optimizer, KEY)
    state = fit(trapped(0.0, 0.0), optimizer=optimizer, key=None, state=start, epochs=2, patience=None).state
    with pytest.raises(FloatingPointError) as error:
        fit(trapped(value, 0.0), optimizer=optimizer, data=data, key=None, state=state, epochs=9, patience=None)
    step = when(5, 3)
    assert f"first in epoch 1, step {step} of 5 (step {10 + step} in all): the gradient of params.w;" in (
        str(error.value) + ";"
    )


def test_a_cost_that_overflows_is_found_in_its_epoch():
    """Full-batch gradient descent with too large a learning rate, compared with a loop over the steps."""
    x, y = np.linspace(-1, 1, 20, dtype="float32")[:, None], np.ones((20, 1), "float32")
    network, loss, optimizer = fnn.dense(1, 1), fnn.squared_error, fnn.sgd(3.0)
    step = jax.jit(fnn.make_step(network, loss, optimizer))
    gradient = jax.jit(fnn.value_and_grad(network, loss))
    state = fnn.init_state(network, optimizer, KEY)
    cost, dparams = gradient(state.params, x, y)
    while np.isfinite(cost) and all(np.isfinite(leaf).all() for leaf in dparams):
        state, _ = step(state, (x, y))
        cost, dparams = gradient(state.params, x, y)
    expected = int(state.step) + 1
    with pytest.raises(FloatingPointError) as error:
        fnn.fit(network, loss, optimizer, (x, y), epochs=10_000, batch_size=20, key=KEY, progress=False)
    assert f"first in epoch {expected}, step 1 of 1 (step {expected} in all): the cost" in str(error.value)
    assert f"the cost must be finite, got cost inf in epoch {expected}" in str(error.value)


@pytest.mark.slow
def test_the_search_begins_at_the_last_snapshot(monkeypatch):
    """The same step is found with a snapshot before each call but the first, and with none."""
    schedule = lambda step: jnp.where(step == 23, jnp.float32(np.inf), jnp.float32(0.1))
    optimizer, taken, messages = fnn.sgd(schedule), [], []
    monkeypatch.setattr(failures, "snapshot", lambda *place, take=failures.snapshot: taken.append(1) or take(*place))
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(loop, "_SNAPSHOT_SECONDS", seconds)
        for options in ({}, {"callback": lambda *_: None}):
            with pytest.raises(FloatingPointError) as error:
                fit(optimizer=optimizer, patience=None, epochs=20, **options)
            messages.append(str(error.value))
    assert len(taken) > 4
    for message in messages:
        assert "epoch 5, step 4 of 5 (step 24 in all): the new params.0.w (and 3 more of 4 leaves)" in message


@pytest.mark.slow
def test_the_last_step_of_an_epoch_makes_the_next_not_finite(monkeypatch):
    """One call runs epochs 2 and 3. The cost is not finite in epoch 3, because of the last step of epoch 2."""
    monkeypatch.setattr(loop, "_CALL_SECONDS", 1e9)
    schedule = lambda step: jnp.where(step == 9, jnp.float32(np.inf), jnp.float32(0.1))
    with pytest.raises(FloatingPointError) as error:
        fit(optimizer=fnn.sgd(schedule), patience=None, validation=None)
    assert "got cost nan in epoch 3; first in epoch 2, step 5 of 5 (step 10 in all): the new params" in str(error.value)


def test_the_last_good_checkpoint_is_kept_and_named(tmp_path):
    schedule = lambda step: jnp.where(step == 23, jnp.float32(np.nan), jnp.float32(0.1))
    with pytest.raises(FloatingPointError, match=rf"the last good checkpoint is {tmp_path}/step-00000020"):
        fit(optimizer=fnn.sgd(schedule), checkpoint_dir=tmp_path, keep=1)
    like = fnn.init_state(NETWORK, fnn.sgd(schedule), KEY)
    state = store.restore(tmp_path, like)
    assert int(state.step) == 20
    plain = fit(optimizer=fnn.sgd(0.1), epochs=4, patience=None)
    assert bits(state.params) == bits(plain.state.params)


def test_only_the_validation_cost_is_not_finite(tmp_path):
    huge = np.full((20, 4), 3e38, "float32")
    with pytest.raises(FloatingPointError) as error:
        fit(fnn.mlp([4, 8, 2]), optimizer=fnn.sgd(0.01), validation=(huge, Y[:20]), patience=None)
    message = str(error.value)
    assert "fit: the cost must be finite, got cost 0." in message
    assert "validation_cost nan in epoch 1" in message or "validation_cost inf in epoch 1" in message
    assert "when its steps are repeated, everything they compute is finite" in message


def test_gradients_that_the_optimizer_replaces_are_not_reported():
    data = trap(5)
    optimizer = optax.chain(optax.zero_nans(), optax.sgd(0.01))
    result = fit(trapped(np.nan, np.nan), optimizer=optimizer, data=data, patience=None)
    assert np.isfinite(result.history["cost"]).all()
