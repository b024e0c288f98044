"""`jax.scipy.stats`: densities, distribution functions and quantiles, of the point and of all parameters."""

import jax.numpy as jnp
import numpy as np

from experiments.audit.calls import of_softmax
from experiments.audit.domains import above, between, fixed, integers, nonnegative, positive, real
from experiments.audit.target import Domain, Target

COUNTS = integers(0, 4)
STATS = "jax.scipy.stats."


def _all(distribution: str, names: str, *args: Domain, options=None) -> tuple[Target, ...]:
    """Return one target for each of the functions of a distribution."""
    return tuple(Target(f"{STATS}{distribution}.{name}", args, options=options or {}) for name in names.split())


CONTINUOUS = (
    *_all("beta", "cdf logcdf logpdf logsf pdf sf", between(0, 1), positive(), positive()),
    *_all("cauchy", "cdf logcdf logpdf logsf pdf sf", real(), real(), positive()),
    *_all("cauchy", "isf ppf", between(0, 1), real(), positive()),
    *_all("chi2", "cdf logcdf logpdf logsf pdf sf", positive(), positive()),
    *_all("expon", "cdf logcdf logpdf logsf pdf sf", positive(), fixed(0.0), positive()),
    *_all("expon", "ppf", between(0, 1), real(), positive()),
    *_all("gamma", "cdf logcdf logpdf logsf pdf sf", positive(), positive(), fixed(0.0), positive()),
    *_all("gennorm", "cdf logpdf pdf", real(), positive()),
    *_all("gumbel_l", "cdf logcdf logpdf logsf pdf sf", real(), real(), positive()),
    *_all("gumbel_l", "ppf", between(0, 1), real(), positive()),
    *_all("gumbel_r", "cdf logcdf logpdf logsf pdf sf", real(), real(), positive()),
    *_all("gumbel_r", "ppf", between(0, 1), real(), positive()),
    *_all("laplace", "cdf logpdf pdf", real(), real(), positive()),
    *_all("logistic", "cdf logpdf pdf sf", real(), real(), positive()),
    *_all("logistic", "isf ppf", between(0, 1), real(), positive()),
    *_all("norm", "cdf logcdf logpdf logsf pdf sf", real(), real(), positive()),
    *_all("norm", "isf ppf", between(0, 1), real(), positive()),
    *_all("pareto", "cdf logcdf logpdf logsf pdf sf", above(1), positive()),
    *_all("pareto", "ppf", between(0, 1), positive()),
    *_all("t", "logpdf pdf", real(), positive(), real(), positive()),
    *_all("truncnorm", "cdf logcdf logpdf logsf pdf sf", between(-1, 1), fixed(-1.5), fixed(2.0)),
    *_all("uniform", "cdf logpdf pdf", between(0, 1), fixed(-0.5), fixed(2.0)),
    *_all("uniform", "ppf", between(0, 1), real(), positive()),
    *_all("vonmises", "pdf", real(), nonnegative()),
    *_all("wrapcauchy", "logpdf pdf", between(0, 6), between(0, 1)),
    Target(f"{STATS}truncnorm.logpdf", (fixed(0.3), between(-2, 0, 1), above(1, 1)), label="bounds"),
    Target(f"{STATS}truncnorm.logcdf", (fixed(0.3), between(-2, 0, 1), above(1, 1)), label="bounds"),
    Target(f"{STATS}truncnorm.logsf", (fixed(0.3), between(-2, 0, 1), above(1, 1)), label="bounds"),
    Target(f"{STATS}truncnorm.logpdf", (between(30.3, 30.7), between(30, 30.2), above(31)), label="tail"),
    Target(f"{STATS}truncnorm.logcdf", (between(30.3, 30.7), between(30, 30.2), above(31)), label="tail"),
    Target(
        f"{STATS}vonmises.logpdf",
        (real(), nonnegative()),
        exact=lambda mp, x, k: k * mp.cos(x) - mp.log(2 * mp.pi * mp.besseli(0, k)),
    ),
    Target(f"{STATS}uniform.logpdf", (fixed(0.3), between(-2, 0, 1), above(1, 1)), label="bounds"),
    Target(f"{STATS}gamma.logpdf", (above(2), positive(), between(-1, 1), positive()), label="loc"),
    Target(f"{STATS}expon.logpdf", (above(2), between(-1, 1), positive()), label="loc"),
)

