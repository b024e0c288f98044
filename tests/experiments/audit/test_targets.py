"""The calls to audit: their number, their names, and that each can be drawn and evaluated."""

import importlib
import importlib.util
import pkgutil
import warnings

import jax
import numpy as np
import pytest

import experiments.audit.targets
from experiments.audit import domains
from experiments.audit.calls import with_keywords, with_static
from experiments.audit.target import Target

MODULES = sorted(module.name for module in pkgutil.iter_modules(experiments.audit.targets.__path__))
TARGETS = {name: importlib.import_module(f"experiments.audit.targets.{name}").TARGETS for name in MODULES}


def test_there_are_600_calls_with_unique_names():
    names = [target.name for targets in TARGETS.values() for target in targets]
    assert len(names) >= 600
    assert sorted(names) == sorted(set(names))


def test_the_libraries_of_the_tables():
    libraries = {target.path.split(".")[0] for targets in TARGETS.values() for target in targets}
    assert libraries == {"jax", "optax", "equinox", "flax", "diffrax", "optimistix", "lineax", "numpyro"}


@pytest.mark.parametrize("name", MODULES)
def test_every_target_differentiates_something(name):
    for target in TARGETS[name]:
        assert any(domain.differentiated for domain in target.args), target.name


@pytest.mark.parametrize("name", MODULES)
def test_draws_lie_in_the_domains(name):
    rng = np.random.default_rng(1)
    for target in TARGETS[name]:
        for domain in target.args:
            value = domain.draw(rng)
            assert domain.inside is None or np.all(domain.inside(value)), (target.name, value)


def test_domains_exclude_values():
    cases = [
        (domains.positive(), 0.0),
        (domains.nonnegative(), -1e-300),
        (domains.above(1.0), 1.0),
        (domains.between(0, 1), 1.0),
        (domains.closed(0, 1), 1.5),
        (domains.probabilities(), -0.1),
    ]
    for domain, outside in cases:
        assert not np.all(domain.inside(np.array([outside])))
    both = domains.tree({"a": domains.positive(2), "b": domains.real(2)})
    assert both.inside({"a": np.ones(2), "b": -np.ones(2)})
    assert not both.inside({"a": -np.ones(2), "b": np.ones(2)})


def test_calls_with_static_arguments_and_keywords():
    def power(x, exponent, scale=1.0):
        return scale * x**exponent

    assert with_static(3)(power, 2.0) == 8.0
    assert with_keywords("scale")(power, 2.0, 3.0, 0.5) == 4.0


def _cases(name: str) -> list[Target]:
    """Return the targets of a module whose libraries are installed. Skip the test if there are none."""
    targets = [target for target in TARGETS[name] if importlib.util.find_spec(target.path.split(".")[0]) is not None]
    if not targets:
        pytest.skip(f"the libraries of {name} are not installed")
    return targets


def _call(target: Target, args):
    function = target.function()
    if target.call is None:
        return function(*args, **target.options)
    return target.call(function, *args, **target.options)


@pytest.fixture
def as_users_call():
    """Use float64 and the promotion that users have, without the warnings of other libraries."""
    promotion = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with jax.enable_x64(True), promotion[0], promotion[1], warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_targets_trace(name, as_users_call):
    """Every path of an installed library imports, and the call can be traced in the arguments it differentiates."""
    for target in _cases(name):
        args = [domain.draw(np.random.default_rng(0)) for domain in target.args]
        where = [i for i, domain in enumerate(target.args) if domain.differentiated]

        def function(*some, target=target, args=args, where=where):
            whole = list(args)
            for i, value in zip(where, some, strict=True):
                whole[i] = value
            return _call(target, whole)

        y = jax.eval_shape(function, *[args[i] for i in where])
        assert any(jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) for leaf in jax.tree.leaves(y)), target.name


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODULES)
def test_targets_evaluate_finitely(name, as_users_call):
    """Each call is finite at the point that is drawn."""
    wrong = []
    for target in _cases(name):
        y = _call(target, [domain.draw(np.random.default_rng(0)) for domain in target.args])
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(y)):
            wrong.append(target.name)
    assert not wrong
