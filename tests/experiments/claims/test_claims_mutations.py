"""Mutation tests: an error planted in a copy of fnn must make the tests of a claim fail."""

import re
import shutil

import pytest

from experiments.claims import evidence
from tests.support import children

MUTATIONS = {  # claim whose tests must fail: (file of fnn, pattern to find, replacement)
    "C018": ("backprop", r"1 / values\.shape\[0\]", "1.0"),
    "C025": ("losses/entries", r"dvalue \* e\) / \(1 \+ e\) - dvalue \* y", "dvalue * e) / (1 + e) + dvalue * y"),
    "C033": ("losses/classes", r"e \* \(dvalue \* scale\) - dvalue \* y", "e * (dvalue * scale) - 1"),
    "C081": ("layers/activations", r"da \* \(a \* \(1 - a\)\)", "da * (a * (1 + a))"),
    "C086": ("layers/activations", r"da \* \(1 - a \* a\)", "da * (1 - a)"),
    "C092": ("layers/activations", r"lambda z, a: z > 0", "lambda z, a: z >= 0"),
    "C110": ("losses/entries", r"0\.5 \* sum_entries\(difference", "1.0 * sum_entries(difference"),
    "C111": ("losses/entries", r"values = sum_entries\(jnp\.maximum", "values = -sum_entries(jnp.maximum"),
    "C134": ("layers/dense", r"( +db = .+)\.astype\(b\.dtype\)\n", r"\1.astype(b.dtype) / dz.shape[0]\n"),
    "C139": ("layers/dense", r"( +dx = .+\bdz\b.+)\bw\.astype", r"\1dw.astype"),
    "C166": ("init", r"2\.0 / fans\(shape\)\[0\]", "2.0 / sum(fans(shape))"),
    "C184": ("data/order", r"reshape\(n, batch_size\)", "reshape(batch_size, n)"),
    "C188": ("optimizers", r"state\.v, rest\(beta\), gradients", "state.v, -rest(beta), gradients"),
    "C200": ("weights", r"jnp\.asarray\(scale, dtype\)", "jnp.asarray(2 * scale, dtype)"),
    "C229": ("layers/conv", r"w\.astype\(dtype\), window", "w.astype(dtype)[::-1, ::-1], window"),
}


def mutated(claim):
    """The path of the mutated file, its source, and the source with the error."""
    file, pattern, error = MUTATIONS[claim]
    path = evidence.ROOT / "fnn" / f"{file}.py"
    source = path.read_text(encoding="utf-8")
    return path, source, re.sub(pattern, error, source, count=1)


def copied(tmp_path):
    """A copy of the repository's code and tests."""
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("fnn", "experiments", "tests"):
        shutil.copytree(evidence.ROOT / folder, tmp_path / folder, ignore=ignore)
    shutil.copy(evidence.ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def quickly(monkeypatch):
    """Let the processes that run the claims' tests share programs, and compile each with few optimizations."""
    for name, value in children.environment(JAX_DISABLE_MOST_OPTIMIZATIONS="1").items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("claim", MUTATIONS)
def test_every_pattern_matches_its_file(claim):
    _, source, mutation = mutated(claim)
    assert mutation != source
    compile(mutation, claim, "exec")
    assert evidence.marked_tests()[claim]


@pytest.mark.slow
@pytest.mark.parametrize("claim", MUTATIONS)
@pytest.mark.usefixtures("quickly")
def test_an_error_planted_makes_its_claims_tests_fail(claim, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--exitfirst")  # one is enough
    path, _, mutation = mutated(claim)
    root, tests = copied(tmp_path), evidence.marked_tests()[claim]
    (root / path.relative_to(evidence.ROOT)).write_text(mutation, encoding="utf-8")
    assert "failed" in evidence.run_tests(tests, root).values()


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_without_an_error_they_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-n0")  # starting workers takes longer
    marked = evidence.marked_tests()
    states = evidence.run_tests([test for claim in MUTATIONS for test in marked[claim]], copied(tmp_path))
    assert set(states.values()) == {"passed"}
