"""Sums of exponentials: `jax.scipy.special.logsumexp` and its relatives."""

from experiments.audit.domains import nonnegative, real
from experiments.audit.target import Target

TARGETS = (
    Target("jax.scipy.special.logsumexp", (real(),)),
    Target("jax.scipy.special.logsumexp", (real(), nonnegative()), call=lambda f, a, b: f(a, b=b), label="b"),
    Target("jax.numpy.logaddexp", (real(), real()), exact=lambda mp, x, y: mp.log(mp.exp(x) + mp.exp(y))),
)
