"""From what the user passes to a Problem: casting, flat functions, and refusal of what cannot be checked, by name."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.precision import narrowing, primitives, unit_roundoff
from fnn.gradcheck.problem import Problem, autodiff, cotangent_tree, inexact_outputs, to_jax
from fnn.gradcheck.trees import Arguments, cast, is_array, take_apart


class Request(NamedTuple):
    """A gradient to check, as the user gave it."""

    who: str
    fun: Callable
    """fun(*args) -> y."""
    vjp_fun: Callable
    """vjp_fun(args, ȳ) -> gradients."""
    args: tuple
    argnums: int | Sequence[int]
    cotangent: Any = None
    """A tree like the output; a function (who, output's shapes) -> tree where `fixed`."""
    reference: Any = "autodiff"
    domain: Callable | None = None
    static: tuple[int, ...] = ()
    """Arguments that are neither differentiated nor cast."""
    primal: Callable | None = None
    """primal(*args) -> y as the backward's own forward computes it."""
    fixed: bool = False
    """Whether the backward takes no cotangent."""


class Built(NamedTuple):
    """A Problem, and what was learnt while building it."""

    problem: Problem
    loops: bool
    """Whether fun holds a data-dependent loop."""
    batch: int
    """The leading dimension of the output, or of an argument that is not differentiated: what m may be."""


def build(request: Request, given: Arguments, precision: str) -> Built:
    """A Problem in the given precision; call inside its context. `given` are the arguments taken apart outside it."""
    who = request.who
    arguments = take_apart(who, request.args, request.argnums, request.static, precision)
    fun = undecorated(request.fun)
    struct = _output(who, fun, arguments, precision)
    flat = lambda f: lambda x, data: inexact_outputs(f(*arguments.build(_arrays(x), data)))
    pulled = lambda f: (
        lambda x, data, ct: arguments.gradients(
            f(arguments.build(_arrays(x), data), cotangent_tree(struct, _arrays(ct)))
        )
    )
    value, backward = flat(fun), pulled(request.vjp_fun)
    reference = autodiff(value) if request.reference == "autodiff" else request.reference and pulled(request.reference)
    base = 2.0**-53 if precision == "x64" else max(map(unit_roundoff, given.dtypes))
    u_fun = max([base, *narrowing(value, arguments.diff, arguments.data)])
    coarsest = max(map(unit_roundoff, given.dtypes))
    ct = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inexact_outputs_of(struct)]
    own = [u for u in _traced(lambda: narrowing(backward, arguments.diff, arguments.data, ct)) or [] if u <= coarsest]
    names = primitives(value, arguments.diff, arguments.data)
    numbers = [request.argnums] if isinstance(request.argnums, int) else sorted(request.argnums)
    problem = Problem(
        given.paths,
        given.dtypes,
        arguments.diff,
        arguments.data,
        value,
        backward,
        reference,
        flat(request.primal) if request.primal else None,
        lambda x, data: _inside(request.domain, arguments.build(x, data)),
        max([u_fun, *own]),
        u_fun,
        [n for n in numbers for _ in range(arguments.per_argument[n])],
        _cotangent(who, request, struct, precision),
        request.fixed,
    )
    return Built(problem, "while" in names, _batch(struct, request))


def declare(request: Request, given: Arguments) -> list | None:
    """Shape and dtype of the gradients at the arguments as the user gave them; None where they cannot be traced."""
    _output(request.who, undecorated(request.fun), given, "native")

    def gradients(x, data):
        args = given.build(x, data)
        y = undecorated(request.fun)(*args)
        ct = [jnp.zeros(v.shape, v.dtype) for v in inexact_outputs(y)]
        return given.gradients(request.vjp_fun(args, cotangent_tree(jax.eval_shape(lambda: y), ct)))

    return _traced(lambda: jax.eval_shape(gradients, given.diff, given.data))


def undecorated(fun: Callable) -> Callable:
    """The function under a jax.custom_vjp, so that autodiff does not ask the rule under test."""
    return fun.__wrapped__ if isinstance(fun, jax.custom_vjp) else fun


def inexact_outputs_of(struct) -> list:
    """The inexact leaves of an output's shapes."""
    return [v for v in jax.tree_util.tree_leaves(struct) if jnp.issubdtype(v.dtype, np.floating)]


def _output(who: str, fun: Callable, arguments: Arguments, precision: str):
    try:
        struct = jax.eval_shape(lambda x, data: fun(*arguments.build(x, data)), arguments.diff, arguments.data)
    except Exception as error:
        if precision != "x64":
            raise
        error.add_note(
            f"{who}: fun was traced with its floating-point arguments in float64; precision='native' keeps their dtypes"
        )
        raise
    leaves = jax.tree_util.tree_leaves(struct)
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, np.complexfloating):
            raise TypeError(
                f"{who}: fun: expected real outputs, got {leaf.dtype} {leaf.shape}: complex is not supported"
            )
    if not inexact_outputs_of(struct):
        raise TypeError(f"{who}: fun: expected an inexact output, got {[str(v.dtype) for v in leaves]}")
    return struct


def _cotangent(who: str, request: Request, struct, precision: str) -> list | None:
    given = request.cotangent(who, struct) if request.fixed else request.cotangent
    if given is None:
        return None
    wanted, got = jax.tree_util.tree_structure(struct), jax.tree_util.tree_structure(given)
    if wanted != got:
        raise ValueError(f"{who}: cotangent: expected the tree of the output, {wanted}, got {got}")
    pairs = zip(jax.tree_util.tree_leaves(given), jax.tree_util.tree_leaves(struct), strict=True)
    kept = [(c, v) for c, v in pairs if jnp.issubdtype(v.dtype, np.floating)]
    for c, v in kept:
        if np.shape(c) != v.shape:
            raise ValueError(f"{who}: cotangent: expected shape {v.shape}, got {np.shape(c)}")
    return [np.asarray(cast(c, precision)).astype(v.dtype) for c, v in kept]


def _inside(domain: Callable | None, args: tuple):
    if domain is None:
        return True
    ok = jnp.bool_(True)
    for part in jax.tree_util.tree_leaves(domain(*args)):
        ok = jnp.logical_and(ok, jnp.all(part))
    return ok


def _batch(struct, request: Request) -> int:
    shapes = [v.shape for v in inexact_outputs_of(struct)]
    if not any(shapes):
        wanted = {request.argnums} if isinstance(request.argnums, int) else set(request.argnums)
        rest = [arg for n, arg in enumerate(request.args) if n not in wanted] or list(request.args)
        shapes = [np.shape(leaf) for leaf in jax.tree_util.tree_leaves(rest) if is_array(leaf)]
    return next((int(shape[0]) for shape in shapes if shape), 0)


def _arrays(leaves: Sequence) -> list:
    return [to_jax(v) for v in leaves]


def _traced(thunk: Callable):
    """What a trace gives, or None where the function cannot be traced: the jit check then says so."""
    try:
        return thunk()
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return None
