"""Sums of exponentials: `jax.scipy.special.logsumexp` and its relatives."""

from experiments.audit.domains import constant, nonnegative, real
from experiments.audit.target import Target

LARGE = constant([3e17, 1e18])

TARGETS = (
    Target("jax.scipy.special.logsumexp", (real(),)),
    Target("jax.scipy.special.logsumexp", (real(), nonnegative()), call=lambda f, a, b: f(a, b=b), label="b"),
    Target("jax.numpy.logaddexp", (real(), real()), exact=lambda mp, x, y: mp.log(mp.exp(x) + mp.exp(y))),
    Target("jax.numpy.logaddexp", (LARGE, LARGE), label="large", exact=lambda mp, x, y: x + mp.log1p(mp.exp(y - x))),
    Target(
        "jax.numpy.logaddexp2", (LARGE, LARGE), label="large", exact=lambda mp, x, y: x + mp.log(1 + 2 ** (y - x), 2)
    ),
)
