"""Functions of complex arguments and with complex outputs: right and wrong gradients, and what the report says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fnn.gradcheck import GradientError, check_custom_jvp, check_custom_vjp, check_grad, check_vjp
from tests.support.slow import slow_except

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3)).astype(np.float32)
Z = (X + 1j * RNG.standard_normal((4, 3))).astype(np.complex64)
SQUARE = (Z[:3] @ Z[:3].conj().T + 3 * np.eye(3)).astype(np.complex64)
ELEMENTS = ("structure", "reference", "differences", "adjoint")


@pytest.fixture(autouse=True)
def promotion():
    """Allow products of real and complex arrays, which promote."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def autodiff(fun):
    return lambda args, ct: jax.vjp(fun, *args)[1](ct)


def transformed(fun, change):
    """Return autodiff's backward with a change made to every complex gradient."""
    touch = lambda g: change(g) if jnp.iscomplexobj(g) else g
    return lambda args, ct: jax.tree.map(touch, autodiff(fun)(args, ct))


def two_outputs(x, z):
    return {"real": jnp.sum(jnp.real(z * jnp.conj(z))) * x, "complex": x * z, "index": jnp.argmax(x)}


CASES = {
    "exp": (jnp.exp, (Z,)),
    "real beside complex": (two_outputs, (X, Z)),
    "abs": (jnp.abs, (Z,)),
    "angle": (jnp.angle, (Z,)),
    "real": (jnp.real, (Z,)),
    "imag": (jnp.imag, (Z,)),
    "conj": (jnp.conj, (Z,)),
    "fft": (jnp.fft.fft, (Z,)),
    "ifft": (jnp.fft.ifft, (Z,)),
    "rfft": (jnp.fft.rfft, (X,)),
    "irfft": (jnp.fft.irfft, (Z,)),
    "real to complex": (lambda x: jax.lax.complex(jnp.sin(x), x * x), (X,)),
    "solve": (jnp.linalg.solve, (SQUARE, Z[:3])),
    "eigvals": (jnp.linalg.eigvals, (Z[:3],)),
    "eigvalsh": (lambda a: jnp.linalg.eigvalsh(a @ jnp.conj(a.T)), (Z[:3],)),
    "Python scalar": (lambda z: z**3, (2.0 + 1j,)),
    "scan": (lambda z: lax.scan(lambda c, a: (c * a, c + a), jnp.ones((3,), z.dtype), z), (Z,)),
}
NATIVE = "fft", "angle"
CHANGES = {
    "conjugated": (jnp.conj, "conjugated: JAX's"),
    "1j × expected": (lambda g: 1j * g, "1j × expected"),
    "zero imaginary part": (lambda g: jnp.real(g) + 0j, "the imaginary part is zero"),
    "one element": (lambda g: g.at[(1,) * g.ndim].multiply(-1), "sign flipped at one index"),
}


@pytest.mark.parametrize("name", slow_except([*CASES], "real beside complex"))
def test_right(name):
    fun, args = CASES[name]
    for precision in ("x64", "native") if name in NATIVE else ("x64",):
        report = check_vjp(fun, autodiff(fun), args, precision=precision, key=1)
        assert report.ok, report.summary()
        assert all(leaf.status == "PASS" for leaf in report.leaves), report.summary()


@pytest.mark.parametrize("change", slow_except([*CHANGES], "conjugated"))
@pytest.mark.parametrize("name", slow_except(["exp", "solve"], "exp"))
def test_wrong(name, change):
    fun, args = CASES[name]
    wrong, hint = CHANGES[change]
    report = check_vjp(fun, transformed(fun, wrong), args, checks=ELEMENTS, key=1)
    assert report.leaves[0].status == "FAIL", report.summary()
    assert report.leaves[0].hint.startswith(hint)
    alone = check_vjp(fun, transformed(fun, wrong), args, reference=None, checks=ELEMENTS, key=1)
    assert alone.leaves[0].status == "FAIL", alone.summary()
    assert alone.leaves[0].hint.startswith(hint)


