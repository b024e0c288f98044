"""The options of the gradient checker: kinks, domain, reference, tolerances, precision, in_axes, cotangent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import check_vjp
from tests.gradcheck.test_gradcheck import COS, X, inputs


@pytest.mark.parametrize(("at_zero", "status"), [(0.0, "PASS"), (1.0, "KINK"), (0.5, "KINK")])
def test_kink_at_the_point(at_zero, status):
    x = np.array([-1.0, 0.0, 2.0], np.float32)

    def backward(args, ct):
        (x,) = args
        return (ct * jnp.where(x > 0, 1.0, jnp.where(x == 0, at_zero, 0.0)).astype(ct.dtype),)

    report = check_vjp(jax.nn.relu, backward, (x,), key=1)
    assert report.ok, report.summary()
    assert report.leaves[0].status == status
    assert "kink" in (report.leaves[0].kink or "")
    assert not check_vjp(jax.nn.relu, backward, (x,), kinks="fail", key=1).ok


def test_a_kink_excuses_no_other_element():
    x = np.array([-1.0, 0.0, 2.0], np.float32)
    backward = lambda args, ct: (ct * jnp.where(args[0] >= 0, 1.0, 0.1).astype(ct.dtype),)
    report = check_vjp(jax.nn.relu, backward, (x,), key=1)
    assert report.leaves[0].status == "FAIL"


def test_a_wrong_value_at_zero_without_a_kink():
    x = np.array([-1.0, 0.0, 2.0], np.float32)
    backward = lambda args, ct: (jnp.where(args[0] == 0, jnp.zeros_like(ct), ct * jnp.cos(args[0])),)
    report = check_vjp(jnp.sin, backward, (x,), key=1)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (1,))


def test_domain():
    fun = lambda x: jnp.sqrt(jnp.abs(x)) * x
    backward = lambda args, ct: (1.5 * ct * jnp.sqrt(args[0]),)
    report = check_vjp(
        fun, backward, (abs(X) + 0.5,), domain=lambda x: x > 0, checks=("reference", "differences"), key=1
    )
    assert report.ok, report.summary()
    assert not check_vjp(fun, backward, (abs(X) + 0.5,), checks=("reference",), key=1).ok


def test_outside_the_domain_is_left_by_itself():
    report = check_vjp(jnp.log, lambda args, ct: ct / args[0], (abs(X) + 0.1,), key=1)
    assert report.ok
    assert "signs flipped" not in report.notes[0]


def test_references():
    right = lambda args, ct: ct * jnp.cos(args[0])
    for reference in (None, right, "autodiff"):
        report = check_vjp(jnp.sin, right, (X,), reference=reference, key=1)
        assert report.ok, report.summary()
    stopped = lambda x: jax.lax.stop_gradient(jnp.sin(x)) * x
    true = lambda args, ct: ct * (jnp.cos(args[0]) * args[0] + jnp.sin(args[0]))
    report = check_vjp(stopped, true, (X,), checks=("reference", "differences"), key=1)
    assert report.ok, report.summary()
    assert "the reference is wrong" in report.leaves[0].hint


def test_undecided_is_not_ok():
    report = check_vjp(jnp.sin, COS, (X,), reference=None, checks=("structure",), key=1)
    assert not report.ok
    assert report.leaves[0].status == "INCONCLUSIVE"


def test_native_precision():
    report = check_vjp(jnp.sin, COS, (X,), precision="native", key=1)
    assert report.ok
    assert report.precision == "float32"
    assert report.checks["differences"].startswith("INCONCLUSIVE")


def test_tolerances_given():
    backward = lambda args, ct: (1.001 * ct * jnp.cos(args[0]),)
    assert not check_vjp(jnp.sin, backward, (X,), key=1).ok
    assert check_vjp(jnp.sin, backward, (X,), rtol=1e-2, key=1).ok
    assert check_vjp(jnp.sin, backward, (X,), atol=1e-2, checks=("reference",), key=1).ok


def test_cotangent_given():
    report = check_vjp(jnp.sin, COS, (X,), cotangent=np.eye(6, dtype=np.float32)[2], key=1)
    assert report.ok, report.summary()
    with pytest.raises(ValueError, match="check_vjp: cotangent must have shape"):
        check_vjp(jnp.sin, COS, (X,), cotangent=X[:2], key=1)


def test_nondeterminism():
    rng = np.random.default_rng()
    noisy = lambda args, ct: (ct * jnp.cos(args[0]) + 1e-7 * rng.standard_normal(),)
    report = check_vjp(jnp.sin, noisy, (X,), checks=("structure", "reference"), key=1)
    assert "two runs differ" in report.summary()
    assert check_vjp(jnp.sin, noisy, (X,), checks=("structure", "reference"), atol=1e-5, nondet_tol=1e-5, key=1).ok


def test_in_axes():
    fun = lambda x, y: x * y
    backward = lambda args, ct: (ct * args[1], ct * args[0])
    for axes in ((0, None), [(1, None), (None, 0), (0, 1)]):
        args = (inputs(3, 2), inputs(3, 2))
        assert check_vjp(fun, backward, args, in_axes=axes, checks=("reference", "vmap"), key=1).ok


def test_integer_outputs():
    fun = lambda x: (jnp.sort(x), jnp.argsort(x))
    report = check_vjp(fun, lambda args, ct: jax.vjp(fun, *args)[1](ct), (X[::-1].copy(),), key=1)
    assert report.ok, report.summary()


@pytest.mark.parametrize("promotion", ["standard", "strict"])
def test_promotion(promotion):
    with jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion("raise"):
        assert check_vjp(jnp.sin, COS, (X,), key=1).ok


def test_double_precision_arguments():
    with jax.enable_x64(True):
        x = jnp.linspace(-2.0, 2.0, 6)
        assert check_vjp(jnp.sin, COS, (x,), key=1).leaves[0].dtype == "float64"
        rounded = lambda args, ct: ((ct * jnp.cos(args[0])).astype(jnp.float32).astype(jnp.float64),)
        report = check_vjp(jnp.sin, rounded, (x,), key=1)
    assert report.leaves[0].hint == "rounded to float32"
