"""The check of the rule of a `jax.custom_jvp`, in both directions of autodiff.

The gradient under test is what reverse mode makes of the rule: JAX transposes it. If JAX cannot, forward mode computes
the gradient entry by entry, ĝᵢ = ⟨ȳ, J eᵢ⟩. The rule itself must agree with that gradient, and be linear:

    ⟨ȳ, J v⟩ = ⟨ĝ, v⟩,   J(α v + β w) = α J v + β J w,   J 0 = 0
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.arguments import cast, is_inexact, join, split
from fnn.gradcheck.assertions import asserting
from fnn.gradcheck.build import Request, check_args, traced
from fnn.gradcheck.check import differentiated, vjp_of
from fnn.gradcheck.interrupts import raise_interrupts
from fnn.gradcheck.lifting import lift
from fnn.gradcheck.options import Keywords, Options, make_options, resolve_key
from fnn.gradcheck.pairs import covector, gradient_pair, pair, value
from fnn.gradcheck.precision import compute_in, narrowing, unit_roundoff
from fnn.gradcheck.problem import generator, inexact_outputs, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed
from fnn.gradcheck.report import GradReport
from fnn.gradcheck.verdict import make_report

NO_TRANSPOSE = (NotImplementedError, ValueError, TypeError, AssertionError)
"""What JAX raises if it cannot transpose a rule (jax 0.10)."""


def check_custom_jvp(
    f: Callable, args: tuple, *, argnums: int | Sequence[int] | None = None, **options: Unpack[Keywords]
) -> GradReport:
    """Check the rule of a `jax.custom_jvp` against autodiff of the function under it, and against differences.

    Reverse mode through the rule is checked like any gradient. Forward mode must agree with it, and be linear in the
    tangent; the report has the verdicts under "adjoint" and "linearity". A rule that JAX cannot transpose, because it
    contains a `while_loop` or is not linear, is checked in forward mode alone.

    Args:
      f: the decorated function. Arguments in its nondiff_argnums are neither differentiated nor cast.
      args: the tuple of arguments at which to check.
      argnums: the position of the argument, or of the arguments, to differentiate. Default: all.
      **options: see `check_vjp`.

    Returns:
      A GradReport.

    >>> import jax.numpy as jnp
    >>> @jax.custom_jvp
    ... def square(x): return x * x
    >>> @square.defjvp
    ... def rule(x, dx): return square(*x), 3 * x[0] * dx[0]
    >>> check_custom_jvp(square, (jnp.arange(1.0, 4.0),), key=7).leaves[0].hint
    '1.5 × expected'
    """
    who = "check_custom_jvp"
    check_args(who, args)
    if not isinstance(f, jax.custom_jvp):
        raise TypeError(f"{who}: f must be a function made with jax.custom_jvp, got {type(f).__name__}")
    static, numbers = differentiated(f, args, argnums)
    key, seed = resolve_key(who, options.get("key"))
    backward = lambda args, ct: _gradient(f, args, numbers, ct)
    primal = lambda *args: _primal(f, args, numbers)
    request = Request(who, f.__wrapped__, backward, args, numbers, static=static, primal=primal)
    report = make_report(request, Keywords(**{**options, "key": key}))
    wrong = _wrong_rule(f, request, make_options(who, options, len(args)), seed)
    return report._replace(ok=report.ok and not wrong, checks={**report.checks, **wrong})


assert_custom_jvp = asserting(check_custom_jvp)


def _of_leaves(f: Callable, args: tuple, numbers: Sequence[int]) -> tuple[Callable, list, Any, list]:
    """Return f as a function of the inexact leaves in `numbers`, all leaves there, their tree, and those positions."""
    leaves, treedef = jax.tree_util.tree_flatten([args[n] for n in numbers])
    inexact = [k for k, leaf in enumerate(leaves) if is_inexact(leaf)]

    def of_leaves(x):
        some, whole = list(leaves), list(args)
        for k, leaf in zip(inexact, x, strict=True):
            some[k] = leaf
        for n, arg in zip(numbers, jax.tree_util.tree_unflatten(treedef, some), strict=True):
            whole[n] = arg
        return f(*whole)

    return of_leaves, leaves, treedef, inexact


def _primal(f: Callable, args: tuple, numbers: Sequence[int]):
    """Return the value that the rule returns beside the tangent."""
    of_leaves, leaves, _, inexact = _of_leaves(f, args, numbers)
    x = [jnp.asarray(leaves[k]) for k in inexact]
    return jax.jvp(of_leaves, (x,), ([jnp.zeros_like(v) for v in x],))[0]


def _gradient(f: Callable, args: tuple, numbers: Sequence[int], ct):
    """Return the vector-Jacobian product of f by reverse mode; in forward mode if JAX cannot transpose the rule."""
    try:
        return vjp_of(f, args, numbers)[1](ct)
    except NO_TRANSPOSE:
        of_leaves, leaves, treedef, inexact = _of_leaves(f, args, numbers)
        x = [jnp.asarray(leaves[k]) for k in inexact]
        pairs = [gradient_pair(c, c.dtype) for c in jax.tree_util.tree_leaves(ct) if is_inexact(c)]
        for n, k in enumerate(inexact):
            alone = lambda v, n=n: inexact_outputs(of_leaves([*x[:n], value(v, x[n].dtype), *x[n + 1 :]]))
            leaves[k] = covector(_by_entry(alone, pair(x[n]), pairs), x[n].dtype)
        return tuple(jax.tree_util.tree_unflatten(treedef, leaves))


def _by_entry(fun: Callable, x: jax.Array, ct: list) -> jax.Array:
    """Return ⟨ȳ, J e⟩ for every unit vector e, in the shape of x."""

    def entry(i):
        unit = jnp.zeros(x.size, x.dtype).at[i].set(1).reshape(x.shape)
        dy = jax.jvp(fun, (x,), (unit,))[1]
        return sum(((c * t).sum() for c, t in zip(ct, dy, strict=True)), jnp.zeros((), x.dtype))

    return jax.lax.map(entry, jnp.arange(x.size)).astype(x.dtype).reshape(x.shape)


class _Tangents(NamedTuple):
    """What the rule makes of tangents at one point."""

    jv: list
    jw: list
    both: list
    """J(1.5 v - 0.75 w)."""
    zero: list
    """J 0."""
    gradient: list | None
    """ĝ by reverse mode, if JAX can transpose the rule."""


@raise_interrupts()
def _wrong_rule(f: Callable, request: Request, options: Options, seed: tuple[int, ...]) -> dict[str, str]:
    """Return what is wrong with the rule in forward mode, under the names of the checks "adjoint" and "linearity"."""
    arguments = split(request.who, request.args, request.numbers, request.static)
    with compute_in(request.who, options.precision):
        arguments = cast(arguments, options.precision)
        x, data, rng = arguments.x, arguments.data, generator(seed, "tangents")
        draw = lambda like: [np.asarray(rng.standard_normal(v.shape), v.dtype) for v in like]
        v, w = draw(x), draw(x)
        (lifted,) = lift((f,)) if options.precision == "x64" else (f,)
        flat = lambda f: lambda x, data: inexact_outputs(f(*join(arguments, list(x), data)))
        try:
            shapes, used = jax.eval_shape(flat(lifted), x, data), flat(lifted)
        except Exception:  # for example, a function that asserts a dtype
            shapes, used = jax.eval_shape(flat(f), x, data), flat(f)
        ct = draw(shapes)

        def evaluate(x, data) -> _Tangents:
            at = lambda x: used(x, data)
            push = lambda t: jax.jvp(at, (list(x),), (t,))[1]
            mixed = [np.asarray(1.5 * a - 0.75 * b, a.dtype) for a, b in zip(v, w, strict=True)]
            return _Tangents(
                push(v), push(w), push(mixed), push([np.zeros_like(a) for a in v]), _reverse(at, list(x), ct)
            )

        found = traced(lambda: narrowing(evaluate, x, data))
        u = max([unit_roundoff(a.dtype) for a in x] + [n.u for n in found or []])
        points = [x, *(perturbed(x, u, generator(seed, "tangents", number)) for number in range(DRAWS))]
        compiled = evaluate if found is None else jax.jit(evaluate)
        at = [jax.tree_util.tree_map(to_numpy, compiled(point, data)) for point in points]
    wrong = {"linearity": _not_linear(at, u), "adjoint": _not_adjoint(at, ct, v, u)}
    return {name: f"FAIL: {text}" for name, text in wrong.items() if text and name in options.checks}


def _reverse(value: Callable, x: list, ct: list) -> list | None:
    try:
        return jax.vjp(value, x)[1](ct)[0]
    except NO_TRANSPOSE:
        return None


def _not_linear(at: list[_Tangents], u: float) -> str:
    """Explain why J is not linear, at the tolerance of `reference`, 16 s + 8 u ‖·‖∞ for each term; "" if it is."""
    for k, both in enumerate(at[0].both):
        error = _largest(both - 1.5 * at[0].jv[k] + 0.75 * at[0].jw[k])
        terms = [(t.jv[k], t.jw[k], t.both[k]) for t in at]
        s = max(_largest(a - b) for other in terms[1:] for a, b in zip(other, terms[0], strict=True))
        tol = 4 * (16 * s + 8 * u * max(map(_largest, terms[0])))
        zero = _largest(at[0].zero[k])
        if zero > 0:
            return f"the rule is not linear in its tangent: J 0 = {zero:.2g} in output {k}"
        if error > tol:
            return (
                "the rule is not linear in its tangent: |J(1.5 v - 0.75 w) - 1.5 J v + 0.75 J w| = "
                f"{error:.2g} > tol {tol:.2g} in output {k}"
            )
    return ""


def _not_adjoint(at: list[_Tangents], ct: list, v: list, u: float) -> str:
    """Explain how ⟨ȳ, J v⟩ differs from ⟨ĝ, v⟩; "" if it does not, or if JAX cannot transpose the rule."""
    if at[0].gradient is None:
        return ""
    forward = [[to_numpy(c) * a for c, a in zip(ct, t.jv, strict=True)] for t in at]
    reverse = [[g * to_numpy(a) for g, a in zip(t.gradient or [], v, strict=True)] for t in at]
    total = lambda terms: float(sum(term.sum() for term in terms))
    size = sum(float(np.abs(term).sum()) for term in (*forward[0], *reverse[0]))
    s = max(abs(total(terms) - total(side[0])) for side in (forward, reverse) for terms in side)
    left, right = total(forward[0]), total(reverse[0])
    if not np.isfinite(left + right) or abs(left - right) <= 16 * s + 64 * u * size:
        return ""
    return f"forward and reverse mode differ: ⟨ȳ, Jv⟩ = {left:.6g}, ⟨ĝ, v⟩ = {right:.6g}"


def _largest(v: np.ndarray) -> float:
    return float(np.max(np.abs(v), initial=0.0, where=np.isfinite(v)))
