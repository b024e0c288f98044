"""The audit of a call: planted errors by kind, and right functions without a finding."""

import jax
import numpy as np
import pytest

from experiments.audit import exact
from experiments.audit.domains import between, fixed, positive, real
from experiments.audit.examine import examine
from experiments.audit.reproduce import reproduce
from experiments.audit.target import Target
from tests.support.planted_gradients import RIGHT, WRONG

FAST = ("wrong_at_zero", "wrong_value(exact)", "not_finite", "outside", "modes_differ")
needs_mpmath = pytest.mark.skipif(not exact.available(), reason="mpmath is not installed")


def marks(target):
    """A case without the exact function in each kind runs by default."""
    fast = target.name.rpartition(".")[2] in FAST
    return [*([needs_mpmath] if target.exact else []), *([] if fast else [pytest.mark.slow])]


def cases():
    return [pytest.param(target, kinds, id=target.name, marks=marks(target)) for target, kinds in WRONG]


@pytest.mark.parametrize(("target", "kinds"), cases())
def test_a_planted_error_is_found_by_its_kind_and_its_code_shows_it(target, kinds):
    result = examine(target)
    assert {finding.kind for finding in result.findings} == kinds
    finding = result.findings[0]
    code = reproduce(result.calls[0], finding)
    assert code.reproduced, code
    assert len(code.text.splitlines()) <= 5
    assert "experiments" not in code.text
    expected = [f"{v:.10g}" for v in finding.expected]
    assert code.text.endswith(f"# {float(code.shown):.10g}, expected {' or '.join(expected)}")


@pytest.mark.slow
@pytest.mark.parametrize("target", [pytest.param(t, id=t.name, marks=marks(t)) for t in RIGHT])
def test_a_right_gradient_yields_no_finding(target):
    assert examine(target).findings == ()


def test_conventions_at_ties_and_functions_in_float32_yield_no_finding():
    median, narrow = examine(Target("jax.numpy.median", (real(),))), examine(RIGHT[2])
    assert median.findings == ()
    assert median.others["convention"] > 0
    assert narrow.findings == ()
    assert narrow.notes == ("it computes in less than float64",)


@needs_mpmath
@pytest.mark.slow
def test_a_noisy_function_is_told_from_a_wrong_derivative_by_the_exact_one(monkeypatch):
    (noisy,) = [target for target in RIGHT if "noisy" in target.name]
    told = examine(noisy)
    assert told.findings == ()
    assert told.others["noisy difference"] > 0
    monkeypatch.setattr(exact, "available", lambda: False)
    assert {finding.by for finding in examine(noisy).findings} == {"differences"}


def test_arguments_without_a_rule_are_named():
    result = examine(Target("jax.scipy.special.betainc", (positive(), positive(), fixed(np.array(0.3)))))
    assert result.checker == "no derivative rule"
    assert result.points == 0
    assert result.notes[0].startswith("no derivative by argument 0: ValueError: Betainc gradient")
    assert len(result.notes) == 2


@pytest.mark.slow
def test_an_argument_with_a_rule_is_audited_beside_one_without():
    result = examine(Target("jax.scipy.special.betainc", (positive(), positive(), between(0, 1))))
    assert len(result.notes) == 2
    assert result.points > 0


def test_complex_entries_count_as_pairs():
    value = lambda f, z: f(z)
    target = Target("jax.numpy.exp", (complex_numbers(),), call=value)
    result = examine(target)
    assert result.findings == ()
    assert result.points > 0


def complex_numbers():
    return real()._replace(draw=lambda rng: rng.standard_normal(3) + 1j * rng.standard_normal(3))


def test_jax_is_left_in_float32():
    examine(RIGHT[3])
    assert not jax.config.jax_enable_x64
