"""The checks as users call them, for a vjp, a gradient, a custom_vjp, a layer and a loss."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import jax
import numpy as np

from fnn.gradcheck.build import Request, build, declare
from fnn.gradcheck.differences import FLOOR
from fnn.gradcheck.precision import computing
from fnn.gradcheck.problem import Options
from fnn.gradcheck.report import GradReport
from fnn.gradcheck.run import run
from fnn.gradcheck.second_order import is_clean, merged, second_order
from fnn.gradcheck.settings import Settings, seed_of, tuple_or_raise, validate
from fnn.gradcheck.trees import take_apart
from fnn.gradcheck.verdict import check_lines, leaf_reports


class Choices(TypedDict, total=False):
    """The keyword arguments that every check takes; `check_vjp` explains them."""

    reference: Any
    checks: Sequence[str]
    order: int
    num_directions: int
    num_points: int
    precision: str
    rtol: float | None
    atol: float | None
    kinks: str
    domain: Callable | None
    in_axes: Any
    nondet_tol: float
    key: Any


def check_vjp(
    fun: Callable,
    vjp_fun: Callable,
    args: tuple,
    *,
    argnums: int | Sequence[int] | None = None,
    cotangent=None,
    **choices: Unpack[Choices],
) -> GradReport:
    """Check vjp_fun(args, ȳ) -> Jᵀȳ, the vector-Jacobian product of fun(*args), and report on every leaf.

    vjp_fun returns a tuple with a tree per argument in `argnums` (all of them by default); one argument's tree may
    stand bare. Leaves that are not inexact are skipped, whatever stands in their place.

    - reference: "autodiff" (jax.vjp of fun, undecorated if it is a jax.custom_vjp), another function with the contract
      of vjp_fun, or None: then differences decide, and bisection finds the element.
    - checks: any of "structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap", "sharding" (the
      last does something where there are several devices).
    - order=2 also checks the derivative of vjp_fun. num_directions: K, per leaf and point. num_points: the arguments
      as given, then sampled points, each element times ±(1 + 0.25 ξ), narrower where fun is not finite there.
    - domain: a predicate domain(*args) -> bool or a tree of boolean arrays, all of which must hold; sampled points and
      steps of differences stay where it holds. num_points=1 checks at the arguments alone.
    - precision: "x64" casts every inexact argument to float64; "native" keeps dtypes, and differences then decide
      only if those are float64. rtol, atol: in place of the measured tolerance, atol + rtol ‖g‖∞ of the leaf.
    - kinks: "report" accepts another convention at a kink (status KINK), "fail" refuses any kink at a point.
    - in_axes: a tuple (axis or None per argument) or a list of them, for vmap; by default all arguments, the cotangent
      alone, and each argument alone. nondet_tol: by how much two runs may differ.
    - key: a key or an int that seeds the checker; drawn anew by default, and printed in the report.

    Raises TypeError or ValueError for misuse, GradientTreeError if vjp_fun returns another tree.

    >>> import jax.numpy as jnp
    >>> report = check_vjp(jnp.sin, lambda args, ct: (ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7)
    >>> report.ok, report.leaves[0].status
    (True, 'PASS')
    >>> check_vjp(jnp.sin, lambda args, ct: (-ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7).leaves[0].hint
    'sign flipped'
    """
    tuple_or_raise("check_vjp", args)
    numbers = tuple(range(len(args))) if argnums is None else argnums
    request = Request("check_vjp", fun, vjp_fun, args, numbers, cotangent)
    return _check(request, choices)


def check_grad(
    fun: Callable, grad_fun: Callable, args: tuple, *, argnums: int | Sequence[int] = 0, **choices: Unpack[Choices]
) -> GradReport:
    """Check grad_fun(*args) -> ∇fun, of a scalar fun(*args): for args[0], or a tuple for a tuple of argnums.

    >>> import jax.numpy as jnp
    >>> check_grad(lambda x: jnp.sum(x**2), lambda x: 2 * x, (jnp.arange(3.0),), key=7).ok
    True
    """
    tuple_or_raise("check_grad", args)
    request = Request("check_grad", fun, lambda args, ct: grad_fun(*args), args, argnums, cotangent=_scalar, fixed=True)
    return _check(request, choices)


def check_custom_vjp(f: Callable, args: tuple, **choices: Unpack[Choices]) -> GradReport:
    """Check the rule of a jax.custom_vjp against autodiff of the function under it, and against differences.

    Arguments in nondiff_argnums are neither differentiated nor cast. The forward rule must return what f returns.

    >>> import jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def square(x): return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))
    >>> check_custom_vjp(square, (jnp.arange(1.0, 4.0),), key=7).leaves[0].hint
    '1.5 × expected'
    """
    tuple_or_raise("check_custom_vjp", args)
    if not isinstance(f, jax.custom_vjp):
        raise TypeError(f"check_custom_vjp: f: expected a function made with jax.custom_vjp, got {type(f).__name__}")
    static = tuple(n % len(args) for n in f.nondiff_argnums)
    numbers = tuple(n for n in range(len(args)) if n not in static)

    def rule(args, ct):
        return _pulled(f, args, numbers)[1](ct)

    primal = lambda *args: _pulled(f, args, numbers)[0]
    return _check(Request("check_custom_vjp", f, rule, args, numbers, static=static, primal=primal), choices)


def check_layer(layer, params, x, *, layer_key=None, cotangent=None, **choices: Unpack[Choices]) -> GradReport:
    """Check layer.backward(params, residuals, dy) -> (dparams, dx) against autodiff of layer.forward.

    The leaves are those of params, argument [0], then those of x, argument [1]. `layer_key` is passed to forward as
    key=, for dropout and the like.
    """
    extra = {} if layer_key is None else {"key": layer_key}

    def forward(params, x):
        return layer.forward(params, x, **extra)[0]

    def backward(args, dy):
        params, x = args
        return tuple(layer.backward(params, layer.forward(params, x, **extra)[1], dy))

    return _check(Request("check_layer", forward, backward, (params, x), (0, 1), cotangent), choices)


def check_loss(loss, prediction, target, *, cotangent=None, **choices: Unpack[Choices]) -> GradReport:
    """Check loss.backward(residuals, dvalue) -> dprediction against autodiff of loss.forward.

    The leaves are those of prediction, argument [0]; the target, argument [1], is not differentiated.
    """

    def forward(prediction, target):
        return loss.forward(prediction, target)[0]

    def backward(args, dvalue):
        return (loss.backward(loss.forward(*args)[1], dvalue),)

    return _check(Request("check_loss", forward, backward, (prediction, target), (0,), cotangent), choices)


def _check(request: Request, choices: Choices) -> GradReport:
    unknown = set(choices) - set(Settings._fields)
    if unknown:
        raise TypeError(f"{request.who}: expected keyword arguments among {Settings._fields}, got {sorted(unknown)}")
    settings = Settings(**choices)
    who = request.who
    validate(who, request, settings)
    key, seed = seed_of(who, settings.key)
    request = request._replace(reference=settings.reference, domain=settings.domain)
    given = take_apart(who, request.args, request.argnums, request.static, "native")
    declared = declare(request, given)
    with computing(who, settings.precision):
        built = build(request, given, settings.precision)
        problem = built.problem
        options = Options(
            who, tuple(settings.checks), settings.num_directions, settings.num_points, settings.rtol, settings.atol,
            settings.kinks, settings.in_axes, settings.nondet_tol, seed, problem.u_fun < FLOOR**1.5,
        )  # fmt: skip
        outcome = run(problem, options, declared, built.loops, built.batch)
        if settings.order == 2 and is_clean(outcome.findings):
            outcome = merged(outcome, second_order(problem, options, outcome.points[0], built.loops))
        elif settings.order == 2:
            outcome = outcome._replace(checks={**outcome.checks, "second order": "SKIPPED: the first order is wrong"})
        leaves = leaf_reports(given.leaves, problem, options, outcome)
        checks = check_lines(options, outcome)
    good = all(leaf.status in ("PASS", "KINK", "SKIPPED") for leaf in leaves)
    ok = good and not any(line.startswith("FAIL") for line in checks.values())
    dtypes = sorted(set(given.dtypes))
    precision = "float64" if settings.precision == "x64" else "/".join(dtypes)
    points = "Points: " + "; ".join(p.name for p in outcome.points) + "."
    return GradReport(ok, leaves, checks, key, who, precision, (points,))


def _pulled(f: Callable, args: tuple, numbers: Sequence[int]):
    def chosen(*some):
        whole = list(args)
        for n, arg in zip(numbers, some, strict=True):
            whole[n] = arg
        return f(*whole)

    return jax.vjp(chosen, *(args[n] for n in numbers))


def _scalar(who: str, struct) -> Any:
    """The cotangent of a scalar function, 1; refuses any other function."""
    leaves = jax.tree_util.tree_leaves(struct)
    if len(leaves) != 1 or leaves[0].shape != ():
        raise ValueError(f"{who}: fun: expected a scalar output, got {[v.shape for v in leaves]}")
    return jax.tree_util.tree_map(lambda v: np.ones(v.shape, v.dtype), struct)
