"""Domains of arguments: how to draw a value at random, and which values are allowed.

Each function takes the shape, by default 4 entries.

>>> import numpy as np
>>> bool((positive(3).draw(np.random.default_rng(0)) > 0).all())
True
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.audit.target import Domain

SHAPE = (4,)


def real(*shape: int) -> Domain:
    """Return all real numbers."""
    return Domain(lambda rng: rng.standard_normal(shape or SHAPE))


def positive(*shape: int) -> Domain:
    """Return numbers above 0."""
    return Domain(lambda rng: rng.gamma(2.0, 0.6, shape or SHAPE) + 0.05, lambda x: x > 0)


def nonnegative(*shape: int) -> Domain:
    """Return numbers of at least 0."""
    return positive(*shape)._replace(inside=lambda x: x >= 0)


def above(low: float, *shape: int) -> Domain:
    """Return numbers above `low`."""
    return Domain(lambda rng: low + rng.gamma(2.0, 0.6, shape or SHAPE) + 0.05, lambda x: x > low)


def between(low: float, high: float, *shape: int) -> Domain:
    """Return numbers in the open interval (low, high)."""
    return Domain(
        lambda rng: low + (high - low) * rng.uniform(0.1, 0.9, shape or SHAPE), lambda x: (x > low) & (x < high)
    )


def closed(low: float, high: float, *shape: int) -> Domain:
    """Return numbers in the closed interval [low, high]."""
    return between(low, high, *shape)._replace(inside=lambda x: (x >= low) & (x <= high))


def probabilities(*shape: int) -> Domain:
    """Return arrays of numbers in [0, 1]; the rows that are drawn sum to 1."""
    size = shape or SHAPE
    return Domain(lambda rng: rng.dirichlet(np.full(size[-1], 2.0), size[:-1]), lambda x: (x >= 0) & (x <= 1))


def positive_definite(n: int = 3) -> Domain:
    """Return symmetric positive definite matrices, which differences leave: the function must make x symmetric."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        a = rng.standard_normal((n, n))
        return a @ a.T + 0.5 * np.eye(n)

    return Domain(draw)


def integers(low: int, high: int, *shape: int) -> Domain:
    """Return integers in [low, high), which have no gradient."""
    return Domain(lambda rng: rng.integers(low, high, shape or SHAPE), differentiated=False)


def fixed(value: Any) -> Domain:
    """Return one value that is not differentiated: an axis, a string, an array of targets."""
    return Domain(lambda rng: value, differentiated=False)


def constant(value: Any) -> Domain:
    """Return one value that is differentiated, such as an array whose entries must have an order."""
    return Domain(lambda rng: np.asarray(value, np.float64))


def tree(parts: dict[str, Domain] | Sequence[Domain]) -> Domain:
    """Return trees: a dict or a tuple with one value of each domain."""
    names = list(parts) if isinstance(parts, dict) else None
    domains = list(parts.values()) if isinstance(parts, dict) else list(parts)

    def build(values: Sequence[Any]) -> Any:
        return dict(zip(names, values, strict=True)) if names is not None else tuple(values)

    def inside(x: Any) -> Any:
        values = [x[name] for name in names] if names is not None else list(x)
        tests = [jnp.all(d.inside(v)) for d, v in zip(domains, values, strict=True) if d.inside is not None]
        return jnp.all(jnp.array(tests)) if tests else jnp.bool_(True)

    return Domain(lambda rng: build([d.draw(rng) for d in domains]), inside)
