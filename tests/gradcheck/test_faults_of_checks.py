"""Faults that a checker may have: a lowered tolerance, an excuse at kinks, a hidden overflow, a raw error."""

import functools
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import GradientError, GradReport, check_custom_vjp, check_grad, check_layer, check_loss, check_vjp
from fnn.gradcheck.lifting import lift
from fnn.gradcheck.text import encodable
from tests.support.slow import slow_except

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 4)).astype(np.float32)
X_JAX = jnp.asarray(X)
X_BF16 = jnp.asarray(X, jnp.bfloat16)
Y = np.arange(9) % 3
W = RNG.standard_normal(4).astype(np.float32)
LINE = np.linspace(-2.0, 2.0, 6, dtype=np.float32)
OFF = 1 + 1e-6


# Arrays that functions close over, and casts in code that no result needs.


def cost(x, w):
    """Return mean((x w)²), with w cast to the dtype of x, as mixed precision does."""
    return jnp.mean(jnp.square(x @ w.astype(x.dtype)))


def gradient(x, w, factor=1.0):
    return (factor * 2 / x.shape[0] * x.T @ (x @ w.astype(x.dtype))).astype(w.dtype)


def cost_of_global(w):
    return cost(X_JAX, w)


def gradient_of_global(w, factor=1.0):
    return gradient(X_JAX, w, factor)


class Model:
    def __init__(self, x):
        self.x, self.factor = {"train": [x]}, 1.0

    def cost(self, w):
        return cost(self.x["train"][0], w)

    def gradient(self, w):
        return gradient(self.x["train"][0], w)

    def wrong(self, w):
        return gradient(self.x["train"][0], w, OFF)


def in_default(x):
    return lambda w, x=x: cost(x, w), lambda w, factor=1.0, x=x: gradient(x, w, factor)


def in_keyword(x):
    def right(w, factor=1.0, *, data=(x,)):
        return gradient(data[0], w, factor)

    return lambda w, *, data=(x,): cost(data[0], w), right


MODEL = Model(X)
JITTED = jax.jit(functools.partial(gradient, X_JAX))
CLOSURES = {
    "closure": (lambda w: cost(X, w), lambda w, factor=1.0: gradient(X, w, factor)),
    "globals": (cost_of_global, gradient_of_global),
    "bfloat16": (lambda w: cost(X_BF16, w), lambda w, factor=1.0: gradient(X_BF16, w, factor)),
    "partial": (functools.partial(cost, X), functools.partial(gradient, X)),
    "method": (
        MODEL.cost,
        lambda w, factor=1.0: MODEL.gradient(w) if factor == 1 else MODEL.wrong(w),
    ),
    "default": in_default(X),
    "keyword": in_keyword(X_JAX),
    "jit": (
        jax.jit(lambda w: cost(X_JAX, w)),
        lambda w, factor=1.0: factor * JITTED(w),
    ),
}


@pytest.mark.parametrize("name", slow_except([*CLOSURES], "closure", "globals", "method"))
def test_an_error_of_1e_6_beside_closed_over_arrays(name):
    fun, grad_fun = CLOSURES[name]
    with jax.numpy_dtype_promotion("standard"):
        right = check_grad(fun, grad_fun, (W,), key=1)
        wrong = check_grad(fun, functools.partial(grad_fun, factor=OFF), (W,), key=1)
    assert right.ok, right.summary()
    assert "set by" not in right.summary()
    assert wrong.leaves[0].status == "FAIL", wrong.summary()


