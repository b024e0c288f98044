"""Errors at special points only: caught by points="edges", while correct rules pass there."""

import jax
import numpy as np
import pytest

from experiments.benchmarks.gradcheck_cases import mutants
from experiments.benchmarks.gradcheck_edges import CONDITIONS, Planted, systematic
from experiments.benchmarks.gradcheck_functions import FUNCTIONS, reverse
from experiments.benchmarks.gradcheck_mistakes import mistakes
from fnn.gradcheck import check_vjp
from tests.support.slow import slow_except

pytestmark = pytest.mark.usefixtures("slow_cases_compile_quickly")

SYSTEMATIC, MISTAKES = list(systematic()), list(mistakes())
QUICK = [next(m for m in SYSTEMATIC[1:] if m.name.endswith(f", doubled at {where}")) for where in CONDITIONS]
QUICK = [next(m for m in SYSTEMATIC if m.name.endswith(", infinite at one")), *QUICK]
BY_DIFFERENCES = {"checks": ("structure", "differences"), "reference": None}
AUTODIFF_IS_WRONG = {
    "sinc": "loses all digits at tiny numbers",
    "log_ndtr": "1 instead of -x at large negative numbers",
    "digamma": "-2.9e12 instead of 9.8 at -9.5, and wrong below",
    "betaln": "NaN at negative numbers",
}
NAN_AT_SINGULAR_POINTS = {"std", "norm", "linalg.eigh", "linalg.qr"}


def caught(m: Planted, key: int = 3, **options) -> bool:
    report = check_vjp(m.fun, m.wrong, m.args, points="edges", domain=m.domain, key=key, **options)
    return any(leaf.status == "FAIL" for leaf in report.leaves)


def test_there_are_enough():
    assert len(SYSTEMATIC) >= 240
    assert len(MISTAKES) >= 30
    assert len({m.name for m in SYSTEMATIC + MISTAKES}) == len(SYSTEMATIC + MISTAKES)


@pytest.mark.parametrize("m", slow_except([*QUICK, *SYSTEMATIC[::5]], *QUICK[::2]), ids=lambda m: m.name)
def test_caught(m):
    assert caught(m, **BY_DIFFERENCES), m.name


@pytest.mark.exhaustive
@pytest.mark.parametrize("m", SYSTEMATIC, ids=lambda m: m.name)
def test_all_are_caught(m):
    assert caught(m, key=4)
    assert caught(m, **BY_DIFFERENCES)


@pytest.mark.exhaustive
@pytest.mark.parametrize("m", SYSTEMATIC[::10], ids=lambda m: m.name)
def test_random_points_do_not_catch_them(m):
    assert check_vjp(m.fun, m.wrong, m.args, key=3).ok


@pytest.mark.parametrize("m", slow_except(MISTAKES, MISTAKES[0], MISTAKES[15]), ids=lambda m: m.name)
def test_mistakes_are_caught_and_correct_rules_pass(m):
    assert caught(m, **BY_DIFFERENCES)
    report = check_vjp(m.fun, m.right, m.args, points="edges", domain=m.domain, key=3, **BY_DIFFERENCES)
    assert report.ok, report.summary()


@pytest.mark.exhaustive
@pytest.mark.parametrize("m", MISTAKES, ids=lambda m: m.name)
def test_mistakes_beside_autodiff(m):
    assert caught(m, key=5)
    report = check_vjp(m.fun, m.right, m.args, points="edges", domain=m.domain, key=5)
    assert report.ok, report.summary()


@pytest.mark.parametrize("function", slow_except(FUNCTIONS[::9], FUNCTIONS[0]), ids=lambda f: f.name)
def test_correct_functions_pass(function):
    _check(function, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_all_correct_functions_pass(function, key):
    _check(function, key)


def _check(function, key: int) -> None:
    args = function.make(np.random.default_rng(key))
    report = check_vjp(function.fun, reverse(function.fun), args, points="edges", key=key, **BY_DIFFERENCES)
    if function.name in NAN_AT_SINGULAR_POINTS:
        assert all(f.kink and not np.isfinite(f.max_error) for f in report.edges if f.status == "FAIL"), (
            report.summary()
        )
    elif function.name not in AUTODIFF_IS_WRONG:
        assert report.ok, report.summary()


@pytest.mark.exhaustive
@pytest.mark.parametrize("mutant", mutants(), ids=lambda m: m.name)
def test_other_mutants_are_caught_with_edges_too(mutant):
    with jax.numpy_dtype_promotion("standard"):
        report = check_vjp(mutant.fun, mutant.backward, mutant.args, points="edges", key=6)
    assert not report.ok
