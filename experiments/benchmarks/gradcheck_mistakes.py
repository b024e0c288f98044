"""Mistakes that people make in hand-written gradients at special points, each beside a correct rule.

Among them are a missing double `where`, `>` instead of `>=`, ties that count twice or not at all, and overflow.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from experiments.benchmarks.gradcheck_edges import Planted, X, entries, pulled

Y = np.array([1.1, 0.8, -0.6, 1.9, -1.4], np.float32)
P = np.abs(X)


def _removable(f: Callable, at_zero: float, slope: Callable, at: float) -> tuple[Callable, Callable, Callable]:
    """Return f with its value at 0, autodiff's rule, which is NaN there, and a right rule that avoids 0."""
    fun = lambda x: jnp.where(x == 0, jnp.asarray(at_zero, x.dtype), f(x))

    def safe(x):
        small = jnp.abs(x) < 1e-4
        return jnp.where(small, at + 0 * x, slope(jnp.where(small, jnp.ones_like(x), x)))

    return fun, pulled(fun), safe


def _of_max(share: Callable) -> Callable:
    def rule(args, ct):
        tied = (args[0] == args[0].max()).astype(ct.dtype)
        return (ct * tied * share(tied.sum()),)

    return rule


def _of_pair(first: Callable, second: Callable) -> Callable:
    return lambda args, ct: (ct * first(*args).astype(ct.dtype), ct * second(*args).astype(ct.dtype))


def _normalized(x):
    c = x - x.mean()
    return c / jnp.sqrt((c * c).mean() + 1e-18)


def _normalized_rule(eps: float) -> Callable:
    def rule(args, ct):
        (x,) = args
        c = x - x.mean()
        inverse = 1 / jnp.sqrt((c * c).mean() + eps)
        y = c * inverse
        return (inverse * (ct - ct.mean() - y * (ct * y).mean()),)

    return rule


def _prod_rule(args, ct):
    return (ct * args[0].prod() / args[0],)


def _sorted_rule(args, ct):
    (x,) = args
    return (ct[jnp.searchsorted(jnp.sort(x), x)],)


def _softmax_rule(shift: bool) -> Callable:
    def rule(args, ct):
        e = jnp.exp(args[0] - (args[0].max() if shift else 0))
        return (ct * e / e.sum(),)

    return rule


