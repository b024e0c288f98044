"""XLA's cost analysis: a step with the hand-written backward against the same step with jax.grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.optimizers import apply_updates
from tests.support.slow import slow_except

ACTIVATIONS = [fnn.sigmoid, fnn.tanh, fnn.relu, fnn.leaky_relu(), fnn.softplus, fnn.gelu, fnn.gelu_tanh, fnn.silu]
MLPS = {f"mlp {activation.name}": fnn.mlp([64, 48, 32, 10], activation) for activation in ACTIVATIONS} | {
    "mlp dropout": fnn.serial(fnn.dense(64, 48), fnn.relu, fnn.dropout(0.5), fnn.dense(48, 10)),
    "mlp repeat": fnn.serial(
        fnn.dense(64, 32), fnn.relu, fnn.repeat(fnn.serial(fnn.dense(32, 32), fnn.relu), 4), fnn.dense(32, 10)
    ),
    "mlp repeat dropout": fnn.serial(
        fnn.repeat(fnn.serial(fnn.dense(64, 64), fnn.tanh, fnn.dropout(0.2)), 4), fnn.dense(64, 10)
    ),
}
CONVNETS = {
    "convnet": (fnn.convnet((12, 12, 1), (4, 8), 3, (16, 10)), (12, 12, 1)),
    "convnet same": (
        fnn.serial(fnn.conv2d(2, 4, 3, padding="SAME"), fnn.relu, fnn.avg_pool2d(2), fnn.flatten, fnn.dense(100, 10)),
        (10, 10, 2),
    ),
}
OPTIMIZER = fnn.momentum(0.1)


def step_with_autodiff(network, loss):
    """The step of `make_step` with jax.grad of the same forward instead of the backward functions."""

    def step(state, batch):
        x, y = batch
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)

        def cost(params):
            return jnp.mean(loss.forward(network.forward(params, x, key)[0], y)[0])

        value, gradient = jax.value_and_grad(cost)(state.params)
        updates, opt_state = OPTIMIZER.update(gradient, state.opt_state, state.params)
        return fnn.TrainState(apply_updates(state.params, updates), opt_state, state.step + 1, state.key), value

    return step


def costs(step, network, x_shape, loss):
    """FLOPs, transcendentals, bytes accessed and temporary bytes of the compiled step."""
    state = jax.eval_shape(lambda: fnn.init_state(network, OPTIMIZER, jax.random.key(0)))
    labels = loss is fnn.softmax_cross_entropy
    y = jax.ShapeDtypeStruct((32,) if labels else (32, 10), jnp.int32 if labels else jnp.float32)
    batch = jax.ShapeDtypeStruct((32, *x_shape), jnp.float32), y
    compiled = jax.jit(step).lower(state, batch).compile()
    analysis = compiled.cost_analysis() or {}
    return {
        "flops": analysis["flops"],
        "transcendentals": analysis.get("transcendentals", 0.0),
        "bytes accessed": analysis["bytes accessed"],
        "temporary bytes": compiled.memory_analysis().temp_size_in_bytes,
    }


def ratios(network, x_shape, loss=fnn.softmax_cross_entropy):
    hand = costs(fnn.make_step(network, loss, OPTIMIZER), network, x_shape, loss)
    auto = costs(step_with_autodiff(network, loss), network, x_shape, loss)
    return {name: hand[name] / auto[name] if auto[name] else 1.0 + hand[name] for name in hand}


@pytest.mark.parametrize("name", slow_except(MLPS, "mlp gelu", "mlp repeat"))
def test_an_mlp_step_costs_no_more_than_with_jax_grad(name):
    for kind, ratio in ratios(MLPS[name], (64,)).items():
        assert round(ratio, 2) <= 1.00, f"{kind}: {ratio:.4f} times jax.grad's"


@pytest.mark.parametrize(
    "loss",
    [fnn.squared_error, pytest.param(fnn.sigmoid_cross_entropy, marks=pytest.mark.slow)],
    ids=lambda loss: loss.name,
)
def test_neither_do_the_other_losses(loss):
    for kind, ratio in ratios(MLPS["mlp tanh"], (64,), loss).items():
        assert round(ratio, 2) <= 1.00, f"{kind}: {ratio:.4f} times jax.grad's"


@pytest.mark.parametrize("name", slow_except(CONVNETS, "convnet same"))
def test_a_convnet_step_costs_no_more_arithmetic_than_with_jax_grad(name, capsys):
    found = ratios(*CONVNETS[name])
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in found.items()) + " times jax.grad's")
    for kind in ("flops", "transcendentals"):
        assert found[kind] <= 1.01, f"{kind}: {found[kind]:.4f} times jax.grad's"


@pytest.mark.slow
def test_the_step_with_autodiff_is_the_same_step(key):
    network = MLPS["mlp dropout"]
    state = fnn.init_state(network, OPTIMIZER, key)
    batch = np.random.default_rng(0).standard_normal((32, 64)).astype("float32"), np.arange(32) % 10
    hand, _ = jax.jit(fnn.make_step(network, fnn.softmax_cross_entropy, OPTIMIZER))(state, batch)
    auto, _ = jax.jit(step_with_autodiff(network, fnn.softmax_cross_entropy))(state, batch)
    for a, b in zip(jax.tree.leaves(hand.params), jax.tree.leaves(auto.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
