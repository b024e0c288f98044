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


def _installed(target: Target) -> bool:
    return importlib.util.find_spec(target.path.split(".")[0]) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_targets_evaluate_finitely(name):
    """Every path of an installed library imports, and the call is finite at the point that is drawn."""
    targets = [target for target in TARGETS[name] if _installed(target)]
    if not targets:
        pytest.skip(f"the libraries of {name} are not installed")
    wrong = []
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for target in targets:
            function, args = target.function(), [domain.draw(np.random.default_rng(0)) for domain in target.args]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of the libraries
                y = (
                    function(*args, **target.options)
                    if target.call is None
                    else target.call(function, *args, **target.options)
                )
            leaves = jax.tree.leaves(y)
            if not leaves or not all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
                wrong.append(target.name)
    assert not wrong
