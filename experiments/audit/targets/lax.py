"""`jax.lax`: entries, arrays, reductions, windows, scatters, control flow."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.audit.calls import of_parts, with_static
from experiments.audit.domains import above, between, closed, fixed, nonnegative, positive, real
from experiments.audit.target import Target

IMAGE, KERNEL = real(1, 2, 4, 4), real(2, 2, 3, 3)
SCATTER = lax.ScatterDimensionNumbers((), (0,), (0,))
ROWS = fixed(np.array([[2], [0], [2]]))
CHOICE = fixed(np.array([True, False, True, False]))

ENTRIES = (
    Target("jax.lax.abs", (real(),)),
    Target("jax.lax.acos", (closed(-1, 1),)),
    Target("jax.lax.acosh", (above(1),)),
    Target("jax.lax.asin", (closed(-1, 1),)),
    Target("jax.lax.asinh", (real(),)),
    Target("jax.lax.atan", (real(),)),
    Target("jax.lax.atan2", (real(), real()), exact=lambda mp, x, y: mp.atan2(x, y)),
    Target("jax.lax.atanh", (between(-1, 1),)),
    Target("jax.lax.bessel_i0e", (real(),), exact=lambda mp, x: mp.exp(-abs(x)) * mp.besseli(0, x)),
    Target("jax.lax.bessel_i1e", (real(),), exact=lambda mp, x: mp.exp(-abs(x)) * mp.besseli(1, x)),
    Target("jax.lax.betainc", (fixed(np.full(4, 1.7)), fixed(np.full(4, 0.6)), closed(0, 1))),
    Target("jax.lax.cbrt", (real(),)),
    Target("jax.lax.clamp", (real(), real(), above(3))),
    Target("jax.lax.complex", (real(), real()), call=lambda f, a, b: abs(f(a, b)) ** 2),
    Target("jax.lax.cos", (real(),)),
    Target("jax.lax.cosh", (real(),)),
    Target("jax.lax.digamma", (positive(),), exact=lambda mp, x: mp.digamma(x)),
    Target("jax.lax.div", (real(), real())),
    Target("jax.lax.erf", (real(),)),
    Target("jax.lax.erf_inv", (between(-1, 1),), exact=lambda mp, x: mp.erfinv(x)),
    Target("jax.lax.erfc", (real(),)),
    Target("jax.lax.exp", (real(),)),
    Target("jax.lax.exp2", (real(),)),
    Target("jax.lax.expm1", (real(),)),
    Target("jax.lax.igamma", (positive(), nonnegative())),
    Target("jax.lax.igammac", (positive(), nonnegative())),
    Target("jax.lax.integer_pow", (real(),), call=with_static(3)),
    Target("jax.lax.integer_pow", (real(),), call=with_static(-2), label="-2"),
    Target("jax.lax.lgamma", (positive(),), exact=lambda mp, x: mp.loggamma(x)),
    Target("jax.lax.log", (positive(),)),
    Target("jax.lax.log1p", (above(-1),)),
    Target("jax.lax.logistic", (real(),), exact=lambda mp, x: 1 / (1 + mp.exp(-x))),
    Target("jax.lax.max", (real(), real())),
    Target("jax.lax.min", (real(), real())),
    Target("jax.lax.mul", (real(), real())),
    Target("jax.lax.polygamma", (fixed(np.full(4, 2.0)), positive()), exact=lambda mp, n, x: mp.psi(int(n), x)),
    Target("jax.lax.pow", (nonnegative(), real()), exact=lambda mp, x, y: x**y),
    Target("jax.lax.pow", (real(), fixed(3)), label="integer"),
    Target(
        "jax.lax.pow",
        (real(), real()),
        call=lambda f, x, y: (lambda z: (z.real, z.imag))(f(x + 1j, y + 0j)),
        label="complex",
    ),
    Target("jax.lax.reciprocal", (real(),)),
    Target("jax.lax.rem", (real(), real())),
    Target("jax.lax.rsqrt", (positive(),)),
    Target("jax.lax.select", (CHOICE, real(), real())),
    Target("jax.lax.select_n", (CHOICE, real(), real())),
    Target("jax.lax.sign", (real(),)),
    Target("jax.lax.sin", (real(),)),
    Target("jax.lax.sinh", (real(),)),
    Target("jax.lax.sqrt", (nonnegative(),)),
    Target("jax.lax.square", (real(),)),
    Target("jax.lax.tan", (real(),)),
    Target("jax.lax.tan", (real(), real()), call=of_parts, label="complex"),
    Target("jax.lax.tanh", (real(),)),
)

ARRAYS = (
    Target("jax.lax.batch_matmul", (real(2, 2, 3), real(2, 3, 2))),
    Target("jax.lax.broadcast", (real(3),), call=with_static((2,))),
    Target("jax.lax.broadcast_in_dim", (real(3),), call=with_static((3, 2), (0,))),
    Target("jax.lax.collapse", (real(2, 3),), call=with_static(0)),
    Target("jax.lax.concatenate", (real(2), real(3)), call=lambda f, x, y: f([x, y], 0)),
    Target("jax.lax.conv", (IMAGE, KERNEL), call=with_static((1, 1), "SAME")),
    Target("jax.lax.conv_general_dilated", (IMAGE, KERNEL), call=with_static((2, 1), "VALID", None, (1, 1))),
    Target(
        "jax.lax.conv_general_dilated",
        (IMAGE, KERNEL),
        call=lambda f, x, w: f(x, w, (1, 1), ((2, 1), (0, 2)), (2, 1), (1, 2)),
        label="dilated",
    ),
    Target(
        "jax.lax.conv_general_dilated_local",
        (real(1, 1, 4), real(2, 2, 3)),
        call=lambda f, x, w: f(x, w, (1,), "VALID", (2,)),
    ),
    Target("jax.lax.conv_general_dilated_patches", (IMAGE,), call=with_static((2, 2), (1, 1), "VALID")),
    Target("jax.lax.conv_transpose", (real(1, 4, 2), real(3, 2, 2)), call=with_static((2,), "SAME")),
    Target("jax.lax.dot", (real(2, 3), real(3))),
    Target("jax.lax.dot_general", (real(2, 3, 2), real(2, 2, 3)), call=with_static((((1,), (2,)), ((0,), (0,))))),
    Target("jax.lax.dynamic_slice", (real(5),), call=lambda f, x: f(x, (3,), (3,))),
    Target("jax.lax.dynamic_update_slice", (real(5), real(2)), call=with_static((4,))),
    Target("jax.lax.dynamic_index_in_dim", (real(3, 2),), call=with_static(1)),
    Target("jax.lax.fft", (real(3), real(3)), call=lambda f, a, b: of_parts(f, a, b, "FFT", (3,))),
    Target(
        "jax.lax.gather",
        (real(4), ROWS),
        call=lambda f, x, i: f(x, i, lax.GatherDimensionNumbers((), (0,), (0,)), (1,)),
    ),
    Target("jax.lax.index_take", (real(4),), call=lambda f, x: f(x, (jnp.array([2, 0]),), (0,))),
    Target("jax.lax.pad", (real(3), real(1)), call=lambda f, x, v: f(x, v[0], ((2, -1, 1),))),
    Target(
        "jax.lax.ragged_dot", (real(4, 2), real(2, 2, 3)), call=lambda f, a, b: f(a, b, jnp.array([1, 3], jnp.int32))
    ),
    Target("jax.lax.reshape", (real(2, 3),), call=with_static((3, 2))),
    Target("jax.lax.rev", (real(2, 3),), call=with_static((1,))),
    Target("jax.lax.scatter", (real(4), fixed(np.array([[2], [0]])), real(2)), call=with_static(SCATTER)),
    Target("jax.lax.scatter_add", (real(4), ROWS, real(3)), call=with_static(SCATTER)),
    Target("jax.lax.scatter_max", (real(4), ROWS, real(3)), call=with_static(SCATTER)),
    Target("jax.lax.scatter_min", (real(4), ROWS, real(3)), call=with_static(SCATTER)),
    Target(
        "jax.lax.scatter_mul",
        (real(4), fixed(np.array([[2], [0]])), real(2)),
        call=lambda f, x, i, v: f(x, i, v, SCATTER, unique_indices=True),
    ),
    Target("jax.lax.scatter_sub", (real(4), ROWS, real(3)), call=with_static(SCATTER)),
    Target("jax.lax.slice", (real(5),), call=with_static((1,), (5,), (2,))),
    Target("jax.lax.sort", (real(4),)),
    Target("jax.lax.sort_key_val", (real(4), real(4))),
    Target("jax.lax.split", (real(5),), call=with_static((2, 3))),
    Target("jax.lax.top_k", (real(5),), call=lambda f, x: f(x, 2)[0]),
    Target("jax.lax.approx_max_k", (real(5),), call=lambda f, x: f(x, 2)[0]),
    Target("jax.lax.transpose", (real(2, 3),), call=with_static((1, 0))),
)

REDUCTIONS = (
    Target("jax.lax.associative_scan", (real(5),), call=lambda f, x: f(jnp.multiply, x)),
    Target("jax.lax.cumlogsumexp", (real(4),)),
    Target("jax.lax.cumlogsumexp", (real(4),), options={"reverse": True}, label="reverse"),
    Target("jax.lax.cummax", (real(4),)),
    Target("jax.lax.cummin", (real(4),)),
    Target("jax.lax.cumprod", (real(4),)),
    Target("jax.lax.cumprod", (real(4),), options={"reverse": True}, label="reverse"),
    Target("jax.lax.cumsum", (real(4),)),
    Target("jax.lax.reduce", (real(2, 3),), call=lambda f, x: f(x, 1.0, lax.mul, (1,))),
    Target(
        "jax.lax.reduce", (real(2, 3),), call=lambda f, x: f(x, 0.0, lambda a, b: a + b + a * b, (1,)), label="custom"
    ),
    Target("jax.lax.reduce_max", (real(2, 3),), call=with_static((1,))),
    Target("jax.lax.reduce_prod", (real(2, 3),), call=with_static((1,))),
    Target("jax.lax.reduce_precision", (real(),), call=with_static(11, 52)),
    Target("jax.lax.reduce_window", (real(5),), call=lambda f, x: f(x, 0.0, lax.add, (2,), (2,), "SAME")),
    Target(
        "jax.lax.reduce_window", (real(5),), call=lambda f, x: f(x, -jnp.inf, lax.max, (2,), (1,), "VALID"), label="max"
    ),
    Target("jax.lax.reduce_window", (real(5),), call=lambda f, x: f(x, 1.0, lax.mul, (2,), (1,), "VALID"), label="mul"),
)

CONTROL = (
    Target("jax.lax.cond", (real(),), call=lambda f, x: f(x[0] > 0, jnp.sin, jnp.cos, x)),
    Target("jax.lax.switch", (real(),), call=lambda f, x: f(2, [jnp.sin, jnp.cos, jnp.tanh], x)),
    Target("jax.lax.fori_loop", (positive(),), call=lambda f, x: f(0, 3, lambda i, v: jnp.sqrt(v + x), x)),
    Target("jax.lax.map", (real(),), call=lambda f, x: f(lambda v: v * jnp.sin(v), x)),
    Target(
        "jax.lax.map", (real(5),), call=lambda f, x: f(lambda v: v * jnp.sin(v), x, batch_size=2), label="batch_size"
    ),
    Target("jax.lax.scan", (real(1), real()), call=lambda f, c, x: f(lambda s, v: (jnp.tanh(s * v), s), c, x)),
    Target(
        "jax.lax.scan",
        (real(1), real()),
        call=lambda f, c, x: f(lambda s, v: (jnp.tanh(s * v), s), c, x, reverse=True, unroll=2),
        label="reverse",
    ),
    Target(
        "jax.lax.custom_root",
        (above(1),),
        call=lambda f, a: f(
            lambda x: x * x - a,
            jnp.ones_like(a),
            lambda g, x0: lax.fori_loop(0, 200, lambda i, x: x - g(x) / (2 * x), x0),
            lambda g, y: y / g(jnp.ones_like(y)),
        ),
    ),
    Target(
        "jax.lax.custom_linear_solve",
        (real(3, 3), real(3)),
        call=lambda f, a, b: f(
            lambda x: a @ x, b, lambda mv, v: jnp.linalg.solve(a, v), lambda vm, v: jnp.linalg.solve(a.T, v)
        ),
    ),
    Target("jax.lax.optimization_barrier", (real(),)),
    Target("jax.checkpoint", (real(),), call=lambda f, x: f(lambda v: jnp.sin(v) * jnp.exp(v))(x)),
    Target(
        "jax.experimental.ode.odeint",
        (real(2), positive(1)),
        call=lambda f, y, a: f(
            lambda u, t, a: jnp.stack([u[1], -a[0] * u[0]]), y, jnp.array([0.0, 0.5, 1.0]), a, rtol=1e-12, atol=1e-12
        ),
    ),
    Target(
        "jax.numpy.vectorize", (real(2, 3), real(3)), call=lambda f, a, b: f(jnp.dot, signature="(n),(n)->()")(a, b)
    ),
    Target("jax.ops.segment_sum", (real(), fixed(np.array([0, 0, 2, 1]))), options={"num_segments": 3}),
    Target(
        "jax.ops.segment_prod",
        (real(), fixed(np.array([0, 3, 2, 1]))),
        options={"num_segments": 4, "unique_indices": True},
    ),
    Target("jax.ops.segment_max", (real(), fixed(np.array([0, 0, 1, 1]))), options={"num_segments": 2}),
    Target("jax.ops.segment_min", (real(), fixed(np.array([0, 0, 1, 1]))), options={"num_segments": 2}),
)

TARGETS = ENTRIES + ARRAYS + REDUCTIONS + CONTROL