def test_a_report_has_complex_numbers_and_the_index_of_the_leaf():
    wrong = transformed(jnp.exp, lambda g: g.at[1, 2].multiply(-1))
    report = check_vjp(jnp.exp, wrong, (Z,), checks=("structure", "reference"), cotangent=np.ones_like(Z), key=1)
    (leaf,) = report.leaves
    assert (leaf.path, leaf.shape, leaf.dtype, leaf.worst_index, leaf.num_wrong) == ("", (4, 3), "complex64", (1, 2), 1)
    expected = complex(np.exp(Z[1, 2].astype(complex)))
    assert f"backward {-expected:+.6g}  expected {expected:+.6g}" in leaf.evidence[1]


@pytest.mark.slow
def test_bisection_names_the_element_of_a_large_leaf():
    wrong = transformed(jnp.exp, lambda g: g.at[33, 2].multiply(1j))
    args, checks = (np.tile(Z, (20, 1)),), ("structure", "differences")
    report = check_vjp(jnp.exp, wrong, args, reference=None, checks=checks, cotangent=np.ones((80, 3)), key=1)
    expected = complex(np.exp(Z[1, 2].astype(complex)))
    assert report.leaves[0].worst_index == (33, 2)
    assert f"backward {1j * expected:+.6g}  expected {expected:+.6g}" in report.summary()


@pytest.mark.parametrize("fun", slow_except([jnp.exp, jnp.abs, jnp.fft.fft], jnp.abs), ids=lambda f: f.__name__)
def test_second_order(fun):
    checks = ("structure", "reference", "differences")
    report = check_vjp(fun, autodiff(fun), (Z,), order=2, checks=checks, key=1)
    assert report.ok, report.summary()
    assert report.checks["second order"] == "PASS"


@pytest.mark.slow
def test_second_order_wrong():
    backward = lambda args, ct: (ct * jax.lax.stop_gradient(jnp.exp(args[0])),)
    report = check_vjp(jnp.exp, backward, (Z,), order=2, checks=("structure", "reference", "differences"), key=1)
    assert report.leaves[0].status == "FAIL"
    assert report.leaves[0].hint.startswith("second order")


@pytest.mark.slow
def test_second_order_where_jax_has_no_second_derivative():
    fun, args = CASES["eigvals"]
    report = check_vjp(fun, autodiff(fun), args, order=2, checks=ELEMENTS, key=1)
    assert report.ok, report.summary()
    assert report.checks["second order"].startswith("SKIPPED: JAX cannot differentiate fun twice")


@pytest.mark.slow
def test_gradients_of_scalars():
    norm = lambda z: jnp.sum(jnp.real(z * jnp.conj(z)) * jnp.real(z))
    assert check_grad(norm, jax.grad(norm), (Z,), key=1).ok
    conjugated = check_grad(norm, lambda z: jnp.conj(jax.grad(norm)(z)), (Z,), key=1)
    assert conjugated.leaves[0].hint.startswith("conjugated: ")
    cubes = lambda z: jnp.sum(z**3)
    assert check_grad(cubes, lambda z: 3 * z**2, (Z,), key=1).ok  # f' of a holomorphic function


@pytest.mark.slow
def test_custom_vjp():
    @jax.custom_vjp
    def product(z):
        return z * jnp.conj(z)

    rule = lambda z, ct: (2 * jnp.real(ct) * jnp.conj(z),)
    product.defvjp(lambda z: (z * jnp.conj(z), z), rule)
    assert check_custom_vjp(product, (Z,), key=1).ok
    product.defvjp(lambda z: (z * jnp.conj(z), z), lambda z, ct: (2 * ct * jnp.conj(z),))
    assert check_custom_vjp(product, (Z,), key=1).leaves[0].status == "FAIL"