def test_an_error_of_1e_6_in_a_leaf_of_a_network():
    f = fnn.value_and_grad(fnn.mlp([4, 3]), fnn.softmax_cross_entropy)
    params = fnn.mlp([4, 3]).init(jax.random.key(0))
    scale_w = lambda grad, factor: jax.tree.map(lambda leaf: leaf * (factor if leaf.ndim == 2 else 1.0), grad)
    fun, grad_fun = lambda p: f(p, X_JAX, Y)[0], lambda p: f(p, X_JAX, Y)[1]
    assert check_grad(fun, grad_fun, (params,), key=1).ok
    report = check_grad(fun, lambda p: scale_w(grad_fun(p), OFF), (params,), key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL", "PASS"]


def test_arithmetic_of_closed_over_arrays_alone():
    fun = lambda w: jnp.sum(jnp.square(jnp.sin(X_JAX)) @ w)
    right = lambda w: jnp.sum(0.5 * (1 - jnp.cos(2 * X_JAX)), 0).astype(w.dtype)  # sin² = (1 - cos 2x)/2
    assert check_grad(fun, right, (W,), key=1).ok


def test_a_cast_in_dead_code():
    def right(w):
        dx = jnp.outer(X_JAX @ w.astype(X_JAX.dtype), w).astype(jnp.float32)
        del dx
        return gradient(X_JAX, w)

    dead = lambda args, ct: (jax.jit(lambda x, ct: (ct * jnp.cos(x) * OFF, x.astype(jnp.float16)))(args[0], ct)[0],)
    assert check_vjp(jnp.sin, dead, (LINE,), key=1).leaves[0].status == "FAIL"
    with jax.numpy_dtype_promotion("standard"):
        assert "set by" not in check_grad(cost_of_global, right, (W,), key=1).summary()


def test_a_cast_that_sets_the_tolerance_is_named():
    backward = lambda args, ct: (ct * jnp.cos(args[0].astype(jnp.float32)).astype(ct.dtype),)
    report = check_vjp(jnp.sin, backward, (LINE,), key=1)
    assert report.ok, report.summary()
    (note,) = [line for line in report.summary().splitlines() if "set by" in line]
    assert "convert_element_type from float64 to float32" in note
    assert "test_faults_of_checks.py" in note
    assert "in the backward" in note
    inside = lambda x: jnp.sin(x.astype(jnp.float32)).astype(x.dtype)
    assert "in fun" in check_vjp(inside, lambda args, ct: (ct * jnp.cos(args[0]),), (LINE,), key=1).summary()


def test_a_function_that_needs_its_dtype_is_kept():
    def fun(w):
        assert X_JAX.dtype == jnp.float32
        return cost(X_JAX, w)

    with jax.numpy_dtype_promotion("standard"):
        report = check_grad(fun, gradient_of_global, (W,), key=1)
    assert report.ok, report.summary()


def test_lifting_changes_nothing_in_place():
    count, data = 0, [X]

    def fun(w):
        nonlocal count
        count += 1
        return data[0] @ w

    def untouched(w):
        return 2 * w

    with jax.enable_x64(True):
        lifted, same = lift((fun, untouched))
        assert lifted(W.astype(np.float64)).dtype == np.float64
    assert (count, data[0] is X, same is untouched) == (1, True, True)


def test_lifting_of_a_function_that_calls_itself():
    def power(w, n=3):
        return jnp.sum(X_JAX @ w) if n == 0 else power(w, n - 1)

    with jax.enable_x64(True):
        assert lift((power,))[0](jnp.asarray(W, np.float64)).dtype == np.float64


# Kinks.

AT_ZERO = np.array([-1.0, 0.0, 2.0], np.float32)


def with_value(fun, value):
    """Return the backward of an elementwise function, with a value of its own where the argument is 0."""

    def backward(args, ct):
        (x,) = args
        away = jnp.where(x == 0, jnp.ones_like(x), x)
        slope = jax.vmap(jax.grad(fun))(away)
        return (ct * jnp.where(x == 0, jnp.asarray(value, x.dtype), slope),)

    return backward


def step_and_slope(x):
    return jnp.where(x > 0, 3 * x + 1, 2 * x)


KINKS = [
    (jnp.abs, (-1.0, 0.0, 0.5, 1.0), (1e30, 1.01, -7.0)),
    (jax.nn.relu, (0.0, 0.5, 1.0), (-1.0, 7.0, 1.001, -0.001)),
    (jax.nn.leaky_relu, (0.01, 0.5, 1.0), (0.0, 1.02)),
    (lambda x: jax.nn.relu(x) + 10 * jnp.sin(x), (10.0, 10.5, 11.0), (9.9, 11.1, 0.0)),
    (lambda x: jnp.clip(x, 0, 1), (0.0, 1.0), (-0.1, 3.0)),
    (step_and_slope, (2.0, 3.0), (1.0, 4.0)),
    (jnp.sign, (0.0,), (1.0, 1e30)),
    (lambda x: jnp.sqrt(x * x), (0.0, 1.0), (1e30, -2.0)),
]
ALLOWED = [(fun, value) for fun, values, _ in KINKS for value in values]
REFUSED = [(fun, value) for fun, _, values in KINKS for value in values]


def check_value(fun, value, **options) -> GradReport:
    elementwise = jax.vmap(fun)
    checks = ("structure", "reference", "differences", "adjoint")
    return check_vjp(elementwise, with_value(fun, value), (AT_ZERO,), checks=checks, key=1, **options)


@pytest.mark.parametrize(("fun", "value"), ALLOWED)
def test_conventions_between_the_one_sided_slopes(fun, value):
    report = check_value(fun, value)
    assert report.ok, report.summary()


@pytest.mark.parametrize(("fun", "value"), REFUSED)
def test_values_outside_the_one_sided_slopes(fun, value):
    report = check_value(fun, value)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (1,)), report.summary()


