"""The code of findings: how calls become text, and that it runs in a fresh process."""

import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.audit import exact
from experiments.audit.call import make_call, vector
from experiments.audit.domains import constant, fixed, nonnegative, real, tree
from experiments.audit.examine import examine
from experiments.audit.findings import Finding
from experiments.audit.reproduce import reproduce, run
from experiments.audit.symbols import Symbol, show, text
from experiments.audit.target import Target

x, y = Symbol("x"), Symbol("y")


def wrapped(f, a, b):
    return jnp.where(a > 0, f(a, axis=None)[0, 1:], -(jax.nn.relu(b) ** 2))


def nested(f, a):
    return twice(lambda v: f(v, jax.random.key(3)), a) / 2


def twice(g, a):
    return g(g(a))


def looping(f, a):
    return sum(f(v) for v in a)


@pytest.mark.parametrize(
    ("call", "args", "code"),
    [
        (lambda f, a, b: f(*[b], b=a), (x, y), "f(y, b=x)"),
        (lambda f, a: f(a)["loss"].real, (x,), "f(x)['loss'].real"),
        (lambda f, a: 1 - f(a) @ a, (x,), "(1 - (f(x) @ x))"),
        (lambda f, a: jax.tree.map(lambda v: jnp.real(v), f(a)), (x,), "jax.tree.map(lambda v: jnp.real(v), f(x))"),
        (
            lambda f, a: f(a, jnp.add, where=np.array([True, False])),
            (x,),
            "f(x, jnp.add, where=np.array([True, False]))",
        ),
        (nested, (x,), "(f(f(x, jax.random.key(3)), jax.random.key(3)) / 2)"),
    ],
)
def test_calls_become_text(call, args, code):
    assert text(call, Symbol("f"), *args).code == code


@pytest.mark.parametrize("call", [looping, wrapped, lambda f, a: f(object()), lambda f, a: a if a else f(a)])
def test_what_symbols_cannot_say_is_refused(call):
    with pytest.raises(TypeError):
        text(call, Symbol("f"), x, *[y] * (call is wrapped))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.1, "0.1"),
        (float("nan"), "jnp.nan"),
        (np.array([1e-300, np.inf]), "jnp.array([1e-300, jnp.inf])"),
        (np.float32([0.1]), "jnp.array([0.10000000149011612], 'float32')"),
        (np.arange(2), "jnp.array([0, 1])"),
        ((1,), "(1,)"),
        ({"a": [None, "b"]}, "{'a': [None, 'b']}"),
        (jax.nn.relu, "jax.nn.relu"),
        (np.array(2.0), "jnp.array(2.0)"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_values_become_code(value, code):
    assert show(value) == code


def planted(target, leaf, kind, got, expected, output=0, entry=0, alone=False):
    """Return a call and a finding about it at the arguments that are drawn."""
    call = make_call(target)
    start = next(one for one in call.leaves if one.name == leaf)
    assert start.size > entry
    at = vector(call, call.args)
    return call, Finding(leaf, kind, "as given", got, (expected,), "differences", output, entry, False, 1, at, alone)


TWO = constant([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("target", "leaf", "output", "entry", "got"),
    [
        (Target("jax.numpy.linalg.slogdet", (TWO,)), "[0]", 1, 2, -0.5 / -0.5 * 1.0),
        (Target("jax.numpy.square", (constant([3.0, 5.0]),)), "[0]", 1, 1, 10.0),
        (Target("optax.tree.norm", (tree({"w": constant([3.0, 4.0])}),)), "[0]['w']", 0, 1, 0.8),
        (Target("jax.numpy.fft.fft", (constant([3.0, 4.0]),)), "[0]", 2, 1, -1.0),
        (Target("jax.numpy.clip", (constant([3.0]), fixed(0.5), fixed(4.0))), "[0]", 0, 0, 1.0),
    ],
)
def test_the_code_differentiates_the_entry_that_is_meant(target, leaf, output, entry, got):
    call, finding = planted(target, leaf, "wrong derivative", got, got + 1.0, output, entry)
    code = reproduce(call, finding)
    assert code.reproduced, code
    assert float(code.shown) == pytest.approx(got)


def test_code_that_shows_the_right_number_reproduces_nothing():
    call, finding = planted(Target("jax.numpy.sin", (constant([0.0]),)), "[0]", "wrong derivative", 0.5, 1.0)
    code = reproduce(call, finding)
    assert (code.ran, code.reproduced, code.shown) == (True, False, "1.0")


def test_a_call_without_code_says_why():
    target = Target("jax.numpy.add", (real(), real()), call=lambda f, *args: f(*(SimpleNamespace(v=a) for a in args)))
    call, finding = planted(target, "[0]", "wrong derivative", 0.5, 1.0)
    code = reproduce(call, finding)
    assert not code.ran
    assert code.shown == "TypeError: no code for SimpleNamespace"


@pytest.mark.slow
@pytest.mark.skipif(not exact.available(), reason="mpmath is not installed")
@pytest.mark.parametrize(
    "target",
    [
        Target("jax.numpy.sinc", (real(),), exact=lambda mp, x: mp.sincpi(x)),
        Target("jax.scipy.special.logsumexp", (real(), nonnegative()), call=lambda f, a, b: f(a, b=b), label="b"),
        Target("jax.numpy.linalg.norm", (real(),)),
    ],
)
def test_the_code_runs_in_a_fresh_process_and_prints_the_same(target):
    result = examine(target)
    assert result.findings
    for call, finding in list(zip(result.calls, result.findings, strict=True))[:2]:
        code = reproduce(call, finding)
        done = subprocess.run([sys.executable, "-c", code.text], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == pytest.approx(float(code.shown), rel=1e-3, nan_ok=True)


def test_running_code_does_not_change_the_setting_of_float64():
    assert run('import jax\njax.config.update("jax_enable_x64", True)\nprint(1)\nprint(2)') == "2"
    assert not jax.config.jax_enable_x64
