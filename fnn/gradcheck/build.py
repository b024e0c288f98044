"""From the user's functions and arguments to a Problem: casts, flat functions, and errors for what is unsupported."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.arguments import Arguments, cast, copies, gradients, is_array, join, split
from fnn.gradcheck.layouts import unsharded
from fnn.gradcheck.lifting import lift
from fnn.gradcheck.options import Options
from fnn.gradcheck.outputs import check_forward_rule, cotangents, inexact, output
from fnn.gradcheck.pairs import gradient_pair
from fnn.gradcheck.precision import FLOOR, Narrowing, narrowing, primitives, unit_roundoff
from fnn.gradcheck.problem import Problem, autodiff, cotangent_tree, inexact_outputs, to_jax
from fnn.gradcheck.signatures import check_call


class Request(NamedTuple):
    """The gradient to check, as the user gave it."""

    who: str
    """The function that the user called, for error messages."""
    fun: Callable
    """fun(*args) -> y."""
    vjp_fun: Callable
    """vjp_fun(args, ȳ) -> gradients."""
    args: tuple
    argnums: int | Sequence[int]
    cotangent: Any = None
    """A tree like the output; if `fixed`, a function from (who, shapes of the output, dtypes of x) to that tree."""
    static: tuple[int, ...] = ()
    """The positions of arguments that are neither differentiated nor cast."""
    primal: Callable | None = None
    """primal(*args) -> y as the forward rule of the backward computes it."""
    fixed: bool = False
    """Whether the backward takes no cotangent."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The positions of the differentiated arguments, in the order of their gradients."""
        return (self.argnums,) if isinstance(self.argnums, int) else tuple(self.argnums)


def check_args(who: str, args) -> None:
    """Raise TypeError unless `args` is a tuple: a list or a bare array is usually a single argument."""
    if type(args) is not tuple:
        raise TypeError(f"{who}: args must be a tuple of arguments, got {type(args).__name__}")


def split_request(request: Request) -> Arguments:
    """Check the functions and argnums of a request, and split its arguments into leaves."""
    who, count = request.who, len(request.args)
    for name, function in (("fun", request.fun), ("vjp_fun", request.vjp_fun)):
        if not callable(function):
            raise TypeError(f"{who}: {name} must be a function, got {type(function).__name__}")
    if not count:
        raise TypeError(f"{who}: args must contain an inexact leaf to differentiate, got no argument")
    if any(not isinstance(n, int) or not 0 <= n < count for n in request.numbers) or not request.numbers:
        raise ValueError(f"{who}: argnums must be integers in 0 … {count - 1}, got {request.argnums!r}")
    if len(set(request.numbers)) < len(request.numbers):
        raise ValueError(f"{who}: argnums must be distinct, got {request.argnums!r}")
    if set(request.numbers) & set(request.static):
        raise ValueError(f"{who}: argnums must contain none of nondiff_argnums={request.static}, got {request.argnums}")
    return split(who, request.args, request.numbers, request.static)


def build(
    request: Request, options: Options, arguments: Arguments, declared: list | None, seed: tuple[int, ...]
) -> Problem:
    """Make a Problem in the precision of the check. The caller enters the context of that precision first."""
    who, precision, cotangent = request.who, options.precision, request.cotangent
    dtypes = [leaf.dtype for leaf in arguments.differentiated]
    arguments = cast(arguments, precision)
    functions = (request.fun, request.vjp_fun, request.primal, options.reference, options.domain)
    as_given, lifted = functions, lift(functions) if precision == "x64" else functions
    fun, struct = _first_traced(lambda f: output(undecorated(f), arguments, precision), lifted[0], as_given[0])
    if request.fixed:
        cotangent = request.cotangent(who, struct, dtypes)
    flat = lambda f: lambda x, data: inexact_outputs(f(*join(arguments, _arrays(x), data)))
    pulled = lambda f: (
        lambda x, data, ct: _pairs(
            arguments,
            gradients(arguments, f(join(arguments, _arrays(x), data), cotangent_tree(struct, copies(_arrays(ct))))),
        )
    )
    ct = jax.eval_shape(lambda: inexact_outputs(jax.tree_util.tree_map(lambda v: jnp.zeros(v.shape, v.dtype), struct)))
    inputs = (arguments.x, arguments.data)
    primal = _usable(lambda f: jax.eval_shape(flat(f), *inputs), lifted[2], as_given[2])
    trace_backward = lambda f: traced(lambda: narrowing(pulled(f), *inputs, ct))
    vjp_fun, own = _first_traced(trace_backward, lifted[1], as_given[1])
    value, backward = flat(undecorated(fun)), pulled(vjp_fun)
    given = _usable(lambda f: jax.eval_shape(pulled(f), *inputs, ct), lifted[3], as_given[3])
    domain = _usable(
        lambda f: jax.eval_shape(lambda x, data: f(*join(arguments, x, data)), *inputs), lifted[4], as_given[4]
    )
    reference = autodiff(value) if options.reference == "autodiff" else options.reference and pulled(given)
    coarsest = max(map(unit_roundoff, dtypes))
    base = Narrowing(2.0**-53 if precision == "x64" else coarsest, "")
    of_fun = max([base, *_named("fun", narrowing(value, *inputs))], key=lambda n: n.u)
    of_all = max([of_fun, *_named("the backward", [n for n in own or [] if n.u <= coarsest])], key=lambda n: n.u)
    u_fun = of_fun.u
    return Problem(
        who=who,
        leaves=arguments.differentiated,
        x=arguments.x,
        data=arguments.data,
        fun=value,
        backward=backward,
        reference=reference,
        primal=flat(primal) if request.primal else None,
        inside=lambda x, data: _inside(domain, join(arguments, x, data)),
        u=of_all.u,
        u_fun=u_fun,
        narrowed=of_all.operation,
        differences_decide=u_fun < FLOOR**1.5,
        argument=arguments.argument,
        cotangent=None if cotangent is None else cotangents(who, cotangent, struct, precision),
        fixed=request.fixed,
        declared=declared,
        native=None,
        outputs=inexact(struct),
        loops="while" in primitives(value, arguments.x, arguments.data),
        batch=_batch(struct, request),
        seed=seed,
    )