@pytest.mark.parametrize(
    ("fun", "value", "ok"), [(jnp.abs, 1e30, False), (jax.nn.relu, -1.0, False), (jnp.abs, 0, True)]
)
def test_kinks_without_a_reference(fun, value, ok):
    report = check_value(fun, value, reference=None)
    assert report.ok == ok, report.summary()
    assert ok or report.leaves[0].worst_index == (1,)


def test_one_wrong_value_among_many_kinks():
    x = np.zeros(500, np.float32)

    def backward(wrong):
        def rule(args, ct):
            slope = jnp.where(args[0] == 0, 0.5, jnp.where(args[0] > 0, 1.0, 0.0)).astype(ct.dtype)
            return (ct * slope.at[301].add(jnp.where(args[0][301] == 0, wrong, 0.0).astype(ct.dtype)),)

        return rule

    assert check_vjp(jax.nn.relu, backward(-0.4), (x,), key=1).ok
    report = check_vjp(jax.nn.relu, backward(-0.6), (x,), key=1)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (301,)), report.summary()


@pytest.mark.parametrize("reference", ["autodiff", None])
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_composed_kinks_of_a_network(at_zero, reference):
    """Rows of zeros put a whole layer of relus at its kink; then a convention may leave the one-sided slopes."""
    x = RNG.standard_normal((5, 4)).astype(np.float32) * np.array([1, 1, 0, 1, 0], np.float32)[:, None]
    args = (x, RNG.standard_normal((4, 6)).astype(np.float32), RNG.standard_normal((6, 3)).astype(np.float32))

    def backward(args, dy):
        x, w, v = args
        z = x @ w
        dz = dy @ v.T * jnp.where(z == 0, at_zero, jnp.where(z > 0, 1.0, 0.0)).astype(dy.dtype)
        return dz @ w.T, x.T @ dz, jax.nn.relu(z).T @ dy

    checks = ("structure", "reference", "differences")
    fun = lambda x, w, v: jax.nn.relu(x @ w) @ v
    report = check_vjp(fun, backward, args, checks=checks, reference=reference, key=1)
    assert report.ok, report.summary()


# Finiteness in the dtype that was given.


def test_an_overflow_in_float32_alone():
    naive = lambda args, ct: (ct * jnp.exp(args[0]) / (1 + jnp.exp(args[0])),)
    x = np.array([1.0, 100.0], np.float32)
    report = check_vjp(jax.nn.softplus, naive, (x,), key=1)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (1,)), report.summary()
    assert report.leaves[0].hint == "not finite in float32, finite in float64"
    assert check_vjp(jax.nn.softplus, naive, (x[:1],), key=1).ok
    assert check_vjp(jax.nn.softplus, lambda args, ct: (ct * jax.nn.sigmoid(args[0]),), (x,), key=1).ok


def test_an_overflow_in_float16_alone():
    backward = lambda args, ct: (ct * (args[0] ** 3) / (args[0] ** 2) * 2,)
    assert not check_vjp(jnp.square, backward, (np.array([1.0, 60.0], np.float16),), key=1).ok
    assert check_vjp(jnp.square, backward, (np.array([1.0, 6.0], np.float16),), key=1).ok


def test_a_gradient_too_large_for_its_dtype_is_not_wrong():
    backward = lambda args, ct: (ct * args[1], ct * args[0])
    args = (np.array([1e-3], np.float16), np.array([60000.0], np.float16))
    report = check_vjp(lambda x, y: x * y, backward, args, cotangent=np.array([4.0], np.float16), key=1)
    assert report.ok, report.summary()


