"""The public checks and assertions: of a vector-Jacobian product, a gradient, a custom_vjp, a layer and a loss."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax

from fnn.gradcheck.assertions import asserting
from fnn.gradcheck.build import Request, check_args
from fnn.gradcheck.layer_form import check_order, check_takes, pair
from fnn.gradcheck.options import Keywords
from fnn.gradcheck.outputs import one
from fnn.gradcheck.report import GradReport
from fnn.gradcheck.verdict import make_report


def check_vjp(
    fun: Callable,
    vjp_fun: Callable,
    args: tuple,
    *,
    argnums: int | Sequence[int] | None = None,
    cotangent=None,
    **options: Unpack[Keywords],
) -> GradReport:
    """Check vjp_fun(args, ȳ) = Jᵀȳ, the vector-Jacobian product of fun(*args), and report on every leaf.

    Leaves that are neither floating-point nor complex (integers, keys, Python objects) are skipped. The gradient of a
    complex leaf is ∂φ/∂x - i ∂φ/∂y, as `jax.vjp` returns it, not its conjugate. The package docstring,
    `help(fnn.gradcheck)`, explains the checks, their tolerances, and how to read the report.

    Args:
      fun: a function of JAX arrays or pytrees of them. If it is a `jax.custom_vjp`, the function under it is used.
      vjp_fun: the backward under test. It returns a tuple with a tree of gradients for each argument in `argnums`; the
        tree of a single argument may stand alone. What it returns for a leaf that is skipped is ignored.
      args: the tuple of arguments at which to check.
      argnums: the position of the argument, or of the arguments, to differentiate. Default: all.
      cotangent: ȳ, a tree like the output. Default: random.
      reference: "autodiff" (jax.vjp of fun), or a function with the contract of `vjp_fun`, or None. Without a
        reference, differences decide, and bisection locates the wrong element.
      checks: a tuple of names among "structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap" and
        "sharding" (which needs several devices). Default: all of them.
      order: 2 also checks the derivative of `vjp_fun`. Default: 1.
      num_directions: K, the number of random directions of the differences per leaf at the given arguments. Default: 3.
      num_points: the number of points: the given arguments, then random ones near them. Default: 2.
      precision: "x64" (default) casts all floating-point arguments to float64, and the arrays that the functions close
        over. "native" keeps their dtypes; then differences decide only for functions that compute in float64.
      rtol, atol: replace the measured tolerance by atol + rtol ‖g‖∞ of the leaf; differences add them to their own.
      kinks: "report" (default) accepts values between the one-sided slopes at a kink, with status KINK; "fail" rejects
        kinks at a point.
      domain: a predicate of the arguments that returns a bool or a tree of boolean arrays, all of which must hold.
        Random points and the steps of differences stay where it holds.
      in_axes: a tuple with an axis or None per argument, or a list of such tuples, for vmap. Default: all arguments,
        the cotangent alone, and each argument alone.
      nondet_tol: how much two identical runs may differ. Default: 0.
      points: "edges" also checks, leaf by leaf, with flipped signs and at zeros, ones, halves, ties, the values of
        another leaf, and the smallest and large numbers of the leaf's dtype, in the domain and where the function is
        finite. The report's field `edges` lists what was found there. `kinks="fail"` and `order=2` leave these points
        out. Default: "random".
      key: a PRNG key or an int that seeds the check. Default: a new one, which the report prints.

    Returns:
      A GradReport. Its `ok` is True if no leaf is wrong or undecided.

    Raises:
      TypeError, ValueError: if an argument is invalid, or the function is not finite at `args`.
      GradientError: if the tree that `vjp_fun` returns differs from the tree of the arguments (also a ValueError).

    >>> import jax.numpy as jnp
    >>> report = check_vjp(jnp.sin, lambda args, ct: (ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7)
    >>> report.ok, report.leaves[0].status
    (True, 'PASS')
    >>> check_vjp(jnp.sin, lambda args, ct: (-ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7).leaves[0].hint
    'sign flipped'
    """
    check_args("check_vjp", args)
    numbers = tuple(range(len(args))) if argnums is None else argnums
    return make_report(Request("check_vjp", fun, vjp_fun, args, numbers, cotangent), options)


def check_grad(
    fun: Callable, grad_fun: Callable, args: tuple, *, argnums: int | Sequence[int] = 0, **options: Unpack[Keywords]
) -> GradReport:
    """Check grad_fun(*args) = ∇fun(*args), the gradient of a scalar function.

    Args:
      fun: a function that returns one scalar; a complex one only if fun is holomorphic and its arguments are complex.
      grad_fun: the gradient under test, with the contract of `jax.grad(fun, argnums)`.
      args: the tuple of arguments at which to check.
      argnums: the position of the argument, or of the arguments, to differentiate. Default: the first.
      **options: see `check_vjp`.

    Returns:
      A GradReport.

    >>> import jax.numpy as jnp
    >>> check_grad(lambda x: jnp.sum(x**2), lambda x: 2 * x, (jnp.arange(3.0),), key=7).ok
    True
    """
    check_args("check_grad", args)
    backward = lambda args, ct: grad_fun(*args)
    return make_report(Request("check_grad", fun, backward, args, argnums, cotangent=one, fixed=True), options)


def check_custom_vjp(
    f: Callable, args: tuple, *, argnums: int | Sequence[int] | None = None, **options: Unpack[Keywords]
) -> GradReport:
    """Check the rule of a `jax.custom_vjp` against autodiff of the function under it, and against differences.

    Also checks that the forward rule returns what the function returns.

    Args:
      f: the decorated function. Arguments in its nondiff_argnums are neither differentiated nor cast.
      args: the tuple of arguments at which to check.
      argnums: the position of the argument, or of the arguments, to differentiate. Default: all.
      **options: see `check_vjp`.

    Returns:
      A GradReport.

    >>> import jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def square(x): return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))
    >>> check_custom_vjp(square, (jnp.arange(1.0, 4.0),), key=7).leaves[0].hint
    '1.5 × expected'
    """
    check_args("check_custom_vjp", args)
    if not isinstance(f, jax.custom_vjp):
        raise TypeError(f"check_custom_vjp: f must be a function made with jax.custom_vjp, got {type(f).__name__}")
    static, numbers = differentiated(f, args, argnums)
    rule = lambda args, ct: vjp_of(f, args, numbers)[1](ct)
    primal = lambda *args: vjp_of(f, args, numbers)[0]
    return make_report(Request("check_custom_vjp", f, rule, args, numbers, static=static, primal=primal), options)


def check_layer(layer, params, x, *, layer_key=None, cotangent=None, **options: Unpack[Keywords]) -> GradReport:
    """Check layer.backward(params, residuals, dy) -> (dparams, dx) against autodiff of layer.forward.

    Args:
      layer: a `fnn.Layer`, or any object with `forward(params, x, key=None) -> (y, residuals)` and `backward`.
      params: the parameters; their leaves have paths that start with [0].
      x: the input; its leaves have paths that start with [1].
      layer_key: passed to forward as `key`, for example for dropout. Default: none.
      cotangent: dy, a tree like y. Default: random.
      **options: see `check_vjp`.

    Returns:
      A GradReport.

    Raises:
      TypeError: if `forward` does not take `key`, or does not return (y, residuals).
      GradientError: if `backward` returns (dx, dparams), or other trees.
    """
    check_takes("check_layer", layer, "forward", (params, x, layer_key), "(params, x, key=None)")
    check_takes("check_layer", layer, "forward", (params, x), "(params, x, key=None)")
    check_takes("check_layer", layer, "backward", (params, (), None), "(params, residuals, dy)")

    def run(params, x):
        return pair("check_layer", layer, "forward", layer.forward(params, x, layer_key), "(y, residuals)")

    def forward(params, x):
        return run(params, x)[0]

    def backward(args, dy):
        params, x = args
        result = layer.backward(params, run(params, x)[1], dy)
        dparams, dx = pair("check_layer", layer, "backward", result, "(dparams, dx)")
        check_order("check_layer", layer, dparams, dx, params, x)
        return dparams, dx

    return make_report(Request("check_layer", forward, backward, (params, x), (0, 1), cotangent), options)


def check_loss(loss, prediction, target, *, cotangent=None, **options: Unpack[Keywords]) -> GradReport:
    """Check loss.backward(residuals, dvalue) -> dprediction against autodiff of loss.forward.

    Args:
      loss: a `fnn.Loss`, or any object with `forward(prediction, target) -> (value, residuals)` and `backward`.
      prediction: the prediction; its leaves have paths that start with [0].
      target: the target, which is not differentiated.
      cotangent: dvalue, an array like the value. Default: random.
      **options: see `check_vjp`.

    Returns:
      A GradReport.
    """

    check_takes("check_loss", loss, "forward", (prediction, target), "(prediction, target)")
    check_takes("check_loss", loss, "backward", ((), None), "(residuals, dvalue)")

    def run(prediction, target):
        return pair("check_loss", loss, "forward", loss.forward(prediction, target), "(value, residuals)")

    def forward(prediction, target):
        return run(prediction, target)[0]

    def backward(args, dvalue):
        return (loss.backward(run(*args)[1], dvalue),)

    return make_report(Request("check_loss", forward, backward, (prediction, target), (0,), cotangent), options)


assert_vjp = asserting(check_vjp)
assert_grad = asserting(check_grad)
assert_custom_vjp = asserting(check_custom_vjp)
assert_layer = asserting(check_layer)
assert_loss = asserting(check_loss)


def differentiated(f: Any, args: tuple, argnums: int | Sequence[int] | None) -> tuple[tuple[int, ...], Any]:
    """Return the positions in nondiff_argnums of a decorated function, and argnums, by default all others."""
    static = tuple(n if n >= 0 else n + len(args) for n in f.nondiff_argnums)  # beyond `args` if it has a default
    rest = tuple(n for n in range(len(args)) if n not in static)
    return static, rest if argnums is None else (argnums,) if isinstance(argnums, int) else tuple(argnums)


def vjp_of(f: Callable, args: tuple, numbers: Sequence[int]):
    """Return f(*args) and its vector-Jacobian product by the arguments in `numbers`."""

    def chosen(*some):
        whole = list(args)
        for n, arg in zip(numbers, some, strict=True):
            whole[n] = arg
        return f(*whole)

    return jax.vjp(chosen, *(args[n] for n in numbers))
