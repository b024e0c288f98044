"""Forms of layers that XLA fuses on accelerators, asserted on lowered programs: no device is needed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.training.description import describe

LAYER = fnn.mlp([6, 8, 3])


def lowered(function, *args, platform):
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def gradients(key, **options):
    """Return parameters, x, and the gradients of `LAYER` in bfloat16."""
    layer = fnn.mixed_precision(LAYER, jnp.bfloat16, **options)
    params, x = layer.init(key), jax.random.normal(key, (40, 6))
    dy = jax.random.normal(jax.random.fold_in(key, 1), (40, 3))
    return params, x, dy, layer.backward(params, layer.forward(params, x)[1], dy)


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 2.0**10])
def test_rounded_gradients_are_those_of_autodiff_of_a_cast(scale, key):
    """They have the bits of bfloat16 numbers, and are as close to those in full as one rounding."""
    params, x, dy, (rounded, dx) = gradients(key, loss_scale=scale, round_gradients=True)
    _, _, _, (full, same_dx) = gradients(key, loss_scale=scale)

    def casting(params, x):
        return LAYER.forward(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params), x.astype(jnp.bfloat16))[0]

    expected = jax.vjp(casting, params, x)[1](dy.astype(jnp.bfloat16))[0]
    np.testing.assert_array_equal(dx, same_dx)
    for a, b, c in zip(*map(jax.tree.leaves, (rounded, full, expected)), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        np.testing.assert_array_equal(a, a.astype(jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_allclose(a, b, rtol=2.0**-8)
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=2.0**-4, atol=0.02 * np.abs(c).max())


@pytest.mark.slow
def test_rounded_gradients_leave_statistics_alone(key):
    layer = fnn.mixed_precision(fnn.serial(fnn.dense(6, 4), fnn.batch_norm(4)), jnp.float16, round_gradients=True)
    params, x = layer.init(key), jax.random.normal(key, (9, 6))
    y, residuals = layer.forward(params, x, key)
    dparams, _ = layer.backward(params, residuals, y)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(dparams)} == {"float32"}


def test_round_gradients_must_be_a_bool():
    with pytest.raises(TypeError, match="mixed_precision: round_gradients must be a bool, got int 1"):
        fnn.mixed_precision(LAYER, jnp.float16, round_gradients=1)


def test_the_gradient_of_the_output_is_rounded_once_on_a_gpu(key):
    """The barrier keeps XLA from reading dz in float32 for the sums of db. The CPU's program has none."""

    def backward(params, x, dy):
        layer = fnn.mixed_precision(LAYER, jnp.bfloat16)
        return layer.backward(params, layer.forward(params, x)[1], dy)

    args = LAYER.init(key), jnp.ones((4, 6)), jnp.ones((4, 3))
    counts = {p: lowered(backward, *args, platform=p).count("optimization_barrier") for p in ("cuda", "tpu", "cpu")}
    assert counts == {"cuda": 1, "tpu": 1, "cpu": 0}


def test_rounded_gradients_are_products_in_bfloat16_on_a_gpu(key):
    """Each dW is written once, in half the bytes, and no product is in float32."""

    def backward(params, x, dy, **options):
        layer = fnn.mixed_precision(LAYER, jnp.bfloat16, **options)
        return layer.backward(params, layer.forward(params, x)[1], dy)[0]

    args = LAYER.init(key), jnp.ones((4, 6)), jnp.ones((4, 3))
    for options, dtype in (({}, "f32"), ({"round_gradients": True}, "bf16")):
        text = lowered(lambda *args, o=options: backward(*args, **o), *args, platform="cuda")
        products = [line.rsplit("-> ", 1)[1] for line in text.splitlines() if "stablehlo.dot_general" in line]
        assert products.count(f"tensor<6x8x{dtype}>") == products.count(f"tensor<8x3x{dtype}>") == 1


@pytest.mark.parametrize("form", ["cpu", "default"])
def test_the_mask_of_relu(form, monkeypatch):
    """On accelerators z has one use, so that XLA computes max(0, X W + b) inside the matrix product."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, **forms: forms[form](*args))
    z = jnp.array([-jnp.inf, -2.0, -0.0, 0.0, 1e-30, 3.0, jnp.inf, jnp.nan])
    a, mask = jax.jit(lambda z: fnn.relu.forward((), z))(z)
    np.testing.assert_array_equal(mask, z > 0)
    np.testing.assert_array_equal(a, np.maximum(z, 0))
    np.testing.assert_array_equal(fnn.relu.backward((), mask, jnp.ones_like(z))[1], z > 0)
    jaxpr = jax.make_jaxpr(lambda z: fnn.relu.forward((), z))(z).jaxpr
    assert sum(jaxpr.invars[0] in equation.invars for equation in jaxpr.eqns) == (2 if form == "cpu" else 1)


def test_gelu_computes_tanh_again_in_half_precision():
    """It saves z alone. A barrier keeps XLA from saving t, another one from writing dz in float32 on a GPU."""

    def forward(z):
        return fnn.gelu_tanh.forward((), z)

    def backward(z):
        return fnn.gelu_tanh.backward((), forward(z)[1], jnp.ones_like(z))[1]

    z = jnp.linspace(-3, 3, 6)
    half, cases = (
        z.astype(jnp.bfloat16),
        ((jnp.bfloat16, "cuda", 2), (jnp.float32, "cuda", 0), (jnp.bfloat16, "cpu", 1)),
    )
    for dtype, platform, count in cases:
        assert lowered(backward, z.astype(dtype), platform=platform).count("optimization_barrier") == count
    assert [len(jax.tree.leaves(forward(z)[1])) for z in (half, z)] == [1, 2]
    np.testing.assert_allclose(backward(half), backward(z), rtol=0.05, atol=0.02)


def test_an_unrolled_repeat_is_the_same_without_a_loop(key):
    block = fnn.serial(fnn.dense(4, 4), fnn.tanh)
    looped, unrolled = fnn.repeat(block, 3), fnn.repeat(block, 3, unroll=True)
    params, x = looped.init(key), jax.random.normal(key, (5, 4))

    def both(layer):
        def passes(params, x):
            y, residuals = layer.forward(params, x)
            return y, layer.backward(params, residuals, y)

        return passes

    for a, b in zip(*(jax.tree.leaves(jax.jit(both(layer))(params, x)) for layer in (looped, unrolled)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    loops = [lowered(both(layer), params, x, platform="cuda").count("stablehlo.while") for layer in (looped, unrolled)]
    assert loops == [2, 0]
    with pytest.raises(TypeError, match="repeat: unroll must be a bool, got int 3"):
        fnn.repeat(block, 3, unroll=3)


def test_new_options_do_not_change_the_description_of_a_training_without_them():
    """Checkpoints from before they existed can be resumed; with them, the description differs."""
    block = fnn.dense(4, 4)
    assert "unroll" not in describe(fnn.repeat(block, 3))
    assert describe(fnn.repeat(block, 3)) != describe(fnn.repeat(block, 3, unroll=True))
    narrow = fnn.mixed_precision(block, jnp.bfloat16)
    assert "False" not in describe(narrow)
    assert describe(narrow) != describe(fnn.mixed_precision(block, jnp.bfloat16, round_gradients=True))