def mistakes() -> Iterator[Planted]:
    """Yield each mistake beside the correct rule."""
    ratios = {
        "sin x / x": (lambda x: jnp.sin(x) / x, 1.0, lambda x: jnp.cos(x) / x - jnp.sin(x) / x**2, 0.0),
        "(exp x - 1) / x": (lambda x: jnp.expm1(x) / x, 1.0, lambda x: jnp.exp(x) / x - jnp.expm1(x) / x**2, 0.5),
        "log(1 + x²) / x²": (
            lambda x: jnp.log1p(x**2) / x**2,
            1.0,
            lambda x: 2 / (x + x**3) - 2 * jnp.log1p(x**2) / x**3,
            0.0,
        ),
        "tanh x / x": (lambda x: jnp.tanh(x) / x, 1.0, lambda x: 1 / (x * jnp.cosh(x) ** 2) - jnp.tanh(x) / x**2, 0.0),
    }
    for name, (f, value, slope, at) in ratios.items():
        fun, wrong, right = _removable(f, value, slope, at)
        yield Planted(f"{name} without a double where", fun, wrong, entries(right), (X,))
    root = lambda x: jnp.where(x > 0, jnp.sqrt(jnp.abs(x) + 1) - 1, 0.5 * x)
    yield Planted(
        "> instead of >= at 0",
        root,
        entries(lambda x: jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.abs(x) + 1), jnp.where(x < 0, 0.5, 0.0).astype(x.dtype))),
        pulled(root),
        (X,),
    )
    huber = lambda x: jnp.where(jnp.abs(x) < 1, 0.5 * x * x, jnp.abs(x) - 0.5)
    yield Planted(
        "> instead of >= at 1",
        huber,
        entries(lambda x: jnp.where(jnp.abs(x) < 1, x, jnp.where(jnp.abs(x) > 1, jnp.sign(x), 0 * x))),
        entries(lambda x: jnp.clip(x, -1, 1)),
        (X,),
    )
    yield Planted(
        "arcsinh by sign",
        jnp.arcsinh,
        entries(lambda x: jnp.sign(x) ** 2 / jnp.sqrt(1 + x * x)),
        pulled(jnp.arcsinh),
        (X,),
    )
    yield Planted("x by x / x", lambda x: 2 * x, entries(lambda x: 2 * x / x), pulled(lambda x: 2 * x), (X,))
    relu_slope = lambda at: entries(lambda x: jnp.where(x == 0, at, jnp.where(x > 0, 1.0, 0.0)).astype(x.dtype))
    for at in (2.0, -1.0, np.nan):
        yield Planted(f"relu with slope {at} at 0", jax.nn.relu, relu_slope(at), relu_slope(0.5), (X,))
    sign_slope = lambda at: entries(lambda x: jnp.where(x == 0, at, jnp.sign(x)).astype(x.dtype))
    yield Planted("abs with slope 3 at 0", jnp.abs, sign_slope(3.0), sign_slope(0.0), (X,))
    shares = {"all": lambda n: 1.0, "none": lambda n: jnp.where(n > 1, 0.0, 1.0)}
    for name, share in shares.items():
        yield Planted(f"max: {name} of the ties", jnp.max, _of_max(share), _of_max(lambda n: 1 / n), (X,))
    yield Planted(
        "max: axis ties",
        lambda x: x.max(1),
        lambda args, ct: (ct[:, None] * (args[0] == args[0].max(1, keepdims=True)).astype(ct.dtype),),
        pulled(lambda x: x.max(1)),
        (np.stack([X, Y]),),
    )
    greater, equal = lambda x, y: x > y, lambda x, y: x >= y
    pair = _of_pair(greater, lambda x, y: y >= x)
    yield Planted("maximum: both at ties", jnp.maximum, _of_pair(equal, lambda x, y: y >= x), pair, (X, Y))
    yield Planted("maximum: none at ties", jnp.maximum, _of_pair(greater, lambda x, y: y > x), pair, (X, Y))
    yield Planted(
        "minimum: both at ties",
        jnp.minimum,
        _of_pair(lambda x, y: x <= y, lambda x, y: y <= x),
        _of_pair(lambda x, y: x < y, lambda x, y: y <= x),
        (X, Y),
    )
    yield Planted("prod by division", jnp.prod, _prod_rule, pulled(jnp.prod), (X,))
    yield Planted(
        "product by division",
        lambda x, y: x * y,
        lambda args, ct: (ct * args[0] * args[1] / args[0], ct * args[0]),
        pulled(lambda x, y: x * y),
        (X, Y),
    )
    yield Planted("sort by searchsorted", jnp.sort, _sorted_rule, pulled(jnp.sort), (X,))
    over = lambda x: jnp.exp(x) / (1 + jnp.exp(x))
    yield Planted("softplus by exp / (1 + exp)", jax.nn.softplus, entries(over), entries(jax.nn.sigmoid), (X,))
    yield Planted(
        "sigmoid by exp / (1 + exp)²",
        jax.nn.sigmoid,
        entries(lambda x: jnp.exp(x) / (1 + jnp.exp(x)) ** 2),
        entries(lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),
        (X,),
    )
    log_cosh = lambda x: jnp.logaddexp(x, -x)
    yield Planted(
        "log cosh by sinh / cosh", log_cosh, entries(lambda x: jnp.sinh(x) / jnp.cosh(x)), entries(jnp.tanh), (X,)
    )
    yield Planted(
        "silu by exp / (1 + exp)",
        jax.nn.silu,
        entries(lambda x: over(x) * (1 + x * (1 - over(x)))),
        pulled(jax.nn.silu),
        (X,),
    )
    yield Planted("logsumexp without a shift", special.logsumexp, _softmax_rule(False), _softmax_rule(True), (X,))
    yield Planted("normalization without ε", _normalized, _normalized_rule(0.0), _normalized_rule(1e-18), (X,))
    yield Planted(
        "norm with ε",
        lambda x: jnp.sqrt(jnp.sum(x * x) + 1e-18),
        lambda args, ct: (ct * args[0] / jnp.sqrt(jnp.sum(args[0] ** 2)),),
        pulled(lambda x: jnp.sqrt(jnp.sum(x * x) + 1e-18)),
        (X,),
    )
    yield Planted(
        "arctan2 by y / x",
        jnp.arctan2,
        lambda args, ct: (
            ct / args[1] / (1 + (args[0] / args[1]) ** 2),
            -ct * args[0] / args[1] ** 2 / (1 + (args[0] / args[1]) ** 2),
        ),
        pulled(jnp.arctan2),
        (X, Y),
    )
    power = lambda x: x**3
    yield Planted("x³ by 3 y / x", power, entries(lambda x: 3 * x**3 / x), pulled(power), (X,))
    yield Planted(
        "x^1.5 by x / √x",
        lambda x: x**1.5,
        entries(lambda x: 1.5 * x / jnp.sqrt(x)),
        entries(lambda x: 1.5 * jnp.sqrt(x)),
        (P,),
        lambda x: x >= 0,
    )
    square_log = lambda x: x * special.xlogy(x, x)
    safe_log = lambda x: jnp.log(jnp.where(x > 0, x, jnp.ones_like(x)))
    yield Planted(
        "x² log x at 0",
        square_log,
        entries(lambda x: 2 * x * jnp.log(x) + x),
        entries(lambda x: 2 * x * safe_log(x) + x),
        (P,),
        lambda x: x >= 0,
    )
    yield Planted(
        "xlogy by y / y",
        lambda x, y: special.xlogy(x, y),
        lambda args, ct: (ct * jnp.log(args[1]), ct * args[0] / args[1] * (args[0] / args[0])),
        lambda args, ct: (ct * jnp.log(args[1]), ct * args[0] / args[1]),
        (X, P),
        lambda x, y: y > 0,
    )