# What cannot be checked is said, not raised.


def callback(method):
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)

    @jax.custom_vjp
    def f(x):
        return jax.pure_callback(np.sin, shape(x), x, vmap_method=method)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * jnp.cos(x),))
    return f


@pytest.mark.parametrize("method", ["expand_dims", None])
def test_a_callback_has_no_jvp(method):
    report = check_custom_vjp(callback(method), (LINE,), key=1)
    assert report.ok, report.summary()
    assert report.checks["adjoint"].startswith("SKIPPED")
    assert report.checks["reference"].startswith("SKIPPED")


COS = lambda args, ct: (ct * jnp.cos(args[0]),)
ZERO = lambda args, ct: (jnp.zeros_like(args[0]),)
EMPTY = np.zeros((0, 3), np.float32)
INSIDE = np.linspace(0.1, 0.9, 5, dtype=np.float32)
NOTHING = {
    "no elements": lambda **k: check_vjp(jnp.sin, COS, (EMPTY,), **k),
    "no elements, scalar": lambda **k: check_grad(lambda x: jnp.sum(x**2), lambda x: 2 * x, (EMPTY,), **k),
    "one leaf without elements": lambda **k: check_vjp(
        lambda e, x: jnp.sin(x) + jnp.sum(e),
        lambda a, ct: (jnp.zeros_like(a[0]), ct * jnp.cos(a[1])),
        (EMPTY, LINE), **k,
    ),
    "uniform density": lambda **k: check_vjp(jax.scipy.stats.uniform.logpdf, ZERO, (INSIDE,), **k),
    "zero": lambda **k: check_vjp(lambda x: 0 * x, ZERO, (LINE,), **k),
    "constant": lambda **k: check_vjp(lambda x: 0 * x + 3, ZERO, (LINE,), **k),
    "steps": lambda **k: check_vjp(jnp.floor, ZERO, (INSIDE,), **k),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"reference": None}, {"order": 2}], ids=str)
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_differentiate(name, options):
    with jax.numpy_dtype_promotion("standard"):
        report = NOTHING[name](key=1, **options)
    assert report.ok, report.summary()


def test_a_gradient_where_there_is_none():
    report = check_vjp(lambda x: 0 * x, lambda args, ct: (1e-3 * ct,), (LINE,), reference=None, key=1)
    assert report.leaves[0].status == "FAIL"


def test_second_order_of_a_backward_in_float32():
    narrow = lambda args, ct: (ct.astype(np.float32) * jnp.cos(args[0].astype(np.float32)),)
    report = check_vjp(jnp.sin, narrow, (LINE,), order=2, key=1)
    assert report.ok, report.summary()
    assert report.checks["second order"] == "PASS"
    wrong = lambda args, ct: (ct.astype(np.float32) * jax.lax.stop_gradient(jnp.cos(args[0].astype(np.float32))),)
    assert not check_vjp(jnp.sin, wrong, (LINE,), order=2, key=1).ok


# Layers and losses of another form.


def layer(forward=None, backward=None):
    right = lambda params, x, key=None: (x * params[None], x)
    rule = lambda params, x, dy: (jnp.sum(dy * x, 0), dy * params[None])
    return fnn.Layer(lambda key: jnp.ones(4), forward or right, backward or rule, name="scale")


