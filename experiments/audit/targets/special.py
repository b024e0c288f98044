"""`jax.scipy.special`."""

from typing import Any

import numpy as np

from experiments.audit.calls import of_parts
from experiments.audit.domains import (
    above,
    between,
    closed,
    fixed,
    nonnegative,
    positive,
    probabilities,
    real,
)
from experiments.audit.target import Target


def log_normal_cdf(mp: Any, x: Any) -> Any:
    """Return log Φ(x), with all digits also where Φ(x) is almost 1."""
    tail = mp.erfc(abs(x) / mp.sqrt(2)) / 2
    return mp.log1p(-tail) if x > 0 else mp.log(tail)


ONE = (
    Target("jax.scipy.special.dawsn", (real(),), exact=lambda mp, x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)),
    Target("jax.scipy.special.digamma", (positive(),), exact=lambda mp, x: mp.digamma(x)),
    Target("jax.scipy.special.digamma", (real(),), exact=lambda mp, x: mp.digamma(x), label="real"),
    Target("jax.scipy.special.digamma", (between(-13, -12),), exact=lambda mp, x: mp.digamma(x), label="left"),
    Target("jax.scipy.special.entr", (nonnegative(),), exact=lambda mp, x: -x * mp.log(x) if x else mp.mpf(0)),
    Target("jax.scipy.special.erf", (real(),), exact=lambda mp, x: mp.erf(x)),
    Target("jax.scipy.special.erfc", (real(),), exact=lambda mp, x: mp.erfc(x)),
    Target("jax.scipy.special.erfcx", (real(),), exact=lambda mp, x: mp.exp(x * x) * mp.erfc(x)),
    Target("jax.scipy.special.erfinv", (between(-1, 1),), exact=lambda mp, x: mp.erfinv(x)),
    Target("jax.scipy.special.exp1", (between(0.01, 100),), exact=lambda mp, x: mp.e1(x)),
    Target("jax.scipy.special.expi", (between(0.01, 100),), exact=lambda mp, x: mp.ei(x)),
    Target("jax.scipy.special.expit", (real(),), exact=lambda mp, x: 1 / (1 + mp.exp(-x))),
    Target("jax.scipy.special.expn", (fixed(2), between(0.01, 100)), exact=lambda mp, n, x: mp.expint(n, x)),
    Target("jax.scipy.special.expn", (fixed(1), between(0.01, 100)), label="1", exact=lambda mp, n, x: mp.expint(n, x)),
    Target("jax.scipy.special.factorial", (nonnegative(),), exact=lambda mp, x: mp.gamma(x + 1)),
    Target("jax.scipy.special.fresnel", (real(),)),
    Target("jax.scipy.special.gamma", (positive(),), exact=lambda mp, x: mp.gamma(x)),
    Target("jax.scipy.special.gamma", (real(),), exact=lambda mp, x: mp.gamma(x), label="real"),
    Target("jax.scipy.special.gammaln", (positive(),), exact=lambda mp, x: mp.loggamma(x)),
    Target("jax.scipy.special.gammaln", (real(),), exact=lambda mp, x: mp.log(abs(mp.gamma(x))), label="real"),
    Target("jax.scipy.special.gammasgn", (real(),)),
    Target("jax.scipy.special.i0", (real(),), exact=lambda mp, x: mp.besseli(0, x)),
    Target("jax.scipy.special.i0e", (real(),), exact=lambda mp, x: mp.exp(-abs(x)) * mp.besseli(0, x)),
    Target("jax.scipy.special.i1", (real(),), exact=lambda mp, x: mp.besseli(1, x)),
    Target("jax.scipy.special.i1e", (real(),), exact=lambda mp, x: mp.exp(-abs(x)) * mp.besseli(1, x)),
    Target("jax.scipy.special.log_ndtr", (real(),), exact=log_normal_cdf),
    Target("jax.scipy.special.logit", (between(0, 1),), exact=lambda mp, x: mp.log(x / (1 - x))),
    Target("jax.scipy.special.loggamma", (positive(),), exact=lambda mp, x: mp.loggamma(x)),
    Target("jax.scipy.special.multigammaln", (above(2), fixed(2))),
    Target("jax.scipy.special.ndtr", (real(),), exact=lambda mp, x: mp.erfc(-x / mp.sqrt(2)) / 2),
    Target("jax.scipy.special.ndtri", (between(0, 1),), exact=lambda mp, p: mp.sqrt(2) * mp.erfinv(2 * p - 1)),
    Target("jax.scipy.special.sici", (real(),)),
    Target("jax.scipy.special.spence", (nonnegative(),), exact=lambda mp, x: mp.re(mp.polylog(2, 1 - x))),
    Target("jax.scipy.special.wofz", (real(), real()), call=of_parts),
)

