"""The matrix products of a dense layer: every form gives the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from fnn.layers.matmul import column_sum, matmul, weight_gradient

BATCHES = [1, 2, 5, 12, 13]
SHAPES = [(1, 1), (4, 4), (1, 300), (300, 1), (16, 16), (50, 31), (784, 30), (600, 500)]


def arrays(batch: int, shape: tuple[int, int], dtype=np.float32, seed: int = 0):
    rng = np.random.default_rng([seed, batch, *shape])
    sizes = ((batch, shape[0]), (batch, shape[1]), shape)
    return [jnp.asarray(rng.standard_normal(size), dtype) for size in sizes]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_weights_is_the_product(batch, shape):
    x, dz, w = arrays(batch, shape)
    exact = np.asarray(x, np.float64).T @ np.asarray(dz, np.float64)
    dw = jax.jit(weight_gradient)(x, dz, w)
    assert dw.dtype == w.dtype
    np.testing.assert_allclose(dw, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (784, 30)], ids=str)
def test_float64(shape):
    with jax.enable_x64(True):
        x, dz, w = arrays(7, shape, np.float64)
        dw = weight_gradient(x, dz, w)
        assert dw.dtype == np.float64
        np.testing.assert_allclose(dw, np.asarray(x).T @ np.asarray(dz), rtol=1e-13, atol=1e-13)


def test_bfloat16_is_accumulated_in_float32():
    x, dz, w = arrays(12, (64, 30), jnp.bfloat16)
    exact = np.asarray(x, np.float64).T @ np.asarray(dz, np.float64)
    one_rounding = 2.0**-8 * np.abs(exact) + 1e-6
    assert np.all(np.abs(np.asarray(weight_gradient(x, dz, w), np.float64) - exact) <= one_rounding)


def test_few_examples_are_summed_inside_the_update():
    """The compiled update makes one pass over W: it has no product, and dZ is computed first."""
    x, dz, w = arrays(10, (784, 30))
    update = jax.jit(lambda x, a, w: w + 0.1 * weight_gradient(x, a * (1 - a), w))
    if jax.default_backend() == "cpu":
        computations = update.lower(x, dz, w).compile().as_text().split("\n}")
        assert not any(" dot(" in text for text in computations)
        passes = [text for text in computations if "f32[784,30]{1,0} broadcast(" in text]
        assert len(passes) == 1
        assert " subtract(" not in passes[0]
    np.testing.assert_allclose(update(x, dz, w), w + 0.1 * x.T @ (dz * (1 - dz)), rtol=1e-5, atol=1e-5)


def test_vmap_over_networks_over_data_and_over_both():
    x, dz, w = (jnp.stack(leaves) for leaves in zip(*(arrays(6, (40, 20), seed=s) for s in range(3)), strict=True))
    each = jnp.stack([weight_gradient(*args) for args in zip(x, dz, w, strict=True)])
    np.testing.assert_allclose(jax.vmap(weight_gradient)(x, dz, w), each, rtol=1e-5, atol=1e-5)
    shared = jax.vmap(weight_gradient, (None, 0, 0))(x[0], dz, w)
    np.testing.assert_allclose(shared, jnp.stack([x[0].T @ d for d in dz]), rtol=1e-5, atol=1e-5)


def test_it_can_be_differentiated():
    """Differentiate the backward pass, in forward and reverse mode."""
    x, dz, w = arrays(5, (20, 15))
    ct = jnp.asarray(np.random.default_rng(1).standard_normal((20, 15)), jnp.float32)
    dx, ddz = jax.grad(lambda x, dz: jnp.vdot(weight_gradient(x, dz, w), ct), (0, 1))(x, dz)
    np.testing.assert_allclose(dx, dz @ ct.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ddz, x @ ct, rtol=1e-5, atol=1e-5)
    _, tangent = jax.jvp(lambda x: weight_gradient(x, dz, w), (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(tangent, jnp.ones_like(x).T @ dz, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 12])
def test_a_layer_of_few_examples_passes_the_checker(batch):
    layer = fnn.dense(30, 20)
    x = jax.random.normal(jax.random.key(0), (batch, 30))
    assert check_layer(layer, layer.init(jax.random.key(1)), x, order=2, key=0).ok


def test_non_finite_values_propagate():
    x, dz, w = arrays(4, (30, 20))
    dw = np.asarray(weight_gradient(x.at[1, 3].set(jnp.nan), dz.at[2, 5].set(jnp.inf), w))
    assert np.isnan(dw[3]).all()
    assert np.isinf(np.delete(dw[:, 5], 3)).all()
    assert np.isfinite(np.delete(np.delete(dw, 3, 0), 5, 1)).all()


@pytest.mark.parametrize("shape", [(2, 4), (8, 2), (3, 7)], ids=str)
def test_tiny_and_other_products(shape):
    x, dz, w = arrays(9, shape)
    np.testing.assert_allclose(matmul(x, w), np.asarray(x) @ np.asarray(w), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(column_sum(dz, w), np.asarray(dz).sum(0), rtol=1e-5, atol=1e-6)


def test_outside_jit_each_program_compiles_once():
    """A function that is new in each call would be compiled in each call."""
    programs = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if "backend_compile" in event:
            programs.append(event)

    dense, pool = fnn.dense(40, 20), fnn.max_pool2d(2)
    conv = fnn.conv2d(2, 3, 3)
    params, filters = dense.init(jax.random.key(0)), conv.init(jax.random.key(1))
    x, images = jnp.ones((5, 40)), jnp.ones((2, 8, 8, 2))

    def run():
        dense.backward(params, x, jnp.ones((5, 20)))
        pool.forward((), images)
        conv.backward(filters, images, jnp.ones((2, 6, 6, 3)))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run()
        assert programs
        programs.clear()
        run()
        assert not programs
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_symbolic_number_of_examples_can_be_exported():
    (batch,) = jax.export.symbolic_shape("b")
    struct = jax.ShapeDtypeStruct
    exported = jax.export.export(jax.jit(weight_gradient))(
        struct((batch, 64), np.float32), struct((batch, 32), np.float32), struct((64, 32), np.float32)
    )
    x, dz, w = arrays(3, (64, 32))
    np.testing.assert_allclose(exported.call(x, dz, w), x.T @ dz, rtol=1e-5, atol=1e-5)


def test_the_result_is_not_weakly_typed():
    x, dz, w = jnp.full((5, 64), 1.0), jnp.full((5, 32), 1.0), jnp.ones((64, 32))
    assert x.weak_type
    assert not weight_gradient(x, dz, w).weak_type
