"""`jax.random`: samples as functions of the parameters, at a fixed key.

Gamma variables, and what is made of them (beta, chisquare, dirichlet, f, t, generalized_normal), are left out. JAX
samples them by rejection, and their derivative is that of the distribution (Figurnov, Mohamed and Mnih 2018, "Implicit
Reparameterization Gradients"), not that of the sample at a fixed key, which differences show.
"""

import numpy as np

from experiments.audit.calls import drawn
from experiments.audit.domains import above, between, positive, real
from experiments.audit.target import Target

TARGETS = (
    Target("jax.random.ball", (positive(1),), call=lambda f, s: s * drawn(f, 3, shape=(2,))),
    Target("jax.random.cauchy", (positive(1),), call=lambda f, s: s * drawn(f, shape=(4,))),
    Target("jax.random.double_sided_maxwell", (real(), positive()), call=drawn),
    Target("jax.random.lognormal", (positive(),), call=drawn),
    Target(
        "jax.random.multivariate_normal", (real(3), real(3, 3)), call=lambda f, m, a: drawn(f, m, a @ a.T + np.eye(3))
    ),
    Target("jax.random.pareto", (positive(),), call=drawn),
    Target("jax.random.rayleigh", (positive(),), call=drawn),
    Target("jax.random.triangular", (between(-2, -1), between(-1, 1), between(1, 2)), call=drawn),
    Target("jax.random.truncated_normal", (between(-2, 0), between(1, 2)), call=drawn),
    Target("jax.random.uniform", (real(1), above(4, 1)), call=lambda f, a, b: drawn(f, (3,), minval=a[0], maxval=b[0])),
    Target("jax.random.wald", (positive(),), call=drawn),
    Target("jax.random.weibull_min", (positive(), positive()), call=drawn),
    Target("jax.random.permutation", (real(),), call=drawn),
    Target("jax.random.choice", (real(),), call=lambda f, x: drawn(f, x, (3,))),
)