MORE = (
    Target("jax.scipy.special.bessel_jn", (real(),), call=lambda f, x: f(x, v=3, n_iter=40)),
    Target(
        "jax.scipy.special.beta",
        (positive(), positive()),
        exact=lambda mp, a, b: mp.exp(mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)),
    ),
    Target(
        "jax.scipy.special.betainc",
        (positive(), positive(), closed(0, 1)),
        exact=lambda mp, a, b, x: mp.betainc(a, b, 0, x, regularized=True),
    ),
    Target(
        "jax.scipy.special.betaln",
        (positive(), positive()),
        exact=lambda mp, a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b),
    ),
    Target(
        "jax.scipy.special.boxcox",
        (positive(), real()),
        exact=lambda mp, x, t: mp.expm1(t * mp.log(x)) / t if t else mp.log(x),
    ),
    Target(
        "jax.scipy.special.boxcox1p",
        (above(-1), real()),
        exact=lambda mp, x, t: mp.expm1(t * mp.log1p(x)) / t if t else mp.log1p(x),
    ),
    Target("jax.scipy.special.comb", (above(3), positive()), exact=lambda mp, n, k: mp.binomial(n, k)),
    Target(
        "jax.scipy.special.gammainc",
        (positive(), nonnegative()),
        exact=lambda mp, a, x: mp.gammainc(a, 0, x, regularized=True),
    ),
    Target(
        "jax.scipy.special.gammaincc",
        (positive(), nonnegative()),
        exact=lambda mp, a, x: mp.gammainc(a, x, mp.inf, regularized=True),
    ),
    Target("jax.scipy.special.hyp1f1", (positive(), positive(), real()), exact=lambda mp, a, b, x: mp.hyp1f1(a, b, x)),
    Target(
        "jax.scipy.special.hyp1f1",
        (real(), positive(), real()),
        label="real",
        exact=lambda mp, a, b, x: mp.hyp1f1(a, b, x),
    ),
    Target("jax.scipy.special.hyp2f1", (positive(), positive(), positive(), between(-0.9, 0.9))),
    Target(
        "jax.scipy.special.kl_div",
        (nonnegative(), positive()),
        exact=lambda mp, p, q: p * mp.log(p / q) - p + q if p else q,
    ),
    Target("jax.scipy.special.log_softmax", (real(),)),
    Target("jax.scipy.special.logsumexp", (real(2, 3),), options={"axis": 1}, label="axis=1"),
    Target(
        "jax.scipy.special.logsumexp",
        (real(), real()),
        call=lambda f, a, b: f(a, b=b, return_sign=True),
        label="return_sign",
    ),
    Target(
        "jax.scipy.special.owens_t",
        (real(), real()),
        exact=lambda mp, h, a: mp.quad(lambda t: mp.exp(-h * h * (1 + t * t) / 2) / (1 + t * t), [0, a]) / (2 * mp.pi),
    ),
    Target("jax.scipy.special.poch", (positive(), positive()), exact=lambda mp, x, m: mp.rf(x, m)),
    Target("jax.scipy.special.polygamma", (fixed(0), positive()), label="0", exact=lambda mp, n, x: mp.psi(n, x)),
    Target(
        "jax.scipy.special.polygamma", (fixed(1), between(0.01, 100)), label="1", exact=lambda mp, n, x: mp.psi(n, x)
    ),
    Target("jax.scipy.special.polygamma", (fixed(2), positive()), label="2", exact=lambda mp, n, x: mp.psi(n, x)),
    Target(
        "jax.scipy.special.rel_entr",
        (nonnegative(), positive()),
        exact=lambda mp, p, q: p * mp.log(p / q) if p else mp.mpf(0),
    ),
    Target("jax.scipy.special.softmax", (real(),)),
    Target(
        "jax.scipy.special.sph_harm_y",
        (fixed(np.array([2, 3])), fixed(np.array([1, -2])), positive(2), real(2)),
        call=lambda f, n, m, t, p: (lambda y: (y.real, y.imag))(f(n, m, t, p, n_max=3)),
    ),
    Target("jax.scipy.special.xlog1py", (nonnegative(), above(-1)), exact=lambda mp, x, y: x * mp.log1p(y)),
    Target("jax.scipy.special.xlogy", (nonnegative(), positive()), exact=lambda mp, x, y: x * mp.log(y)),
    Target("jax.scipy.special.zeta", (above(1.5), positive()), exact=lambda mp, x, q: mp.zeta(x, q)),
    Target("jax.scipy.special.logsumexp", (probabilities(),), label="probabilities"),
)

TARGETS = ONE + MORE
