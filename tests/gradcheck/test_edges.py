"""points="edges": which points are checked, what is skipped by name, and where there is no derivative to check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import GradReport, check_vjp
from tests.support.slow import slow_except

X = np.array([0.3, -1.2, 2.0, 0.7], np.float32)


def autodiff(fun):
    """Return autodiff's rule of a function."""
    return lambda args, ct: jax.vjp(fun, *args)[1](ct)


def check(fun, *args, rule=None, **options) -> GradReport:
    """Check a rule, by default autodiff's, by differences alone, at edge points."""
    options = {"checks": ("structure", "differences"), "reference": None, "key": 7, **options}
    with jax.numpy_dtype_promotion("standard"):
        return check_vjp(fun, rule or autodiff(fun), args or (X,), points="edges", **options)


def points_of(report: GradReport) -> str:
    return next(note for note in report.notes if note.startswith("Points: "))


def test_the_report_names_the_points():
    report = check(lambda x, y: x * y + y, X, X[::-1].copy())
    assert report.ok, report.summary()
    kinds = ("zeros", "ones", "exact halves", "signs flipped", "zeros in some entries", "ones in some entries",
             "ties of neighbours", "all entries equal", "many magnitudes", "large float32 numbers",
             "large negative float32 numbers", "the smallest float32 numbers")  # fmt: skip
    for kind in kinds:
        assert f"; {kind} in [0]" in points_of(report)
        assert f"; {kind} in [1]" in points_of(report)
    assert "values of [0] in [1]" in points_of(report)
    assert report.edges == ()


def test_a_wrong_gradient_names_the_point_and_the_index():
    spoiled = lambda args, ct: (jnp.where(args[0] == 0, 0, 3 * ct),)
    assert check_vjp(lambda x: 3 * x, spoiled, (X,), key=7).ok
    report = check(lambda x: 3 * x, rule=spoiled)
    (leaf,) = report.leaves
    assert (leaf.status, leaf.point, leaf.worst_index is not None) == ("FAIL", "zeros in [0]", True)
    assert "zeros in [0]" in report.summary()
    found = [f for f in report.edges if f.point == "zeros in some entries in [0]"]
    assert [(f.status, f.num_wrong, f.shape) for f in found] == [("FAIL", 2, (4,))]


def test_points_outside_the_domain_are_skipped_by_name():
    report = check(jnp.log, np.abs(X))
    assert report.ok, report.summary()
    (skipped,) = [note for note in report.notes if note.startswith("Skipped, because fun is not finite")]
    assert "zeros in [0]" in skipped
    assert "signs flipped in [0]" in skipped
    report = check(jnp.square, np.abs(X), domain=lambda x: (x > 0.1) & (x < 3.0))
    assert report.ok, report.summary()
    assert "zeros" not in points_of(report)
    assert "large" not in points_of(report)


@pytest.mark.slow
def test_a_value_that_the_last_bits_decide_is_skipped():
    report = check(lambda x: jnp.sin(1e6 * x))
    (skipped,) = [note for note in report.notes if note.startswith("Skipped, because the last bits")]
    assert "large float32 numbers in [0]" in skipped


def test_integers_stay_as_they_are():
    seen = []

    def fun(x, n):
        jax.debug.callback(lambda n: seen.append(np.asarray(n).tolist()), n)
        return x * n

    assert check(fun, X, np.array([1, 2, 3, 4])).ok
    assert {tuple(n) for n in seen} == {(1, 2, 3, 4)}


# No derivative, or none that can be seen: no error, but listed.

NO_DERIVATIVE = {
    "median of ties": lambda x: jnp.median(x),
    "max of ties": lambda x: jnp.max(x),
    "sort of ties": lambda x: jnp.sort(x),
    "abs": jnp.abs,
    "round": jnp.round,
    "steps of size 1 of large numbers": lambda x: jnp.floor(x) + 2 * x,
    "softmax of large ties": jax.nn.softmax,
    "kinks composed of several": lambda x: jax.nn.relu(x @ np.cos(np.arange(24.0)).reshape(4, 6)) @ np.ones((6, 1)),
    "cube root": jnp.cbrt,
    "√|x|": lambda x: jnp.sqrt(jnp.where(x == 0, 1.0, jnp.abs(x))) * (x != 0),
    "finer than the usual steps": lambda x: x / (jnp.abs(x) + 1e-20),
    "stairs of rounding": lambda x: jnp.sin(x + 1e5),
    "finer than any step": lambda x: 1 + x / (jnp.abs(x) + 1e-30),
    "xy/r": lambda x: x[0] * x[1] / jnp.sqrt(jnp.where(x[0] == 0, 1.0, x[0] ** 2 + x[1] ** 2)),
}


@pytest.mark.parametrize("name", slow_except(NO_DERIVATIVE, "median of ties", "abs", "cube root"))
def test_no_derivative_is_no_error(name):
    report = check(NO_DERIVATIVE[name])
    assert report.ok, report.summary()