@pytest.mark.slow
def test_custom_jvp_that_cannot_be_transposed():
    fun = lambda z, x: jnp.abs(z) * jnp.exp(z) * x
    loop = lambda v: lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1]), (0, v))[1]
    rule = lambda args, tangents: jax.jvp(fun, args, tangents)
    f = jax.custom_jvp(fun)
    f.defjvp(lambda args, tangents: (rule(args, tangents)[0], loop(rule(args, tangents)[1])))
    assert check_custom_jvp(f, (Z[:2], X[:2]), key=1).ok
    f.defjvp(lambda args, tangents: (rule(args, tangents)[0], loop(jnp.conj(rule(args, tangents)[1]))))
    report = check_custom_jvp(f, (Z[:2], X[:2]), checks=ELEMENTS, key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL", "FAIL"]


def test_a_forward_rule_that_returns_another_dtype():
    squared = jax.custom_vjp(lambda z: z * jnp.conj(z))
    squared.defvjp(lambda z: (jnp.square(jnp.abs(z)), z), lambda z, ct: (2 * ct * jnp.conj(z),))
    with pytest.raises(GradientError, match=r"forward rule must return .*complex64 \(4, 3\), got float32 \(4, 3\)"):
        check_custom_vjp(squared, (Z,), key=1)


@pytest.mark.slow
def test_dtypes_of_gradients():
    real = check_vjp(jnp.abs, transformed(jnp.abs, jnp.real), (Z,), checks=ELEMENTS, key=1)
    assert real.leaves[0].hint == "a float32 gradient of a complex64 leaf"
    sine = lambda args, ct: (ct * jnp.cos(args[0]) + 0j,)
    complex_ = check_vjp(jnp.sin, sine, (X,), checks=ELEMENTS, key=1)
    assert complex_.leaves[0].hint == "a complex64 gradient of a float32 leaf: take the real part"
    assert complex_.leaves[0].status == "FAIL"


@pytest.mark.slow
def test_kinks_of_the_absolute_value():
    at_zero = np.array([0, 1, 1j], np.complex64)
    assert check_vjp(jnp.abs, autodiff(jnp.abs), (at_zero,), key=1).ok
    wrong = transformed(jnp.abs, lambda g: g.at[0].set(9j))
    report = check_vjp(jnp.abs, wrong, (at_zero,), cotangent=np.ones(3), key=1)
    assert report.leaves[0].worst_index == (0,)
    assert "9j is outside the one-sided slopes 1j and -1j" in report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("z", [Z[:1], np.tile(Z, (10, 1))], ids=["small", "large"])
def test_a_gradient_that_is_wrong_at_zeros_alone(z):
    wrong = lambda args, ct: (jnp.where(args[0] == 0, 1j, 2 * args[0] * ct),)
    checks = ("structure", "reference", "differences")
    (leaf,) = check_vjp(jnp.square, wrong, (z,), points="edges", checks=checks, key=1).leaves
    assert leaf.status == "FAIL"
    assert leaf.worst_index is not None
    assert all(i < n for i, n in zip(leaf.worst_index, z.shape, strict=True))


@pytest.mark.slow
def test_options():
    closed = lambda x: jnp.abs(jnp.asarray(Z) * x)  # lifted to complex128
    report = check_vjp(closed, autodiff(closed), (X,), key=1)
    assert report.ok
    assert "set by" not in report.summary()
    assert check_vjp(jnp.exp, autodiff(jnp.exp), (Z,), in_axes=(-1,), points="edges", key=1).ok
    narrowed = lambda z: jnp.exp(z.astype(jnp.complex64)).astype(z.dtype)
    report = check_vjp(narrowed, autodiff(narrowed), (Z,), key=1)
    assert report.ok
    assert "convert_element_type from complex128 to complex64" in report.summary()


def test_misuse():
    with pytest.raises(TypeError, match="check_grad: fun must return a real scalar, got complex64; only a holomorphic"):
        check_grad(lambda x: jnp.sum(x) * 1j, lambda x: x, (X,), precision="native")
    with pytest.raises(ValueError, match="check_vjp: cotangent must be real for a float64 output, got complex64"):
        check_vjp(jnp.abs, autodiff(jnp.abs), (Z,), cotangent=Z)
