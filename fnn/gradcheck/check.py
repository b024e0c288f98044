"""The checks as users call them, for a vjp, a gradient, a custom_vjp, a layer and a loss."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.build import Request, build, declare
from fnn.gradcheck.differences import FLOOR
from fnn.gradcheck.precision import computing
from fnn.gradcheck.problem import Options
from fnn.gradcheck.report import GradReport
from fnn.gradcheck.run import run
from fnn.gradcheck.second_order import is_clean, merged, second_order
from fnn.gradcheck.trees import take_apart
from fnn.gradcheck.verdict import check_lines, leaf_reports

CHECKS = ("structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap", "sharding")


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

    >>> report = check_vjp(jnp.sin, lambda args, ct: (ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7)
    >>> report.ok, report.leaves[0].status
    (True, 'PASS')
    >>> check_vjp(jnp.sin, lambda args, ct: (-ct * jnp.cos(args[0]),), (jnp.arange(3.0),), key=7).leaves[0].hint
    'sign flipped'
    """
    _tuple_or_raise("check_vjp", args)
    numbers = tuple(range(len(args))) if argnums is None else argnums
    request = Request("check_vjp", fun, vjp_fun, args, numbers, cotangent)
    return _check(request, choices)


def check_grad(
    fun: Callable, grad_fun: Callable, args: tuple, *, argnums: int | Sequence[int] = 0, **choices: Unpack[Choices]
) -> GradReport:
    """Check grad_fun(*args) -> ∇fun, of a scalar fun(*args): for args[0], or a tuple for a tuple of argnums.

    >>> check_grad(lambda x: jnp.sum(x**2), lambda x: 2 * x, (jnp.arange(3.0),), key=7).ok
    True
    """
    _tuple_or_raise("check_grad", args)
    request = Request("check_grad", fun, lambda args, ct: grad_fun(*args), args, argnums, cotangent=_scalar, fixed=True)
    return _check(request, choices)


def check_custom_vjp(f: Callable, args: tuple, **choices: Unpack[Choices]) -> GradReport:
    """Check the rule of a jax.custom_vjp against autodiff of the function under it, and against differences.

    Arguments in nondiff_argnums are neither differentiated nor cast. The forward rule must return what f returns.

    >>> @jax.custom_vjp
    ... def square(x): return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))
    >>> check_custom_vjp(square, (jnp.arange(1.0, 4.0),), key=7).leaves[0].hint
    '1.5 × expected'
    """
    _tuple_or_raise("check_custom_vjp", args)
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


class _Settings(NamedTuple):
    """The choices with their defaults."""

    reference: Any = "autodiff"
    checks: Sequence[str] = CHECKS
    order: int = 1
    num_directions: int = 3
    num_points: int = 2
    precision: str = "x64"
    rtol: float | None = None
    atol: float | None = None
    kinks: str = "report"
    domain: Callable | None = None
    in_axes: Any = None
    nondet_tol: float = 0.0
    key: Any = None


def _check(request: Request, choices: Choices) -> GradReport:
    unknown = set(choices) - set(_Settings._fields)
    if unknown:
        raise TypeError(f"{request.who}: expected keyword arguments among {_Settings._fields}, got {sorted(unknown)}")
    settings = _Settings(**choices)
    who = request.who
    _validate(who, request, settings)
    key, seed = _seed(who, settings.key)
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


def _validate(who: str, request: Request, s: _Settings) -> None:
    for name, function in (("fun", request.fun), ("vjp_fun", request.vjp_fun)):
        if not callable(function):
            raise TypeError(f"{who}: {name}: expected a function, got {type(function).__name__}")
    numbers = [request.argnums] if isinstance(request.argnums, int) else list(request.argnums)
    if any(not isinstance(n, int) or not 0 <= n < len(request.args) for n in numbers) or not numbers:
        raise ValueError(f"{who}: argnums: expected numbers in 0 … {len(request.args) - 1}, got {request.argnums}")
    if isinstance(s.checks, str) or not set(s.checks) <= set(CHECKS):
        raise ValueError(f"{who}: checks: expected a tuple of names among {CHECKS}, got {s.checks!r}")
    for name, value, allowed in (
        ("precision", s.precision, ("x64", "native")),
        ("kinks", s.kinks, ("report", "fail")),
        ("order", s.order, (1, 2)),
    ):
        if value not in allowed:
            raise ValueError(f"{who}: {name}: expected one of {allowed}, got {value!r}")
    if s.reference is not None and s.reference != "autodiff" and not callable(s.reference):
        raise ValueError(f"{who}: reference: expected 'autodiff', a function or None, got {s.reference!r}")
    for name, value in (("num_directions", s.num_directions), ("num_points", s.num_points)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{who}: {name}: expected a whole number of at least 1, got {value!r}")
    for name, value in (("rtol", s.rtol), ("atol", s.atol), ("nondet_tol", s.nondet_tol)):
        if value is not None and not value >= 0:
            raise ValueError(f"{who}: {name}: expected a number of at least 0, got {value!r}")
    choices = s.in_axes if isinstance(s.in_axes, list) else [] if s.in_axes is None else [s.in_axes]
    for choice in choices:
        if not isinstance(choice, tuple) or len(choice) != len(request.args):
            raise ValueError(f"{who}: in_axes: expected a tuple with an axis or None per argument, got {choice!r}")
    if s.domain is not None and not callable(s.domain):
        raise TypeError(f"{who}: domain: expected a predicate of the arguments, got {type(s.domain).__name__}")


def _tuple_or_raise(who: str, args) -> None:
    if type(args) is not tuple:
        raise TypeError(f"{who}: args: expected a tuple of arguments, got {type(args).__name__}")


def _seed(who: str, key) -> tuple[Any, tuple[int, ...]]:
    if key is None:
        key = secrets.randbits(31)
    if isinstance(key, int):
        return jax.random.key(key), (key,)
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == np.uint32):
        raise TypeError(f"{who}: key: expected a jax.random.key or an int, got {type(key).__name__}")
    words = jax.random.key_data(key) if jnp.issubdtype(dtype, jax.dtypes.prng_key) else key
    words = [int(w) for w in np.asarray(words).ravel()]
    return key, (words[1],) if len(words) == 2 and words[0] == 0 else tuple(words)


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
