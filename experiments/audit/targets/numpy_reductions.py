"""`jax.numpy`: sums, products, extremes, moments, quantiles, running sums, and differences along an axis."""

import numpy as np

from experiments.audit.calls import beside_nan, with_keywords
from experiments.audit.domains import closed, constant, fixed, positive, probabilities, real
from experiments.audit.target import Target

MASK = fixed(np.array([[True, False, True], [True, True, False]]))

TARGETS = (
    Target("jax.numpy.sum", (real(),)),
    Target("jax.numpy.sum", (real(2, 3),), options={"axis": 0}, label="axis=0"),
    Target("jax.numpy.sum", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.numpy.sum", (real(), real(1)), call=lambda f, x, i: f(x, initial=i[0]), label="initial"),
    Target("jax.numpy.prod", (real(),)),
    Target("jax.numpy.prod", (real(2, 3),), options={"axis": 1}, label="axis=1"),
    Target("jax.numpy.prod", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.numpy.max", (real(),)),
    Target("jax.numpy.max", (real(2, 3),), options={"axis": 0}, label="axis=0"),
    Target("jax.numpy.max", (real(2, 3), MASK), options={"initial": -9.0}, call=with_keywords("where"), label="where"),
    Target("jax.numpy.min", (real(),)),
    Target("jax.numpy.min", (real(2, 3),), options={"axis": 1}, label="axis=1"),
    Target("jax.numpy.mean", (real(),)),
    Target("jax.numpy.mean", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.numpy.std", (real(),)),
    Target("jax.numpy.std", (real(2, 3),), options={"axis": 1, "ddof": 1}, label="ddof=1"),
    Target("jax.numpy.std", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.numpy.var", (real(),)),
    Target("jax.numpy.var", (real(2, 3),), options={"axis": 0, "ddof": 1}, label="ddof=1"),
    Target("jax.numpy.var", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.numpy.var", (real(), real()), call=lambda f, a, b: f(a + 1j * b), label="complex"),
    Target("jax.numpy.ptp", (real(),)),
    Target("jax.numpy.average", (real(), positive()), call=with_keywords("weights")),
    Target("jax.numpy.median", (real(),)),
    Target("jax.numpy.median", (real(5),), label="odd"),
    Target("jax.numpy.quantile", (real(5), closed(0, 1, 1))),
    Target("jax.numpy.quantile", (real(5), fixed(0.3)), options={"method": "nearest"}, label="nearest"),
    Target("jax.numpy.quantile", (real(5), fixed(0.3)), options={"method": "midpoint"}, label="midpoint"),
    Target("jax.numpy.percentile", (real(5), fixed(30.0))),
    Target("jax.numpy.nansum", (real(),), call=beside_nan),
    Target("jax.numpy.nanprod", (real(),), call=beside_nan),
    Target("jax.numpy.nanmax", (real(),), call=beside_nan),
    Target("jax.numpy.nanmin", (real(),), call=beside_nan),
    Target("jax.numpy.nanmean", (real(),), call=beside_nan),
    Target("jax.numpy.nanvar", (real(),), call=beside_nan),
    Target("jax.numpy.nanstd", (real(),), call=beside_nan),
    Target("jax.numpy.nanmedian", (real(),), call=beside_nan),
    Target("jax.numpy.nanquantile", (real(), fixed(0.3)), call=lambda f, x, q: beside_nan(lambda y: f(y, q), x)),
    Target("jax.numpy.nanpercentile", (real(), fixed(30.0)), call=lambda f, x, q: beside_nan(lambda y: f(y, q), x)),
    Target("jax.numpy.nancumsum", (real(),), call=beside_nan),
    Target("jax.numpy.nancumprod", (real(),), call=beside_nan),
    Target("jax.numpy.cumsum", (real(),)),
    Target("jax.numpy.cumprod", (real(),)),
    Target("jax.numpy.cumprod", (real(2, 3),), options={"axis": 1}, label="axis=1"),
    Target("jax.numpy.cumulative_sum", (real(),), options={"include_initial": True}),
    Target("jax.numpy.cumulative_prod", (real(),), options={"include_initial": True}),
    Target("jax.numpy.diff", (real(5),)),
    Target("jax.numpy.diff", (real(5),), options={"n": 2}, label="n=2"),
    Target("jax.numpy.ediff1d", (real(),)),
    Target("jax.numpy.gradient", (real(5),)),
    Target("jax.numpy.gradient", (real(5), positive(1)), call=lambda f, x, h: f(x, h[0]), label="spacing"),
    Target("jax.numpy.trapezoid", (real(), constant([0.0, 0.4, 1.1, 1.7]))),
    Target("jax.numpy.corrcoef", (real(2, 5),)),
    Target("jax.numpy.cov", (real(2, 4),)),
    Target("jax.numpy.cov", (real(2, 4),), options={"ddof": 0}, label="ddof=0"),
    Target("jax.numpy.cov", (real(2, 4), probabilities()), call=with_keywords("aweights"), label="aweights"),
    Target(
        "jax.numpy.histogram", (real(6), positive(6)), call=lambda f, x, w: f(x, bins=3, range=(-2, 2), weights=w)[0]
    ),
    Target("jax.numpy.bincount", (fixed(np.array([0, 2, 2, 1])), real()), call=lambda f, i, w: f(i, w, length=3)),
)
