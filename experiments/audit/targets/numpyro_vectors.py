"""`numpyro.distributions`: log_prob of distributions over vectors and matrices, of mixtures, and moments."""

# pyright: reportMissingImports=false

import jax
import jax.numpy as jnp
import numpy as np

from experiments.audit.domains import above, between, fixed, nonnegative, positive, real
from experiments.audit.target import Target

CORRELATION = jnp.eye(3) * 0.6 + 0.4


VECTORS = (
    Target(
        "numpyro.distributions.Dirichlet", (positive(3), real(3)), call=lambda f, a, z: f(a).log_prob(jax.nn.softmax(z))
    ),
    Target(
        "numpyro.distributions.DirichletMultinomial",
        (positive(3), fixed(np.array([1, 0, 3]))),
        call=lambda f, a, n: f(a, 4).log_prob(n),
    ),
    Target(
        "numpyro.distributions.GaussianRandomWalk", (positive(1), real(4)), call=lambda f, s, x: f(s[0], 4).log_prob(x)
    ),
    Target(
        "numpyro.distributions.InverseWishart",
        (above(4, 1), real(3, 3)),
        call=lambda f, n, a: f(n[0], scale_matrix=CORRELATION).log_prob(a @ a.T + jnp.eye(3)),
    ),
    Target(
        "numpyro.distributions.LKJ",
        (positive(1), real(3)),
        call=lambda f, c, z: f(3, c[0]).log_prob(
            CORRELATION + 0.01 * jnp.diag(jnp.tanh(z[:2]), 1) + 0.01 * jnp.diag(jnp.tanh(z[:2]), -1)
        ),
    ),
    Target(
        "numpyro.distributions.LKJCholesky",
        (positive(1),),
        call=lambda f, c: f(3, c[0]).log_prob(jnp.linalg.cholesky(CORRELATION)),
    ),
    Target(
        "numpyro.distributions.LowRankMultivariateNormal",
        (real(3), real(3, 1), positive(3), real(3)),
        call=lambda f, m, w, d, x: f(m, w, d).log_prob(x),
    ),
    Target(
        "numpyro.distributions.MatrixNormal",
        (real(2, 3), positive(2, 2), positive(3, 3), real(2, 3)),
        call=lambda f, m, u, v, x: f(m, jnp.tril(u), jnp.tril(v)).log_prob(x),
    ),
    Target(
        "numpyro.distributions.MixtureSameFamily",
        (real(3), real(3), positive(3), real(1)),
        call=lambda f, w, m, s, x: f(_class("CategoricalLogits")(w), _class("Normal")(m, s)).log_prob(x[0]),
    ),
    Target(
        "numpyro.distributions.MultivariateNormal",
        (real(3), real(3, 3), real(3)),
        call=lambda f, m, a, x: f(m, a @ a.T + jnp.eye(3)).log_prob(x),
    ),
    Target(
        "numpyro.distributions.MultivariateNormal",
        (real(3), real(3, 3), real(3)),
        call=lambda f, m, a, x: f(m, precision_matrix=a @ a.T + jnp.eye(3)).log_prob(x),
        label="precision_matrix",
    ),
    Target(
        "numpyro.distributions.MultivariateStudentT",
        (positive(1), real(3), positive(3, 3), real(3)),
        call=lambda f, n, m, c, x: f(n[0], m, jnp.tril(c)).log_prob(x),
    ),
    Target(
        "numpyro.distributions.ProjectedNormal",
        (real(2), real(2)),
        call=lambda f, c, z: f(c).log_prob(z / jnp.linalg.norm(z)),
    ),
    Target(
        "numpyro.distributions.ProjectedNormal",
        (real(3), real(3)),
        call=lambda f, c, z: f(c).log_prob(z / jnp.linalg.norm(z)),
        label="sphere",
    ),
    Target(
        "numpyro.distributions.Wishart",
        (above(4, 1), real(3, 3)),
        call=lambda f, n, a: f(n[0], scale_matrix=CORRELATION).log_prob(a @ a.T + jnp.eye(3)),
    ),
    Target(
        "numpyro.distributions.ZeroSumNormal",
        (positive(1), real(3)),
        call=lambda f, s, x: f(s[0], (3,)).log_prob(x - x.mean()),
    ),
    Target(
        "numpyro.distributions.LeftCensoredDistribution",
        (real(), positive(), real()),
        call=lambda f, m, s, x: f(_class("Normal")(m, s), censored=np.array([1, 0, 1, 0])).log_prob(x),
    ),
    Target(
        "numpyro.distributions.RightCensoredDistribution",
        (real(), positive(), real()),
        call=lambda f, m, s, x: f(_class("Normal")(m, s), censored=np.array([1, 0, 1, 0])).log_prob(x),
    ),
    Target(
        "numpyro.distributions.FoldedDistribution",
        (real(), positive(), nonnegative()),
        call=lambda f, m, s, x: f(_class("Normal")(m, s)).log_prob(x),
    ),
    Target(
        "numpyro.distributions.kl_divergence",
        (real(), positive(), real(), positive()),
        call=lambda f, m, s, n, t: f(_class("Normal")(m, s), _class("Normal")(n, t)),
    ),
    Target(
        "numpyro.distributions.kl_divergence",
        (positive(), positive(), positive(), positive()),
        call=lambda f, a, b, c, d: f(_class("Beta")(a, b), _class("Beta")(c, d)),
        label="Beta",
    ),
    Target(
        "numpyro.distributions.kl_divergence",
        (positive(), positive(), positive(), positive()),
        call=lambda f, a, b, c, d: f(_class("Gamma")(a, b), _class("Gamma")(c, d)),
        label="Gamma",
    ),
    Target(
        "numpyro.distributions.kl_divergence",
        (positive(3), positive(3)),
        call=lambda f, a, b: f(_class("Dirichlet")(a), _class("Dirichlet")(b)),
        label="Dirichlet",
    ),
    Target(
        "numpyro.distributions.kl_divergence",
        (positive(), positive(), positive(), positive()),
        call=lambda f, a, b, c, d: f(_class("Weibull")(a, b), _class("Gamma")(c, d)),
        label="Weibull, Gamma",
    ),
)