def declare(request: Request, arguments: Arguments) -> list | None:
    """Return the gradients' shapes and dtypes at the arguments as the user passed them; None if they do not trace."""
    arguments = cast(arguments, "native")
    struct = output(undecorated(request.fun), arguments, "native")
    if request.primal:
        check_forward_rule(arguments, request.primal, struct)

    def backward(x, data):
        args = join(arguments, x, data)
        y = undecorated(request.fun)(*args)
        ct = [jnp.zeros_like(v) for v in inexact_outputs(y)]
        cotangent = cotangent_tree(jax.eval_shape(lambda: y), ct)
        try:
            return gradients(arguments, request.vjp_fun(args, cotangent))
        except TypeError as error:
            check_call(request.who, "vjp_fun", request.vjp_fun, (args, cotangent), error)
            raise

    return traced(lambda: jax.eval_shape(backward, arguments.x, arguments.data))


def undecorated(fun: Callable) -> Callable:
    """Return the function under a jax.custom_vjp, so that autodiff does not use the rule under test."""
    return fun.__wrapped__ if isinstance(fun, jax.custom_vjp) else fun


def _pairs(arguments: Arguments, grads: list) -> list:
    return [
        gradient_pair(g if g is None else unsharded(g), leaf.dtype)
        for g, leaf in zip(grads, arguments.differentiated, strict=True)
    ]


def _inside(domain: Callable | None, args: tuple):
    if domain is None:
        return True
    ok = jnp.bool_(True)
    for part in jax.tree_util.tree_leaves(domain(*args)):
        ok = jnp.logical_and(ok, jnp.all(part))
    return ok


def _batch(struct, request: Request) -> int:
    """Guess the batch size: the output's leading dimension, or, for a scalar, that of an undifferentiated argument."""
    shapes = [v.shape for v in inexact(struct)]
    if not any(shapes):
        rest = [arg for n, arg in enumerate(request.args) if n not in request.numbers] or list(request.args)
        shapes = [np.shape(leaf) for leaf in jax.tree_util.tree_leaves(rest) if is_array(leaf)]
    return next((int(shape[0]) for shape in shapes if shape), 0)


def _arrays(leaves: Sequence) -> list:
    return [to_jax(v) for v in leaves]


def _named(where: str, found: list[Narrowing]) -> list[Narrowing]:
    return [n._replace(operation=f"{n.operation}, in {where}") for n in found]


def _first_traced(trace: Callable, lifted, as_given) -> tuple[Any, Any]:
    """Return the lifted function and its trace; the function as given if the lifted one cannot be traced."""
    if lifted is not as_given:
        try:
            return lifted, trace(lifted)
        except Exception:  # for example, a function that asserts a dtype
            pass
    return as_given, trace(as_given)


def _usable(trace: Callable, lifted, as_given) -> Any:
    """Return the lifted function if it can be traced, else the function as given, which is not traced here."""
    if lifted is not as_given:
        try:
            trace(lifted)
        except Exception:
            return as_given
    return lifted


def traced(thunk: Callable):
    """Return what a trace returns, or None if the function cannot be traced. The jit check then reports that."""
    try:
        return thunk()
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        return None