def test_a_kink_is_listed():
    report = check(jnp.abs)
    listed = {(f.status, f.point) for f in report.edges}
    assert listed >= {("KINK", "zeros in [0]"), ("KINK", "zeros in some entries in [0]")}
    assert all(f.kink for f in report.edges)
    assert any(note.startswith("Kinks, or no derivative: [0] at zeros in [0]") for note in report.notes)


# Where a derivative exists on one side only, at the end of a domain.


def end_of_domain(slope_at_zero):
    return lambda args, ct: (ct * jnp.where(args[0] == 0, slope_at_zero, 1.5 * jnp.sqrt(args[0])),)


@pytest.mark.parametrize(("value", "ok"), slow_except([(0.0, True), (1.0, False), (np.nan, False)], (np.nan, False)))
def test_one_sided_derivatives(value, ok):
    report = check(lambda x: x**1.5, np.abs(X), rule=end_of_domain(value), domain=lambda x: x >= 0)
    assert report.ok == ok, report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("fun", [jax.nn.relu, jnp.abs, jnp.sqrt])
def test_conventions_beyond_the_end_of_a_domain(fun):
    report = check(fun, np.abs(X), domain=lambda x: x >= 0)
    assert report.ok, report.summary()


# NaN is wrong wherever a slope exists, at a kink too.

NOT_FINITE = {
    "a branch that is not taken": (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), False),
    "a removable singularity": (lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x), False),
    "the norm of zeros": (jnp.linalg.norm, True),
    "the deviation of ties": (jnp.std, True),
}


@pytest.mark.parametrize("name", slow_except(NOT_FINITE, "a removable singularity", "the norm of zeros"))
def test_nan_where_a_slope_exists(name):
    fun, kink = NOT_FINITE[name]
    (leaf,) = check(fun).leaves
    assert leaf.status == "FAIL"
    assert "not finite" in leaf.hint
    assert bool(leaf.kink) == kink


# Known errors of JAX 0.10, each confirmed by a closed form.


@pytest.mark.slow
def test_known_errors_of_jax():
    weights = lambda b: jax.scipy.special.logsumexp(np.array([0.3, -1.2, 2.0, 0.7]), b=b)
    assert not check(weights, np.abs(X)).ok  # 0 instead of exp(aᵢ) / Σ where bᵢ = 0, jax issue 22398
    tiny = check(jnp.sinc)
    assert tiny.leaves[0].point == "the smallest float32 numbers in [0]"  # 1e22 instead of 0
    assert "large" in check(jax.scipy.special.log_ndtr).leaves[0].point  # 1 instead of -x


# Options and functions of a simple kind.


def test_constants_and_leaves_without_influence():
    assert check(lambda x: jnp.zeros(3)).ok
    report = check(lambda x, y: jnp.sin(x), X, np.ones((2, 3), np.float32), checks=("structure", "differences"))
    assert report.ok, report.summary()
    log_density = jax.scipy.stats.uniform.logpdf
    report = check_vjp(log_density, autodiff(log_density), (np.array([0.2, 0.5, 0.7]), np.zeros(3), np.ones(3)), key=7)
    assert report.ok, report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (1,), (40, 3)])
def test_shapes(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    report = check(
        lambda x: 2 * x + jnp.sin(x), x, reference="autodiff", checks=("structure", "reference", "differences")
    )
    assert report.ok or not x.size, report.summary()
    spoiled = lambda args, ct: (jnp.where(args[0] == 0, 0, ct * (2 + jnp.cos(args[0]))),)
    assert check(lambda x: 2 * x + jnp.sin(x), x, rule=spoiled).ok == (not x.size)


@pytest.mark.slow
def test_native_precision_by_the_reference():
    spoiled = lambda args, ct: (jnp.where(args[0] == 0, 0, 3 * ct),)
    report = check_vjp(lambda x: 3 * x, spoiled, (X,), points="edges", precision="native", key=7)
    assert report.leaves[0].status == "FAIL"
    assert check_vjp(lambda x: 3 * x, lambda args, ct: (3 * ct,), (X,), points="edges", precision="native", key=7).ok


def test_an_unknown_choice_of_points():
    with pytest.raises(ValueError, match="points must be one of"):
        check_vjp(jnp.sin, autodiff(jnp.sin), (X,), points="corners")


def test_the_largest_numbers_of_float64_do_not_overflow_in_the_checker():
    with jax.enable_x64(True):
        report = check(lambda x: 3 * x, jnp.asarray(X, jnp.float64), checks=("differences",), order=2)
    assert report.ok, report.summary()
    assert "large float64 numbers in [0]" in points_of(report)
    assert report.edges == ()


def test_complex_elements_are_counted_once():
    bad = lambda args, ct: (jnp.where(args[0] == 0, 1 + 1j, 2 * args[0]) * ct,)
    report = check(lambda z: z * z, jnp.array([1 + 2j, 3 - 1j, 2 + 0.5j]), rule=bad, checks=("differences",))
    assert report.leaves[0].num_wrong == 3
    assert "3/3 elements, worst at [" in report.leaves[0].evidence[0]
