"""Linear algebra of `jax.scipy`, `jax.lax.linalg` and `jax.scipy.sparse.linalg`, and functions of matrices."""

import jax.numpy as jnp

from experiments.audit.calls import of_definite, of_symmetric
from experiments.audit.domains import constant, positive, real
from experiments.audit.target import Target

SPREAD = constant([[2.0, 0.3, -0.1], [0.2, -1.0, 0.4], [0.1, -0.3, 0.5]])

SCIPY = (
    Target("jax.scipy.linalg.block_diag", (real(2, 2), real(1, 3))),
    Target("jax.scipy.linalg.cho_factor", (real(3, 3),), call=lambda f, a: jnp.tril(of_definite(f, a, lower=True)[0])),
    Target("jax.scipy.linalg.cho_solve", (positive(3, 3), real(3)), call=lambda f, c, b: f((c, True), b)),
    Target("jax.scipy.linalg.cholesky", (real(3, 3),), call=of_definite),
    Target("jax.scipy.linalg.cholesky", (real(3, 3),), call=lambda f, a: of_definite(f, a, lower=True), label="lower"),
    Target("jax.scipy.linalg.circulant", (real(3),)),
    Target("jax.scipy.linalg.companion", (positive(4),)),
    Target("jax.scipy.linalg.convolution_matrix", (real(3),), call=lambda f, a: f(a, 4)),
    Target("jax.scipy.linalg.det", (real(3, 3),)),
    Target("jax.scipy.linalg.eigh", (real(3, 3),), call=of_symmetric),
    Target("jax.scipy.linalg.eigh_tridiagonal", (constant([1.0, -0.5, 2.0]), real(2)), options={"eigvals_only": True}),
    Target("jax.scipy.linalg.expm", (real(3, 3),)),
    Target(
        "jax.scipy.linalg.expm",
        (real(3, 3),),
        call=lambda f, a: f(jnp.triu(a), upper_triangular=True),
        label="triangular",
    ),
    Target("jax.scipy.linalg.expm_frechet", (real(2, 2), real(2, 2))),
    Target("jax.scipy.linalg.fiedler", (real(3),)),
    Target("jax.scipy.linalg.fiedler_companion", (positive(4),)),
    Target("jax.scipy.linalg.funm", (SPREAD,), call=lambda f, a: jnp.real(f(a, jnp.exp, disp=False)[0])),
    Target("jax.scipy.linalg.hankel", (real(3), real(3))),
    Target("jax.scipy.linalg.hessenberg", (real(3, 3),)),
    Target("jax.scipy.linalg.inv", (real(3, 3),)),
    Target("jax.scipy.linalg.leslie", (real(3), real(2))),
    Target("jax.scipy.linalg.lu", (real(3, 3),)),
    Target("jax.scipy.linalg.lu", (real(2, 3),), label="wide"),
    Target("jax.scipy.linalg.lu_factor", (real(3, 3),), call=lambda f, a: f(a)[0]),
    Target(
        "jax.scipy.linalg.lu_solve",
        (real(3, 3), real(3)),
        call=lambda f, a, b: f((a, jnp.array([1, 1, 2], jnp.int32)), b),
    ),
    Target("jax.scipy.linalg.polar", (real(3, 3),)),
    Target("jax.scipy.linalg.polar", (real(3, 3),), options={"method": "svd"}, label="svd"),
    Target("jax.scipy.linalg.qr", (real(3, 3),)),
    Target("jax.scipy.linalg.qr", (real(3, 2),), options={"mode": "economic"}, label="economic"),
    Target("jax.scipy.linalg.qr_multiply", (real(3, 3), real(3))),
    Target("jax.scipy.linalg.schur", (real(3, 3),)),
    Target("jax.scipy.linalg.solve", (real(3, 3), real(3))),
    Target(
        "jax.scipy.linalg.solve",
        (real(3, 3), real(3)),
        call=lambda f, a, b: of_definite(f, a, b, assume_a="pos"),
        label="pos",
    ),
    Target("jax.scipy.linalg.solve_sylvester", (real(2, 2), real(3, 3), real(2, 3))),
    Target("jax.scipy.linalg.solve_triangular", (positive(3, 3), real(3))),
    Target(
        "jax.scipy.linalg.solve_triangular",
        (positive(3, 3), real(3)),
        options={"trans": 1, "lower": True},
        label="trans",
    ),
    Target(
        "jax.scipy.linalg.solve_triangular",
        (real(3, 3), real(3)),
        options={"unit_diagonal": True},
        label="unit_diagonal",
    ),
    Target("jax.scipy.linalg.sqrtm", (SPREAD,), call=lambda f, a: jnp.real(f(a @ a.T))),
    Target("jax.scipy.linalg.svd", (real(3, 2),), options={"full_matrices": False}),
    Target("jax.scipy.linalg.toeplitz", (real(3), real(3))),
)

LAX = (
    Target("jax.lax.linalg.cholesky", (real(3, 3),), call=of_definite),
    Target("jax.lax.linalg.cholesky_update", (positive(3, 3), real(3)), call=lambda f, r, w: f(jnp.triu(r), w)),
    Target("jax.lax.linalg.eigh", (real(3, 3),), call=of_symmetric),
    Target("jax.lax.linalg.householder_product", (real(3, 2), real(2))),
    Target("jax.lax.linalg.lu", (real(3, 3),), call=lambda f, a: f(a)[0]),
    Target("jax.lax.linalg.qr", (real(3, 2),), options={"full_matrices": False}),
    Target("jax.lax.linalg.svd", (real(3, 2),), options={"full_matrices": False}),
    Target("jax.lax.linalg.symmetric_product", (real(3, 2), real(3, 3)), options={"symmetrize_output": True}),
    Target("jax.lax.linalg.triangular_solve", (positive(3, 3), real(3, 2)), options={"left_side": True, "lower": True}),
    Target("jax.lax.linalg.tridiagonal_solve", (real(3), positive(3), real(3), real(3, 1))),
)

SPARSE = (
    Target(
        "jax.scipy.sparse.linalg.cg", (real(3, 3), real(3)), call=lambda f, a, b: of_definite(f, a, b, tol=1e-14)[0]
    ),
    Target(
        "jax.scipy.sparse.linalg.gmres", (real(3, 3), real(3)), call=lambda f, a, b: of_definite(f, a, b, tol=1e-14)[0]
    ),
    Target(
        "jax.scipy.sparse.linalg.bicgstab",
        (real(3, 3), real(3)),
        call=lambda f, a, b: of_definite(f, a, b, tol=1e-14)[0],
    ),
)

TARGETS = SCIPY + LAX + SPARSE