DISCRETE = (
    Target(f"{STATS}bernoulli.logpmf", (fixed(np.array([0, 1, 1, 0])), between(0, 1))),
    Target(f"{STATS}bernoulli.pmf", (fixed(np.array([0, 1, 1, 0])), between(0, 1))),
    Target(f"{STATS}bernoulli.cdf", (fixed(np.array([0, 1, 1, 0])), between(0, 1))),
    Target(f"{STATS}betabinom.logpmf", (COUNTS, fixed(5), positive(), positive())),
    Target(f"{STATS}betabinom.pmf", (COUNTS, fixed(5), positive(), positive())),
    Target(f"{STATS}binom.logpmf", (COUNTS, fixed(5), between(0, 1))),
    Target(f"{STATS}binom.pmf", (COUNTS, fixed(5), between(0, 1))),
    Target(f"{STATS}geom.logpmf", (integers(1, 5), between(0, 1))),
    Target(f"{STATS}geom.pmf", (integers(1, 5), between(0, 1))),
    Target(
        f"{STATS}multinomial.logpmf",
        (fixed(np.array([1, 0, 2])), fixed(3), real(3)),
        call=lambda f, x, n, z: of_softmax(lambda p: f(x, n, p), z),
    ),
    Target(
        f"{STATS}multinomial.pmf",
        (fixed(np.array([1, 0, 2])), fixed(3), real(3)),
        call=lambda f, x, n, z: of_softmax(lambda p: f(x, n, p), z),
    ),
    Target(f"{STATS}nbinom.logpmf", (COUNTS, positive(), between(0, 1))),
    Target(f"{STATS}nbinom.pmf", (COUNTS, positive(), between(0, 1))),
    Target(f"{STATS}poisson.logpmf", (COUNTS, positive())),
    Target(f"{STATS}poisson.pmf", (COUNTS, positive())),
    Target(f"{STATS}poisson.cdf", (COUNTS, positive())),
    Target(f"{STATS}poisson.entropy", (positive(),)),
)

VECTORS = (
    Target(f"{STATS}dirichlet.logpdf", (real(3), positive(3)), call=of_softmax),
    Target(f"{STATS}dirichlet.pdf", (real(3), positive(3)), call=of_softmax),
    Target(
        f"{STATS}multivariate_normal.logpdf",
        (real(3), real(3), real(3, 3)),
        call=lambda f, x, m, a: f(x, m, a @ a.T + jnp.eye(3)),
    ),
    Target(
        f"{STATS}multivariate_normal.logpdf",
        (real(3), real(3), positive(1)),
        call=lambda f, x, m, v: f(x, m, v[0]),
        label="scalar",
    ),
    Target(
        f"{STATS}multivariate_normal.pdf",
        (real(3), real(3), real(3, 3)),
        call=lambda f, x, m, a: f(x, m, a @ a.T + jnp.eye(3)),
    ),
    Target(f"{STATS}sem", (real(),)),
    Target(f"{STATS}gaussian_kde", (real(5), real(2)), call=lambda f, data, x: f(data).evaluate(x)),
    Target(f"{STATS}gaussian_kde", (real(5), real(2)), call=lambda f, data, x: f(data).logpdf(x), label="logpdf"),
    Target(
        f"{STATS}gaussian_kde",
        (real(5), real(2)),
        call=lambda f, data, x: f(data, bw_method=0.5).evaluate(x),
        label="bw_method",
    ),
    Target(
        f"{STATS}gaussian_kde",
        (real(5), positive(5), real(2)),
        call=lambda f, data, w, x: f(data, weights=w)(x),
        label="weights",
    ),
    Target(
        f"{STATS}gaussian_kde",
        (real(5), real(1), positive(1)),
        call=lambda f, d, m, c: f(d).integrate_gaussian(m, c[:, None]),
        label="integrate_gaussian",
    ),
    Target(
        f"{STATS}gaussian_kde",
        (real(5), real(1), above(2, 1)),
        call=lambda f, d, a, b: f(d).integrate_box_1d(a[0], b[0]),
        label="integrate_box_1d",
    ),
    Target(
        f"{STATS}gaussian_kde", (real(5), real(4)), call=lambda f, a, b: f(a).integrate_kde(f(b)), label="integrate_kde"
    ),
)

TARGETS = CONTINUOUS + DISCRETE + VECTORS