MOMENTS = (
    Target(
        "numpyro.distributions.Normal.icdf",
        (real(), positive(), between(0, 1)),
        call=lambda f, m, s, q: _class("Normal")(m, s).icdf(q),
    ),
    Target(
        "numpyro.distributions.Gamma.cdf",
        (positive(), positive(), nonnegative()),
        call=lambda f, a, b, x: _class("Gamma")(a, b).cdf(x),
    ),
    Target(
        "numpyro.distributions.SoftLaplace.cdf",
        (real(), positive(), real()),
        call=lambda f, m, s, x: _class("SoftLaplace")(m, s).cdf(x),
    ),
    Target(
        "numpyro.distributions.SoftLaplace.icdf",
        (real(), positive(), between(0, 1)),
        call=lambda f, m, s, q: _class("SoftLaplace")(m, s).icdf(q),
    ),
    Target(
        "numpyro.distributions.Weibull.cdf",
        (positive(), positive(), positive()),
        call=lambda f, a, b, x: _class("Weibull")(a, b).cdf(x),
    ),
    Target(
        "numpyro.distributions.Kumaraswamy.mean",
        (positive(), positive()),
        call=lambda f, a, b: _class("Kumaraswamy")(a, b).mean,
    ),
    Target(
        "numpyro.distributions.DoublyTruncatedPowerLaw.icdf",
        (real(), between(0, 1)),
        call=lambda f, a, q: _class("DoublyTruncatedPowerLaw")(a, 0.5, 4.0).icdf(q),
    ),
    Target(
        "numpyro.distributions.DoublyTruncatedPowerLaw.cdf",
        (real(), between(0.5, 4)),
        call=lambda f, a, x: _class("DoublyTruncatedPowerLaw")(a, 0.5, 4.0).cdf(x),
    ),
    Target(
        "numpyro.distributions.AsymmetricLaplace.cdf",
        (real(), positive(), positive(), real()),
        call=lambda f, m, s, k, x: _class("AsymmetricLaplace")(m, s, k).cdf(x),
    ),
    Target(
        "numpyro.distributions.Levy.cdf",
        (between(-1, 0), positive(), positive()),
        call=lambda f, m, s, x: _class("Levy")(m, s).cdf(x),
    ),
    Target(
        "numpyro.distributions.VonMises.variance", (positive(),), call=lambda f, c: _class("VonMises")(0.0, c).variance
    ),
)


def _class(name: str):
    """Return a distribution's class. numpyro may be absent, so it is imported when a target runs."""
    import numpyro.distributions

    return getattr(numpyro.distributions, name)


TARGETS = VECTORS + MOMENTS
