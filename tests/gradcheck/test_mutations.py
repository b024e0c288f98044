"""Wrong gradients are caught: in the right leaf and, if one element or row is wrong, at the right index."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.gradcheck_bases import BASES
from experiments.benchmarks.gradcheck_cases import Mutant, mutants
from fnn.gradcheck import GradReport, check_custom_vjp, check_vjp
from tests.support.slow import slow_except

pytestmark = pytest.mark.usefixtures("slow_cases_compile_quickly")

MUTANTS = mutants()
EVERY = 6
"""`test_caught` takes every sixth mutant, among them every mutation and every function."""


def _verdict(mutant: Mutant, report: GradReport) -> str:
    """Explain what is missing in a report; return "" if nothing is."""
    wrong = [leaf for leaf in report.leaves if leaf.status not in ("PASS", "SKIPPED")]
    checked = [leaf for leaf in report.leaves if leaf.status != "SKIPPED"]
    if report.ok or not wrong:
        return "missed"
    expected = [mutant.leaf] if mutant.leaf else [leaf.path for leaf in checked]
    if [leaf.path for leaf in wrong] != expected:
        return f"names {[leaf.path for leaf in wrong]}, not {expected}"
    if mutant.at is not None and (wrong[0].worst_index or ())[: len(mutant.at)] != mutant.at:
        return f"names the index {wrong[0].worst_index}, not {mutant.at}"
    return ""


def slow_but_one_of_each(mutants: list[Mutant]) -> list:
    """Return the mutants as parameters: all but one with each mutation are marked slow."""
    quick = {mutant.name.split(": ")[-1]: mutant.name for mutant in reversed(mutants)}.values()
    return [pytest.param(m, marks=[] if m.name in quick else pytest.mark.slow) for m in mutants]


@pytest.mark.accelerator
@pytest.mark.parametrize("make", slow_except(BASES, BASES[0]))
def test_bases_are_right(make):
    base = make()
    report = check_vjp(base.fun, base.backward, base.args, key=3)
    assert report.ok, report.summary()


def test_there_are_enough():
    assert len(MUTANTS) >= 60
    assert len(MUTANTS[::EVERY]) >= 60
    assert {m.kind for m in MUTANTS} == {"elementwise", "dense", "conv", "network"}
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.accelerator
@pytest.mark.parametrize("mutant", slow_but_one_of_each(MUTANTS[::EVERY]), ids=lambda m: m.name)
def test_caught(mutant):
    report = check_vjp(mutant.fun, mutant.backward, mutant.args, key=5)
    assert not _verdict(mutant, report), report.summary()


@pytest.mark.exhaustive
@pytest.mark.parametrize("mutant", [m for i, m in enumerate(MUTANTS) if i % EVERY], ids=lambda m: m.name)
def test_caught_all(mutant):
    report = check_vjp(mutant.fun, mutant.backward, mutant.args, key=6)
    assert not _verdict(mutant, report), report.summary()


WITHOUT = [m for m in MUTANTS if m.name.split(": ")[-1] in ("sign", "factor m", "one element: sign", "transposed")]


@pytest.mark.parametrize("mutant", slow_but_one_of_each(WITHOUT[::3]), ids=lambda m: m.name)
def test_caught_without_a_reference(mutant):
    report = check_vjp(mutant.fun, mutant.backward, mutant.args, reference=None, key=7)
    assert not _verdict(mutant, report), report.summary()


@pytest.mark.accelerator
@pytest.mark.parametrize("mutant", slow_but_one_of_each(WITHOUT[1::6]), ids=lambda m: m.name)
def test_caught_in_float32(mutant):
    report = check_vjp(mutant.fun, mutant.backward, mutant.args, precision="native", key=8)
    assert not _verdict(mutant, report), report.summary()
    assert report.checks["differences"].startswith("INCONCLUSIVE")


def _rule(forward, fwd, bwd):
    f = jax.custom_vjp(forward)
    f.defvjp(fwd, bwd)
    return f


X = (np.linspace(-2.0, 2.0, 7, dtype=np.float32),)


def test_wrong_custom_vjp_rule():
    f = _rule(jnp.tanh, lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, ct: (ct * (1 + y * y),))
    report = check_custom_vjp(f, X, key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL"]


def test_wrong_forward_of_a_custom_vjp():
    f = _rule(jnp.tanh, lambda x: (1.001 * jnp.tanh(x), jnp.tanh(x)), lambda y, ct: (ct * (1 - y * y),))
    report = check_custom_vjp(f, X, key=1)
    assert not report.ok
    assert "differs from fun" in report.checks["structure"]


def test_wrong_nested_rule_is_seen_by_differences():
    inner = _rule(jnp.sin, lambda x: (jnp.sin(x), x), lambda x, ct: (ct * jnp.cos(x) * 1.01,))
    fun = lambda x: inner(x) * x
    report = check_vjp(fun, lambda args, ct: jax.vjp(fun, *args)[1](ct), X, key=1)
    assert report.leaves[0].status == "FAIL"
    assert report.checks["reference"] == "PASS"


def test_wrong_second_derivative():
    def backward(args, ct):
        return (ct * jax.lax.stop_gradient(jnp.cos(args[0])),)

    assert check_vjp(jnp.sin, backward, X, key=1).ok
    report = check_vjp(jnp.sin, backward, X, order=2, key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL"]
    assert "second order" in report.leaves[0].hint


def test_wrong_second_derivative_by_the_cotangent():
    def backward(args, ct):
        return (jax.lax.stop_gradient(ct) * jnp.cos(args[0]),)

    report = check_vjp(jnp.sin, backward, X, order=2, key=1)
    assert not report.ok
    assert "cotangent[0]" in report.checks["second order"]


@pytest.mark.slow
def test_one_element_of_many_without_a_reference():
    x = np.random.default_rng(0).standard_normal((200, 300)).astype(np.float32)
    backward = lambda args, ct: ((ct * jnp.cos(args[0])).at[17, 211].multiply(-1),)
    report = check_vjp(jnp.sin, backward, (x,), reference=None, key=2)
    assert report.leaves[0].worst_index == (17, 211), report.summary()
