"""Compiled programs that do not pile up: `jax.jit` that keeps what was used last, and releases the rest.

A program of XLA holds up to some hundreds of memory mappings. Linux allows a process 65,530 of them, and XLA ends a
process that needs more. `jax.jit` keeps each program for ever if networks, losses or optimizers are its static
arguments. So each function of this library that takes them is jitted by `compiled`, which makes a `jax.jit` of its own
for each value of the static arguments and each set of shapes, and keeps a few of them. JAX releases a program with the
function that was jitted.

Matrix products of these programs are computed in full float32, unless JAX's setting or the caller chooses otherwise:
`fnn.training.numerics`.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax

from fnn.training.numerics import Numerics, compiler_options, computing, effective_precision, platform_of

KEPT = 4  # of each function; the programs of a fit hold some 240 to 500 mappings and 10 MB


class Compiled:
    """The function that `compiled` returns. It may be called in several threads."""

    def __init__(
        self, function: Callable, static: int, kept: int, numerics: Callable[..., Numerics], options: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self._function, self._static, self._kept, self._options = function, static, kept, options
        self._numerics = numerics
        self._jitted: OrderedDict[Hashable, Any] = OrderedDict()  # the one used last is the last
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple:
        """Copy and pickle the function without its programs and its lock."""
        return Compiled, (self._function, self._static, self._kept, self._numerics, self._options)

    def __call__(self, *args: Any) -> Any:
        with computing(self._numerics(*args)):
            return self.jitted(*args)(*args[self._static :])

    def lower(self, *args: Any) -> jax.stages.Lowered:
        """Lower the function for these arguments, as `jax.jit` does."""
        return self.jitted(*args).lower(*args[self._static :])

    def jitted(self, *args: Any) -> Any:
        """Return the `jax.jit` for these arguments; it takes those that are not static."""
        static, numerics = args[: self._static], self._numerics(*args)
        leaves, tree = jax.tree.flatten(args[self._static :])
        platform = platform_of(leaves) if numerics.deterministic else None
        shapes = tuple(getattr(leaf, "shape", ()) for leaf in leaves)
        key = (static, tree, shapes, effective_precision(numerics.precision), platform)
        with self._lock:
            found = self._jitted.get(key)
            if found is None:
                found = self._jitted[key] = self._jit(static, numerics, platform)
                while len(self._jitted) > self._kept:
                    self._jitted.popitem(last=False)
            self._jitted.move_to_end(key)
        return found

    def _jit(self, static: tuple, numerics: Numerics, platform: str | None) -> Any:
        @functools.wraps(self._function)
        def function(*args: Any) -> Any:
            with computing(numerics):
                return self._function(*static, *args)

        options = compiler_options(numerics, platform) | self._options.get("compiler_options", {})
        return jax.jit(function, **self._options | ({"compiler_options": options} if options else {}))

    def _cache_size(self) -> int:
        """The number of programs that are kept, by the name that `jax.jit` gives it."""
        with self._lock:
            return sum(jitted._cache_size() for jitted in self._jitted.values())


def _full_precision(*args: Any) -> Numerics:
    return Numerics()


def compiled(
    static: int = 0, kept: int = KEPT, numerics: Callable[..., Numerics] = _full_precision, **options: Any
) -> Callable[[Callable], Compiled]:
    """Decorate a function: jit it, and keep the programs that were used last.

    Args:
      static: the number of leading arguments that are static. They must be hashable.
      kept: how many programs are kept, each for other static arguments or shapes.
      numerics: a function from all arguments to how the program computes; it may depend on static arguments and on
        the trees of the others only. Default: matrix products in full.
      options: options of `jax.jit`. Numbers of arguments count those that are not static.

    >>> @compiled(static=1, kept=2)
    ... def power(n, x):
    ...     return x**n
    >>> [int(power(n, 3)) for n in range(4)], power._cache_size()
    ([1, 3, 9, 27], 2)
    """
    return lambda function: Compiled(function, static, kept, numerics, options)
