"""Example arguments of a function, attached to it by a decorator, for the checks that find functions by themselves."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

T = TypeVar("T")

ATTRIBUTE = "__gradcheck_examples__"


class Example(NamedTuple):
    """Arguments at which to check a function, and the options of that check."""

    args: tuple
    """The arguments, or one function without parameters that returns their tuple."""
    options: dict[str, Any]
    """Keyword arguments of the check."""
    build: tuple | None = None
    """The arguments with which to call a function that returns a layer or a loss."""

    def arguments(self) -> tuple:
        """Return the tuple of arguments. Raises TypeError if a function in their place returns something else."""
        if not _makes_arguments(self.args):
            return self.args
        args = self.args[0]()
        if type(args) is not tuple:
            raise TypeError(
                f"example: a function in place of the arguments must return their tuple, got {type(args).__name__}"
            )
        return args


class _Attached(NamedTuple):
    value: Any
    """The object, kept alive so that its id stays its own."""
    examples: tuple[Example, ...]


_by_id: dict[int, _Attached] = {}  # of objects that take no attributes: tuples, frozen dataclasses


def example(*args: Any, build: tuple | None = None, **options: Any) -> Callable[[T], T]:
    """Attach example arguments to a function, for `python -m fnn.gradcheck` and `pytest --gradcheck`.

    The decorator returns the function itself. It may stand above or below `jax.custom_vjp`, `jax.custom_jvp` and
    `jax.jit`, and several times. It also takes a layer or a loss, or a function that returns one.

    Args:
      *args: the arguments. A `jax.ShapeDtypeStruct` among them stands for a random array. A single function without
        parameters is called when the check runs, and returns the tuple of arguments. For a layer: x, for parameters
        from its `init`, or params and x. For a loss: prediction and target. Without arguments, they are drawn as the
        annotations of the function say.
      build: the arguments with which to call a function that returns a layer or a loss. Default: none, if it is
        annotated to return one, or does not take `args`.
      **options: keyword arguments of the check, such as `domain`, `argnums` or `key`; see `check_vjp`.

    Returns:
      A decorator.

    >>> import jax.numpy as jnp
    >>> @example(jnp.linspace(-2.0, 2.0, 5), key=7)
    ... @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (cube(x), x), lambda x, ct: (3 * x**2 * ct,))
    >>> [each.options for each in examples_of(cube)]
    [{'key': 7}]
    """
    new = Example(args, options, build)

    def attach(value: T) -> T:
        examples = (new, *_attached(value))  # the decorator on top comes first
        try:
            setattr(value, ATTRIBUTE, examples)
        except AttributeError:
            _by_id[id(value)] = _Attached(value, examples)
        return value

    return attach


def examples_of(value: Any) -> tuple[Example, ...]:
    """Return the examples of a function, and of those under its `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`."""
    found = {id(example): example for each in wrapped_by(value) for example in _attached(each)}
    return tuple(found.values())


def wrapped_by(value: Any) -> list:
    """Return a value, then the functions that it wraps by `jax.jit`, `jax.custom_vjp` or `jax.custom_jvp`."""
    chain = [value]
    while isinstance(chain[-1], (jax.custom_vjp, jax.custom_jvp, jax.stages.Wrapped)):
        inner = getattr(chain[-1], "__wrapped__", None)
        if inner is None:
            break
        chain.append(inner)
    return chain


def _attached(value: Any) -> tuple[Example, ...]:
    if id(value) in _by_id:
        return _by_id[id(value)].examples
    found = inspect.getattr_static(value, ATTRIBUTE, ())  # runs no `__getattr__` of the object
    return found if isinstance(found, tuple) else ()


def _makes_arguments(args: tuple) -> bool:
    """Return whether the arguments are one function that takes none, and not an array or a tree with arrays."""
    if len(args) != 1 or not callable(args[0]):
        return False
    leaves = jax.tree_util.tree_leaves(args[0])
    if len(leaves) != 1 or leaves[0] is not args[0]:
        return False
    try:
        inspect.signature(args[0]).bind()
    except (TypeError, ValueError):
        return False
    return True
