"""Functions of complex arguments, as functions of the real and the imaginary parts."""

import jax.numpy as jnp

from experiments.audit.calls import parts
from experiments.audit.domains import Domain, real
from experiments.audit.target import Target

ENTRIES, MATRIX, VECTOR = real(), real(3, 3), real(3)


def _of(path: str, *shapes: Domain, call=None, label: str = "complex", **options) -> Target:
    """Return the target of a function of complex arguments, each given by two real arrays."""

    def run(f, *args, **keywords):
        numbers = [a + 1j * b for a, b in zip(args[::2], args[1::2], strict=True)]
        return parts(lambda: call(f, *numbers) if call else f(*numbers, **keywords))

    return Target(path, tuple(s for shape in shapes for s in (shape, shape)), options, run, label=label)


def _hermitian(f, a, *rest, **options):
    """Return f at a aᴴ + I, which is Hermitian and positive definite."""
    return f(a @ a.conj().T + jnp.eye(3), *rest, **options)


FUNCTIONS = (
    _of("jax.numpy.cos", ENTRIES),
    _of("jax.numpy.cumprod", ENTRIES),
    _of("jax.numpy.divide", ENTRIES, ENTRIES),
    _of("jax.numpy.exp2", ENTRIES),
    _of("jax.numpy.log10", ENTRIES),
    _of("jax.numpy.log2", ENTRIES),
    _of("jax.numpy.logaddexp", ENTRIES, ENTRIES),
    _of("jax.numpy.power", ENTRIES, ENTRIES),
    _of("jax.numpy.power", ENTRIES, call=lambda f, x: f(x, 3), label="complex, integer"),
    _of("jax.numpy.prod", ENTRIES),
    _of("jax.numpy.std", ENTRIES),
    _of("jax.numpy.vdot", VECTOR, VECTOR),
    _of("jax.numpy.correlate", real(4), VECTOR),
    _of("jax.numpy.cov", real(2, 4)),
    _of("jax.nn.logsumexp", ENTRIES),
    _of("jax.nn.sigmoid", ENTRIES),
    _of("jax.nn.silu", ENTRIES),
    _of("jax.nn.softplus", ENTRIES),
    _of("jax.nn.gelu", ENTRIES),
    _of("jax.nn.mish", ENTRIES),
    _of("jax.scipy.special.logsumexp", ENTRIES, ENTRIES, call=lambda f, a, b: f(a, b=b)),
    _of("jax.scipy.special.logsumexp", ENTRIES, call=lambda f, a: f(a, return_sign=True), label="complex, return_sign"),
    _of("jax.scipy.special.xlogy", ENTRIES, ENTRIES),
    _of("jax.lax.cumlogsumexp", ENTRIES),
    _of("jax.lax.integer_pow", ENTRIES, call=lambda f, x: f(x, -3)),
    _of("jax.lax.rsqrt", ENTRIES),
    _of("jax.lax.sign", ENTRIES),
)

MATRICES = (
    _of("jax.numpy.linalg.cholesky", MATRIX, call=_hermitian),
    _of("jax.numpy.linalg.det", MATRIX),
    _of("jax.numpy.linalg.eigvalsh", MATRIX, call=_hermitian),
    _of("jax.numpy.linalg.eigvals", MATRIX, call=lambda f, a: (f(a) ** 3).sum()),
    _of("jax.numpy.linalg.inv", MATRIX),
    _of("jax.numpy.linalg.lstsq", real(4, 2), real(4), call=lambda f, a, b: f(a, b)[0]),
    _of("jax.numpy.linalg.matrix_norm", MATRIX, ord="nuc"),
    _of("jax.numpy.linalg.norm", VECTOR, ord=3),
    _of("jax.numpy.linalg.pinv", real(3, 2)),
    _of("jax.numpy.linalg.qr", MATRIX),
    _of("jax.numpy.linalg.slogdet", MATRIX),
    _of("jax.numpy.linalg.solve", MATRIX, VECTOR),
    _of("jax.numpy.linalg.svdvals", MATRIX),
    _of("jax.scipy.linalg.cho_solve", MATRIX, VECTOR, call=lambda f, a, b: f((a + 3 * jnp.eye(3), True), b)),
    _of("jax.scipy.linalg.expm", MATRIX),
    _of("jax.scipy.linalg.lu", MATRIX),
    _of(
        "jax.scipy.linalg.solve",
        MATRIX,
        VECTOR,
        call=lambda f, a, b: _hermitian(f, a, b, assume_a="pos"),
        label="complex, pos",
    ),
    _of("jax.scipy.linalg.solve_triangular", MATRIX, VECTOR, call=lambda f, a, b: f(a + 3 * jnp.eye(3), b, trans="C")),
    _of(
        "jax.lax.linalg.triangular_solve",
        MATRIX,
        real(3, 2),
        call=lambda f, a, b: f(a + 3 * jnp.eye(3), b, left_side=True, conjugate_a=True),
    ),
    _of(
        "jax.lax.linalg.tridiagonal_solve",
        VECTOR,
        VECTOR,
        VECTOR,
        real(3, 1),
        call=lambda f, a, b, c, d: f(a, b + 4, c, d),
    ),
    _of("jax.scipy.sparse.linalg.cg", MATRIX, VECTOR, call=lambda f, a, b: _hermitian(f, a, b, tol=1e-14)[0]),
    _of("jax.scipy.sparse.linalg.gmres", MATRIX, VECTOR, call=lambda f, a, b: _hermitian(f, a, b, tol=1e-14)[0]),
    _of("jax.scipy.sparse.linalg.bicgstab", MATRIX, VECTOR, call=lambda f, a, b: _hermitian(f, a, b, tol=1e-14)[0]),
    _of(
        "jax.lax.custom_linear_solve",
        MATRIX,
        VECTOR,
        call=lambda f, a, b: _hermitian(
            lambda m: f(lambda x: m @ x, b, lambda _, y: jnp.linalg.solve(m, y), lambda _, y: jnp.linalg.solve(m.T, y)),
            a,
        ),
    ),
)

TARGETS = FUNCTIONS + MATRICES