FORWARD, BACKWARD = "the forward of scale must ", "the backward of scale must "
LAYERS = [
    (layer(forward=lambda p, x: (x * p[None], x)), TypeError, FORWARD + r"take \(params, x, key=None\), got \(p, x\)"),
    (layer(forward=lambda p, x, key: (x * p[None], x)), TypeError, FORWARD + r"take \(params, x, key=None\)"),
    (layer(forward=lambda p, x, key=None: x * p[None]), TypeError, FORWARD + r"return \(y, residuals\), got float32"),
    (layer(backward=lambda p, x, dy: jnp.sum(dy * x, 0)), TypeError, BACKWARD + r"return \(dparams, dx\), got float32"),
    (layer(backward=lambda p, x: (p, x)), TypeError, BACKWARD + r"take \(params, residuals, dy\)"),
    (
        layer(backward=lambda p, x, dy: (dy * p[None], jnp.sum(dy * x, 0))),
        GradientError, BACKWARD + r"return \(dparams, dx\), got \(dx, dparams\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "message"), LAYERS, ids=range(len(LAYERS)))
def test_layers_of_another_form(wrong, kind, message):
    with pytest.raises(kind, match="check_layer: " + message):
        check_layer(wrong, W, X, key=1)


def test_a_missing_sum_over_the_batch():
    report = check_layer(layer(backward=lambda p, x, dy: (dy * x, dy * p[None])), W, X, key=1)
    assert "the batch, is missing" in report.leaves[0].hint
    assert check_layer(layer(), W, X, key=1).ok


def test_a_loss_without_residuals():
    loss = fnn.Loss(lambda a, y: 0.5 * jnp.sum(jnp.square(a - y), 1), lambda r, d: r, name="half")
    with pytest.raises(
        TypeError, match=r"check_loss: the forward of half must return \(value, residuals\), got float32"
    ):
        check_loss(loss, X, np.zeros_like(X), key=1)


# The plugin and the terminal.


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    env = (
        os.environ
        | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        | environment
    )
    env.pop("JAX_ENABLE_X64", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, encoding="utf-8", errors="replace"
    )  # fmt: skip


def plugin() -> str:
    """Return the module that pytest loads at every start."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (module,) = project["project"]["entry-points"]["pytest11"].values()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert (ROOT / f"{module}.py").exists()
    assert f"{module}.py" in wheel["force-include"]
    return module


def test_the_plugin_imports_no_jax(tmp_path):
    (tmp_path / "test_empty.py").write_text("def test_nothing():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "import sys\n\ndef pytest_unconfigure():\n    print('loaded', {'jax', 'numpy', 'fnn'} & set(sys.modules))\n"
    )
    result = python(tmp_path, "-m", "pytest", "-p", plugin(), "--collect-only", "-q", "-p", "no:cacheprovider")
    assert "loaded set()" in result.stdout, result.stdout + result.stderr
    assert "test_nothing" in result.stdout


@pytest.mark.parametrize("name", [None, "fnn.gradcheck.pytest_plugin"])
def test_a_conftest_can_enable_x64_before_jax_is_imported(tmp_path, name):
    (tmp_path / "conftest.py").write_text("import os\n\nos.environ['JAX_ENABLE_X64'] = '1'\n")
    (tmp_path / "test_it.py").write_text(
        "def test_sin(gradcheck):\n    import jax, jax.numpy as jnp\n"
        "    rule = lambda args, ct: ct * jnp.cos(args[0])\n"
        "    gradcheck.vjp(jnp.sin, rule, (jnp.arange(4.0),), checks=('reference',))\n"
        f"    assert {name is not None} or jnp.arange(4.0).dtype == 'float64'\n"
    )
    result = python(tmp_path, "-m", "pytest", "-p", name or plugin(), "-q", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr


WRONG = """
import jax.numpy as jnp, numpy as np, sys
from fnn.gradcheck import check_vjp
report = check_vjp(lambda p: jnp.sin(p["\\u03b8"]), lambda args, ct: ({"\\u03b8": -ct * jnp.cos(args[0]["\\u03b8"])},),
                   ({"\\u03b8": np.linspace(-2, 2, 5, dtype=np.float32)},), key=1)
print(report.summary())
print(report)
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_report_on_a_terminal_without_greek(tmp_path, encoding):
    result = python(tmp_path, "-c", WRONG + "import rich\nrich.print(report)\n", PYTHONIOENCODING=encoding)
    assert result.returncode == 0, result.stderr
    assert "sign flipped" in result.stdout
    assert ("⟨ĝ, v⟩" if encoding == "utf-8" else "<g, v>") in result.stdout
    assert ("≥" if encoding == "utf-8" else ">=") in result.stdout


def test_every_letter_of_a_report_has_a_plain_form():
    letters = {c for path in (ROOT / "fnn" / "gradcheck").glob("*.py") for c in path.read_text("utf-8") if ord(c) > 127}
    unreadable = sorted(c for c in letters if "\\" in encodable(c, "ascii"))
    assert set(unreadable) <= set("φρσΣ∘²³½·ᵢ⁺₊"), unreadable
